"""What alerting says: text from its figures."""

from __future__ import annotations

from collections.abc import Sequence

from runbook.steps.alerting.expression import IN_WORDS
from runbook.steps.alerting.figures import About, Evaluated, History, Rule
from runbook.words import amount, clock, duration, moment, names, plural


def firing_title(others: int, distinct: Sequence[str]) -> str:
    """How many other alerts fire, and their `distinct` names."""
    fire = plural(max(others, 1), "alert fires", "alerts fire")
    listed = f": {names(distinct)}" if distinct else ""
    return f"{others or 'No'} other {fire}{listed}"


def history_title(name: str, found: History, days: int) -> str:
    """How often the alert called `name` fired in the `days` before."""
    if not found.times:
        return f"{name} did not fire in the {days} days before"
    times = plural(found.times, "time")
    return f"{name} fired {found.times} {times} before in {days} days, last on {moment(found.last)}"


def rule_detail(name: str, found: Rule, unread: str) -> str:
    """Where the expression of the alert called `name` is from. `unread`: why Prometheus' rules are not known."""
    held = "" if found.for_seconds is None else f"It must hold for {duration(found.for_seconds)}. "
    if not found.linked:
        return f"{held}From the rule {name}."
    if found.differs:
        compared = "; the rule of this name in Prometheus is another now."
    elif found.for_seconds is not None:
        compared = "."
    elif unread:
        compared = f"; Prometheus' rules are not known: {unread}"
    else:
        compared = "; Prometheus lists no rule of this name now."
    return f"{held}From the alert's generatorURL{compared}"


def evaluated_title(found: Evaluated) -> str:
    """Whether the condition holds: the value against the threshold, and since when."""
    least = "at least " if found.capped_by else ""
    value = f"it is {least}{amount(found.now, 'ratio')}"
    if found.capped_by and not found.holds and found.operator in (">", ">="):
        over = f"{IN_WORDS[found.operator]} {amount(found.threshold, 'ratio')}"
        return f"Whether the alert's condition holds cannot be told: {value}, where its histogram ends, perhaps {over}"
    holds = "holds" if found.holds else "does not hold"
    if found.threshold is not None:
        compared = IN_WORDS.get(found.operator, found.operator)
        negated = compared if found.holds else f"not {compared}"
        value = f"{value}, {negated} {amount(found.threshold, 'ratio')}"
    since = f", since {clock(found.since)}" if found.since else ""
    return f"The alert's condition {holds}: {value}{since}"


def series_detail(name: str, count: int, drawn: int) -> str:
    """Which of the `count` series was judged."""
    if count > 1:
        return f"{name or 'One series'}; {count} series, the first {drawn} are drawn."
    return f"Series: {name}." if name else ""


def about_title(found: About) -> str:
    """The deployments it is about, and which of them are not ready."""
    if not found.apps:
        return "Nothing in the cluster is named by the alert's labels or metrics"
    ready = f"not ready: {names(found.not_ready)}" if found.not_ready else "ready"
    return f"It is about {names(found.apps)}; {ready}"


def about_detail(found: About) -> str:
    """The tables it is about, and what counts as a name."""
    tables = f"Tables: {', '.join(found.tables)}. " if found.tables else ""
    return f"{tables}Labels that name a pod, deployment or component count first, then the metric's name."


def tables_title(table: str, size_bytes: float, rows: int, dead: Sequence[str]) -> str:
    """How large the first table is, and which hold more dead than live rows."""
    grown = f"; more dead than live rows in {', '.join(dead)}" if len(dead) else ""
    return f"{table} is {amount(size_bytes, 'bytes')} with about {rows:,} rows{grown}"
