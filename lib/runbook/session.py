"""Runbook: what a notebook talks to. Opens the sources, runs the steps, shows what they found, concludes."""

from __future__ import annotations

import inspect
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

import pandas as pd
from IPython.display import display
from markupsafe import Markup

from runbook import parameters, plan, settings, tables, templates, words
from runbook.ahead import Ahead, Coming
from runbook.alert import Alert, Window
from runbook.charts import Chart
from runbook.errors import InputError, SourceError
from runbook.findings import Figures, Finding, Findings, NotKnown, Table, step_id
from runbook.honesty import honest
from runbook.opening import Given, evidence_of, require_procedure, situation_of, sources_of
from runbook.outcome import (
    ACTIONS_MIME,
    CONTEXT_MIME,
    FINDING_MIME,
    OUTCOME_MIME,
    ChecklistItem,
    Conclusion,
    Context,
    SourceState,
    Status,
    Verdict,
)
from runbook.plan import Step
from runbook.sources.evidence import Answer, Evidence, collecting
from runbook.sources.metrics import Metrics
from runbook.words import visible

ChartOf = Callable[[Finding[Any], Window], Chart | None]
_DIG_MINUTES_MAX = 60 * 24 * 30
_LABELS_MAX = 1000
_ABOUT = ("app", "component")
"""Parameters of steps that are asked of several: whose value tells their findings apart."""


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
        self.findings = Findings()
        self.plan: tuple[plan.Check, ...] = ()
        self._sources: dict[str, Any] = sources_of(config, evidence)
        self._given = {**self._sources, "window": window, "alert": alert, "alerts_of_group": (alert, *self.others)}
        self._ahead = Ahead()
        weakref.finalize(self, _close, tuple(self._sources.values()))

    @classmethod
    def open(
        cls,
        procedure: str,
        namespace: Mapping[str, Any] | None = None,
        *,
        alertname: str = "",
        severity: str = "",
        starts_at: str = "",
        as_of: str = "",
        lookback_hours: float = 6.0,
        labels: Mapping[str, str] | None = None,
        alerts: Sequence[Mapping[str, Any]] = (),
    ) -> Runbook:
        """The investigation of one alert, what its notebook will ask already under way.

        `namespace` is a notebook's `globals()`: the parameters below are taken from it by name, and its
        `book.check` cells are the plan of what to ask ahead. Without it nothing is asked before `check`.
        `starts_at` and `as_of` are ISO 8601 with a zone; empty: RUNBOOK_STARTS_AT and RUNBOOK_AS_OF,
        else the subject of `alerts` and the present. `alerts` are the group's firing alerts in
        Alertmanager's own shape; the most severe, then the oldest, is the subject.
        Raises InputError (also for a procedure that there is not) and ConfigurationError.
        """
        given = Given(alertname, severity, starts_at, as_of, lookback_hours, labels or {}, alerts)
        if namespace is not None:
            given = given.from_namespace(namespace)
            _require_ranges(namespace)
        config = settings.load()
        require_procedure(procedure, config.runbook_notebook, *_front_ends())
        evidence = evidence_of(config)
        alert, others, window = situation_of(procedure, given, evidence, config)
        book = cls(procedure, alert, others, window, evidence, config)
        if namespace is not None:
            notebook = plan.notebook_of(procedure, config.runbook_notebook, *_front_ends())
            book.plan = plan.read(plan.cells_of(notebook) if notebook else (), namespace)
        book._introduce()
        book.ask_ahead(plan.to_begin(book.plan))
        return book

    def ask_ahead(self, checks: Sequence[plan.Check]) -> None:
        """Starts planned checks side by side, so that slow sources cost their delay once.

        `check` takes what is under way, where it builds on the very same findings and arguments.
        """
        self._ahead.begin(checks, self._run_ahead)

    def check(
        self,
        step: Callable[..., Finding[Figures]],
        *needs: Finding[Any],
        chart: ChartOf | Sequence[ChartOf] = (),
        **arguments: Any,
    ) -> Finding[Figures]:
        """Runs one step, shows its finding (and charts), and returns it.

        `needs` are findings the step builds on: where one is unknown or skipped, so is this step. A
        step's parameters named database, metrics, cluster, alerts, window or alert are filled in.
        A source that gives no answer makes the finding unknown; a bug is raised.
        """
        found = self._ahead.take(step, needs, arguments) or self._run(step, needs, arguments)
        self.findings.add(found)
        show_finding(found)
        if found.is_known:
            for draw in chart if isinstance(chart, Sequence) else (chart,):
                show_chart(draw(found, self.window))
        return found

    def conclude(self, decide: Callable[..., Verdict], **arguments: Any) -> Conclusion:
        """Decides from every finding so far, shows verdict, actions and checklist, and returns the outcome.

        `decide` takes the findings, read by type, and, by name, what a step takes.
        """
        verdict = honest(decide(self.findings, **self._fill(decide, arguments)), self.findings)
        concluded = Conclusion(
            procedure=self.procedure,
            alertname=self.alert.name,
            decision=verdict.decision,
            verdict=verdict.summary,
            status=verdict.status,
            reasons=verdict.reasons,
            actions=verdict.actions,
            checklist=tuple(ChecklistItem(item, answer) for item, answer in verdict.checklist),
            findings=tables.records(self.findings),
            sources=self.source_states(),
            starts_at=self.window.starts_at.isoformat(),
            as_of=self.window.as_of.isoformat(),
        )
        self._concluded = Conclusion.model_validate(self.evidence.redact(concluded.to_json()))
        _show(
            {
                "text/plain": verdict.summary,
                "text/html": templates.conclusion(self._concluded),
                OUTCOME_MIME: self._concluded.to_json(),
            }
        )
        if self.evidence.incomplete:
            reason = Markup("<p class='rb-reason'>{}</p>").format(visible(self.evidence.incomplete))
            _show({"text/plain": self.evidence.incomplete, "text/html": reason})
        return self._concluded

    def next_actions(self) -> None:
        """Shows the conclusion's next actions as commands to copy. Nothing is run."""
        items = self._concluded.actions
        lines = "\n".join(f"{item.title}: {item.command}" for item in items)
        data = {"actions": [asdict(item) for item in items]}
        _show({"text/plain": lines, "text/html": templates.actions(items), ACTIONS_MIME: data})

    def sql(self, statement: str, **parameters: Any) -> Finding[Any]:
        """One read-only SQL statement (%(name)s placeholders), at most 1,000 rows; shown, recorded, in `.frame`."""
        return self._dig("SQL", lambda: self._sources["database"].sql(statement, **parameters))

    def promql(self, expression: str, *, instant: bool = False) -> Finding[Any]:
        """A PromQL expression over the window (or at as_of, with `instant`); shown, recorded, its rows in `.frame`."""
        metrics: Metrics = self._sources["metrics"]
        if instant:
            return self._dig("PromQL", lambda: metrics.instant(expression, self.window.as_of))
        return self._dig("PromQL", lambda: metrics.range(expression, self.window.start, self.window.as_of))

    def logs(self, deployment: str, *, minutes: float | None = None, tail: int = 200) -> Finding[Any]:
        """The last log lines of a deployment's pods in the window (or its last `minutes`); shown and in `.frame`."""
        if minutes is not None and not 0 < minutes <= _DIG_MINUTES_MAX:
            raise InputError(f"minutes is not between 0 and {_DIG_MINUTES_MAX:,}.")
        start = self.window.as_of - timedelta(minutes=minutes) if minutes else self.window.start
        return self._dig("Logs", lambda: self._sources["cluster"].logs(deployment, start, self.window.as_of, tail=tail))

    def source_states(self) -> tuple[SourceState, ...]:
        """How each source that was asked behaved, and which were not needed."""
        return tuple(self.evidence.state(source.name) for source in self._sources.values())

    def _run_ahead(self, step: Step, needs: Sequence[Coming], arguments: Mapping[str, Any]) -> Finding[Any]:
        """As `_run`, with needs that are under way: where one says nothing, what the step asked in vain is left out."""
        found = self._ask(step, needs, arguments)
        missing = [need.finding() for need in needs if not need.finding().is_known]
        return _skipped(step, arguments, missing) if missing else found

    def _run(self, step: Step, needs: Sequence[Finding[Any]], arguments: Mapping[str, Any]) -> Finding[Any]:
        missing = [need for need in needs if not need.is_known]
        return _skipped(step, arguments, missing) if missing else self._ask(step, needs, arguments)

    def _ask(self, step: Step, needs: Sequence[Any], arguments: Mapping[str, Any]) -> Finding[Any]:
        with collecting() as answers:
            try:
                found: Finding[Any] = step(*needs, **self._fill(step, arguments, len(needs)))
            except SourceError as error:
                reason = f"{error}.".replace("..", ".")
                found = Finding[Any](Status.UNKNOWN, f"{_subject(step)}: not known", reason)
            except NotKnown as error:
                return _skipped(step, arguments, [error.missing])
        found = found.named(found.id or _identity(step, arguments)).with_answers(tuple(answers))
        return _as_far_as_known(found)

    def _fill(self, function: Callable[..., Any], arguments: Mapping[str, Any], taken: int = 1) -> dict[str, Any]:
        names = _names_of(function)[taken:]
        return {name: self._given[name] for name in names if name in self._given} | dict(arguments)

    def _dig(self, kind: str, ask: Callable[[], Answer]) -> Finding[Any]:
        with collecting() as answers:
            try:
                frame = ask().frame
                cut = " (cut; ask a narrower question)" if frame.attrs.get("truncated") else ""
                title = f"{kind}: {words.counted(len(frame), 'row')}{cut}"
                found = Finding[None](Status.OK, title, tables=(Table(kind, frame, _units(frame)),))
            except SourceError as error:
                found = Finding[None](Status.UNKNOWN, f"{kind}: no answer", str(error))
        found = found.named("digging").with_answers(tuple(answers))
        _show({"text/plain": found.title, "text/html": templates.finding(tables.shown(found))})
        return found

    def _introduce(self) -> None:
        window, alert = self.window, self.alert
        situation = (
            f"{alert.name} ({alert.severity_text}), began {words.moment(window.starts_at)}, looked at until "
            f"{words.moment(window.as_of)}; window of {words.duration(window.seconds)}."
        )
        labels = ", ".join(f"{name}={value}" for name, value in sorted(alert.labels.items()))
        more = f" and {len(self.others)} more firing alerts of its group" if self.others else ""
        context = Context(
            procedure=self.procedure,
            alertname=alert.name,
            severity=alert.severity,
            starts_at=window.starts_at.isoformat(),
            as_of=window.as_of.isoformat(),
            window_start=window.start.isoformat(),
            labels=dict(alert.labels),
            annotations=dict(alert.annotations),
            alerts=tuple(of_group.to_json() for of_group in (alert, *self.others)),
            situation=situation,
            given=labels[:_LABELS_MAX] + more,
            plan=tuple((_identity(check.step, check.arguments), _subject(check.step)) for check in self.plan),
        )
        self.evidence.context = context.to_json()
        self.evidence.save()
        html = templates.notebook_style() + Markup(templates.context(context))  # noqa: S704 (escaped there)
        _show({"text/plain": situation, "text/html": html, CONTEXT_MIME: context.to_json()})


