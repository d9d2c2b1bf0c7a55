"""Runbook: what a notebook talks to. Opens the sources, runs the steps, shows what they found, concludes."""

from __future__ import annotations

import contextlib
import inspect
import weakref
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.display import display

from runbook import settings, tables
from runbook.ahead import Ahead, Coming, Item, NotKnown, Step
from runbook.alert import Alert, Window, alert_from_json, parse_time, subject_of, window_of
from runbook.charts import Chart
from runbook.errors import InputError, SourceError
from runbook.outcome import (
    CONTEXT_MIME,
    FINDING_MIME,
    OUTCOME_MIME,
    Finding,
    Outcome,
    SourceState,
    Status,
    Table,
    Verdict,
    plain,
)
from runbook.sources.alerts import Alerts
from runbook.sources.cluster import Cluster
from runbook.sources.database import Database
from runbook.sources.evidence import Answer, Evidence, Recording, collecting
from runbook.sources.metrics import Metrics

ChartOf = Callable[[Finding, Window], Chart | None]
_DIG_MINUTES_MAX = 60 * 24 * 30


class Runbook:
    """One investigation. `Runbook.open(…)` makes it; a step is run and shown with `check`."""

    def __init__(
        self,
        procedure: str,
        alert: Alert,
        others: Sequence[Alert],
        window: Window,
        evidence: Evidence,
        config: settings.Settings,
    ) -> None:
        self.procedure = procedure
        self.alert = alert
        self.others = tuple(others)
        self.window = window
        self.evidence = evidence
        self.findings: dict[str, Finding] = {}
        self._sources: dict[str, Any] = _open_sources(config, evidence)
        self._given = {**self._sources, "window": window, "alert": alert, "alerts_of_group": (alert, *self.others)}
        self._ahead = Ahead()
        weakref.finalize(self, _close, tuple(self._sources.values()))

    @classmethod
    def open(
        cls,
        procedure: str,
        *,
        alertname: str = "",
        severity: str = "",
        starts_at: str = "",
        as_of: str = "",
        lookback_hours: float = 6.0,
        labels: Mapping[str, str] | None = None,
        alerts: Sequence[Mapping[str, Any]] = (),
    ) -> Runbook:
        """The investigation of one alert, its sources not yet asked.

        `starts_at` and `as_of` are ISO 8601 with a zone; empty: RUNBOOK_STARTS_AT and RUNBOOK_AS_OF,
        else the subject of `alerts` and the present. `alerts` are the group's firing alerts in
        Alertmanager's own shape; the most severe, then the oldest, is the subject.
        Raises InputError and ConfigurationError.
        """
        config = settings.load()
        replay = Recording(Path(config.runbook_evidence)) if config.runbook_evidence else None
        evidence = Evidence(
            record=Path(config.runbook_record) if config.runbook_record else None,
            replay=replay,
            secrets=config.secrets,
            limit_seconds=config.runbook_query_seconds,
        )
        past = replay.context if replay else {}
        now = _first_time(as_of, past.get("as_of"), config.runbook_as_of) or datetime.now(UTC)
        firing = [alert_from_json(evidence.redact(dict(one))) for one in alerts]
        subject = subject_of(firing) if firing else None
        began = (
            _first_time(starts_at, subject.starts_at if subject else past.get("starts_at"), config.runbook_starts_at)
            or now
        )
        given = {**(subject.labels if subject else {}), **evidence.redact(dict(labels or {}))}
        given = {
            "alertname": alertname or procedure,
            **given,
            **({"severity": severity} if severity and "severity" not in given else {}),
        }
        alert = Alert(
            name=given["alertname"],
            labels=given,
            annotations=subject.annotations if subject else {},
            starts_at=began,
            generator_url=subject.generator_url if subject else "",
            fingerprint=subject.fingerprint if subject else "",
        )
        window = window_of(began, now, lookback_hours)
        book = cls(procedure, alert, [one for one in firing if one is not subject], window, evidence, config)
        book._introduce()
        return book

    def ask_ahead(self, *steps: Item) -> None:
        """Starts steps side by side, so that slow sources cost their delay once; `check` then takes what is under way.

        A step with arguments or findings it builds on is written as `check` will be called, with the step
        for its finding: `book.check(disk.growth, tables, filling=forecast)` is begun by
        `(disk.growth, disk.tables, {"filling": disk.forecast})`, the two listed before it. What is not
        listed, `check` runs when it comes to it.
        """
        self._ahead.begin(steps, self._run_ahead)

    def check(self, step: Step, *needs: Finding, chart: ChartOf | Sequence[ChartOf] = (), **arguments: Any) -> Finding:
        """Runs one step, shows its finding (and charts), and returns it.

        `needs` are findings the step builds on: where one is unknown or skipped, so is this step. A
        step's parameters named database, metrics, cluster, alerts, window or alert are filled in.
        A source that gives no answer makes the finding unknown; a bug is raised.
        """
        found = self._ahead.take(step, needs, arguments) or self._run(step, needs, arguments)
        self.findings[found.id] = found
        show_finding(found)
        if found.is_known:
            for draw in chart if isinstance(chart, Sequence) else (chart,):
                show_chart(draw(found, self.window))
        return found

    def conclude(self, decide: Callable[..., Verdict], **arguments: Any) -> Outcome:
        """Decides from every finding so far, shows verdict, actions and checklist, and returns the outcome.

        `decide` takes the findings by id (a dict) and, by name, what a step takes.
        """
        verdict: Verdict = decide(self.findings, **self._fill(decide, arguments))
        verdict = self._honest(verdict)
        outcome = Outcome(
            procedure=self.procedure,
            alertname=self.alert.name,
            verdict=verdict,
            findings=tuple(self.findings.values()),
            sources=self.source_states(),
            starts_at=self.window.starts_at.isoformat(),
            as_of=self.window.as_of.isoformat(),
        )
        html = tables.verdict(verdict, outcome.findings)
        if verdict.checklist:
            html += tables.checklist(verdict.checklist)
        _show({"text/plain": verdict.summary, "text/html": html, OUTCOME_MIME: self.evidence.redact(outcome.to_json())})
        if self.evidence.incomplete:
            said = self.evidence.incomplete
            _show({"text/plain": said, "text/html": f"<p class='rb-reason'>{tables.escape(said)}</p>"})
        self._outcome = outcome
        return outcome

    def next_actions(self) -> None:
        """Shows the conclusion's next actions as commands to copy. Nothing is run."""
        items = self._outcome.verdict.actions
        _show({"text/plain": "\n".join(f"{a.title}: {a.command}" for a in items), "text/html": tables.actions(items)})

    def sql(self, statement: str, **parameters: Any) -> Finding:
        """One read-only SQL statement (%(name)s placeholders), at most 1,000 rows; shown, recorded, its rows in `.frame`."""
        return self._dig("SQL", lambda: self._sources["database"].sql(statement, **parameters))

    def promql(self, expression: str, *, instant: bool = False) -> Finding:
        """A PromQL expression over the window (or at as_of, with `instant`); shown, recorded, its rows in `.frame`."""
        metrics: Metrics = self._sources["metrics"]
        if instant:
            return self._dig("PromQL", lambda: metrics.instant(expression, self.window.as_of))
        return self._dig("PromQL", lambda: metrics.range(expression, self.window.start, self.window.as_of))

    def logs(self, deployment: str, *, minutes: float | None = None, tail: int = 200) -> Finding:
        """The last log lines of a deployment's pods within the window (or its last `minutes`); shown, recorded, in `.frame`."""
        if minutes is not None and not 0 < minutes <= _DIG_MINUTES_MAX:
            raise InputError(f"minutes is not between 0 and {_DIG_MINUTES_MAX:,}.")
        start = self.window.as_of - timedelta(minutes=minutes) if minutes else self.window.start
        return self._dig("Logs", lambda: self._sources["cluster"].logs(deployment, start, self.window.as_of, tail=tail))

    def source_states(self) -> tuple[SourceState, ...]:
        """How each source that was asked behaved, and which were not needed."""
        return tuple(self.evidence.state(source.name) for source in self._sources.values())

    def _run_ahead(self, step: Step, needs: Sequence[Coming], arguments: Mapping[str, Any]) -> Finding:
        """As `_run`, with needs that are under way: what the step asked in vain, where one says nothing, is left out."""
        found = None
        with contextlib.suppress(NotKnown):
            found = self._ask(step, needs, arguments)
        missing = [one for need in needs if not (one := need.finding()).is_known]
        return found if found is not None and not missing else _skipped(step, missing)

    def _run(self, step: Step, needs: Sequence[Finding], arguments: Mapping[str, Any]) -> Finding:
        missing = [need for need in needs if not need.is_known]
        return _skipped(step, missing) if missing else self._ask(step, needs, arguments)

    def _ask(self, step: Step, needs: Sequence[Any], arguments: Mapping[str, Any]) -> Finding:
        with collecting() as answers:
            try:
                found = step(*needs, **self._fill(step, arguments, len(needs)))
            except SourceError as error:
                found = Finding(
                    step_id(step), Status.UNKNOWN, f"{_subject(step)}: not known", f"{error}.".replace("..", ".")
                )
        return found.with_answers(tuple(answers))

    def _fill(self, function: Callable[..., Any], arguments: Mapping[str, Any], taken: int = 1) -> dict[str, Any]:
        names = _names_of(function)[taken:]
        return {name: self._given[name] for name in names if name in self._given} | dict(arguments)

    def _dig(self, kind: str, ask: Callable[[], Answer]) -> Finding:
        with collecting() as answers:
            try:
                frame = ask().frame
                cut = " (cut; ask a narrower question)" if frame.attrs.get("truncated") else ""
                title = f"{kind}: {tables.counted(len(frame), 'row')}{cut}"
                found = Finding("digging", Status.OK, title, tables=(Table(kind, frame, _units(frame)),))
            except SourceError as error:
                found = Finding("digging", Status.UNKNOWN, f"{kind}: no answer", str(error))
        found = found.with_answers(tuple(answers))
        _show({"text/plain": found.title, "text/html": tables.finding(found)})
        return found

    def _honest(self, verdict: Verdict) -> Verdict:
        """`verdict`, never "ok" while something it should rest on is unknown."""
        unknown = [one for one in self.findings.values() if not one.is_known]
        if verdict.status is not Status.OK or (self.findings and not unknown):
            return verdict
        reason = f"{len(unknown)} of {len(self.findings)} checks have no answer, so this cannot be called healthy."
        silent = len(unknown) == len(self.findings)
        fine = f"Not fully known; what answered is fine: {verdict.summary.removeprefix('Healthy: ')}"
        return Verdict(
            "investigate further",
            "Not known: none of the checks has an answer." if silent else fine,
            Status.UNKNOWN,
            (reason, *verdict.reasons),
            verdict.actions,
            verdict.checklist,
        )

    def _introduce(self) -> None:
        context = {
            "procedure": self.procedure,
            "alertname": self.alert.name,
            "severity": self.alert.severity,
            "starts_at": self.window.starts_at.isoformat(),
            "as_of": self.window.as_of.isoformat(),
            "window_start": self.window.start.isoformat(),
            "labels": dict(self.alert.labels),
            "annotations": dict(self.alert.annotations),
            "alerts": [alert.to_json() for alert in (self.alert, *self.others)],
        }
        self.evidence.context = context
        self.evidence.save()
        window, alert = self.window, self.alert
        text = (
            f"{alert.name} ({alert.severity}), began {tables.moment(window.starts_at)}, looked at until {tables.moment(window.as_of)}; "
            f"window of {tables.duration(window.seconds)}."
        )
        labels = ", ".join(f"{name}={value}" for name, value in sorted(alert.labels.items()))
        more = f" and {len(self.others)} more firing alerts of its group" if self.others else ""
        html = f"<div class='rb-context'><p>{tables.escape(text)}</p><p class='rb-muted'>{tables.escape(labels[:1000] + more)}</p></div>"
        html = tables.NOTEBOOK_STYLE + html
        _show({"text/plain": text, "text/html": html, CONTEXT_MIME: plain(context)})


