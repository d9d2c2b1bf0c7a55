"""Exposure: what is held against the risk limits, who opened it, why risk allowed it, and what reducing it takes."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from runbook.alert import Window
from runbook.findings import Table
from runbook.legacy import Finding
from runbook.outcome import Status
from runbook.sources.database import Database
from runbook.sources.metrics import Metrics
from runbook.steps.shared.values import number
from runbook.words import amount, counted, percent

# The platform's own defaults, where the session's configuration says nothing.
DEFAULTS = {"max_position_size": 0.1, "max_positions": 3.0, "default_stop_loss": 0.02, "min_confidence": 0.7}
FEE = 0.001
_DRIFT = 1.05


def limits(database: Database, window: Window) -> Finding:
    """Risk limits: those of the session's configuration, else the platform's defaults, and the portfolio's value."""
    frame = database.ask("exposure/limits", as_of=window.as_of, starts_at=window.starts_at).frame
    if frame.empty:
        return Finding("exposure.limits", Status.UNKNOWN, "Risk limits: there is no trading session",
                       "trading_sessions has no row up to the report's moment, so neither limits nor capital are known.")  # fmt: skip
    row = frame.iloc[0]
    given = {name: number(row[name]) for name in DEFAULTS}
    known = {name: value if math.isfinite(value) and value > 0 else DEFAULTS[name] for name, value in given.items()}
    defaulted = [name for name, value in given.items() if not (math.isfinite(value) and value > 0)]
    equity = next(
        (v for v in (number(row["equity"]), number(row["stored_equity"]), number(row["initial_capital"])) if v > 0),
        math.nan,
    )
    if not equity > 0:
        return Finding("exposure.limits", Status.UNKNOWN, "Risk limits: the portfolio's value is not known", "Neither performance_metrics nor the session has a usable one.")  # fmt: skip
    loose = (
        known["max_position_size"] > DEFAULTS["max_position_size"] or known["max_positions"] > DEFAULTS["max_positions"]
    )
    table = pd.DataFrame({"limit": list(DEFAULTS), "in force": [_limit(n, known[n]) for n in DEFAULTS], "platform default": [_limit(n, value) for n, value in DEFAULTS.items()],
                          "from": ["default" if n in defaulted else "session configuration" for n in DEFAULTS]})  # fmt: skip
    return Finding(
        "exposure.limits",
        Status.WARNING if loose else Status.OK,
        f"At most {amount(known['max_position_size'], '%')} of the portfolio in a position ({amount(known['max_position_size'] * equity, 'USDT')}), and {amount(known['max_positions'])} positions",
        f"The {row['mode']} session's portfolio is worth {amount(equity, 'USDT')}."
        + (" These are looser than the platform's defaults." if loose else "")
        + (f" Not configured, hence the default: {', '.join(defaulted)}." if defaulted else ""),
        {"session_id": str(row["session_id"]), "equity": equity, **known, "limit_usdt": known["max_position_size"] * equity, "loose": loose},
        (Table("Risk limits", table),),
    )  # fmt: skip


def _limit(name: str, value: float) -> str:
    """A limit as its name means it: a number of positions, a confidence, else a share."""
    return amount(value, "" if name in ("max_positions", "min_confidence") else "%")


