"""Exposure in words: titles and details of its findings, from their figures."""

from __future__ import annotations

import math

from runbook.steps.exposure import marks
from runbook.steps.exposure.figures import (
    FEE,
    Approval,
    Approvals,
    Breach,
    BreachCause,
    EquityBasis,
    Exposure,
    Limits,
    Openers,
    OpenPositions,
    PositionValues,
    Reduction,
    Sizing,
)
from runbook.steps.shared.fleet import NOT_RECORDED
from runbook.words import amount, counted, duration, names, percent, plural


def open_positions(opened: OpenPositions) -> str:
    bare = opened.without_stop
    stops = f"{bare} without a stop loss" if bare else "each with a stop loss"
    worth = f"worth {amount(opened.notional, 'USDT')}"
    if len(opened.unpriced) == opened.count:
        worth = "worth what is not known"
    elif opened.unpriced:
        worth = f"of which {opened.count - len(opened.unpriced)} are worth {amount(opened.notional, 'USDT')}"
    return f"{counted(opened.count, 'open position')} {worth}, {stops}"


def open_positions_detail(opened: OpenPositions) -> str:
    detail = f"Unrealised {amount(opened.unrealized_pnl, 'USDT')} at the last closes."
    if opened.unpriced:
        valued = opened.count - len(opened.unpriced)
        detail = f"{detail} That is of {valued}. " if valued else ""
        detail += marks.without_price(opened.unpriced)
    bare = ", ".join(f"{position.symbol} {amount(position.notional, 'USDT')}" for position in opened.unprotected[:6])
    return f"{detail} Without a stop: {bare}." if bare else detail


def limit(name: str, value: float) -> str:
    """A limit as its name means it: a number of positions, a confidence, else a share."""
    return amount(value, "" if name in ("max_positions", "min_confidence") else "%")


_EQUITY = {
    EquityBasis.PERFORMANCE: "",
    EquityBasis.STALE_PERFORMANCE: " by its last performance row, which is over 15 minutes old",
    EquityBasis.SESSION_TOTAL: " by its row in trading_sessions",
    EquityBasis.INITIAL_CAPITAL: " if it is still what it began with: neither performance rows nor its own say more",
}


_LIMITS = 4


def limits(bounds: Limits) -> str:
    default = ", by default" if len(bounds.defaulted) == _LIMITS else ""
    share, notional = amount(bounds.max_position_size, "%"), amount(bounds.limit_usdt, "USDT")
    count = amount(bounds.max_positions)
    return f"At most {share} of the portfolio in a position ({notional}), and {count} positions{default}"


def limits_detail(bounds: Limits) -> str:
    detail = f"The {bounds.mode} session's portfolio is worth {amount(bounds.equity, 'USDT')}{_EQUITY[bounds.basis]}."
    if bounds.loose:
        detail += " These are looser than the platform's defaults."
    if bounds.beside:
        others = ", ".join(f"{other.session} {amount(other.limit_usdt, 'USDT')}" for other in bounds.beside[:6])
        detail += f" Most in a position of the other open sessions: {others}."
    if len(bounds.defaulted) == _LIMITS:
        return f"{detail} The session configures none of them: all are the platform's defaults."
    if bounds.defaulted:
        detail += f" Not configured, hence the default: {', '.join(bounds.defaulted)}."
    return detail


def current(held: Exposure, bounds: Limits) -> str:
    share = amount(held.share, "%")
    if held.over_symbols:
        return f"{held.symbol} is {share} of the portfolio, the limit is {amount(held.limit, '%')}"
    if held.kind is Breach.TOO_MANY:
        return f"{held.count} positions are open, the limit is {amount(bounds.max_positions)}"
    largest, most = held.shares.index[0], amount(held.shares.iloc[0], "%")
    if held.unpriced:
        unknown = f"{len(held.unpriced)} of {counted(held.count, 'position')} have no usable price"
        return f"{unknown}; of the others the largest is {largest} with {most} of the portfolio"
    return f"Within the limits: the largest is {largest} with {most} of the portfolio"


