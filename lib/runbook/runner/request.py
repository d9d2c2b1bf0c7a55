"""What a run is asked for, and what that comes to once it is checked. Nothing runs here."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runbook import parameters
from runbook.alert import Alert, fingerprint, parse_time
from runbook.catalog import Catalog, Entry
from runbook.errors import InputError, ParameterError
from runbook.parameters import Folders
from runbook.settings import Settings
from runbook.words import known_severity, severity_text

ALERTS_PASSED = 50
_NAME_MAX = 200
# No alert is older than the first exchange, and arithmetic on times far from now overflows.
_EARLIEST, _LATEST = datetime(2009, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
FACTS = ("alertname", "severity", "starts_at", "as_of", "labels", "alerts")
"""Parameters that say which alert it is; the others say how to look, and a recording keeps those."""
REDACTED = "[redacted]"


@dataclass(frozen=True, slots=True)
class Request:
    """One alert to report on. Times and labels that are left out come from the evidence or the clock.

    `parameters` are the person's own (`-p`), as text or as values. `alerts` are all that fire in the
    group, the subject among them.
    """

    alertname: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    starts_at: datetime | None = None
    as_of: datetime | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    alerts: tuple[Alert, ...] = ()
    evidence: Path | None = None
    limit_seconds: float | None = None
    cell_seconds: float | None = None

    @classmethod
    def of_alert(cls, alert: Alert, alerts: tuple[Alert, ...] = (), **options: Any) -> Request:
        """The request for one alert of a group, which then stands first. Options are the other fields.

        A sender whose clock is far off is not believed: the report is then of the present, and says so.
        """
        return cls(
            alertname=alert.name,
            labels=dict(alert.labels),
            annotations=dict(alert.annotations),
            starts_at=alert.starts_at if _is_plausible(alert.starts_at) else None,
            alerts=(alert, *(other for other in alerts if not _is_same(other, alert))),
            **options,
        )


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that can run: its catalog entry, notebook, checked parameters and its facts."""

    request: Request
    entry: Entry
    notebook: Path
    parameters: Mapping[str, Any]
    labels: Mapping[str, str]
    severity: str
    starts_at: datetime
    as_of: datetime
    notes: tuple[str, ...]


def prepare(request: Request, catalog: Catalog, folders: Folders, settings: Settings) -> Prepared:
    """`request`, checked against the catalog and the notebook's parameters.

    Raises InputError (ParameterError for a parameter) with one line that says what to correct.
    """
    if not request.alertname or len(request.alertname) > _NAME_MAX:
        raise InputError(f"The alert's name has to be a text of 1 to {_NAME_MAX} characters.")
    _require_limits(request)
    evidence = request.evidence or (Path(settings.runbook_evidence) if settings.runbook_evidence else None)
    context = evidence_context(evidence) if evidence else {}
    entry = catalog.runnable(request.alertname, folders)
    notebook = folders.notebook(entry.procedure)
    declared = parameters.declared(notebook)
    names = {parameter.name: parameter for parameter in declared}
    labels = {str(k): str(v) for k, v in (dict(request.labels) or context.get("labels") or {}).items()}
    own = {
        name: parameters.coerce(names[name], value) if isinstance(value, str) and name in names else value
        for name, value in request.parameters.items()
    }
    file_values = parameters.from_yaml(folders.values(entry.procedure))
    starts_at, as_of = _times(request, own, file_values, context, settings)
    alerts = request.alerts or (_alert(request, labels, starts_at),)
    facts: dict[str, Any] = {
        "alertname": request.alertname,
        "starts_at": _text(starts_at),
        "as_of": _text(as_of),
        "labels": labels,
        "alerts": [alert.to_json() for alert in alerts[:ALERTS_PASSED]],
    }
    named = labels.get("severity", "")
    severity = known_severity(named, str(own.get("severity", ""))) or entry.severity
    facts["severity"] = severity
    from_labels, notes = _from_labels(entry, labels, names)
    if named and not known_severity(named):
        notes.append(f"The alert's severity is none that the procedures know: {severity_text(named, severity)}.")
    wrong = [] if request.starts_at else [_text(one.starts_at) for one in alerts if not _is_plausible(one.starts_at)]
    if wrong:
        notes.append(f"The alert says that it began at {wrong[0]}, which cannot be: this report is of the present.")
    if len(alerts) > ALERTS_PASSED:
        notes.append(f"{len(alerts) - ALERTS_PASSED:,} more alerts of the group are not listed.")
    known_facts = {name: value for name, value in facts.items() if name in names}
    values = parameters.resolve(declared, file_values, known_facts, from_labels, _recorded(context, names), own)
    return Prepared(
        request=request,
        entry=entry,
        notebook=notebook,
        parameters=values,
        labels=labels,
        severity=severity,
        starts_at=starts_at,
        as_of=as_of,
        notes=tuple(notes),
    )


