"""What PostgreSQL sends, as columns: what is no number, no moment or no text is missing, and is said to be.

It is decided here, once for all questions. NULL is missing and nothing more; a NaN or an infinity where a number
stands, and an infinite time or one that no calendar of ours holds, are missing as well and counted, since what rests
on them is not whole. Bytes that are no UTF-8, as a database in SQL_ASCII may hold, become replacement characters.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any
from uuid import UUID

import pandas as pd
import psycopg
from psycopg import pq
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import AdaptersMap, Loader

from runbook.sources.codec import no_values

_CLAUSES_MAX = 4


class _NoMoment:
    """Stands for a time that is none: infinite, or outside the years that Python knows."""


_NO_MOMENT = _NoMoment()
# Types that psycopg does not know, enums above all, come under the number 0.
_TEXTS = (0, *(psycopg.adapters.types[name].oid for name in ("text", "varchar", "bpchar", "name")))
_JSONS = tuple(psycopg.adapters.types[name].oid for name in ("json", "jsonb"))
_TIMES = tuple(psycopg.adapters.types[name].oid for name in ("timestamptz", "timestamp", "date"))


def read_leniently(adapters: AdaptersMap) -> None:
    """Lets a connection's `adapters` read every time and text: psycopg raises where Python has no such value."""
    for oids, otherwise in ((_TIMES, _no_moment), (_TEXTS, _replaced), (_JSONS, _replaced_json)):
        for oid in oids:
            adapters.register_loader(oid, _lenient(oid, otherwise))


def frame_of(rows: Sequence[Sequence[Any]], names: Sequence[str]) -> tuple[pd.DataFrame, str]:
    """(`rows` as a DataFrame, what of them is missing in a clause, "" where nothing is).

    NUMERIC becomes float64, times UTC, UUID and enums text. The second of two columns "id" is called "id_2".
    """
    columns = _distinct(names)
    frame = pd.DataFrame(rows, columns=columns, dtype="object")
    if not columns:
        return frame, ""
    read = {name: _column(frame[name]) for name in columns}
    frame = frame.assign(**{name: column for name, (column, _) in read.items()})
    clauses = [clause for _, clause in read.values() if clause]
    if len(clauses) > _CLAUSES_MAX:
        clauses[_CLAUSES_MAX:] = [f"and so in {len(clauses) - _CLAUSES_MAX} more columns"]
    return frame, ", ".join(clauses)


def _column(column: pd.Series[Any]) -> tuple[pd.Series[Any], str]:
    """(`column` as float64, int64, UTC times, bool or text, whichever its values are, what of it is missing)."""
    values = column.tolist()
    known = [value for value in values if value is not None]
    kinds = {type(value) for value in known}
    if not known:
        return pd.Series([None] * len(column), index=column.index, dtype="object"), ""
    if kinds == {bool}:
        return (column if len(known) == len(column) else column.astype("object")), ""
    if kinds == {int} and len(known) == len(column):
        return column.astype("int64"), ""
    if kinds <= {int, float, Decimal}:
        return _numbers(column, known)
    if kinds <= {datetime, _NoMoment}:
        return _moments(column, values)
    bad = sum(value is _NO_MOMENT for value in values)
    texts = pd.Series([_text(value) for value in values], index=column.index, dtype="object")
    return texts, no_values(bad, len(column), str(column.name), "moment") if bad else ""


def _numbers(column: pd.Series[Any], known: Sequence[Any]) -> tuple[pd.Series[Any], str]:
    numbers = pd.Series([math.nan if value is None else float(value) for value in column], index=column.index)
    bad = sum(not math.isfinite(float(value)) for value in known)
    if not bad:
        return numbers, ""
    finite = numbers.where(numbers.map(math.isfinite))
    return finite, no_values(bad, len(column), str(column.name), "number")


def _moments(column: pd.Series[Any], values: Sequence[Any]) -> tuple[pd.Series[Any], str]:
    bad = sum(value is _NO_MOMENT for value in values)
    known = pd.to_datetime([_utc(value) for value in values], utc=True)
    moments = pd.Series(known, index=column.index).astype("datetime64[us, UTC]")
    return moments, no_values(bad, len(column), str(column.name), "moment") if bad else ""


def _utc(value: Any) -> datetime | None:
    if not isinstance(value, datetime) or pd.isna(value):
        return None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _text(value: Any) -> Any:
    match value:
        case None | bool() | int() | str() | list() | dict():
            return value
        case float() | Decimal():
            return float(value) if math.isfinite(value) else None
        case bytes() | memoryview():
            return f"({len(value)} bytes)"
        case _NoMoment():
            return None
        case UUID():
            return str(value)
    return str(value)


def _distinct(names: Sequence[str]) -> list[str]:
    """`names`, the second "id" called "id_2" and so on: a join of two tables may name a column twice."""
    found: list[str] = []
    for name in names:
        number, own = 1, name
        while own in found:
            number += 1
            own = f"{name}_{number}"
        found.append(own)
    return found


@cache
def _lenient(oid: int, otherwise: Callable[[bytes], Any]) -> type[Loader]:
    """psycopg's own loader of the type `oid`; what that cannot read, or leaves as bytes, is read by `otherwise`."""
    found = psycopg.adapters.get_loader(oid, pq.Format.TEXT)
    if found is None:
        raise LookupError(f"psycopg has no loader for the type {oid}")
    own = found

    class Lenient(Loader):
        def __init__(self, oid: int, context: AdaptContext | None = None) -> None:
            super().__init__(oid, context)
            self._load = own(oid, context).load

        def load(self, data: Buffer) -> Any:
            try:
                value = self._load(data)
                return otherwise(value) if type(value) is bytes else value
            except (psycopg.DataError, ValueError):  # UnicodeDecodeError is a ValueError
                return otherwise(bytes(data))

    return Lenient


def _no_moment(data: bytes) -> _NoMoment:
    return _NO_MOMENT


def _replaced(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _replaced_json(data: bytes) -> Any:
    return json.loads(_replaced(data))
