"""Tables and findings as HTML: escaped, with units, for people."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook import tables, templates
from runbook.findings import Finding, Table
from runbook.outcome import Action, ChecklistItem, Conclusion, Status
from runbook.sources.evidence import Answer
from runbook.words import amount, duration, moment, percent
from tests.notebooks.inspection import Vocabulary
from tests.worlds import NASTY

NOON = datetime(2026, 1, 15, 12, 0, 5, tzinfo=UTC)


def finding(found: Finding[Any]) -> str:
    return templates.finding(tables.shown(found))


def render(table: Table) -> str:
    return finding(Finding(Status.OK, "Rows", tables=(table,), id="a.b"))


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (-1204.5, "USDT", "−1,204.50 USDT"),
        (0, "USDT", "0.00 USDT"),
        (0.111564, "USD", "0.11 USD"),
        (0.1181, "%", "11.8 %"),
        (-0.1181, "%", "−11.8 %"),
        (0.0004, "%", "0.04 %"),
        (0, "%", "0.0 %"),
        (1.1e-16, "%", "0.0 %"),
        (-1.1e-16, "%", "−0.0 %"),
        (1536, "bytes", "1.5 KiB"),
        (512, "bytes", "512 B"),
        (2.0**50, "bytes", "1024.0 TiB"),
        (0, "bytes", "0 B"),
        (450, "s", "7 min 30 s"),
        (0.85, "s", "850 ms"),
        (1234.5, "ms", "1,234 ms"),
        (3.25, "ms", "3.2 ms"),
        (0.123456, "ratio", "0.123"),
        (1234.4, "ratio", "1,234"),
        (3, "", "3"),
        (1234567, "", "1,234,567"),
        (0.5, "req/s", "0.5 req/s"),
        (Decimal("1.50"), "USDT", "1.50 USDT"),
        (np.float64(2.5), "", "2.5"),
        (True, "", "1"),
    ],
)
def test_amount(value: object, unit: str, text: str) -> None:
    assert amount(value, unit) == text


@pytest.mark.parametrize(
    ("share", "text"), [(0.6, "60 %"), (0.001, "0.1 %"), (0.125, "12.5 %"), (-0.05, "−5 %"), (math.nan, "n/a")]
)
def test_a_chosen_share_has_no_digits_that_look_measured(share: float, text: str) -> None:
    assert percent(share) == text


def test_true_and_false_are_words_and_a_unit_is_said_once() -> None:
    frame = pd.DataFrame(
        {
            "success": [True, False],
            "mean_ms": [12.0, 13.0],
            "cost_usd_before": [1.0, 2.0],
            "old": [1, 2],
            "old_bytes": [1.0, 2.0],
        }
    )
    html = render(Table("Changes", frame, {"mean_ms": "ms", "cost_usd_before": "USD", "old": "", "old_bytes": "bytes"}))
    assert "<td>yes</td>" in html
    assert "<td>no</td>" in html
    assert ">mean</th>" in html
    assert ">cost before</th>" in html
    assert (">old</th>" in html, ">old bytes</th>" in html) == (True, True)


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, "x", pd.NaT, pd.NA, "", []])
@pytest.mark.parametrize("unit", ["", "%", "USDT", "s", "bytes"])
def test_no_amount(value: object, unit: str) -> None:
    assert amount(value, unit) == "n/a"


@given(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "%", "USDT", "s", "ms", "bytes", "ratio", "x"]),
)
def test_any_number_has_words(value: float, unit: str) -> None:
    text = amount(value, unit)
    assert text
    assert "-" not in text.replace("e-", "")
    assert text.startswith("−") == (value < 0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.0004, "0 ms"),
        (1, "1 s"),
        (59.9, "59.9 s"),
        (60, "1 min"),
        (90, "1 min 30 s"),
        (3600, "1 h"),
        (11_100, "3 h 5 min"),
        (86_400, "1 d"),
        (187_200, "2 d 4 h"),
        (math.nan, "n/a"),
        (math.inf, "n/a"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_moment() -> None:
    assert moment(NOON) == "2026-01-15 12:00:05Z"
    assert moment(None) == moment(pd.NaT) == "n/a"


@pytest.mark.parametrize("text", NASTY)
def test_nasty_text_is_inert_wherever_it_stands(text: str) -> None:
    frame = pd.DataFrame({text: [text], "n": [1.0], "d": [{"k": text}]})
    table = Table(text, frame, {"n": text})
    answer = Answer("e01", text, text, {text: text}, text, NOON, 0.1, 1, status="failed", reason=text)
    found = Finding(Status.WARNING, text, text, tables=(table,), answers=(answer,))
    decided = Conclusion(
        verdict=text,
        decision=text,
        status=Status.CRITICAL,
        reasons=(text,),
        actions=(Action(text, text, text, True),),
        checklist=(ChecklistItem(text, text),),
        findings=tables.records([found]),
    )
    for html in (
        render(table),
        finding(found),
        templates.conclusion(decided),
        templates.actions(decided.actions),
    ):
        Vocabulary().check(html)
        assert not set(html) & {"\x1b", "\x07", "\u202e", "\u2066", "\x00"}


@given(st.text(max_size=50))
def test_any_text_is_inert(text: str) -> None:
    Vocabulary().check(render(Table(text, pd.DataFrame({"t": [text]}))))


def test_a_table_says_units_in_its_cells_and_utc_in_its_head() -> None:
    frame = pd.DataFrame(
        {"opened_at": [NOON, None], "pnl": [-1.5, math.nan], "share": [0.25, None], "symbol": ["BTCUSDT", None]}
    )
    html = render(Table("Positions", frame, {"opened_at": "time", "pnl": "USDT", "share": "%"}))
    for part in (
        "<caption>Positions</caption>",
        "opened at <span class='rb-muted'>UTC</span>",
        "<td class='rb-num'>",
        "BTCUSDT",
        "01-15 12:00:05",
    ):
        assert part in html
    assert html.count("n/a") == 4


def test_many_rows_are_cut_and_said_to_be() -> None:
    html = render(Table("Rows", pd.DataFrame({"n": range(1234)})))
    assert html.count("<tr>") == 51
    assert "the first 50 of 1,234" in html


@pytest.mark.parametrize("frame", [pd.DataFrame(), pd.DataFrame({"a": []}), pd.DataFrame(columns=["a", "b"])])
def test_no_rows(frame: pd.DataFrame) -> None:
    html = render(Table("Nothing", frame))
    Vocabulary().check(html)
    assert "none" in html


@pytest.mark.parametrize("one", Status)
def test_a_status_is_a_word_too(one: Status) -> None:
    assert f"{templates.sign(one)} {one.value}" in finding(Finding(one, "title"))


def test_how_it_was_found_is_folded_below() -> None:
    answer = Answer(
        "e07", "database", "SELECT 1", {"as_of": NOON}, "psql -c 'SELECT 1'", NOON, 0.0123, 3, origin="recorded"
    )
    html = finding(Finding(Status.OK, "All is well", answers=(answer,)))
    for part in (
        "<details class='rb-how'><summary>How this was found (1 query)",
        "SELECT 1",
        "12 ms",
        "3 rows",
        "from recorded evidence",
        "psql -c",
        "as_of = ",
    ):
        assert part in html


def test_a_failed_question_says_why() -> None:
    answer = Answer(
        "e07", "metrics", "up", {}, "curl", NOON, 5, 0, status="failed", reason="metrics did not answer in 5 s"
    )
    assert "no answer: metrics did not answer in 5 s" in finding(Finding(Status.UNKNOWN, "?", answers=(answer,)))
