"""The executed notebook -> sections of safe HTML.

Everything a cell displayed is hostile until `sanitise` has passed it or it has been escaped. This is the
one module that marks text as safe.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from html import escape, unescape
from typing import Any

import nh3
from markupsafe import Markup
from nbconvert.filters import Highlight2HTML, markdown2html
from pydantic import ValidationError

from runbook import templates
from runbook.outcome import (
    ACTIONS_MIME,
    CONTEXT_MIME,
    FINDING_MIME,
    OUTCOME_MIME,
    Actions,
    Conclusion,
    Context,
    ShownFinding,
    Status,
    read_finding,
)
from runbook.words import worst_status

_TEXT_MAX = 200_000
_HEADING = re.compile(r" {0,3}(#{1,2})[ \t]+(.+?)[ \t#]*$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_TAGS = frozenset(
    """div section p span strong em code pre details summary ul ol li h3 h4 a br
    table caption thead tbody tr th td""".split()  # noqa: SIM905 (a list to read)
)
_MARKDOWN_TAGS = _TAGS | {"h1", "h2", "h5", "h6", "blockquote", "hr", "del"}
_CLASSES = frozenset(
    f"rb-{name}"
    for name in """finding status ok warning critical unknown skipped title detail table num how reason actions
    action changes command checklist muted scroll verdict context""".split()  # noqa: SIM905
)
_ATTRIBUTES = {"*": {"class"}, "a": {"href"}, "th": {"scope", "colspan", "rowspan"}, "td": {"colspan", "rowspan"}}


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
class Anchored:
    """A finding in the page's list at the top: where it stands, and under which heading."""

    anchor: str
    status: Status
    title: str
    section: str


@dataclass(frozen=True, slots=True)
class CellLine:
    """A code cell in the page's list at the bottom; `seconds` is None where it did not end."""

    number: int
    title: str
    state: str
    seconds: float | None


@lru_cache(512)
def _highlighted(source: str) -> str:
    """Code as coloured HTML. The same cells come again with every run of a procedure."""
    return str(Highlight2HTML(pygments_lexer="ipython3")(source))


