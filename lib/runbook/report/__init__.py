"""An executed notebook and its outcome -> one HTML page that needs nothing else: no script, no request.

The template escapes by default; only `content.py`, which sanitises, marks text as safe. Heavy libraries
are imported by `render` (ahead of time by `preload`), so that importing this package stays quick.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from html import escape
from importlib import metadata
from typing import TYPE_CHECKING, Any

from runbook import templates
from runbook.alert import parse_time
from runbook.catalog import Entry, Level, Response
from runbook.errors import InputError
from runbook.outcome import Outcome, SourceState
from runbook.words import capitalised, clock_seconds, duration, status_rank, tally, visible

if TYPE_CHECKING:
    from runbook.report.content import Anchored, CellLine, Section

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
WORDS = {
    "ok": ("✓", "ok"),
    "warning": ("▲", "warning"),
    "critical": ("■", "critical"),
    "unknown": ("?", "unknown"),
    "skipped": ("–", "skipped"),
    "failed": ("✕", "run failed"),
    "timed_out": ("✕", "run timed out"),
    "cancelled": ("✕", "run cancelled"),
}
STATES = {"ran": ("✓", "ran"), "failed": ("✕", "failed"), "timed_out": ("✕", "timed out"), "not_run": ("–", "not run")}


@dataclass(frozen=True, slots=True)
class Facts:
    """What the page says beside the notebook: outcome.json, the catalog's entry and clock, why the run stopped."""

    outcome: Outcome
    entry: Entry
    response: Response
    channels: tuple[str, ...] = ()
    escalation: tuple[Level, ...] = ()
    alerts: int = 1
    stopped: str = ""


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of the clock: what is due when, and how far that is from as_of."""

    title: str
    who: str
    what: str
    at: datetime
    distance: str
    is_past: bool


@dataclass(slots=True)
class Page:
    """What the template reads."""

    facts: Facts
    sections: list[Section]
    findings: list[Anchored]
    tally: str
    clock: list[Moment]
    truth: str
    starts_at: datetime
    as_of: datetime
    status: str
    run_facts: list[tuple[str, str]]
    cells: list[CellLine]


def preload() -> None:
    """Import what rendering needs and compile the template, ahead of time."""
    importlib.import_module("runbook.report.content")
    _ = _exporter().template


def render(notebook: Mapping[str, Any], facts: Facts) -> str:
    """The page as HTML text. Raises whatever a broken template or notebook raises; see `minimal`."""
    import nbformat

    page = build(notebook, facts)
    resources = {"page": page, "words": WORDS, "states": STATES, "policy": POLICY, "css": _css()}
    document = nbformat.v4.new_notebook()  # nbconvert copies and checks what it is given, and the page reads none of it
    html, _ = _exporter().from_notebook_node(document, resources=resources)
    return visible(str(html))


@cache
def _exporter() -> Any:
    """nbconvert's exporter, its template compiled once a process; a page's own things are in the resources."""
    from nbconvert.exporters import TemplateExporter

    class Exporter(TemplateExporter):
        """nbconvert with our one template, which escapes by default."""

        file_extension = ".html"

        def _create_environment(self) -> Any:
            environment = super()._create_environment()
            return templates.prepare(environment)

    return Exporter(
        template_name="report",
        template_file="index.html.j2",
        extra_template_basedirs=[str(templates.FOLDER)],
        filters={
            "clock_time": clock_seconds,
            "long_time": long_time,
            "duration": duration,
            "how_it_answered": how_it_answered,
        },
    )


def minimal(outcome: Outcome) -> str:
    """A page made by hand from outcome.json alone, for when `render` cannot."""
    findings = "".join(
        f"<li><strong>{finding.status}</strong>: {escape(finding.title)}</li>" for finding in outcome.findings
    )
    actions = "".join(
        f"<li>{escape(action.title)}<pre>{escape(action.command)}</pre></li>" for action in outcome.actions
    )
    page = (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(outcome.alertname)}</title><style>body{{font:16px/1.5 system-ui,sans-serif;max-width:46rem;"
        "margin:2rem auto;padding:0 1rem;overflow-wrap:anywhere}pre{white-space:pre-wrap}</style></head><body><main>"
        f"<h1>{escape(outcome.alertname)}: {outcome.status}</h1><p>{escape(outcome.verdict)}</p>"
        "<p>The full page could not be rendered. notebook.ipynb and outcome.json beside this file hold everything.</p>"
        f"<h2>Next actions</h2><ol>{actions}</ol><h2>Findings</h2><ul>{findings}</ul>"
        f"<p>Run {escape(outcome.run_id)}, as of {escape(outcome.as_of)}.</p></main></body></html>\n"
    )
    return visible(page)


def build(notebook: Mapping[str, Any], facts: Facts) -> Page:
    """Everything the template reads, sanitised."""
    from runbook.report.content import Reader

    outcome = facts.outcome
    reader = Reader()
    sections = reader.read(notebook)
    return Page(
        facts=facts,
        sections=sections,
        findings=sorted(reader.findings, key=lambda finding: status_rank(finding.status)),
        tally=tally([finding.status.value for finding in reader.findings]),
        clock=clock(facts, parse_time(outcome.starts_at), parse_time(outcome.as_of)),
        truth=truth(outcome),
        starts_at=parse_time(outcome.starts_at),
        as_of=parse_time(outcome.as_of),
        status=(outcome.level if outcome.status.ran_to_its_end else outcome.status).value,
        run_facts=_run_facts(outcome),
        cells=reader.cells,
    )


def truth(outcome: Outcome) -> str:
    """How much of what should be known is known, in one sentence or two."""
    cells, findings, sources = outcome.cells, outcome.findings, outcome.sources
    known = sum(finding.status.is_known for finding in findings)
    was_cut_short = cells.ran < cells.total
    parts = [f"{cells.ran} of {cells.total} cells ran"] if was_cut_short else []
    parts.append(_answered_checks(known, len(findings), was_cut_short))
    parts += [_silence(source) for source in sources if source.status == "unknown"]
    recorded = [source.name for source in sources if source.status == "recorded"]
    if recorded:
        which = "everything" if len(recorded) == len(sources) else " and ".join(recorded)
        parts.append(f"{which} from recorded evidence, not live")
    if _answered(sources, known):
        parts.append(f"data to {clock_seconds(parse_time(outcome.as_of))}")
    return capitalised(f"{'; '.join(parts)}.")


def _answered_checks(known: int, checks: int, was_cut_short: bool) -> str:
    if not checks:
        return "no check has an answer"
    if known < checks or was_cut_short:
        begun = " that began" if was_cut_short else ""
        return f"{known} of {checks} checks{begun} have an answer"
    return f"all {known} checks ran" if known > 1 else "the one check ran"


def _answered(sources: Sequence[SourceState], known: int) -> bool:
    """Whether any source gave any data. A run cut short lists no sources: then a known check says so."""
    if not sources:
        return known > 0
    return any(source.status in ("ok", "recorded") or _answered_partly(source) for source in sources)


def _answered_partly(source: SourceState) -> bool:
    failed = re.match(r"(\d+) of (\d+) questions failed", source.reason)
    return bool(failed and failed[1] != failed[2])


def how_it_answered(source: SourceState) -> str:
    """A source's state in a word or two: live, in part, no answer, recorded, not needed."""
    if source.status == "unknown":
        return "in part" if _answered_partly(source) else "no answer"
    return "live" if source.status == "ok" else source.status


