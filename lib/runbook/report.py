"""An executed notebook and its outcome -> one HTML page that needs nothing else: no script, no request.

Everything a cell displayed is hostile until `sanitise` has passed it; the template escapes by default,
and only this module marks text as safe.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from html import escape, unescape
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook.alert import parse_time
from runbook.catalog import Entry, Level, Response
from runbook.errors import InputError
from runbook.outcome import FINDING_MIME, Status

if TYPE_CHECKING:
    from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"
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
_TEXT_MAX = 200_000
_TAGS = set(
    "div section p span strong em code pre table caption thead tbody tr th td details summary ul ol li h3 h4 a br".split()
)
_MARKDOWN_TAGS = _TAGS | {"h1", "h2", "h5", "h6", "blockquote", "hr", "del"}
_CLASSES = set(
    "rb-finding rb-status rb-ok rb-warning rb-critical rb-unknown rb-skipped rb-title rb-detail rb-table rb-num rb-how "
    "rb-reason rb-actions rb-action rb-changes rb-command rb-checklist rb-muted rb-scroll rb-verdict rb-context".split()
)
_ATTRIBUTES = {"*": {"class"}, "a": {"href"}, "th": {"scope", "colspan", "rowspan"}, "td": {"colspan", "rowspan"}}


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


@dataclass(slots=True)
class Block:
    """A piece of a section: text, or a code cell with its state and what it displayed."""

    text: Markup | None = None
    code: Markup | None = None
    number: int = 0
    state: str = ""
    seconds: float | None = None
    outputs: list[Markup] = field(default_factory=list)


@dataclass(slots=True)
class Section:
    """A part of the notebook under one heading; `status` is the worst of its findings, "" without any."""

    id: str
    title: str
    blocks: list[Block] = field(default_factory=list)
    status: str = ""


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
    clock: list[Moment]
    truth: str
    starts_at: datetime
    as_of: datetime
    status: str
    run_facts: list[tuple[str, str]]
    cells: list[dict[str, Any]]


def preload() -> None:
    """Import what rendering needs, ahead of time."""
    import nbconvert.exporters.templateexporter
    import nh3  # noqa: F401


def render(notebook: Mapping[str, Any], facts: Facts) -> str:
    """The page as HTML text. Raises whatever a broken template or notebook raises; see `minimal`."""
    import nbformat
    from nbconvert.exporters import TemplateExporter

    class Exporter(TemplateExporter):
        """nbconvert with our one template, which escapes by default."""

        file_extension = ".html"

        def _create_environment(self) -> Any:
            environment = super()._create_environment()  # type: ignore[no-untyped-call]
            environment.autoescape = True
            environment.trim_blocks = environment.lstrip_blocks = True
            return environment

    page = build(notebook, facts)
    exporter = Exporter(
        template_name="report",
        template_file="index.html.j2",
        extra_template_basedirs=[str(TEMPLATES)],
        filters={"clock_time": clock_time, "long_time": long_time, "duration": duration},
    )
    resources = {"page": page, "words": WORDS, "states": STATES, "policy": POLICY, "css": _css()}
    document = nbformat.from_dict({**notebook, "cells": []})  # type: ignore[no-untyped-call]
    html, _ = exporter.from_notebook_node(document, resources=resources)
    return str(html)


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
    outcome = facts.outcome
    starts_at, as_of = parse_time(outcome["starts_at"]), parse_time(outcome["as_of"])
    reader = _Reader()
    sections = reader.read(notebook)
    cut_short = outcome["status"] not in ("complete", "degraded")
    return Page(
        facts=facts,
        sections=sections,
        findings=reader.findings,
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
    parts += [f"{s['name']}: {_sentence(s['reason']) or 'no answer'}" for s in silent]
    recorded = [s["name"] for s in outcome["sources"] if s["status"] == "recorded"]
    if recorded:
        parts.append(f"{' and '.join(recorded)} from recorded evidence, not live")
    parts.append(f"data to {clock_time(parse_time(outcome['as_of']))}")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


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


class _Reader:
    """Reads the notebook once, in order: sections, findings with their anchors, cell states."""

    def __init__(self) -> None:
        self.sections: list[Section] = []
        self.findings: list[dict[str, str]] = []
        self.cells: list[dict[str, Any]] = []
        self._regions = 0

    def read(self, notebook: Mapping[str, Any]) -> list[Section]:
        for cell in notebook["cells"]:
            source = _joined(cell.get("source"))
            if cell["cell_type"] == "markdown":
                self._text(source)
            elif cell["cell_type"] == "code" and source.strip():
                self._code(cell, source)
        return [section for section in self.sections if section.blocks]

    def _section(self) -> Section:
        if not self.sections:
            self.sections.append(Section("s-0", "About this procedure"))
        return self.sections[-1]

    def _text(self, source: str) -> None:
        from markupsafe import Markup
        from nbconvert.filters import markdown2html

        html = sanitise(str(markdown2html(source)), markdown=True)
        for part in re.split(r"(?=<h[12]>)", html):
            heading = re.match(r"<h([12])>(.*?)</h\1>", part, re.DOTALL)
            if heading:
                part = part[heading.end() :]
                title = unescape(re.sub(r"<[^>]+>", "", heading[2])).strip()
                if heading[1] == "2" or self.sections:
                    self.sections.append(Section(f"s-{len(self.sections)}", title))
            if part.strip():
                self._section().blocks.append(Block(text=Markup(self._focusable(part))))  # noqa: S704 (sanitised)

    def _code(self, cell: Mapping[str, Any], source: str) -> None:
        from markupsafe import Markup
        from nbconvert.filters import Highlight2HTML

        stamp = cell.get("metadata", {}).get("runbook", {})
        is_injected = "injected-parameters" in cell.get("metadata", {}).get("tags", [])
        number = 0 if is_injected else len(self.cells) + 1
        section = self._section()
        code = Highlight2HTML(pygments_lexer="ipython3")(source)
        block = Block(
            code=Markup(self._focusable(str(code))),  # noqa: S704 (pygments escapes)
            number=number,
            state=stamp.get("state", "not_run"),
            seconds=stamp.get("seconds"),
        )
        if not is_injected:
            self.cells.append(
                {"number": number, "title": section.title, "state": block.state, "seconds": block.seconds}
            )
        for output in cell.get("outputs", []):
            html = self._output(output, section)
            if html:
                block.outputs.append(Markup(html))  # noqa: S704 (sanitised)
        section.blocks.append(block)

    def _output(self, output: Mapping[str, Any], section: Section) -> str:
        """One output as safe HTML, "" when there is nothing to see."""
        kind = output.get("output_type")
        if kind == "stream":
            text = _plain_text(_joined(output.get("text")))
            return self._focusable(f"<pre class='stream'>{escape(text)}</pre>") if text.strip() else ""
        if kind == "error":
            return self._error(output)
        data = output.get("data", {})
        html = self._displayed(data, output.get("metadata", {}))
        finding = data.get(FINDING_MIME)
        return self._anchored(finding, html, section) if isinstance(finding, dict) else html

    def _displayed(self, data: Mapping[str, Any], about: Mapping[str, Any]) -> str:
        if "text/html" in data:
            return self._focusable(sanitise(_joined(data["text/html"])))
        for mime in ("image/svg+xml", "image/png"):
            if mime in data:
                told = about.get(mime) if isinstance(about.get(mime), dict) else {}
                return self._image(mime, _joined(data[mime]), told or {})
        text = _plain_text(_joined(data.get("text/plain")))
        return self._focusable(f"<pre class='stream'>{escape(text)}</pre>") if text.strip() else ""

    def _anchored(self, finding: Mapping[str, Any], html: str, section: Section) -> str:
        anchor = f"f-{len(self.findings) + 1}"
        status = str(finding.get("status"))
        status = status if status in set(Status) else Status.UNKNOWN.value
        title = str(finding.get("title") or "A check whose result cannot be read")
        self.findings.append({"anchor": anchor, "status": status, "title": title, "section": section.title})
        order = list(WORDS)
        ranked = ("ok", "skipped", "unknown", "warning", "critical")
        section.status = max(section.status or "ok", status, key=ranked.index) if status in order else section.status
        return f"<div id='{anchor}' class='anchored'>{html or escape(title)}</div>"

    def _image(self, mime: str, content: str, about: Mapping[str, Any]) -> str:
        alt = escape(str(about.get("alt") or "A chart without a description"), quote=True)
        if mime == "image/svg+xml":
            encoded = base64.b64encode(content.encode("utf-8", "replace")).decode()
        else:
            try:
                encoded = base64.b64encode(base64.b64decode(content, validate=False)).decode()
            except (binascii.Error, ValueError):
                return "<p class='rb-muted'>An image that cannot be read.</p>"
        image = f"<img src='data:{mime};base64,{encoded}' alt='{alt}'>"
        return f"<figure>{self._region(image, 'Chart', 'chart')}</figure>"

    def _error(self, output: Mapping[str, Any]) -> str:
        first = escape(_plain_text(f"{output.get('ename', '')}: {output.get('evalue', '')}")[:1_000])
        trace = _plain_text("\n".join(str(line) for line in output.get("traceback", [])))
        folded = self._focusable(f"<pre>{escape(trace)}</pre>")
        return (
            f"<div class='error'><p><strong>✕ This cell failed.</strong> <code>{first}</code></p>"
            f"<details><summary>Traceback</summary>{folded}</details></div>"
        )

    def _focusable(self, html: str) -> str:
        """Sanitised `html` whose tables and listings scroll inside regions that the keyboard reaches."""

        def table(match: re.Match[str]) -> str:
            return self._region(match[0], "Table", "scroll")

        html = re.sub(r"<table.*?</table>", table, html, flags=re.DOTALL)
        return re.sub(r"<pre(?=[ >])", lambda _: f"<pre {self._label('Listing')}", html)

    def _region(self, html: str, what: str, css: str) -> str:
        return f"<div class='{css}' {self._label(what)}>{html}</div>"

    def _label(self, what: str) -> str:
        self._regions += 1
        return f"tabindex='0' role='region' aria-label='{what} {self._regions}'"


def sanitise(html: str, markdown: bool = False) -> str:
    """`html` with the listed tags, classes and attributes only; links to "#…" (https too in markdown)."""
    import nh3

    def allowed(tag: str, name: str, value: str) -> str | None:
        if name == "class":
            return " ".join(c for c in value.split() if c in _CLASSES) or None
        if name == "href":
            is_fragment = re.fullmatch(r"#[\w.-]{1,100}", value) is not None
            is_link = markdown and re.fullmatch(r"https://[^\s<>\"']{1,2000}", value) is not None
            return value if is_fragment or is_link else None
        if name == "scope":
            return value if value in ("row", "col") else None
        return value if re.fullmatch(r"\d{1,3}", value) else None

    return nh3.clean(
        html,
        tags=_MARKDOWN_TAGS if markdown else _TAGS,
        clean_content_tags={"script", "style"},
        attributes=_ATTRIBUTES,
        attribute_filter=allowed,
        url_schemes={"https"},
        link_rel="noopener noreferrer",
    )


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


def _sentence(text: str) -> str:
    return text.strip().rstrip(".")


def _joined(text: Any) -> str:
    return "".join(str(part) for part in text) if isinstance(text, list) else str(text or "")


def _plain_text(text: str) -> str:
    """`text` without ANSI sequences and control characters, cut at 200,000 characters."""
    text = re.sub(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])", "", text)
    text = re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "", text)
    return text if len(text) <= _TEXT_MAX else f"{text[:_TEXT_MAX]}\n… cut: {len(text):,} characters in all"


def _css() -> Markup:
    from markupsafe import Markup

    return Markup((TEMPLATES / "report" / "report.css").read_text(encoding="utf-8"))  # noqa: S704 (our own file)
