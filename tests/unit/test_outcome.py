"""Statuses, findings and what becomes of them as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook import tables
from runbook.findings import Finding, plain
from runbook.outcome import Conclusion, Outcome, SourceState, Status, read_finding
from runbook.words import one_line, visible, worst_status

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([], "unknown"),
        (["ok", "ok"], "ok"),
        (["ok", "skipped"], "skipped"),
        (["ok", "unknown", "skipped"], "unknown"),
        (["unknown", "warning"], "warning"),
        (["warning", "critical", "ok"], "critical"),
    ],
)
def test_the_worst(statuses: list[str], expected: str) -> None:
    assert worst_status(statuses) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        ("x", "x"),
        (3, 3),
        (2.5, 2.5),
        (math.nan, None),
        (math.inf, None),
        (Decimal("1.5"), 1.5),
        (np.int64(4), 4),
        (np.float64("nan"), None),
        (np.bool_(True), True),
        (NOON, "2026-01-15T12:00:00+00:00"),
        (pd.Timestamp(NOON), "2026-01-15T12:00:00+00:00"),
        ({"a": math.nan, 1: (1, 2)}, {"a": None, "1": [1, 2]}),
        ([pd.NA], ["<NA>"]),
    ],
)
def test_plain(value: Any, expected: Any) -> None:
    assert plain(value) == expected
    json.dumps(plain(value), allow_nan=False)


def test_plain_of_no_time_is_nothing() -> None:
    json.dumps(plain({"at": pd.NaT}), allow_nan=False)
    assert plain(pd.NaT) is None


@given(st.text())
def test_a_title_is_one_visible_line(text: str) -> None:
    found = Finding(Status.OK, text)
    assert found.title.isprintable()
    assert len(found.title) <= 400


@given(st.text(), st.integers(1, 50))
def test_one_line(text: str, most: int) -> None:
    line = one_line(text, most)
    assert len(line) <= most
    assert line.isprintable()
    assert line == line.strip()


def test_visible_keeps_lines_and_shows_the_rest() -> None:
    assert visible("a\n\tb\r\n\x1b[31m\u202ex\x00") == "a\n\tb\r\n\ufffd[31m\ufffdx\ufffd"


@dataclass(frozen=True, slots=True)
class Move:
    n: float
    at: datetime
    kind: Status
    curve: pd.DataFrame


def test_figures_are_derived_as_json_without_their_series() -> None:
    moved = Move(math.nan, NOON, Status.WARNING, pd.DataFrame({"time": [NOON]}))
    shown = tables.shown(Finding(Status.OK, "t", "d", moved, id="a.b"))
    data = json.loads(json.dumps(shown.to_json(), allow_nan=False))
    assert data["figures"] == {"n": None, "at": "2026-01-15T12:00:00+00:00", "kind": "warning"}


def test_a_conclusion_in_json() -> None:
    found = [Finding(status, "t", "d", id=f"a.{status}") for status in Status]
    concluded = Conclusion(verdict="v", findings=tables.records(found), sources=(SourceState("database", "ok"),))
    data = json.loads(json.dumps(concluded.to_json(), allow_nan=False))
    assert [finding["status"] for finding in data["findings"]] == list(Status)
    assert data["sources"] == [{"name": "database", "status": "ok", "reason": ""}]


def test_a_finding_that_cannot_be_read_is_unknown_and_never_dropped() -> None:
    for data in (None, [], {"id": "a", "status": "fine", "title": "t"}, {"status": "ok"}):
        assert read_finding(data, "cell-3").status is Status.UNKNOWN
    assert read_finding({"title": "t"}, "cell-3").id == "cell-3"
    ragged = {"caption": "c", "columns": [], "rows": [["1"]], "rows_in_all": 1}
    assert read_finding({"id": "a", "status": "ok", "title": "t", "tables": [ragged]}, "x").status is Status.UNKNOWN


def test_the_schema_in_docs_is_the_models() -> None:
    """After a change of the model: write `Outcome.model_json_schema()` to docs/outcome.schema.json, read the diff."""
    written = Path(__file__).parents[2] / "docs" / "outcome.schema.json"
    assert json.loads(written.read_text(encoding="utf-8")) == Outcome.model_json_schema()


def test_the_fixed_fields_come_first_and_what_is_new_is_no_error() -> None:
    fixed = ["run_id", "alertname", "procedure", "severity", "status", "verdict", "started_at", "finished_at", "as_of"]
    assert list(Outcome.model_fields)[:12] == [*fixed, "cells", "sources", "findings"]
    newer = dict.fromkeys(fixed, "x") | {"status": "complete", "starts_at": "x", "of_tomorrow": 1}
    newer |= {"cells": {"ran": 1}, "sources": [{"name": "a", "status": "ok", "reason": ""}], "findings": []}
    assert Outcome.model_validate(newer).cells.total == 1
