"""What verdicts share: reading findings, and the commands that every procedure ends with."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from runbook.alert import Alert
from runbook.legacy import Finding
from runbook.outcome import Action


def figures_of(findings: Any, name: str) -> Mapping[str, Any]:
    """Transitional: the figures of a finding that is not typed yet; none where it is missing or has no answer."""
    found = findings.get(name)
    return found.figures if found is not None and found.is_known else {}


def unknown_reasons(findings: Any) -> tuple[str, ...]:
    """One reason for every finding without an answer."""
    found = findings.values() if isinstance(findings, Mapping) else findings
    return tuple(f"{one.title}. {one.detail}".strip() for one in found if not one.is_known)


def known(findings: Any, names: Iterable[str]) -> Iterator[Finding]:
    """Transitional, see Findings.known: those of the findings called `names` that have an answer, in that order."""
    return (findings[name] for name in names if name in findings and findings[name].is_known)


def checklist(findings: Any, questions: Iterable[tuple[str, Any]]) -> tuple[tuple[str, str], ...]:
    """Each question with the title of the finding that answers it, by its step."""
    return tuple((question, title_of(findings, step)) for question, step in questions)


def title_of(findings: Any, step: Any) -> str:
    """Transitional, see Findings.title: the title of a finding; "not checked" where it was not."""
    if not isinstance(step, str):
        return str(findings.title(step))
    found = findings.get(step)
    return found.title if found is not None else "not checked"


@dataclass(frozen=True, slots=True)
class Suspect:
    """A change shortly before trouble began: when, in words, and the deployment where it was a rollout."""

    at: datetime
    text: str
    deployment: str = ""


def suspects(findings: Mapping[str, Finding], began: datetime, minutes: float = 30) -> list[Suspect]:
    """The rollouts, restarts and configuration changes of the `minutes` before `began`, the nearest first."""
    earliest, latest = began - timedelta(minutes=minutes), began + timedelta(minutes=2)
    found = []
    for row in _rows(findings, "platform.rollouts"):
        if earliest <= row["at"] <= latest:
            rolled = str(row["deployment"]) if str(row["what"]).startswith("rolled out") else ""
            found.append(
                Suspect(row["at"], f"{row['deployment']} {_line(row['what'])} at {row['at']:%H:%M} UTC", rolled)
            )
    found += [
        Suspect(row["at"], f"{_line(row['action'])} by {_line(row['user_id'])} at {row['at']:%H:%M} UTC")
        for row in _rows(findings, "platform.config_changes")
        if row["event_type"] == "CONFIG_UPDATED" and earliest <= row["at"] <= latest
    ]
    return sorted(found, key=lambda one: one.at, reverse=True)


def _rows(findings: Mapping[str, Finding], name: str) -> list[dict[str, Any]]:
    found = findings.get(name)
    frame = found.frame if found is not None and found.is_known else None
    return [] if frame is None else frame[frame["at"].notna()].to_dict("records")


def _line(value: Any) -> str:
    """`value` as one short line of text."""
    return " ".join(str(value).split())[:160] if value is not None else "not recorded"


def kubectl(namespace: str, *words: str) -> str:
    """A kubectl command line for the namespace, quoted for the shell."""
    return shlex.join(["kubectl", "-n", namespace, *words])


def psql(namespace: str, statements: str, *, stop_on_error: bool = False) -> str:
    """A command line that runs `statements` in the trading database, as a here-document, which needs no quoting."""
    stop = "-v ON_ERROR_STOP=1 " if stop_on_error else ""
    return (
        f"kubectl exec -i -n {shlex.quote(namespace)} deployment/postgres -- psql {stop}-U postgres -d cryptofunk <<'SQL'\n"
        f"{statements}\nSQL"
    )


_VALUE_MAX = 120
"""Labels with longer values are left out of the silence command, which has to be read before it is run."""


def silence(alert: Alert) -> Action:
    """The command that silences this alert for an hour, at whatever severity, and no other that differs in a label."""
    told = {
        name: value for name, value in sorted(alert.labels.items()) if value and name not in ("alertname", "severity")
    }
    labels = {"alertname": alert.name} | {name: value for name, value in told.items() if len(value) <= _VALUE_MAX}
    left_out = [name for name in told if name not in labels]
    matchers = " ".join(shlex.quote(f"{name}={_amtool(value)}") for name, value in labels.items())
    command = f'amtool silence add {matchers} --duration=1h --comment="Investigating, see the report" --alertmanager.url="$ALERTMANAGER_URL"'
    only = f" It leaves out what is too long: {', '.join(left_out)}." if left_out else ""
    if not told:
        only = f" This silences every {alert.name}: the alert has no other label."
    return Action(
        "Silence this alert for an hour while you work on it",
        command,
        f"It repeats to every channel until it is resolved or silenced.{only}",
        changes=True,
    )


def _amtool(value: str) -> str:
    """`value` as amtool's matcher syntax takes it: quoted where it is more than a plain word."""
    if value.replace("_", "").replace("-", "").isalnum() and value.isascii():
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