def current(bounds: Finding, database: Database, window: Window, symbol: str = "") -> Finding:
    """Exposure: by symbol and side against the limits, with concentration, leverage and positions without a stop."""
    frame = database.ask("exposure/open", as_of=window.as_of).frame
    limit, equity = bounds.figures["max_position_size"], bounds.figures["equity"]
    frame = frame[frame["session_id"] == bounds.figures["session_id"]] if len(frame) else frame
    priced = frame[frame["notional"].astype("float64").notna()] if len(frame) else frame
    unpriced = len(frame) - len(priced)
    if priced.empty:
        return Finding(
            "exposure.current", Status.UNKNOWN if unpriced else Status.OK, "Exposure: no open position has a price" if unpriced else "The session holds no position: there is no exposure", "",
            {"count": unpriced, "kind": "none", "limit": limit, "over_symbols": "", "shares": {}, "leverage": 0.0, "equity": equity},
            series={"positions": priced, "shares": {}},
        )  # fmt: skip
    entry_equity = priced["entry_equity"].astype("float64").where(lambda value: value > 0).fillna(equity)
    held = priced.assign(
        share=priced["notional"] / equity, entry_share=priced["entry_notional"] / entry_equity
    ).reset_index(drop=True)
    shares = held.groupby("symbol")["share"].sum().sort_values(ascending=False)
    sides = held.pivot_table(index="symbol", columns="side", values="notional", aggfunc="sum").fillna(0.0)
    table = pd.DataFrame({
        "symbol": shares.index, "long": [float(sides.get("LONG", pd.Series(dtype=float)).get(s, 0.0)) for s in shares.index],
        "short": [float(sides.get("SHORT", pd.Series(dtype=float)).get(s, 0.0)) for s in shares.index],
        "positions": [int((held["symbol"] == s).sum()) for s in shares.index], "share": shares.to_numpy(), "limit": limit,
        "over by": [max(share - limit, 0.0) * equity for share in shares],
    })  # fmt: skip
    kind, worst = _kind(held, shares, bounds)
    over = [str(name) for name, share in shares.items() if share > limit * _DRIFT]
    gross = float(held["notional"].sum())
    bare = held[held["stop_loss"].isna()]
    breach = kind != "none"
    title = (
        f"{worst} is {amount(shares[worst], '%')} of the portfolio, the limit is {amount(limit, '%')}" if over
        else f"{len(held)} positions are open, the limit is {amount(bounds.figures['max_positions'])}" if kind == "too many"
        else f"Within the limits: the largest is {shares.index[0]} with {amount(shares.iloc[0], '%')} of the portfolio"
    )  # fmt: skip
    return Finding(
        "exposure.current",
        Status.CRITICAL if shares.iloc[0] > 2 * limit else Status.WARNING if breach or len(bare) else Status.OK,
        title,
        f"{counted(len(held), 'position')}, leverage {amount(gross / equity, 'ratio')}; {shares.index[0]} is {amount(shares.iloc[0] * equity / gross, '%')} of all that is held, "
        f"as if it were {amount(1 / float(((shares * equity / gross) ** 2).sum()), 'ratio')} equal ones. "
        + (f"{len(bare)} without a stop loss, worth {amount(bare['notional'].sum(), 'USDT')}." if len(bare) else "Each has a stop loss.")
        + (f" {unpriced} have no usable price and are not counted." if unpriced else "")
        + _named(symbol, shares),
        {"count": len(held), "kind": kind, "symbol": worst, "share": float(shares[worst]), "limit": limit, "over_symbols": ", ".join(over), "equity": equity,
         "leverage": gross / equity, "without_stop": len(bare), "largest_entry_share": float(held["entry_share"].max()), "gross": gross},
        (Table("Exposure by symbol", table, {"long": "USDT", "short": "USDT", "positions": "", "share": "%", "limit": "%", "over by": "USDT"}),
         Table("Open positions, the largest first", held[["symbol", "side", "agent", "notional", "share", "entry_share", "stop_loss"]],
               {"notional": "USDT", "share": "%", "entry_share": "%", "stop_loss": ""})),
        {"positions": held, "shares": {str(name): float(share) for name, share in shares.items()}},
    )  # fmt: skip


def _named(symbol: str, shares: pd.Series[Any]) -> str:
    """What is held in the symbol that the alert names, as a sentence; empty where it names none."""
    if not symbol:
        return ""
    return f" The alert names {symbol[:40]}: {amount(shares[symbol], '%') if symbol in shares.index else 'nothing is held in it now'}."