class Reader:
    """Reads the notebook once, in order: sections, findings with their anchors, cell states."""

    def __init__(self) -> None:
        self.sections: list[Section] = []
        self.findings: list[Anchored] = []
        self.cells: list[CellLine] = []
        self._regions = 0
        self._pending: list[str] = []

    def read(self, notebook: Mapping[str, Any]) -> list[Section]:
        for cell in notebook["cells"]:
            source = _joined(cell.get("source"))
            if cell["cell_type"] == "markdown":
                self._text(source)
            elif cell["cell_type"] == "code" and source.strip():
                self._code(cell, source)
        self._flush()
        return [section for section in self.sections if section.blocks]

    def _section(self) -> Section:
        if not self.sections:
            self.sections.append(Section("s-0", "About this procedure"))
        return self.sections[-1]

    def _text(self, source: str) -> None:
        for heading, body in headed(source):
            if heading is not None:
                self._flush()
                if heading.level == 2 or self.sections:
                    self.sections.append(Section(f"s-{len(self.sections)}", heading.title))
            if body.strip():
                html = sanitise(_without_anchors(str(markdown2html(body))), markdown=True)
                self._section().blocks.append(Block(text=Markup(self._focusable(html))))  # noqa: S704 (sanitised)

    def _code(self, cell: Mapping[str, Any], source: str) -> None:
        stamp = cell.get("metadata", {}).get("runbook", {})
        is_injected = "injected-parameters" in cell.get("metadata", {}).get("tags", [])
        number = 0 if is_injected else len(self.cells) + 1
        section = self._section()
        code = _highlighted(source)
        self._pending.append(str(code))
        block = Block(
            number=number,
            state=stamp.get("state", "not_run"),
            seconds=stamp.get("seconds"),
        )
        if not is_injected:
            self.cells.append(CellLine(number, section.title, block.state, block.seconds))
        for output in cell.get("outputs", []):
            html = self._output(output, section)
            if html:
                block.outputs.append(Markup(html))  # noqa: S704 (sanitised)
        section.blocks.append(block)
        if block.outputs:
            self._flush()

    def _flush(self) -> None:
        """Fold the code seen so far into the latest block: cells that show nothing have no place of their own."""
        if self._pending and self.sections and self.sections[-1].blocks:
            code = self._focusable("".join(self._pending))
            self.sections[-1].blocks[-1].code = Markup(code)  # noqa: S704 (pygments escapes)
            self._pending.clear()

    def _output(self, output: Mapping[str, Any], section: Section) -> str:
        """One output as safe HTML, "" when there is nothing to see."""
        kind = output.get("output_type")
        if kind == "stream":
            text = _plain_text(_joined(output.get("text")))
            return self._focusable(f"<pre class='stream'>{escape(text)}</pre>") if text.strip() else ""
        if kind == "error":
            return self._error(output)
        data = output.get("data", {})
        if FINDING_MIME in data:
            return self._finding(read_finding(data[FINDING_MIME], f"cell-{len(self.cells)}"), section)
        return self._ours(data) or self._foreign(data, output.get("metadata", {}))

    def _finding(self, shown: ShownFinding, section: Section) -> str:
        anchor = f"f-{len(self.findings) + 1}"
        self.findings.append(Anchored(anchor, shown.status, shown.title, section.title))
        section.status = worst_status([section.status or "ok", shown.status])
        return f"<div id='{anchor}' class='anchored'>{templates.finding(shown, self._label)}</div>"

    def _ours(self, data: Mapping[str, Any]) -> str:
        """What the session displayed beside its findings, made from its data; "" for anything else."""
        try:
            if CONTEXT_MIME in data:
                return templates.context(Context.model_validate(data[CONTEXT_MIME]), self._label)
            if OUTCOME_MIME in data:
                return templates.conclusion(Conclusion.model_validate(data[OUTCOME_MIME]), self._label)
            if ACTIONS_MIME in data:
                return templates.actions(Actions.model_validate(data[ACTIONS_MIME]).actions, self._label)
        except ValidationError:
            return ""
        return ""

    def _foreign(self, data: Mapping[str, Any], about: Mapping[str, Any]) -> str:
        """What anybody may have displayed: sanitised HTML, an image, or text."""
        if "text/html" in data:
            return self._focusable(sanitise(_joined(data["text/html"])))
        for mime in ("image/svg+xml", "image/png"):
            if mime in data:
                told = about.get(mime) if isinstance(about.get(mime), dict) else {}
                return self._image(mime, _joined(data[mime]), told or {})
        text = _plain_text(_joined(data.get("text/plain")))
        return self._focusable(f"<pre class='stream'>{escape(text)}</pre>") if text.strip() else ""

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
        return re.sub(r"<pre(?=[ >])", lambda _: f"<pre{self._label('Listing')}", html)

    def _region(self, html: str, what: str, css: str) -> str:
        return f"<div class='{css}'{self._label(what)}>{html}</div>"

    def _label(self, what: str) -> Markup:
        """The attributes of a part that scrolls, so that the keyboard reaches it; its number tells it apart."""
        self._regions += 1
        attributes = f" tabindex='0' role='region' aria-label='{what} {self._regions}'"
        return Markup(attributes)  # noqa: S704 (our own words)


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading of the notebook's text; 1 is the title, 2 a section."""

    level: int
    title: str


def headed(source: str) -> Iterator[tuple[Heading | None, str]]:
    """(heading, text below it) of each part of a markdown cell; the first has no heading where text comes first."""
    heading: Heading | None = None
    body: list[str] = []
    fence = ""
    for line in source.splitlines(keepends=True):
        marked = _HEADING.match(line)
        if marked and not fence:
            yield heading, "".join(body)
            heading, body = Heading(len(marked[1]), _plain_words(marked[2])), []
            continue
        body.append(line)
        begins = _FENCE.match(line)
        if begins and not fence:
            fence = begins[1]
        elif begins and begins[1].startswith(fence) and not line.strip().strip(fence[0]):
            fence = ""
    yield heading, "".join(body)


def _plain_words(markdown: str) -> str:
    """A heading's words without its marks."""
    html = _without_anchors(str(markdown2html(f"# {markdown}")))
    return unescape(nh3.clean(html, tags=set())).strip()


def _without_anchors(html: str) -> str:
    """nbconvert's HTML without the links that it puts beside headings."""
    return re.sub(r'<a class="anchor-link".*?</a>', "", html)


def sanitise(html: str, markdown: bool = False) -> str:
    """`html` with the listed tags, classes and attributes only; links to "#…" (https too in markdown)."""

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


def _joined(text: Any) -> str:
    return "".join(str(part) for part in text) if isinstance(text, list) else str(text or "")


def _plain_text(text: str) -> str:
    """`text` without ANSI sequences and control characters, cut at 200,000 characters."""
    text = re.sub(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])", "", text)
    text = re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "", text)
    return text if len(text) <= _TEXT_MAX else f"{text[:_TEXT_MAX]}\n… cut: {len(text):,} characters in all"