def current_detail(held: Exposure, named: str) -> str:
    """`named`: the symbol that the alert names, if any."""
    largest, part = held.shares.index[0], held.shares.iloc[0] * held.equity / held.gross
    detail = (
        f"{counted(held.count, 'position')}, leverage {amount(held.leverage, 'ratio')}; "
        f"{largest} is {amount(part, '%')} of all that is held, "
        f"as if it were {amount(held.effective_count, 'ratio')} equal ones. "
    )
    if held.without_stop:
        detail += f"{held.without_stop} without a stop loss, worth {amount(held.unprotected_notional, 'USDT')}."
    else:
        detail += "Each has a stop loss."
    if held.unpriced:
        detail += f" {marks.without_price(held.unpriced)} They are in no share."
    detail += marks.priced_otherwise(held.positions)
    if named:
        share = amount(held.shares[named], "%") if named in held.shares.index else "nothing is held in it now"
        detail += f" The alert names {named[:40]}: {share}."
    return detail


def sessions_beside(held: Exposure) -> str:
    """That several sessions are open, which of them this is about, and which are over a limit; "" for one alone."""
    if len(held.sessions) < 2 or held.bounds is None:
        return ""
    over = [one.session for one in held.sessions if one.kind is not Breach.NONE]
    which = held.bounds.session
    line = f" {len(held.sessions)} sessions are open, each with its own value and limits; this is {which}."
    return f"{line} Over a limit: {', '.join(over[:6])}." if over else f"{line} None is over a limit."


def over_time(values: PositionValues) -> str:
    most = amount(values.limit_usdt, "USDT")
    since = "; ".join(f"{one.symbol} is over {most} since {one.over_since:%H:%M} UTC" for one in values.over[:3])
    return since or f"By the gauge no symbol is over {most} now"


def over_time_detail(values: PositionValues) -> str:
    if not values.apart:
        return "The gauge and the open positions agree."
    return f"The gauge and the open positions differ for {', '.join(values.apart[:5])}: trust the positions."


def reduction(closing: Reduction) -> str:
    total, fees, pnl = (amount(value, "USDT") for value in (closing.notional, closing.fees, closing.pnl))
    positions = counted(closing.positions, "position")
    return f"Reducing to the limits takes closing {total} in {positions}: fees {fees}, PnL {pnl} becomes real"


REDUCTION_DETAIL = (
    "The newest first in each symbol, since they broke the limit; then the smallest, where there are too many. "
    f"Fees at {percent(FEE)} of what is closed, slippage not counted. Shown, not done."
)

_APPROVED = {
    Approval.KNOWING: "Risk approved it knowing its size",
    Approval.WITHIN: "Risk approved each as within the limit",
    Approval.MISSING: "No approval is recorded",
    Approval.WRONG: "Risk approved it with a wrong size",
    Approval.REFUSED: "Risk refused it, and it was opened all the same",
    Approval.UNCLEAR: "What risk answered says neither yes nor no",
    Approval.UNSIZED: "Risk approved it; which size it was told is not recorded",
    Approval.NONE: "",
}


def cause(why: BreachCause, held: Exposure) -> str:
    entry_share = amount(why.entry_share, "%")
    match why.kind:
        case Breach.OVERSIZED:
            times = amount(why.entry_share / held.limit, "ratio")
            who = why.agent or "Who opened it is not recorded:"
            if why.inferred:
                who = f"By inference {who}"
            opened = "opened " if why.agent else ""
            return f"{who} {opened}{why.symbol} with {entry_share} of the portfolio, {times} times the limit"
        case Breach.STACKED:
            together = f"{counted(why.positions, 'position')} of {counted(len(why.agents), 'agent')}"
            share = amount(held.share, "%")
            return f"Stacked: no position is over the limit, but {together} add up to {share} in {why.symbol}"
        case Breach.GROWN:
            past = "grew past it by its price or a fallen portfolio"
            return f"{why.symbol} was within the limit when opened ({entry_share}) and {past}"
        case Breach.TOO_MANY:
            return f"{held.count} positions are open, each within the limit of its size"
    return "No limit is exceeded now"


