"""A drawdown in words: titles and details of its findings, from their figures."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from runbook.steps.drawdown.figures import (
    MARKET_WIDE_SHARE,
    OWN_SHARE,
    Agreement,
    Contributions,
    Gauge,
    History,
    LosingPositions,
    LossCause,
    MarketCause,
    MarketConditions,
    Measure,
    Measured,
)
from runbook.words import amount, capitalised, counted, duration, moment, percent, plural, points

if TYPE_CHECKING:
    import pandas as pd


def measured(figures: Measured) -> str:
    now, deepest = amount(figures.drawdown, "%"), amount(figures.deepest, "%")
    return f"By {figures.measure} the drawdown is {now} now, at most {deepest} ({moment(figures.deepest_at)})"


def measured_detail(figures: Measured) -> str:
    equity, peak = amount(figures.equity, "USDT"), amount(figures.peak, "USDT")
    times = figures.curve["time"]
    return (
        f"Equity {equity} against a peak of {peak} at {moment(figures.peak_at)}; "
        f"{len(times):,} points since {moment(times.iloc[0])}, the last at {moment(times.iloc[-1])}."
    )


def unpriced(times: pd.Series[Any]) -> str:
    """Where the curve has gaps, since something held had no close there; "" where it has none."""
    if not len(times):
        return ""
    points = plural(len(times), "point is", "points are")
    return f" {len(times):,} {points} left out, the first of {moment(times.iloc[0])}: something held had no close yet."


def unusable_rows(count: int, of: int) -> str:
    """How many performance rows were left out; "" where none was."""
    if not count:
        return ""
    return f" {count:,} of {counted(of, 'row')} {plural(count, 'has', 'have')} no usable total_value (NULL or NaN)."


def gauge(figures: Gauge) -> str:
    now, highest, threshold = (amount(ratio, "%") for ratio in (figures.drawdown, figures.highest, figures.threshold))
    return f"The gauge reads {now} at the report, at most {highest}; threshold {threshold}"


def gauge_detail(figures: Gauge) -> str:
    interval = duration(figures.interval_seconds)
    return (
        f"At the alert's moment it read {amount(figures.at_alert, '%')}. "
        f"Samples at least every {interval}, so single peaks between them are not seen."
        f"{_differing(figures)}"
    )


def _differing(figures: Gauge) -> str:
    """That services export different thresholds; "" where they do not."""
    if not figures.differing:
        return ""
    values = ", ".join(amount(value, "%") for value in figures.differing)
    return f" Services export different thresholds ({values}): judged by {amount(figures.threshold, '%')}."


def agreement(figures: Agreement) -> str:
    by_reference, by_gauge = amount(figures.drawdown, "%"), amount(figures.gauge, "%")
    if not figures.odd:
        agree = "All three measures agree"
        if figures.missing:
            agree = f"{capitalised(_names(figures))} agree"
        return f"{agree}: drawdown {by_reference}, threshold {amount(figures.threshold, '%')}{_not_known(figures)}"
    if figures.only_the_gauge_is_odd:
        return f"The gauge is wrong: it reads {by_gauge}, fills and performance rows say {by_reference}"
    read = {Measure.FILLS: figures.drawdown, Measure.PERFORMANCE: figures.performance, Measure.GAUGE: figures.gauge}
    compared = ", ".join(
        f"{_SHORT.get(name, name)} {amount(value, '%')}" for name, value in read.items() if name not in figures.missing
    )
    return f"The measures disagree: {compared}{_not_known(figures)}"


_SHORT = {Measure.FILLS: "fills"}


def _names(figures: Agreement) -> str:
    """The measures that were compared."""
    return " and ".join(_SHORT.get(name, name.value) for name in Measure if name not in figures.missing)


def _not_known(figures: Agreement) -> str:
    return f"; not known by {' and '.join(figures.missing)}" if figures.missing else ""


def agreement_detail(figures: Agreement) -> str:
    by_gauge, by_rows = abs(figures.gauge_error), abs(figures.performance_error)
    if not figures.odd:
        most = max(number for number in (by_gauge, by_rows) if math.isfinite(number))
        bound = "at most " if most >= 1e-4 else ""
        return f"They differ by {bound}{points(most)}."
    if figures.only_the_gauge_is_odd:
        side = "above" if figures.gauge_error > 0 else "below"
        return (
            f"It is {points(by_gauge)} {side} the fills, while fills and performance rows agree to {points(by_rows)}. "
            "What fired is the exporter's figure, not a loss of that size."
        )
    odd = " and ".join(figures.odd)
    if figures.partners and figures.odd == (Measure.GAUGE,):
        return (
            f"{counted(figures.partners, 'other session')} of its mode are open: the gauge is the whole platform's, "
            "the other measures are of this session, so they need not agree."
        )
    if figures.reference is not Measure.FILLS:
        return f"Which of the two is right is not known without the fills. Find out why {odd} differs."
    return f"Trust the fills: they are what was traded. Find out why {odd} differ before acting on them."


def history(past: History) -> str:
    if past.ongoing is None:
        return "The last drawdown has been recovered"
    depth, lasts = amount(past.ongoing.depth, "%"), duration(past.ongoing.seconds)
    return f"{depth} deep, {lasts} since the peak at {moment(past.ongoing.peak_at)}"


def history_detail(past: History) -> str:
    usual = "There is no earlier one."
    if past.recovery_seconds is not None:
        usual = (
            f"Earlier ones ({past.earlier}) were at most {amount(past.earlier_depth, '%')} deep "
            f"and took {duration(past.recovery_seconds)} (median) to recover."
        )
    if past.ongoing is None:
        return usual
    needed = amount(past.ongoing.needed, "%")
    trough_at = moment(past.ongoing.trough_at)
    return f"Trough at {trough_at}. {usual} To reach the peak again the portfolio has to gain {needed}."


def losing_positions(lost: LosingPositions) -> str:
    worst = f"the worst {lost.shown} of them {amount(lost.shown_pnl, 'USDT')}"
    return f"{amount(lost.losing)} of {amount(lost.closed)} closed positions lost; {worst}"


def losing_positions_detail(lost: LosingPositions) -> str:
    realized, unrealized, fees = (
        amount(value, "USDT") for value in (lost.realized_pnl, lost.unrealized_pnl, lost.fees)
    )
    detail = f"Realised {realized}, unrealised {unrealized}, fees within {fees}."
    if lost.gap is not None:
        gap = amount(lost.gap, "USDT")
        detail += f" Their sum differs from the session's total PnL by {gap}: one of the two tables is behind."
    if lost.without_pnl:
        bare = counted(int(lost.without_pnl), "position has", "positions have")
        detail += f" {bare} no usable PnL (NULL or NaN) and {plural(lost.without_pnl, 'is', 'are')} not counted."
    return detail


def contributions(who: Contributions) -> str:
    worst = who.agents[0]
    if not worst.pnl < 0:
        so_far = "As far as positions can be valued, no agent lost" if who.unusable else "No agent lost"
        return f"{so_far} since {who.since:%H:%M} UTC"
    lost, share = amount(-worst.pnl, "USDT"), amount(worst.share_of_loss, "%")
    inferred = "By inference, " if who.inferred else ""
    return f"{inferred}{worst.agent} lost {lost} since {who.since:%H:%M} UTC: {share} of all agents' losses"


def contributions_detail(who: Contributions) -> str:
    pnl, change = amount(who.pnl, "USDT"), amount(who.equity_change, "USDT")
    return (
        f"All positions together {pnl}; the equity from fills moved {change} in the same time. "
        f"Fees are part of it. Positions held then: {amount(who.positions)}.{_unvalued(who)}{_inferred(who)}"
    )


def _inferred(who: Contributions) -> str:
    """How many positions are ascribed by inference, and how; "" where none is."""
    if not who.inferred:
        return ""
    return (
        f" No agent is recorded with {counted(who.inferred, 'of them', 'of them')}: they are ascribed to that of the "
        f"last signal for the symbol and side, up to {duration(who.farthest_seconds)} before the entry."
    )


def _unvalued(who: Contributions) -> str:
    """How many positions are in no sum; "" where all are."""
    if not who.unusable:
        return ""
    return f" {counted(who.unusable, 'of them has', 'of them have')} no usable price then or now and is not counted."


def market_conditions(market: MarketConditions) -> str:
    move, ratio = amount(market.move, "%"), amount(market.volatility_ratio, "ratio")
    return f"The market moved {move} since the fall began; volatility is {ratio} times the usual"


def market_conditions_detail(market: MarketConditions) -> str:
    lowest = amount(market.lowest, "%")
    return (
        f"{market.falling} of {market.symbols} symbols fell; the lowest point of any of them was {lowest}. "
        f"Usual is the day before {market.since:%H:%M} UTC, per 1-minute candle."
    )


def market_cause(why: MarketCause) -> str:
    explained = amount(why.explained, "%")
    match why.kind:
        case LossCause.MARKET_WIDE:
            return f"Market-wide: the market's fall explains {explained} of the loss"
        case LossCause.STRATEGY_SPECIFIC:
            return f"Strategy-specific: the market explains only {explained} of the loss"
        case LossCause.MIXED:
            return f"Mixed: the market explains {explained} of the loss, the rest is the strategies' own"
    moved = amount(why.portfolio_return, "%")
    return f"There is no loss to explain: the portfolio moved {moved} since the fall began"


def market_cause_detail(why: MarketCause) -> str:
    portfolio, market = amount(why.portfolio_return, "%"), amount(why.market_return, "%")
    beta, correlation = amount(why.beta, "ratio"), amount(why.correlation, "ratio")
    explained, share = amount(why.beta * why.market_return, "%"), amount(why.explained_share, "%")
    returns = len(why.portfolio) - 1
    return (
        f"Since {why.since:%H:%M} UTC the portfolio moved {portfolio}, the market {market}. "
        f"Beta {beta}, correlation {correlation} over {returns} returns; "
        f"beta × market explains {explained} of it ({share} of the loss). "
        f"Market-wide from {percent(MARKET_WIDE_SHARE)} explained, strategy-specific up to {percent(OWN_SHARE)}."
    )
