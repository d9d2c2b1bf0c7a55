"""The page: what it says of a run, and that what it is given cannot do anything."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbook import catalog, report
from runbook.outcome import FINDING_MIME, Outcome, SourceState
from runbook.report.content import Heading, Reader, headed, sanitise
from runbook.words import clock_seconds

CATALOG = catalog.load(Path(__file__).parents[1] / "fixtures" / "parameters" / "catalog.yaml")
ACTIVE = re.compile(r"<(script|style|iframe|img|svg|form|input|object|embed|link|meta|base|math)\b", re.IGNORECASE)


def found(status: str) -> dict[str, str]:
    return {"id": status, "status": status, "title": status}


def outcome(**changes: Any) -> Outcome:
    data: dict[str, Any] = {
        "run_id": "r-1",
        "alertname": "AllRuns",
        "procedure": "AllRuns",
        "severity": "critical",
        "status": "complete",
        "verdict": "The drawdown is real: 14.2 %.",
        "started_at": "2026-01-15T14:10:01Z",
        "finished_at": "2026-01-15T14:10:04Z",
        "as_of": "2026-01-15T14:10:00Z",
        "starts_at": "2026-01-15T14:02:00Z",
        "cells": {"ran": 2, "failed": 0, "timed_out": 0, "not_run": 0},
        "sources": [],
        "findings": [{"id": "a", "status": "ok", "title": "fine", "detail": ""}],
        "labels": {"symbol": "BTCUSDT"},
        "annotations": {},
        "level": "critical",
        "decision": "pause trading",
        "reasons": ["because"],
        "actions": [{"title": "Pause", "command": "kubectl x", "why": "", "changes": True}],
        "notes": [],
        "seconds": 2.5,
    }
    return Outcome.model_validate(data | changes)


def facts(**changes: Any) -> report.Facts:
    said = outcome(**changes)
    entry = CATALOG.entry("AllRuns")
    response = CATALOG.severities[said.severity]
    return report.Facts(said, entry, response, ("#critical",), CATALOG.escalation)


def markdown(source: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def code(*outputs: dict[str, Any], source: str = "check()", state: str = "ran", **metadata: Any) -> dict[str, Any]:
    stamp = {"runbook": {"state": state, "seconds": 1.0}}
    return {"cell_type": "code", "metadata": {**stamp, **metadata}, "source": source, "outputs": list(outputs)}


def shown(data: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {"output_type": "display_data", "data": data, "metadata": metadata}


def notebook(*cells: dict[str, Any]) -> dict[str, Any]:
    return {"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def finding(status: str, title: str) -> dict[str, Any]:
    return shown({"text/plain": title, FINDING_MIME: {"id": "x", "status": status, "title": title}})


def test_the_page_needs_nothing_else() -> None:
    page = report.render(notebook(markdown("# T\n\n## Q"), code(finding("ok", "fine"))), facts())
    assert "<script" not in page
    assert report.POLICY in page
    assert not re.findall(r"(?:src|href)=[\"']?https?:", page)
    assert "@import" not in page
    assert "url(" not in page
    assert len(page) < 60_000


def test_the_top_says_verdict_truth_decision_and_what_to_do() -> None:
    page = report.render(notebook(), facts())
    places = [
        page.index(text) for text in ("pause trading", "14.2\u00a0%", "The one check ran", "kubectl x", "because")
    ]
    assert places == sorted(places)
    assert "changes the platform" in page
    assert "symbol=BTCUSDT" in page


@pytest.mark.parametrize(("actions", "links"), [(outcome().actions, ["#actions"]), ([], ["#s-0"])])
def test_the_jump_list_names_the_next_actions_once(actions: list[Any], links: list[str]) -> None:
    cells = notebook(markdown("# T\n\n## Next actions"), code(shown({"text/html": "<p>kubectl x</p>"})))
    page = report.render(cells, facts(actions=actions))
    jump = page[page.index("<nav") : page.index("</nav>")]
    assert re.findall(r'href="([^"]+)">Next actions', jump) == links
    assert "<p>kubectl x</p>" in page


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "The one check ran; data to 14:10:00Z."),
        ({"findings": []}, "No check has an answer."),
        (
            {
                "findings": [found("ok"), found("unknown"), found("skipped")],
                "sources": [
                    {"name": "metrics", "status": "unknown", "reason": "Prometheus did not answer in 5 s."},
                    {"name": "cluster", "status": "recorded", "reason": ""},
                ],
            },
            (
                "1 of 3 checks have an answer; metrics: Prometheus did not answer in 5 s; "
                "cluster from recorded evidence, not live; data to 14:10:00Z."
            ),
        ),
        (
            {"sources": [{"name": "a", "status": "unknown", "reason": "2 of 2 questions failed: a is not set"}]},
            "The one check ran; a is not set.",
        ),
        (
            {"cells": {"ran": 7, "failed": 0, "timed_out": 1, "not_run": 4}},
            "7 of 12 cells ran; 1 of 1 checks that began have an answer; data to 14:10:00Z.",
        ),
    ],
)
def test_the_truth(changes: dict[str, Any], sentence: str) -> None:
    assert report.truth(outcome(**changes)) == sentence


def test_the_clock_gives_moments_in_utc_and_their_distance() -> None:
    said = facts()
    page = report.build(notebook(), said)
    assert [(m.title, clock_seconds(m.at), m.distance, m.is_past) for m in page.clock] == [
        ("Level 1", "14:02:00Z", "8 min ago", True),
        ("Respond by", "14:17:00Z", "in 7 min", False),
        ("Level 2", "14:32:00Z", "in 22 min", False),
        ("Level 3", "15:02:00Z", "in 52 min", False),
    ]


def test_best_effort_has_no_response_time() -> None:
    page = report.build(notebook(), facts(severity="info"))
    assert "Respond by" not in [moment.title for moment in page.clock]


def test_sections_follow_the_headings_and_carry_their_worst_status() -> None:
    cells = notebook(
        markdown("# Title\n\nintro"),
        code(source="x = 1"),
        markdown("## First?\n\ntext"),
        code(finding("ok", "fine"), finding("critical", "bad")),
        markdown("## Second?"),
        code(finding("unknown", "dark")),
        markdown("## Empty"),
    )
    page = report.build(cells, facts())
    assert [(s.title, s.status) for s in page.sections] == [
        ("About this procedure", ""),
        ("First?", "critical"),
        ("Second?", "unknown"),
    ]
    assert [f.title for f in page.findings] == ["bad", "dark", "fine"]
    assert page.tally == "1 critical, 1 unknown, 1 ok"
    html = report.render(cells, facts())
    for found in page.findings:
        assert f"id='{found.anchor}'" in html


def test_a_markdown_cell_is_cut_at_its_headings_and_not_inside_its_code() -> None:
    source = "intro\n# The *title*\n\ntext\n```sh\n# no heading\n## none\n```\n## 1. Why `x`? ##\nmore"
    assert [(heading, body.strip()) for heading, body in headed(source)] == [
        (None, "intro"),
        (Heading(1, "The title"), "text\n```sh\n# no heading\n## none\n```"),
        (Heading(2, "1. Why x?"), "more"),
    ]


def test_what_the_session_shows_is_made_from_its_data_not_from_its_html() -> None:
    table = {"caption": "Rows <b>", "columns": [{"name": "n", "is_number": True}], "rows": [["1"]], "rows_in_all": 7}
    data = {"id": "a", "status": "warning", "title": "<i>odd</i>", "tables": [table]}
    cell = code(shown({"text/html": "<p>forged</p>", "text/plain": "x", FINDING_MIME: data}))
    html = report.render(notebook(markdown("## Q"), cell), facts())
    assert "forged" not in html
    assert "&lt;i&gt;odd&lt;/i&gt;" in html
    assert "<caption>Rows &lt;b&gt; (the first 1 of 7)</caption>" in html
    assert "<td class='rb-num'>1</td>" in html
    assert "role='region' aria-label='Table 1'><table" in html


@pytest.mark.parametrize("state", ["failed", "timed_out", "not_run"])
def test_a_cell_that_did_not_run_through_says_so(state: str) -> None:
    html = report.render(notebook(markdown("## Q"), code(state=state)), facts(status="failed"))
    assert f"Cell 1: {state.replace('_', ' ')} after 1 s" in html.replace("\u00a0", " ")


def test_a_traceback_is_folded_and_without_colours() -> None:
    trace = ["\x1b[0;31mValueError\x1b[0m", "line <1>"]
    cell = code({"output_type": "error", "ename": "ValueError", "evalue": "<b>", "traceback": trace}, state="failed")
    html = report.render(notebook(cell), facts())
    assert "ValueError: &lt;b&gt;" in html
    assert "line &lt;1&gt;" in html
    assert "\x1b" not in html
    assert "[0;31m" not in html


def test_printed_text_loses_its_terminal_codes() -> None:
    text = "a\x1b[31mred\x1b[0m\x1b]8;;https://evil.example\x07link\x1b]8;;\x07\x00\x08b"
    html = report.render(notebook(code({"output_type": "stream", "name": "stdout", "text": [text]})), facts())
    assert "aredlinkb" in html


def test_charts_become_images_with_their_description() -> None:
    svg = "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    about = {"image/svg+xml": {"alt": 'a "chart" <b>'}}
    html = report.render(notebook(code(shown({"image/svg+xml": [svg]}, **about))), facts())
    encoded = base64.b64encode(svg.encode()).decode()
    assert f"<img src='data:image/svg+xml;base64,{encoded}' alt='a &quot;chart&quot; &lt;b&gt;'>" in html


@pytest.mark.parametrize("content", ["not base64 \x00'><script>", "####"])
def test_a_picture_that_is_none_shows_no_markup(content: str) -> None:
    html = report.render(notebook(code(shown({"image/png": content}))), facts())
    assert "<script>" not in html


def test_other_types_are_not_passed_on() -> None:
    data = {"text/javascript": "alert(1)", "text/markdown": "<script>", "text/plain": "<i>kept as text</i>"}
    html = report.render(notebook(code(shown(data))), facts())
    assert "alert(1)" not in html
    assert "&lt;i&gt;kept as text&lt;/i&gt;" in html


def test_tables_and_listings_scroll_in_regions_the_keyboard_reaches() -> None:
    table = "<div class='rb-scroll'><table class='rb-table'><tr><td>1</td></tr></table></div><pre>q</pre>"
    section = Reader().read(notebook(code(shown({"text/html": table}))))[0]
    html = str(section.blocks[0].outputs[0])
    assert "role='region' aria-label='Table 1'><table" in html
    assert "<pre tabindex='0' role='region' aria-label='Listing 2'>" in html


KEPT = "<div class='rb-finding rb-ok'><p class='rb-title'><strong>x</strong></p><a href='#f-1'>y</a></div>"


def test_the_listed_vocabulary_is_kept() -> None:
    assert sanitise(KEPT).replace('"', "'") == KEPT


@pytest.mark.parametrize(
    ("html", "clean"),
    [
        ("<p class='hero top rb-ok' id='verdict' style='x' onclick='y'>a</p>", '<p class="rb-ok">a</p>'),
        ("<a href='javascript:alert(1)'>a</a>", "<a>a</a>"),
        ("<a href='https://evil.example'>a</a>", "<a>a</a>"),
        ("<script>x</script><style>y</style>a", "a"),
        ("<td colspan='2'>a</td>", "a"),
        ("<table><tr><td colspan='2' title='z'>a", '<table><tbody><tr><td colspan="2">a</td></tr></tbody></table>'),
        ("<form action='x'><input><button>a</button></form>", "a"),
        ("<!-- x --><b>a</b>", "a"),
    ],
)
def test_what_is_not_listed_goes(html: str, clean: str) -> None:
    assert sanitise(html) == clean


def test_markdown_may_link_to_https_alone() -> None:
    assert 'href="https://a.example/x"' in sanitise("<a href='https://a.example/x'>a</a>", markdown=True)
    for address in ("http://a.example", "javascript:alert(1)", "data:text/html,x", "//a.example", "file:///x"):
        assert "href" not in sanitise(f"<a href='{address}'>a</a>", markdown=True)


class Tags(HTMLParser):
    """Collects every tag and attribute that a browser would see."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.seen: set[tuple[str, str]] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.seen |= {(tag, name) for name, _ in attributes} | {(tag, "")}