def _kind(held: pd.DataFrame, shares: pd.Series[Any], bounds: Finding) -> tuple[str, str]:
    """(kind of breach, the symbol it is about): oversized, stacked, grown, too many or none."""
    limit = bounds.figures["max_position_size"]
    too_large = held[held["entry_share"] > limit * 1.02]
    if len(too_large):
        return "oversized", str(too_large.sort_values("entry_share", ascending=False)["symbol"].iloc[0])
    worst = str(shares.index[0])
    if shares.iloc[0] > limit * _DRIFT:
        return ("stacked" if int((held["symbol"] == worst).sum()) > 1 else "grown"), worst
    return ("too many" if len(held) > bounds.figures["max_positions"] else "none"), worst


def over_time(now: Finding, bounds: Finding, metrics: Metrics, window: Window) -> Finding:
    """Position value over time: the exported value by symbol in the window, since when it is over, and whether it agrees."""
    frame = metrics.range(
        "max by (symbol) (cryptofunk_position_value_by_symbol)", window.start, window.as_of, series=10
    ).frame.dropna(subset=["value"])
    if frame.empty or "symbol" not in frame:
        return Finding("exposure.over_time", Status.UNKNOWN, "Position value over time: no usable sample",
                       "cryptofunk_position_value_by_symbol has no sample in the window, or only NaN.")  # fmt: skip
    limit = bounds.figures["limit_usdt"]
    frame = frame.assign(value=frame["value"].abs())
    values = {
        str(s): part[["time", "value"]].reset_index(drop=True)
        for s, part in frame.groupby("symbol")
        if part["value"].max() > 0
    }
    values = dict(sorted(values.items(), key=lambda item: -float(item[1]["value"].max()))[:6])
    last = {symbol: float(part["value"].iloc[-1]) for symbol, part in values.items()}
    held = {symbol: share * now.figures["equity"] for symbol, share in now.series["shares"].items()}
    apart = [s for s in {*last, *held} if abs(last.get(s, 0.0) - held.get(s, 0.0)) > max(50.0, 0.1 * held.get(s, 0.0))]
    since = {symbol: _since(part, limit * _DRIFT) for symbol, part in values.items()}
    over = {symbol: at for symbol, at in since.items() if at is not None}
    title = (
        "; ".join(f"{symbol} is over {amount(limit, 'USDT')} since {at:%H:%M} UTC" for symbol, at in list(over.items())[:3])
        if over else f"By the gauge no symbol is over {amount(limit, 'USDT')} now"
    )  # fmt: skip
    return Finding(
        "exposure.over_time",
        Status.WARNING if over or apart else Status.OK,
        title,
        "The gauge and the open positions agree." if not apart else f"The gauge and the open positions differ for {', '.join(sorted(map(str, apart))[:5])}: trust the positions.",
        {"limit_usdt": limit, "over": ", ".join(over), "since": min(over.values()) if over else None, "apart": ", ".join(sorted(map(str, apart))[:10])},
        series={"values": values},
    )  # fmt: skip


def _since(part: pd.DataFrame, limit: float) -> pd.Timestamp | None:
    """Since when the last samples without a break are over `limit`; None when the last one is not."""
    below = part[part["value"] <= limit]
    if part["value"].iloc[-1] <= limit:
        return None
    later = part[part["time"] > below["time"].iloc[-1]] if len(below) else part
    return pd.Timestamp(later["time"].iloc[0])


