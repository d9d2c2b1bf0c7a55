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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook.alert import parse_time
from runbook.catalog import Entry, Level, Response
from runbook.errors import InputError
from runbook.outcome import Status
from runbook.words import unbroken, visible

if TYPE_CHECKING:
    from runbook.report.content import Section

TEMPLATES = Path(__file__).parents[1] / "templates"
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


_WORST_FIRST = ("critical", "warning", "unknown", "skipped", "ok")


@dataclass(frozen=True, slots=True)
class Facts:
    """What the page says beside the notebook: outcome.json, the catalog's entry and clock, why the run stopped."""

    outcome: Mapping[str, Any]
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
    findings: list[dict[str, str]]
    tally: str
    clock: list[Moment]
    truth: str
    starts_at: datetime
    as_of: datetime
    status: str
    run_facts: list[tuple[str, str]]
    cells: list[dict[str, Any]]


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
            environment.autoescape = True
            environment.trim_blocks = environment.lstrip_blocks = True
            return environment

    return Exporter(
        template_name="report",
        template_file="index.html.j2",
        extra_template_basedirs=[str(TEMPLATES)],
        filters={
            "clock_time": clock_time,
            "long_time": long_time,
            "duration": duration,
            "unbroken": unbroken,
            "how_it_answered": how_it_answered,
        },
    )