def cause_detail(why: BreachCause) -> str:
    approved = _APPROVED[why.approval]
    match why.kind:
        case Breach.OVERSIZED:
            return f"{approved}."
        case Breach.STACKED:
            return f"{approved}: the check is made for each position, not for what is held in the symbol together."
        case Breach.GROWN:
            return "No check is repeated after the entry."
        case Breach.TOO_MANY:
            return f"{approved}. The count is not checked, or the limit was lowered after they were opened."
    return ""


def openers(who: Openers) -> str:
    if who.positions and math.isfinite(who.lowest_confidence):
        confidence = amount(who.lowest_confidence, "ratio")
        positions = f"{counted(who.positions, 'position')} in {who.symbol}"
        inferred = ", by inference," if who.inferred else ""
        return f"{positions}{inferred} opened by {names(who.agents)}, confidence {confidence} or more"
    if who.everyone == (NOT_RECORDED,):
        return "Who opened the open positions is not recorded"
    inferred = "By inference, the" if who.inferred else "The"
    return f"{inferred} open positions were opened by {names(who.everyone)}"


def openers_detail(who: Openers) -> str:
    reason = f"First reason: {who.first_reason}. " if who.first_reason is not None else ""
    if who.without_signal:
        signals = f"{who.without_signal} have no recorded signal: opened by hand, or the signal was not stored."
    elif who.inferred:
        signals = "Each has a signal before its entry."
    else:
        signals = "Each has a recorded signal."
    if who.inferred:
        apart = duration(who.farthest_seconds)
        signals += (
            f" No agent is recorded with {counted(who.inferred, 'position')}: who opened it is inferred from the last "
            f"signal for the symbol and side, up to {apart} before the entry."
        )
    return reason + signals


def approvals(answers: Approvals, held: Exposure) -> str:
    match answers.kind:
        case Approval.MISSING:
            unanswered = answers.positions - answers.answered
            return f"{unanswered} of {answers.positions} positions have no recorded risk approval"
        case Approval.WRONG if answers.misstated is not None:
            stated, opened = amount(answers.misstated.stated, "%"), amount(answers.misstated.opened, "%")
            return f"Risk was told another size than was opened: {stated} instead of {opened}"
        case Approval.KNOWING:
            stated = amount(answers.largest_stated, "%")
            return f"Risk approved {stated} of the portfolio although the limit is {amount(held.limit, '%')}"
        case Approval.REFUSED:
            return "Risk refused it, and it was opened all the same"
        case Approval.UNCLEAR:
            return "What risk answered says neither yes nor no"
        case Approval.UNSIZED:
            return "Risk approved, but which size it was told is not recorded"
    together = ": what is held together was not asked" if held.over_symbols else ""
    return f"Risk approved each position as within the limit of {amount(held.limit, '%')}{together}"


def approvals_detail(answers: Approvals) -> str:
    if answers.first_answer is None:
        return "llm_decisions has no risk decision within ten minutes before the entry: was the check bypassed?"
    inferred = ""
    if answers.inferred:
        inferred = (
            f" It is not recorded with the position: it is the last in the symbol, up to "
            f"{duration(answers.farthest_seconds)} before the entry."
        )
    return f"Its answer: {answers.first_answer}.{inferred}"


def sizing(sizes: Sizing) -> str:
    most = amount(sizes.limit_usdt, "USDT")
    if not sizes.agents:
        return f"No agent opened a position above {most} in this session"
    over = f"{amount(sizes.over)} {plural(sizes.over, 'position')}"
    if NOT_RECORDED in sizes.agents:
        return f"{over} above {most} in this session; by which agent is not recorded"
    return f"{names(sizes.agents, 3)} opened {over} above {most} in this session"


def sizing_detail(sizes: Sizing) -> str:
    positions, bare = amount(sizes.positions), amount(sizes.without_stop)
    return f"{positions} positions; {bare} without a stop loss. Sizes against today's portfolio."
