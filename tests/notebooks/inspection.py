"""What holds of everything that a notebook displays, in any world."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import promql_parser

from runbook.templates import notebook_style
from runbook.words import visible

_TAGS = frozenset(
    [
        "div",
        "section",
        "p",
        "span",
        "strong",
        "em",
        "code",
        "pre",
        "table",
        "caption",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "details",
        "summary",
        "ul",
        "ol",
        "li",
        "h3",
        "h4",
        "a",
        "br",
    ]
)
_CLASSES = frozenset(
    [
        "finding",
        "status",
        "ok",
        "warning",
        "critical",
        "unknown",
        "skipped",
        "title",
        "detail",
        "table",
        "num",
        "how",
        "reason",
        "actions",
        "action",
        "changes",
        "command",
        "checklist",
        "muted",
        "scroll",
        "verdict",
        "context",
    ]
)
_SVG_TAGS = frozenset(
    [
        "svg",
        "g",
        "path",
        "rect",
        "text",
        "tspan",
        "defs",
        "use",
        "clipPath",
        "style",
        "title",
        "desc",
        "metadata",
        "line",
        "polyline",
        "polygon",
        "circle",
        "ellipse",
        "image",
        "linearGradient",
        "stop",
        "pattern",
        "marker",
        "RDF",
        "Work",
        "type",
        "format",
        "Agent",
        "creator",
        "date",
    ]
)
_ORDER = {"ok": 0, "skipped": 1, "unknown": 2, "warning": 3, "critical": 4}


def inspect(found: Any) -> None:
    """Raises AssertionError for what no world may bring about in an Investigation."""
    outcome = found.outcome
    told = {one["id"]: one for one in outcome["findings"]}
    assert found.findings, "nothing was checked"
    assert {one["id"] for one in found.findings} >= set(told), "a finding is in the outcome alone"
    assert all(told.get(one["id"]) for one in found.findings if one["id"] != "digging")
    for one in found.findings:
        assert one["status"] in _ORDER
        assert one["title"].strip()
        assert one["title"].isprintable(), f"{one['id']} has a title of several lines or with control characters"
        if one["status"] in ("unknown", "skipped"):
            assert one["detail"].strip(), f"{one['id']} is {one['status']} and gives no reason"
    assert outcome["verdict"].strip()
    assert outcome["verdict"].isprintable()
    assert outcome["decision"].strip()
    unknown = [one for one in told.values() if one["status"] in ("unknown", "skipped")]
    if unknown:
        assert outcome["status"] != "ok", f"called ok while unknown: {[one['id'] for one in unknown]}"
        reasons = " ".join(outcome["reasons"])
        assert any(one["title"] in reasons or one["detail"] in reasons for one in unknown) or "no answer" in reasons
    critical = [one["id"] for one in told.values() if one["status"] == "critical"]
    assert not critical or outcome["status"] != "ok", f"called ok while critical: {critical}"
    for state in outcome["sources"]:
        assert state["status"] in ("ok", "recorded", "unknown", "not_asked")
        assert state["status"] != "unknown" or state["reason"].strip()
    for data, metadata in found.outputs:
        inspect_output(data, metadata)
    inspect_evidence(found.book.evidence.answers)


def inspect_output(data: Any, metadata: Any) -> None:
    """One display output: JSON that is JSON, HTML of the known vocabulary, SVG that is XML and still."""
    for mime, content in data.items():
        if mime.endswith("+json"):
            json.dumps(content, allow_nan=False)
        elif mime == "text/html":
            assert visible(content) == content, "control or direction characters in an output"
            Vocabulary().check(content.replace(notebook_style(), "", 1))
        elif mime == "image/svg+xml":
            words = metadata[mime]
            assert words["alt"].strip()
            assert words["title"].strip()
            inspect_svg(content)
        else:
            assert mime == "text/plain", f"an output of type {mime}"


def inspect_svg(svg: str) -> None:
    root = ET.fromstring(svg)
    for element in root.iter():
        tag = str(element.tag).rsplit("}", 1)[-1]
        assert tag in _SVG_TAGS, f"<{tag}> in a chart"
        for name, value in element.attrib.items():
            local = name.rsplit("}", 1)[-1].lower()
            assert not local.startswith("on"), f"{local} in a chart"
            assert local != "href" or value.startswith(("#", "data:image/png;base64,")), f"a chart points to {value!r}"
        if tag == "style":
            assert not re.search(r"@import|url\((?!#)", element.text or "")


def inspect_evidence(answers: Any) -> None:
    """Every question is one that its source understands."""
    for answer in answers:
        assert "refused the query" not in answer.reason, f"{answer.question}\n{answer.reason}"
        if answer.source == "metrics" and not answer.question.startswith("/api/"):
            promql_parser.parse(answer.question)


class Vocabulary(HTMLParser):
    """Checks that HTML holds nothing but the report's own tags, classes and attributes, properly nested."""

    _VOID = frozenset({"br"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []

    def check(self, html: str) -> None:
        self.feed(html)
        self.close()
        assert self.open == [], f"not closed: {self.open}"
        # What the parser took for text has to be escaped text: no angle bracket stands outside a tag.
        assert html.count("<") == len(re.findall(r"</?[a-z][a-z0-9]*(?: [a-z]+(?:='[^'<>]*'|=\"[^\"<>]*\")?)*>", html))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in _TAGS, f"<{tag}> in an output"
        for name, value in attrs:
            match name:
                case "class":
                    words = {word.removeprefix("rb-") for word in (value or "").split()}
                    assert words <= _CLASSES, f"unknown class {value!r}"
                case "href":
                    assert (value or "").startswith("#")
                case "scope" | "colspan" | "open" | "id":
                    pass
                case _:
                    raise AssertionError(f"attribute {name} in an output")
        if tag not in self._VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_comment(self, data: str) -> None:
        raise AssertionError("a comment in an output")

    def handle_decl(self, decl: str) -> None:
        raise AssertionError("a declaration in an output")

    def handle_pi(self, data: str) -> None:
        raise AssertionError("an instruction in an output")


def password_of(url: str) -> str:
    return urlsplit(url).password or ""