def show_finding(found: Finding) -> None:
    """Displays a finding: rich in a notebook, and as data for the runner."""
    _show(
        {
            "text/plain": f"[{found.status}] {found.title}",
            "text/html": tables.finding(found),
            FINDING_MIME: found.to_json(),
        }
    )


def show_chart(chart: Chart | None) -> None:
    """Displays a chart with its alternative text; nothing where there was too little to draw."""
    if chart is not None:
        data = {"text/plain": chart.alt, "image/svg+xml": chart.svg}
        display(data, raw=True, metadata={"image/svg+xml": {"alt": chart.alt, "title": chart.title}})


def step_id(step: Step) -> str:
    """ "drawdown.from_fills" for the step runbook.steps.drawdown.from_fills."""
    return f"{step.__module__.rsplit('.', 1)[-1]}.{step.__name__}"


def _names_of(step: Step) -> list[str]:
    return list(inspect.signature(step).parameters)


def _show(bundle: Mapping[str, Any]) -> None:
    display(dict(bundle), raw=True)


def _skipped(step: Step, missing: Sequence[Finding]) -> Finding:
    names = ", ".join(sorted({need.id for need in missing}))
    return Finding(step_id(step), Status.SKIPPED, f"{_subject(step)}: skipped", f"Needs {names}, which gave no answer.")


