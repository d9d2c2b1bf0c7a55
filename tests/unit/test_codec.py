"""Answers to JSON and back."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.sources.codec import decode, encode, rows_in

_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_TIMES = st.integers(10**9, 4 * 10**15).map(
    lambda us: datetime.fromtimestamp(us // 10**6, UTC) + timedelta(microseconds=us % 10**6)
)


def round_trip(data: object) -> object:
    return decode(json.loads(json.dumps(encode(data), allow_nan=False)))


@given(
    st.lists(
        st.tuples(
            st.none() | _TIMES,
            st.floats(),
            st.integers(-(2**63), 2**63 - 1),
            st.booleans(),
            st.none() | _TEXTS | st.dictionaries(_TEXTS, _TEXTS, max_size=2),
        ),
        max_size=6,
    )
)
def test_tables_come_back_as_they_were(rows: list[tuple[object, ...]]) -> None:
    columns = list(zip(*rows, strict=True)) or [()] * 5
    kinds = {"time": "object", "value": "float64", "count": "int64", "flag": "bool", "text": "object"}
    frame = pd.DataFrame(
        {name: pd.Series(values, dtype=kinds[name]) for name, values in zip(kinds, columns, strict=True)}
    )
    frame["time"] = pd.to_datetime(frame["time"], utc=True).astype("datetime64[us, UTC]")

    pd.testing.assert_frame_equal(round_trip(frame), frame)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXTS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    )
)
def test_json_comes_back_as_it_was(data: object) -> None:
    assert round_trip(data) == data


def test_what_json_has_no_words_for_becomes_text() -> None:
    data = {"n": math.nan, "i": -math.inf, "u": UUID(int=1), "t": datetime(2026, 1, 15, tzinfo=UTC), 3: (1, 2)}
    assert round_trip(data) == {
        "n": "NaN",
        "i": "-Infinity",
        "u": "00000000-0000-0000-0000-000000000001",
        "t": "2026-01-15T00:00:00+00:00",
        "3": [1, 2],
    }


def test_a_text_column_that_says_nan_stays_text() -> None:
    frame = pd.DataFrame({"text": pd.Series(["NaN", "Infinity"], dtype="object")})
    pd.testing.assert_frame_equal(round_trip(frame), frame)


def test_a_missing_text_comes_back_missing() -> None:
    frame = pd.DataFrame({"text": pd.Series([math.nan, None, "x"], dtype="object")})
    assert round_trip(frame)["text"].isna().tolist() == [True, True, False]


def test_an_empty_table_keeps_its_columns_and_types() -> None:
    frame = pd.DataFrame({"a": pd.Series(dtype="float64"), "b": pd.Series(dtype="object")})
    pd.testing.assert_frame_equal(round_trip(frame), frame)


@pytest.mark.parametrize(
    ("data", "rows"), [(None, 0), ([], 0), ([1, 2], 2), ({"a": 1}, 1), ("x", 1), (pd.DataFrame({"a": [1, 2]}), 2)]
)
def test_rows(data: object, rows: int) -> None:
    assert rows_in(data) == rows


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"kind": "json"},
        {"kind": "table", "columns": {"a": "number"}, "rows": [[1], [1, 2]]},
        {"kind": "table", "columns": {"a": "number", "b": "number"}, "rows": [[1]]},
        {"kind": "table", "columns": {"a": "integer"}, "rows": [["x"]]},
        {"kind": "table", "columns": {"a": "time"}, "rows": [["yesterday"]]},
    ],
)
def test_damaged_content_is_refused(content: dict[str, object]) -> None:
    with pytest.raises((KeyError, ValueError)):
        decode(content)