def clock(facts: Facts, starts_at: datetime, as_of: datetime) -> list[Moment]:
    """The response time and the levels of escalation as moments in UTC, in order."""

    def moment(title: str, who: str, what: str, minutes: int) -> Moment:
        at = starts_at + timedelta(minutes=minutes)
        away = (at - as_of).total_seconds()
        distance = "now" if away == 0 else f"{duration(abs(away))} ago" if away < 0 else f"in {duration(away)}"
        return Moment(title, who, what, at, distance, away < 0)

    severity = facts.outcome.severity
    moments = [
        moment(f"Level {level.level}", f"{level.who} ({level.contact})", level.does, level.after_minutes)
        for level in facts.escalation
    ]
    if facts.response.response_minutes is not None:
        moments.append(
            moment("Respond by", f"{severity}: {facts.response.response}", "", facts.response.response_minutes)
        )
    return sorted(moments, key=lambda m: m.at)


def long_time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}Z"


def _run_facts(outcome: Outcome) -> list[tuple[str, str]]:
    versions = []
    for name in ("runbook", "papermill", "nbconvert", "pandas"):
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return [
        ("Run", outcome.run_id),
        ("Procedure", outcome.procedure),
        ("Ended", outcome.status.replace("_", " ")),
        ("Started", _told(outcome.started_at)),
        ("Finished", _told(outcome.finished_at)),
        ("Notebook took", duration(outcome.seconds)),
        ("Versions", ", ".join(versions)),
    ]


def _told(text: str) -> str:
    try:
        return long_time(parse_time(text))
    except InputError:
        return text


def _silence(source: SourceState) -> str:
    """Why a source is silent, with its name once and without a count that says "all"."""
    text = re.sub(r"^(\d+) of \1 questions failed: ", "", source.reason.strip().rstrip("."))
    text = text.removeprefix(f"{source.name}: ")
    return text if text.lower().startswith(source.name.lower()) else f"{source.name}: {text or 'no answer'}"


def _css() -> str:
    return (templates.FOLDER / "report" / "report.css").read_text(encoding="utf-8")
