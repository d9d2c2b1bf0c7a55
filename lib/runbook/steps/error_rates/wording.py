"""What the checks of error rates say: text from their figures."""

from __future__ import annotations

from datetime import datetime

from runbook.steps.error_rates.figures import Api, Components, Logs, Paths
from runbook.words import amount, counted, duration, moment, plural

_PATTERN_LENGTH = 110


def api_title(found: Api) -> str:
    """The share of requests that fail, now and at the worst."""
    now, peak = amount(found.server.now, "%"), amount(found.server.peak, "%")
    rose = f"; it rose at {found.since:%H:%M} UTC" if found.since else ""
    limit = amount(found.threshold, "%")
    return f"{now} of API requests fail with 5xx now, {peak} at the worst; threshold {limit}{rose}"


def api_detail(found: Api) -> str:
    """The usual share, requests answered 4xx, and how many requests come."""
    client, client_usual = amount(found.client.now, "%"), amount(found.client.usual, "%")
    requests, requests_usual = (amount(round(count, 1)) for count in (found.requests.now, found.requests.usual))
    return (
        f"Usually {amount(found.server.usual, '%')}. 4xx: {client}, usually {client_usual}. "
        f"{requests} requests a minute, usually {requests_usual}."
    )


def paths_title(found: Paths, threshold: float) -> str:
    """How many paths fail, and the one that fails most."""
    if found.failing:
        return f"{len(found.failing)} of {found.total} paths fail, the most {found.failing[0]}"
    return f"None of {found.total} paths fails more than {amount(threshold, '%')} with 5xx"


def paths_detail(found: Paths) -> str:
    """What it says that so many paths fail."""
    if found.is_everywhere:
        return "They fail together: suspect what they share (database, pool, a deployment), not one handler."
    if found.failing:
        return f"Only {', '.join(found.failing[:3])}: suspect its handler or what it alone depends on."
    return ""


def components_title(found: Components) -> str:
    """In which components errors rose, and the one with most."""
    most = found.components[0]
    if not found.risen:
        now = amount(round(most.level.now, 2))
        return f"No component has more errors than usual; {most.name} the most, {now} a minute"
    now, usual = amount(round(most.level.now, 1)), amount(round(most.level.usual, 2))
    risen = ", ".join(component.name for component in found.risen[:5])
    return f"Errors rose in {risen}: {most.name} has {now} a minute, usually {usual}"


def components_detail(found: Components) -> str:
    """Which of several components rose first."""
    since = moment(found.since)
    if len(found.together) > 1:
        return f"{' and '.join(found.together)} rose together, at {since}."
    if len(found.rises) > 1:
        return f"{found.first} rose first, at {since}: what rises first is nearer to the cause."
    return ""


def logs_title(found: Logs, split: datetime) -> str:
    """The worst pattern that rose after `split`."""
    worst = found.worst
    if not worst and found.unlevelled:
        first = found.unlevelled[0]
        return f"{found.app}: {_unlevelled(found)} rose, “{first.pattern[:_PATTERN_LENGTH]}” {first.lines}×"
    if not worst:
        return f"{found.app} logs no warning or error more often than before {split:%H:%M} UTC"
    return f"{found.app}: “{worst.pattern[:_PATTERN_LENGTH]}” {worst.lines}× since {worst.first:%H:%M} UTC"


def logs_detail(found: Logs, split: datetime, quiet_seconds: float, loud_seconds: float, *, is_cut: bool) -> str:
    """How many patterns rose, and what was compared."""
    errors = len(found.errors)
    warnings = len(found.risen) - errors
    before, after = duration(quiet_seconds), duration(loud_seconds)
    unlevelled = f" {_unlevelled(found)} rose too." if found.unlevelled and found.risen else ""
    cut = " The log was cut at 2,000 lines, so older ones are missing." if is_cut else ""
    return (
        f"{errors} error and {warnings} warning patterns rose; "
        f"compared are {before} before {split:%H:%M} UTC and {after} after.{unlevelled}{cut}"
    )


def _unlevelled(found: Logs) -> str:
    number = len(found.unlevelled)
    return f"{counted(number, 'pattern')} that {plural(number, 'tells', 'tell')} no level"
