"""Log lines grouped by what they say."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

_RANK = {"panic": 0, "fatal": 1, "error": 2, "warning": 3, "info": 4, "debug": 5, "trace": 6}
_VARIABLE = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|0x[0-9a-f]+|\b[0-9a-f]{12,}\b|[-+]?\d+(?:[.,:]\d+)*",
    re.IGNORECASE,
)
PATTERNS_MAX = 25


def pattern_of(message: str) -> str:
    """`message` with # for each number, id and address in it, so that repetitions group; at most 200 characters."""
    return _VARIABLE.sub("#", message)[:200]


def patterns(frame: pd.DataFrame) -> pd.DataFrame:
    """Log rows (as logs.parse makes them) grouped by what they say, worst first.

    Columns: level, pattern, lines, first, last, example. Numbers, ids and addresses in a message count as the same.
    The error field is part of the pattern.
    """
    rows: dict[tuple[str, str], list[int]] = {}
    texts = []
    for row, (level, message, fields) in enumerate(zip(frame["level"], frame["message"], frame["fields"], strict=True)):
        error = str(fields.get("error", fields.get("err", "")))
        texts.append(f"{message}: {error}" if error and error not in message else message)
        rows.setdefault((level, pattern_of(texts[-1])), []).append(row)
    worst = sorted(rows.items(), key=lambda group: (_RANK.get(group[0][0], 4), -len(group[1])))[:PATTERNS_MAX]
    times, fields_of = frame["time"].to_numpy(dtype="datetime64[us]"), frame["fields"].tolist()
    moments = [(np.fmin.reduce(times[of]), np.fmax.reduce(times[of])) for _, of in worst]
    return pd.DataFrame(
        {
            "level": [level for (level, _), _ in worst],
            "pattern": [pattern for (_, pattern), _ in worst],
            "lines": [len(of) for _, of in worst],
            "first": pd.Series([first for first, _ in moments], dtype="datetime64[us]").dt.tz_localize("UTC"),
            "last": pd.Series([last for _, last in moments], dtype="datetime64[us]").dt.tz_localize("UTC"),
            "example": [_example(texts[of[-1]], fields_of[of[-1]]) for _, of in worst],
        }
    )


def _example(text: str, fields: dict[str, str]) -> str:
    shown = ", ".join(
        f"{name}={value}" for name, value in list(fields.items())[:6] if name not in ("error", "err", "stack")
    )
    stack = fields.get("stack", "").strip().splitlines()
    return " | ".join(part for part in (text[:160], shown[:160], *stack[:2]) if part)
