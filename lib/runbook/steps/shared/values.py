"""Values out of tables as steps read them: numbers, lines of text, ages. Whatever a column holds, nothing raises."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from runbook.alert import Window


def age_seconds(value: Any, window: Window) -> float:
    """Seconds from `value` to the report's moment; NaN where there is none."""
    return float("nan") if value is None or pd.isna(value) else float((window.as_of - value).total_seconds())


def number(value: Any) -> float:
    """`value` as a float; NaN for none, text that is no number, and infinities."""
    try:
        result = float(value)
    except (TypeError, ValueError):
        return float("nan")
    return result if math.isfinite(result) else float("nan")


def text(value: Any) -> str:
    """`value` as one line of text; "not recorded" for none."""
    return " ".join(str(value).split())[:300] if isinstance(value, str) and value.strip() else "not recorded"
