"""The executed notebook -> sections of safe HTML.

Everything a cell displayed is hostile until `sanitise` has passed it or it has been escaped. This is the
one module that marks text as safe.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from html import escape, unescape
from typing import Any

import nh3
from markupsafe import Markup
from nbconvert.filters import Highlight2HTML, markdown2html

from runbook.outcome import FINDING_MIME, Status

_TEXT_MAX = 200_000
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
_RANK = ("ok", "skipped", "unknown", "warning", "critical")
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


@lru_cache(512)
def _highlighted(source: str) -> str:
    """Code as coloured HTML. The same cells come again with every run of a procedure."""
    return str(Highlight2HTML(pygments_lexer="ipython3")(source))


class Reader:
    """Reads the notebook once, in order: sections, findings with their anchors, cell states."""

    def __init__(self) -> None:
        self.sections: list[Section] = []
        self.findings: list[dict[str, str]] = []
        self.cells: list[dict[str, Any]] = []
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
        html = sanitise(re.sub(r'<a class="anchor-link".*?</a>', "", str(markdown2html(source))), markdown=True)
        for part in re.split(r"(?=<h[12]>)", html):
            heading = re.match(r"<h([12])>(.*?)</h\1>", part, re.DOTALL)
            body = part[heading.end() :] if heading else part
            if heading:
                self._flush()
                title = unescape(re.sub(r"<[^>]+>", "", heading[2])).strip()
                if heading[1] == "2" or self.sections:
                    self.sections.append(Section(f"s-{len(self.sections)}", title))
            if body.strip():
                self._section().blocks.append(Block(text=Markup(self._focusable(body))))  # noqa: S704 (sanitised)

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
            self.cells.append(
                {"number": number, "title": section.title, "state": block.state, "seconds": block.seconds}
            )
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
        section.status = max(section.status or "ok", status, key=_RANK.index)
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