def evidence_context(folder: Path) -> dict[str, Any]:
    """The context kept in an evidence folder: starts_at, as_of, labels where recorded. Raises InputError."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except OSError:
        raise InputError(f"{folder} holds no recorded evidence: there is no manifest.json in it.") from None
    except (ValueError, RecursionError):
        raise InputError(f"The manifest.json in {folder} is not JSON. Record the evidence again.") from None
    context = manifest.get("context") if isinstance(manifest, dict) else None
    if not isinstance(context, dict):
        raise InputError(f"The manifest.json in {folder} is damaged. Record the evidence again.")
    labels = context.get("labels")
    return {**context, "labels": labels if isinstance(labels, dict) else {}}


def _recorded(context: Mapping[str, Any], names: Mapping[str, parameters.Parameter]) -> dict[str, Any]:
    """The parameters a recording was made with, so that a replay asks the same, but those that no longer fit."""
    found: dict[str, Any] = {}
    kept = context.get("parameters")
    for name, value in kept.items() if isinstance(kept, dict) else ():
        if name in names and name not in FACTS and REDACTED not in str(value):
            with contextlib.suppress(ParameterError):
                found[name] = parameters.checked(names[name], value)
    return found


def _require_limits(request: Request) -> None:
    for name, value in (("The run's limit", request.limit_seconds), ("The cell's limit", request.cell_seconds)):
        if value is not None and not 0 < value <= 86_400:
            raise InputError(f"{name} has to be more than 0 and at most 86,400 seconds.")


def _times(
    request: Request,
    own: Mapping[str, Any],
    file_values: Mapping[str, Any],
    context: Mapping[str, Any],
    settings: Settings,
) -> tuple[datetime, datetime]:
    """The alert's moment and the moment the report looks from, the most explicit source of each first."""
    starts_at = _first(own.get("starts_at"), request.starts_at, context.get("starts_at"), settings.runbook_starts_at)
    as_of = _first(own.get("as_of"), request.as_of, context.get("as_of"), settings.runbook_as_of)
    starts_at = starts_at or _first(file_values.get("starts_at"))
    as_of = as_of or _first(file_values.get("as_of"))
    if as_of is None:
        # The sender's clock may run ahead of this one: an alert never begins after "now".
        now = datetime.now(UTC).replace(microsecond=0)
        as_of = max(now, starts_at) if starts_at else now
    starts_at = starts_at or as_of
    for name, moment in (("starts_at", starts_at), ("as_of", as_of)):
        if not _is_plausible(moment):
            raise ParameterError(f"{name} ({_text(moment)}) is not between the years 2009 and 2099.")
    if as_of < starts_at:
        raise ParameterError(f"as_of ({_text(as_of)}) is before the alert's starts_at ({_text(starts_at)}).")
    return starts_at, as_of


def _is_same(alert: Alert, other: Alert) -> bool:
    """Whether they are one alert, whatever each is called."""
    return replace(alert, name="") == replace(other, name="")


def _is_plausible(moment: datetime) -> bool:
    return _EARLIEST <= moment < _LATEST


def _first(*candidates: Any) -> datetime | None:
    for candidate in candidates:
        if candidate:
            return candidate.astimezone(UTC) if isinstance(candidate, datetime) else parse_time(candidate)
    return None


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _alert(request: Request, labels: Mapping[str, str], starts_at: datetime) -> Alert:
    all_labels = {"alertname": request.alertname, **labels}
    return Alert(
        name=request.alertname,
        labels=all_labels,
        annotations=dict(request.annotations),
        starts_at=starts_at,
        fingerprint=fingerprint(all_labels),
    )


def _from_labels(
    entry: Entry, labels: Mapping[str, str], names: Mapping[str, parameters.Parameter]
) -> tuple[dict[str, Any], list[str]]:
    """Parameters from labels, by the catalog's list. A label that does not fit is left out, and said so."""
    values: dict[str, Any] = {}
    notes: list[str] = []
    for label, name in entry.labels.items():
        if label in labels and name in names:
            try:
                values[name] = parameters.coerce(names[name], labels[label])
            except ParameterError:
                notes.append(f"The alert's label {label} does not fit the parameter {name}: it was left out.")
    return values, notes
