"""Answers <-> JSON: DataFrames keep their column types, NaN and infinities survive.

Times are whole microseconds since 1970, UTC.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from runbook.words import plural

_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def rows_in(data: Any) -> int:
    """How many rows an answer holds: of a DataFrame or list its length, 1 for anything else, 0 for none."""
    if data is None:
        return 0
    return len(data) if isinstance(data, pd.DataFrame | list) else 1


def no_values(count: int, of: int, name: str, kind: str) -> str:
    """ "3 of 40 values of price are no numbers (NaN or infinite)"; `kind`: "number" or "moment"."""
    why = "NaN or infinite" if kind == "number" else "infinite"
    are = plural(count, f"is no {kind}", f"are no {kind}s")
    return f"{count:,} of {of:,} {plural(of, 'value')} of {name[:60]} {are} ({why})"


def encode(data: Any) -> dict[str, Any]:
    """`data` (a DataFrame or JSON-ready data) as strict JSON."""
    if not isinstance(data, pd.DataFrame):
        return {"kind": "json", "data": _strict(data)}
    kinds = {str(name): _kind(data[name]) for name in data.columns}
    columns = [_values(data[name], kinds[str(name)]) for name in data.columns]
    return {"kind": "table", "columns": kinds, "rows": [list(row) for row in zip(*columns, strict=True)]}


def decode(content: dict[str, Any]) -> Any:
    """The reverse of `encode`. Raises KeyError or ValueError on damaged content."""
    if content["kind"] == "json":
        return content["data"]
    kinds: dict[str, str] = content["columns"]
    columns = list(zip(*content["rows"], strict=True)) or [()] * len(kinds)
    frame = {name: _series(list(values), kind) for (name, kind), values in zip(kinds.items(), columns, strict=True)}
    return pd.DataFrame(frame, columns=list(kinds))


def _kind(column: pd.Series[Any]) -> str:
    if pd.api.types.is_datetime64_any_dtype(column):
        return "time"
    if pd.api.types.is_bool_dtype(column):
        return "bool"
    if pd.api.types.is_integer_dtype(column):
        return "integer"
    return "number" if pd.api.types.is_numeric_dtype(column) else "object"


def _values(column: pd.Series[Any], kind: str) -> list[Any]:
    if kind == "time":
        stamps: list[Any] = column.dt.as_unit("us").astype("int64").tolist()
        return (
            [None if gone else at for at, gone in zip(stamps, column.isna(), strict=True)] if column.hasnans else stamps
        )
    values: list[Any] = column.tolist()
    if kind == "object":  # a missing text is null: as text, NaN would come back as the word
        return [value if type(value) is str else None if _is_nan(value) else _strict(value) for value in values]
    if kind == "number" and not np.isfinite(column.to_numpy(dtype="float64")).all():
        return [_strict(value) for value in values]
    return values


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _series(values: list[Any], kind: str) -> pd.Series[Any]:
    match kind:
        case "time":
            stamps = pd.array([pd.NaT if v is None else v for v in values], dtype="datetime64[us]")
            return pd.Series(stamps).dt.tz_localize("UTC")
        case "number":
            return pd.Series([_SPECIAL.get(v, v) if isinstance(v, str) else v for v in values], dtype="float64")
        case "integer":
            return pd.Series(values, dtype="int64")
        case "bool":
            return pd.Series(values, dtype="bool")
    return pd.Series(values, dtype="object")


def _strict(value: Any) -> Any:
    """`value` with what JSON has no words for put as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, dict):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
