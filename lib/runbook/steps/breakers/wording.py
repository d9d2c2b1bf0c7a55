"""What circuit breakers' checks say: text from their figures."""

from __future__ import annotations

from runbook.steps.breakers.figures import Affected, Effect, Effects, Failures, Lane, State, States
from runbook.steps.breakers.services import PROTECTED
from runbook.steps.shared.levels import usually
from runbook.words import amount, moment


def state_of(lane: Lane) -> str:
    """A breaker's state in a word; of one that no document names, its number."""
    return f"state {lane.value:g}" if lane.state is State.UNDOCUMENTED else lane.state.value


def states_title(found: States) -> str:
    """Which breakers are open, else which opened, else which have no sample."""
    lanes = found.worst_first
    is_open = [lane.name for lane in lanes if lane.state.is_open]
    opened = [lane.name for lane in lanes if lane.openings]
    silent = [lane.name for lane in lanes if not lane.state.is_known]
    if is_open:
        return f"Open now: {', '.join(is_open)}"
    if opened:
        return f"Opened and closed again: {', '.join(opened)}"
    if silent:
        return f"No sample now of: {', '.join(silent)}"
    return f"All {len(lanes)} breakers are closed"


def no_service(halt: str) -> tuple[str, str]:
    """(title, detail) where the alert means no service's breaker, but perhaps a trading halt."""
    if halt:
        title = f"A trading halt is meant ({halt}), not a service's breaker"
        return title, "Trading halts stop trading by a risk rule; their state is below."
    title = "No service's breaker has opened around the alert"
    return title, "Either it closed before, or the alert names another breaker."


def affected_title(found: Affected) -> str:
    """Whose breaker is meant, how that is known, and its state."""
    how = "named by the alert" if found.is_named else "the first that opened"
    state = "its state now is not known"
    if found.lane and found.state.is_known:
        state = f"it is {state_of(found.lane)} now"
    since = f", first opened {moment(found.opened_at)}" if found.opened_at else ""
    return f"The {found.service} breaker is meant ({how}); {state}{since}"


def worst_failures(found: Failures) -> str:
    """The breaker most of whose requests failed, then and now."""
    ratio = found.worst.level
    peak, now = amount(ratio.peak, "%"), amount(ratio.now, "%")
    return f"{found.worst.breaker}: {peak} of its requests failed at the worst, {now} now"


def failures_title(found: Failures) -> str:
    """The same, and the ratio at which a breaker opens."""
    return f"{worst_failures(found)}; a breaker trips at {amount(found.trips_at, '%')}"


def failures_fact(found: Failures) -> str:
    """The same as a reason of the verdict."""
    ratio, trips = found.worst.level, amount(found.trips_at, "%")
    failed = f"{amount(ratio.peak, '%')} of requests failed at the worst, {amount(ratio.now, '%')} now"
    return f"{found.worst.breaker}: {failed}; breakers trip at {trips}."


def failures_detail(found: Failures) -> str:
    """The usual ratio, when it rose, and what the measure does not show."""
    rose = " None rose against its usual level."
    if not found.worst.level.has_history:
        rose = ""
    if found.since:
        rose = f" It rose at {moment(found.since)}."
    return (
        f"Usually {usually(found.worst.level.usual, '%')}.{rose} "
        "Ratios over 2 minutes; the breaker itself judges 10 s, so it trips on shorter bursts too."
    )


def effects_title(found: Effects) -> str:
    """What the breaker that is meant costs, else what else is less than half of usual."""
    own = found.own
    if own and own.is_low:
        return f"The open {own.service} breaker costs: {_now_and_usual(own)}"
    if found.untold:
        none = ", ".join(PROTECTED[effect.service].work for effect in found.effects if not effect.is_told)
        return f"Whether it stops anything cannot be told: none now, and none is usual, of {none}"
    if own:
        return f"Not stopped: {_now_and_usual(own)}"
    if found.low:
        low = ", ".join(PROTECTED[effect.service].work for effect in found.low)
        return f"Fewer than half of usual: {low}"
    return "Orders, decisions and writes go on"


def effects_detail(found: Effects) -> str:
    """What the breaker holds back while it is open; why nothing can be told, where it cannot."""
    impact = f"While it is open {PROTECTED[found.service].impact}." if found.service else ""
    if not found.untold or found.low:
        return impact
    return f"What is not done, nor usually done, cannot be missed. {impact}".strip()


def _now_and_usual(effect: Effect) -> str:
    now, usual = amount(round(effect.level.now, 2)), usually(effect.level.usual, digits=2)
    return f"{PROTECTED[effect.service].work} {now}, usually {usual}"