def _require_ranges(namespace: Mapping[str, Any]) -> None:
    """Whether thresholds that a person wrote into the notebook can be what their names say; 0 stands for the usual.

    Raises ParameterError.
    """
    for name, value in namespace.items():
        if name.startswith("threshold") and isinstance(value, int | float) and value != 0:
            parameters.require_range(name, value)


def _front_ends() -> tuple[str | None, ...]:
    """Where front ends say which notebook a kernel is for: Jupyter Server's variable."""
    return (os.environ.get("JPY_SESSION_NAME"),)


def show_finding(found: Finding[Any]) -> None:
    """Displays a finding: rich in a notebook, and as data for the runner and the page."""
    shown = tables.shown(found)
    text = f"[{found.status}] {found.title}"
    _show({"text/plain": text, "text/html": templates.finding(shown), FINDING_MIME: shown.to_json()})


def show_chart(chart: Chart | None) -> None:
    """Displays a chart with its alternative text; nothing where there was too little to draw."""
    if chart is not None:
        data = {"text/plain": chart.alt, "image/svg+xml": chart.svg}
        display(data, raw=True, metadata={"image/svg+xml": {"alt": chart.alt, "title": chart.title}})


def _names_of(step: Step) -> list[str]:
    return list(inspect.signature(step).parameters)