def minimal(outcome: Mapping[str, Any]) -> str:
    """A page made by hand from outcome.json alone, for when `render` cannot."""

    def text(name: str) -> str:
        return escape(str(outcome.get(name, "")))

    findings = "".join(
        f"<li><strong>{escape(str(f.get('status')))}</strong>: {escape(str(f.get('title')))}</li>"
        for f in outcome.get("findings", [])
    )
    actions = "".join(
        f"<li>{escape(str(a.get('title')))}<pre>{escape(str(a.get('command')))}</pre></li>"
        for a in outcome.get("actions", [])
    )
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{text('alertname')}</title><style>body{{font:16px/1.5 system-ui,sans-serif;max-width:46rem;"
        "margin:2rem auto;padding:0 1rem;overflow-wrap:anywhere}pre{white-space:pre-wrap}</style></head><body><main>"
        f"<h1>{text('alertname')}: {text('status')}</h1><p>{text('verdict')}</p>"
        "<p>The full page could not be rendered. notebook.ipynb and outcome.json beside this file hold everything.</p>"
        f"<h2>Next actions</h2><ol>{actions}</ol><h2>Findings</h2><ul>{findings}</ul>"
        f"<p>Run {text('run_id')}, as of {text('as_of')}.</p></main></body></html>\n"
    )


def build(notebook: Mapping[str, Any], facts: Facts) -> Page:
    """Everything the template reads, sanitised."""
    from runbook.report.content import Reader

    outcome = facts.outcome
    starts_at, as_of = parse_time(outcome["starts_at"]), parse_time(outcome["as_of"])
    reader = Reader()
    sections = reader.read(notebook)
    cut_short = outcome["status"] not in ("complete", "degraded")
    return Page(
        facts=facts,
        sections=sections,
        findings=sorted(reader.findings, key=lambda finding: _WORST_FIRST.index(finding["status"])),
        tally=_tally([finding["status"] for finding in reader.findings]),
        clock=clock(facts, starts_at, as_of),
        truth=truth(outcome),
        starts_at=starts_at,
        as_of=as_of,
        status=outcome["status"] if cut_short else str(outcome.get("level", "unknown")),
        run_facts=_run_facts(outcome),
        cells=reader.cells,
    )


def truth(outcome: Mapping[str, Any]) -> str:
    """How much of what should be known is known, in one sentence or two."""
    cells, findings = outcome["cells"], outcome["findings"]
    total = sum(cells.values())
    known = sum(Status(finding["status"]).is_known for finding in findings)
    parts = []
    if cells["ran"] < total:
        parts.append(f"{cells['ran']} of {total} cells ran")
    if not findings:
        parts.append("no check has an answer")
    elif known == len(findings) and cells["ran"] == total:
        parts.append(f"all {known} checks ran" if known > 1 else "the one check ran")
    else:
        parts.append(f"{known} of {len(findings)} checks{' that began' if cells['ran'] < total else ''} have an answer")
    silent = [s for s in outcome["sources"] if s["status"] == "unknown"]
    parts += [_silence(source["name"], source["reason"]) for source in silent]
    recorded = [s["name"] for s in outcome["sources"] if s["status"] == "recorded"]
    if recorded:
        which = "everything" if len(recorded) == len(outcome["sources"]) else " and ".join(recorded)
        parts.append(f"{which} from recorded evidence, not live")
    if _answered(outcome["sources"], known):
        parts.append(f"data to {clock_time(parse_time(outcome['as_of']))}")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _answered(sources: Sequence[Mapping[str, str]], known: int) -> bool:
    """Whether any source gave any data. A run cut short lists no sources: then a known check says so."""
    if not sources:
        return known > 0
    return any(s["status"] in ("ok", "recorded") or _answered_partly(s) for s in sources)


def _answered_partly(source: Mapping[str, str]) -> bool:
    failed = re.match(r"(\d+) of (\d+) questions failed", source["reason"])
    return bool(failed and failed[1] != failed[2])


def how_it_answered(source: Mapping[str, str]) -> str:
    """A source's state in a word or two: live, in part, no answer, recorded, not needed."""
    if source["status"] == "unknown":
        return "in part" if _answered_partly(source) else "no answer"
    return "live" if source["status"] == "ok" else source["status"]


def clock(facts: Facts, starts_at: datetime, as_of: datetime) -> list[Moment]:
    """The response time and the levels of escalation as moments in UTC, in order."""

    def moment(title: str, who: str, what: str, minutes: int) -> Moment:
        at = starts_at + timedelta(minutes=minutes)
        away = (at - as_of).total_seconds()
        distance = "now" if away == 0 else f"{duration(abs(away))} ago" if away < 0 else f"in {duration(away)}"
        return Moment(title, who, what, at, distance, away < 0)

    severity = str(facts.outcome["severity"])
    moments = [
        moment(f"Level {level.level}", f"{level.who} ({level.contact})", level.does, level.after_minutes)
        for level in facts.escalation
    ]
    if facts.response.response_minutes is not None:
        moments.append(
            moment("Respond by", f"{severity}: {facts.response.response}", "", facts.response.response_minutes)
        )
    return sorted(moments, key=lambda m: m.at)


def duration(seconds: float) -> str:
    """Seconds in the two largest units: "42 s", "8 min", "1 h 5 min", "3 d 2 h"; below ten seconds with a decimal."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 and seconds != int(seconds) else f"{seconds:.0f} s"
    whole = round(seconds)
    units = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
    shown: list[tuple[int, str]] = []
    for size, name in units:
        if whole >= size:
            shown.append((whole // size, name))
            whole %= size
    return " ".join(f"{count} {name}" for count, name in shown[:2])


def clock_time(moment: datetime) -> str:
    return f"{moment:%H:%M:%S}Z"


def long_time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}Z"


def _run_facts(outcome: Mapping[str, Any]) -> list[tuple[str, str]]:
    versions = []
    for name in ("runbook", "papermill", "nbconvert", "pandas"):
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return [
        ("Run", str(outcome["run_id"])),
        ("Procedure", str(outcome["procedure"])),
        ("Ended", str(outcome["status"]).replace("_", " ")),
        ("Started", _told(outcome["started_at"])),
        ("Finished", _told(outcome["finished_at"])),
        ("Notebook took", duration(float(outcome.get("seconds", 0)))),
        ("Versions", ", ".join(versions)),
    ]


def _told(text: str) -> str:
    try:
        return long_time(parse_time(text))
    except InputError:
        return text


def _silence(name: str, reason: str) -> str:
    """Why a source is silent, with its name once and without a count that says "all"."""
    text = re.sub(r"^(\d+) of \1 questions failed: ", "", reason.strip().rstrip("."))
    text = text.removeprefix(f"{name}: ")
    return text if text.lower().startswith(name.lower()) else f"{name}: {text or 'no answer'}"


def _tally(statuses: list[str]) -> str:
    return ", ".join(f"{statuses.count(status)} {status}" for status in _WORST_FIRST if status in statuses)


def _css() -> str:
    return (TEMPLATES / "report" / "report.css").read_text(encoding="utf-8")