def reduction(now: Finding, bounds: Finding) -> Finding:
    """Reducing to the limits: what would be closed, its notional, the fee and the PnL that becomes real; nothing is done."""
    held: pd.DataFrame = now.series["positions"]
    limit, equity, most = (
        bounds.figures["max_position_size"],
        bounds.figures["equity"],
        int(bounds.figures["max_positions"]),
    )
    cuts: dict[int, float] = {}
    if now.figures["kind"] != "none":
        for _, part in held.groupby("symbol"):
            excess = float(part["notional"].sum()) - limit * equity
            for index, row in (
                part.sort_values("entry_time", ascending=False).iterrows() if excess > 0.01 * limit * equity else ()
            ):
                cut = min(max(excess, 0.0), float(row["notional"]))
                cuts[int(str(index))] = cut
                excess -= cut
        left = held[[cuts.get(i, 0.0) < 0.999 * n for i, n in zip(held.index, held["notional"], strict=True)]]
        for index in left.sort_values("notional").index[: max(len(left) - most, 0)]:
            cuts[int(index)] = float(held["notional"][index])
    rows = [
        {"symbol": row["symbol"], "side": row["side"], "agent": row["agent"], "close": "all" if cut > 0.999 * row["notional"] else "part", "quantity": row["quantity"] * cut / row["notional"],
         "notional": cut, "fee": cut * FEE, "pnl": row["unrealized_pnl"] * cut / row["notional"]}
        for index, cut in cuts.items() if cut > 0 for row in [held.loc[index]]
    ]  # fmt: skip
    if not rows:
        return Finding(
            "exposure.reduction",
            Status.OK,
            "Nothing has to be reduced",
            "",
            {"notional": 0.0, "fees": 0.0, "positions": 0, "symbols": ""},
        )
    table = pd.DataFrame(rows)
    total, fees, pnl = (float(table[name].sum()) for name in ("notional", "fee", "pnl"))
    return Finding(
        "exposure.reduction",
        Status.WARNING,
        f"Reducing to the limits takes closing {amount(total, 'USDT')} in {len(table)} {'position' if len(table) == 1 else 'positions'}: fees {amount(fees, 'USDT')}, PnL {amount(pnl, 'USDT')} becomes real",
        f"The newest first in each symbol, since they broke the limit; then the smallest, where there are too many. Fees at {percent(FEE)} of what is closed, slippage not counted. Shown, not done.",
        {"notional": total, "fees": fees, "pnl": pnl, "positions": len(table), "symbols": ", ".join(dict.fromkeys(map(str, table["symbol"])))},
        (Table("What would be closed", table, {"quantity": "", "notional": "USDT", "fee": "USDT", "pnl": "USDT"}),),
    )  # fmt: skip


def cause(now: Finding, opened: Finding, answers: Finding) -> Finding:
    """Why the limit is exceeded: too large when opened, several together, grown since, or too many."""
    kind, symbol, limit = now.figures["kind"], now.figures.get("symbol", ""), now.figures["limit"]
    if kind == "none":
        return Finding("exposure.cause", Status.OK, "No limit is exceeded now", "", {"kind": kind})
    held: pd.DataFrame = now.series["positions"]
    mine = held[held["symbol"] == symbol]
    first = mine.sort_values("entry_share", ascending=False).iloc[0]
    agents = list(dict.fromkeys(map(str, mine["agent"])))
    passed = {"knowing": "Risk approved it knowing its size", "within": "Risk approved each as within the limit", "missing": "No approval is recorded",
              "wrong": "Risk approved it with a wrong size"}.get(answers.figures["kind"], "")  # fmt: skip
    title = {
        "oversized": f"{first['agent']} opened {symbol} with {amount(first['entry_share'], '%')} of the portfolio, {amount(first['entry_share'] / limit, 'ratio')} times the limit",
        "stacked": f"Stacked: no position is over the limit, but {counted(len(mine), 'position')} of {counted(len(agents), 'agent')} add up to {amount(now.figures['share'], '%')} in {symbol}",
        "grown": f"{symbol} was within the limit when opened ({amount(first['entry_share'], '%')}) and grew past it by its price or a fallen portfolio",
        "too many": f"{now.figures['count']} positions are open, each within the limit of its size",
    }[kind]  # fmt: skip
    why = {
        "oversized": f"{passed}.",
        "stacked": f"{passed}: the check is made for each position, not for what is held in the symbol together.",
        "grown": "No check is repeated after the entry.",
        "too many": f"{passed}. The count is not checked, or the limit was lowered after they were opened.",
    }[kind]
    return Finding(
        "exposure.cause",
        now.status,
        title,
        why,
        {
            "kind": kind,
            "symbol": symbol,
            "agent": str(first["agent"]),
            "agents": ", ".join(agents),
            "approval": answers.figures["kind"],
        },
    )
