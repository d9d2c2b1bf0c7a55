"""Whether errors reach trading: what is paused, written less or refused, and what the logs tell of failures."""

from __future__ import annotations

from collections.abc import Iterator

from runbook.findings import Findings
from runbook.steps.dependencies import Flow
from runbook.steps.error_rates.figures import Logs, Refused
from runbook.steps.sessions import Halt


def affected(findings: Findings) -> str:
    """Whether trading is affected, in a sentence; possibly, where only the logs tell of it."""
    flow, logged = findings.get(Flow), tuple(_logged(findings))
    if not flow and not findings.get(Halt) and not logged:
        return "Whether trading is affected is not known."
    measured = tuple(_measured(findings))
    if measured:
        return f"Trading is affected: {'; '.join((*measured, *logged))}."
    if not logged:
        return "By what is written to the database, trading is not affected so far."
    told = f"Trading is possibly affected: the logs tell of {' and '.join(logged)}"
    return f"{told}, though what is written to the database is as usual." if flow else f"{told}."


def _measured(findings: Findings) -> Iterator[str]:
    """What the database and the orchestrator say of trading that does not go on."""
    flow, halt, refused = findings.get(Flow), findings.get(Halt), findings.get(Refused)
    if halt and halt.paused:
        yield "trading is paused"
    if flow and flow.stopped:
        yield f"far fewer than usual: {', '.join(flow.stopped)}"
    orders = refused.orders if refused else 0
    if flow and not orders:
        orders = flow.refused
    if orders:
        yield f"{orders} orders refused"


def _logged(findings: Findings) -> Iterator[str]:
    """What the logs tell of trading that failed since the trouble began: decisions, orders and messages, counted."""
    logs = findings.every(Logs)
    counts = (
        (sum(log.stores_failed for log in logs), "failed stores"),
        (sum(log.orders_failed for log in logs), "orders that failed or timed out"),
        (sum(log.publishes_failed for log in logs), "messages not published"),
    )
    yield from (f"{count} {what}" for count, what in counts if count)