def _subject(step: Step) -> str:
    """The first sentence of the step's docstring, which says what it tells: the title where it cannot."""
    first = (inspect.getdoc(step) or step.__name__).split("\n", 1)[0]
    return first.rstrip(".").split(": ", 1)[0]


def _units(frame: pd.DataFrame) -> dict[str, str]:
    return dict.fromkeys(frame.select_dtypes("number").columns, "") | dict.fromkeys(
        frame.select_dtypes("datetimetz").columns, "time"
    )


def _first_time(*candidates: str | datetime | None) -> datetime | None:
    for candidate in candidates:
        if isinstance(candidate, datetime):
            return candidate.astimezone(UTC)
        if candidate:
            return parse_time(candidate)
    return None


def _open_sources(config: settings.Settings, evidence: Evidence) -> dict[str, Any]:
    def plain_value(secret: Any) -> str | None:
        return secret.get_secret_value() if secret else None

    return {
        "database": Database(plain_value(config.database_url), evidence, namespace=config.kube_namespace),
        "metrics": Metrics(plain_value(config.prometheus_url), evidence),
        "cluster": Cluster(
            config.kubeconfig, config.kubernetes_service_host is not None, config.kube_namespace, evidence
        ),
        "alerts": Alerts(plain_value(config.alertmanager_url), evidence),
    }


def _close(sources: Sequence[Any]) -> None:
    for source in sources:
        source.close()
