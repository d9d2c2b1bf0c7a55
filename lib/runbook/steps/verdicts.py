"""What verdicts share: reading findings, and the commands that every procedure ends with."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from runbook.alert import Alert
from runbook.outcome import Action, Finding


def figures_of(findings: Mapping[str, Finding], name: str) -> Mapping[str, Any]:
    """The figures of a finding; none where it is missing or has no answer."""
    found = findings.get(name)
    return found.figures if found is not None and found.is_known else {}


def unknown_reasons(findings: Mapping[str, Finding]) -> tuple[str, ...]:
    """One reason for every finding without an answer."""
    return tuple(f"{one.title}. {one.detail}".strip() for one in findings.values() if not one.is_known)


def kubectl(namespace: str, *words: str) -> str:
    """A kubectl command line for the namespace, quoted for the shell."""
    return shlex.join(["kubectl", "-n", namespace, *words])


def silence(alert: Alert) -> Action:
    """The command that silences this alert for an hour."""
    matcher = shlex.quote(f"alertname={_amtool(alert.name)}")
    command = f'amtool silence add {matcher} --duration=1h --comment="Investigating, see the report" --alertmanager.url="$ALERTMANAGER_URL"'
    return Action(
        "Silence this alert for an hour while you work on it",
        command,
        "It repeats to every channel until it is resolved or silenced.",
        changes=True,
    )


def _amtool(value: str) -> str:
    """`value` as amtool's matcher syntax takes it: quoted where it is more than a plain word."""
    if value.replace("_", "").replace("-", "").isalnum() and value.isascii():
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