def _show(bundle: Mapping[str, Any]) -> None:
    display(dict(bundle), raw=True)


def _skipped(step: Step, arguments: Mapping[str, Any], missing: Sequence[Finding[Any]]) -> Finding[Any]:
    needed = ", ".join(sorted({need.id for need in missing}))
    detail = f"Needs {needed}, which gave no answer."
    return Finding[Any](Status.SKIPPED, f"{_subject(step)}: skipped", detail, id=_identity(step, arguments))


def _as_far_as_known(found: Finding[Any]) -> Finding[Any]:
    """`found`, never "ok" where an answer it rests on is not whole: what is missing is said."""
    missing = tuple(dict.fromkeys(answer.missing for answer in found.answers if answer.missing))
    if not missing:
        return found
    detail = f"{found.detail}\nNot whole: {'; '.join(missing)}.".strip()
    if found.status is not Status.OK:
        return replace(found, detail=detail)
    return replace(found, status=Status.UNKNOWN, title=f"As far as was read: {found.title}", detail=detail)


def _identity(step: Step, arguments: Mapping[str, Any]) -> str:
    """The id of what a step finds; of which app or component, where it is asked of several."""
    about = next((str(arguments[name]) for name in _ABOUT if arguments.get(name)), "")
    return step_id(step, about)


def _subject(step: Step) -> str:
    """The first sentence of the step's docstring, which says what it tells: the title where it cannot."""
    first = (inspect.getdoc(step) or step.__name__).split("\n", 1)[0]
    return first.rstrip(".").split(": ", 1)[0]


def _units(frame: pd.DataFrame) -> dict[str, str]:
    return dict.fromkeys(frame.select_dtypes("number").columns, "") | dict.fromkeys(
        frame.select_dtypes("datetimetz").columns, "time"
    )


def _close(sources: Sequence[Any]) -> None:
    for source in sources:
        source.close()
