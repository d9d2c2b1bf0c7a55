"""What verdicts share: reading findings, and the commands that every procedure ends with."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterable
from typing import Any

from runbook.alert import Alert
from runbook.findings import Finding, Findings
from runbook.outcome import Action
from runbook.words import amount, percent


def unknown_reasons(findings: Findings) -> tuple[str, ...]:
    """One reason for every finding without an answer."""
    return tuple(f"{found.title}. {found.detail}".strip() for found in findings.unknown)


def contradiction(parameter: str, used: float, exported: float, measured: float | None) -> tuple[str, ...]:
    """A reason for a ratio that somebody gave where the platform exports another; none where they agree.

    The page is judged by the one given, so it has to say what the platform's own would come to.
    """
    if not exported > 0 or math.isclose(used, exported, rel_tol=1e-6):
        return ()
    given, own = percent(used), percent(exported)
    over = ""
    if measured is not None and exported < measured <= used:
        over = f" By the platform's own it is exceeded: {amount(measured, '%')}."
    return (f"Judged by the parameter {parameter} = {given}, while the platform exports {own}.{over}",)


def checklist(
    findings: Findings, questions: Iterable[tuple[str, Callable[..., Finding[Any]]]]
) -> tuple[tuple[str, str], ...]:
    """Each question with the title of the finding that answers it, by its step."""
    return tuple((question, findings.title(step)) for question, step in questions)


def kubectl(namespace: str, *words: str) -> str:
    """A kubectl command line for the namespace, quoted for the shell."""
    return shlex.join(["kubectl", "-n", namespace, *words])


def psql(namespace: str, statements: str, *, stop_on_error: bool = False) -> str:
    """A command line that runs `statements` in the trading database, as a here-document, which needs no quoting."""
    stop = "-v ON_ERROR_STOP=1 " if stop_on_error else ""
    command = f"kubectl exec -i -n {shlex.quote(namespace)} deployment/postgres --"
    return f"{command} psql {stop}-U postgres -d cryptofunk <<'SQL'\n{statements}\nSQL"


_VALUE_MAX = 120
"""Labels with longer values are left out of the silence command, which has to be read before it is run."""


def silence(alert: Alert) -> Action:
    """The command that silences this alert for an hour, at whatever severity, and no other that differs in a label."""
    own = {name: alert.labels[name] for name in sorted(alert.labels) if name not in ("alertname", "severity")}
    own = {name: value for name, value in own.items() if value}
    matched = {name: value for name, value in own.items() if len(value) <= _VALUE_MAX}
    left_out = [name for name in own if name not in matched]
    labels = {"alertname": alert.name} | matched
    matchers = " ".join(shlex.quote(f"{name}={_amtool(value)}") for name, value in labels.items())
    why = "It repeats to every channel until it is resolved or silenced."
    if left_out:
        why += f" It leaves out what is too long: {', '.join(left_out)}."
    if not own:
        why += f" This silences every {alert.name}: the alert has no other label."
    return Action(
        "Silence this alert for an hour while you work on it",
        f'amtool silence add {matchers} --duration=1h --comment="Investigating, see the report"'
        ' --alertmanager.url="$ALERTMANAGER_URL"',
        why,
        changes=True,
    )


def _amtool(value: str) -> str:
    """`value` as amtool's matcher syntax takes it: quoted where it is more than a plain word."""
    if value.replace("_", "").replace("-", "").isalnum() and value.isascii():
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
