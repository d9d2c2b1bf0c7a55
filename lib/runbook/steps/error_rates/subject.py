"""What the alert itself is about: one component, the exchange, or one kind of the API's answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from runbook.alert import Alert
from runbook.findings import Findings
from runbook.steps import dependencies
from runbook.steps.error_rates.api_requests import THRESHOLD
from runbook.steps.error_rates.figures import Api, Components
from runbook.words import amount

_GENERAL = ("", "api", "system")
"""Components that name no part of the platform: the API's own answers are looked at anyway."""


_NAME_LENGTH = 60


@dataclass(frozen=True, slots=True)
class Subject:
    """What the alert is about: how it fares in words, and whether it is in trouble; None where that is not known."""

    name: str
    text: str
    in_trouble: bool | None


def subject_of(findings: Findings, alert: Alert, component: str = "") -> Subject | None:
    """The alert's own subject, by its name, else by the component it names; None where it is about errors as such."""
    found = _BY_ALERT.get(alert.name)
    if found is not None:
        return found(findings)
    parts = findings.get(Components)
    if component in _GENERAL or parts is None or parts.of(component) is None:
        return None
    return _component(findings, component, f"component {component[:_NAME_LENGTH]}")


def _component(findings: Findings, component: str, name: str, beside: str = "") -> Subject:
    """A component by its errors a minute; `beside` is what its own check says."""
    parts = findings.get(Components)
    more = f"; {beside}" if beside else ""
    if parts is None:
        return Subject(name, f"{name}: its errors are not known{more}", None)
    own = parts.of(component)
    if own is None:
        return Subject(name, f"{name}: reports no errors{more}", False)
    now, usual = amount(round(own.level.now, 1)), amount(round(own.level.usual, 2))
    if not math.isfinite(own.level.now):
        return Subject(name, f"{name}: its errors have no current sample{more}", None)
    rate = f"{name}: {now} errors a minute, usually {usual}"
    return Subject(name, f"{rate}{more}", own.has_risen)


def _database(findings: Findings) -> Subject:
    return _component(findings, "database", "database", findings.title(dependencies.database))


def _nats(findings: Findings) -> Subject:
    found = _component(findings, "nats", "NATS", findings.title(dependencies.nats))
    messages = findings.get(dependencies.Nats)
    is_silent = messages is not None and (messages.silent or messages.lost)
    return Subject(found.name, found.text, True if is_silent else found.in_trouble)


def _mcp(findings: Findings) -> Subject:
    return _component(findings, "mcp", "MCP tools")


def _exchange(findings: Findings) -> Subject:
    market = findings.get(dependencies.Exchange)
    title = findings.title(dependencies.exchange)
    if market is None:
        return Subject("the exchange", f"the exchange: {title}", None)
    rate = f"{amount(round(market.errors_per_minute, 1))} errors a minute"
    usual = amount(round(market.usual_errors_per_minute, 2))
    return Subject("the exchange", f"the exchange: {rate}, usually {usual}; {title}", market.trouble)


def _client_errors(findings: Findings) -> Subject:
    http = findings.get(Api)
    if http is None or not math.isfinite(http.client.now):
        return Subject("4xx answers", "4xx answers: their share is not known", None)
    now, usual = amount(http.client.now, "%"), amount(http.client.usual, "%")
    is_much = http.client.now > max(THRESHOLD, 3 * http.client.usual)
    return Subject("4xx answers", f"{now} of API requests are answered 4xx, usually {usual}", is_much)


_BY_ALERT: dict[str, Callable[[Findings], Subject]] = {
    "DatabaseErrors": _database,
    "NATSConnectionIssues": _nats,
    "MCPToolCallFailures": _mcp,
    "HighExchangeAPIErrors": _exchange,
    "ExchangeConnectionIssues": _exchange,
    "HighClientErrorRate": _client_errors,
}