PIECES = st.sampled_from(
    [
        *("<script>", "</script>", "<svg onload=a>", "<p", " onclick=a", ">", '"', "'", "<!--", "-->", "<![CDATA["),
        *("</p>", "<math><mtext></p>", "<table>", "<td>", "<pre>", "<a href=", "javascript:a", "&#106;", "\x00", "`"),
        *("<noscript><p title='</noscript><img src=x onerror=a>'>", "<template>", "<style>", "{{7*7}}", "</details>"),
    ]
)
ALLOWED = """div section p span strong em code pre table caption thead tbody tr th td details summary ul ol li h3 h4
a br"""


@settings(deadline=None)
@given(st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=12).map("".join))
def test_no_piece_of_markup_gets_through(html: str) -> None:
    for tag, attribute in Tags(sanitise(html)).seen:
        assert tag in ALLOWED.split()
        assert attribute in ("", "class", "href", "rel", "scope", "colspan", "rowspan")


@settings(deadline=None, max_examples=25)  # each renders a page; times vary on a busy machine
@given(st.text(max_size=60))
def test_every_text_of_the_outcome_is_escaped(text: str) -> None:
    evil = f"<img src=x onerror=alert(1)>{text}<script>"
    said = facts(
        verdict=evil,
        decision=evil,
        reasons=[evil],
        notes=[evil],
        labels={evil: evil},
        annotations={evil: evil},
        alertname=evil,
        actions=[{"title": evil, "command": evil, "why": evil, "changes": True}],
        sources=[{"name": evil, "status": "unknown", "reason": evil}],
    )
    assert not ACTIVE.search(
        re.sub(r"<style>.*?</style>|<meta [^>]*>", "", report.render(notebook(), said), flags=re.DOTALL)
    )
    page = re.sub(r"<style>.*?</style>|<meta [^>]*>", "", report.minimal(said.outcome), flags=re.DOTALL)
    assert not ACTIVE.search(page)


def test_a_minimal_page_holds_the_verdict_and_the_policy() -> None:
    page = report.minimal(outcome())
    assert "The drawdown is real: 14.2 %." in page
    assert "kubectl x" in page
    assert report.POLICY in page


@pytest.mark.parametrize(
    ("status", "reason", "word"),
    [
        ("ok", "", "live"),
        ("recorded", "", "recorded"),
        ("unknown", "1 of 6 questions failed: metrics did not answer in time", "in part"),
        ("unknown", "6 of 6 questions failed: metrics did not answer in time", "no answer"),
        ("unknown", "metrics are not configured", "no answer"),
    ],
)
def test_a_source_that_answered_in_part_is_not_called_silent(status: str, reason: str, word: str) -> None:
    assert report.how_it_answered(SourceState("metrics", status, reason)) == word
