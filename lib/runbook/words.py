"""How things are said, one way everywhere: amounts, durations, moments, plurals, lists, cuts, and what is worse.

Pages, messages, terminal and notebooks say them with these functions and no others.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

SEVERITIES = ("critical", "warning", "info")
"""Severities of alerts, the most severe first."""
STATUSES = ("critical", "warning", "unknown", "skipped", "ok")
"""Statuses of findings, the worst first. Unknown is worse than ok: what is not known may be anything."""

_LARGEST_COUNTED = {"bytes": 1e18}
_BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_BEFORE_UNIT = re.compile(r"(?<=\d) (?=(?:%|USDT|USD|ms|s|min|h|d|[KMGT]?i?B)(?![A-Za-z]))")
_SHOWN_AS_PLACEHOLDER = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]"
)
# Control, direction, unassigned and other invisible characters, lone surrogates, line and paragraph separators.
_INVISIBLE = frozenset(("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"))
_DAY, _HOUR, _MINUTE = 86_400, 3_600, 60


def amount(value: Any, unit: str = "") -> str:
    """A number with its unit as text for people: "−1,204.50 USDT", "11.8 %", "1.5 GiB"; "n/a" for none.

    `unit`: "%" (the value is a ratio), "bytes", "s", "ms", "USDT", "USD", "ratio" (three digits are
    enough), any other word, or "".
    """
    number = _finite(value)
    if number is None:
        return "n/a"
    sign = "−" if number < 0 else ""
    return sign + _size(abs(number), unit)


def _size(size: float, unit: str) -> str:
    if size >= _LARGEST_COUNTED.get(unit, 1e15):  # nobody counts such digits
        return f"{size:.3g} {unit}".strip()
    match unit:
        case "%":
            return _percent_measured(size * 100)
        case "bytes":
            return _bytes(size)
        case "s":
            return duration(size)
        case "ms":
            return f"{size:,.0f} ms" if size >= 10 else f"{size:.2g} ms"
        case "USDT" | "USD":
            return f"{size:,.2f} {unit}"
        case "ratio":
            return f"{size:.3g}" if size < 1000 else f"{size:,.0f}"
    number = _plain_number(size)
    if unit == "cores" and number == "1":
        unit = "core"
    return f"{number} {unit}".strip()


def _percent_measured(percents: float) -> str:
    if percents < 0.001:  # what is left of a difference of two equal numbers
        return "0.0 %"
    return f"{percents:.1f} %" if percents >= 0.1 else f"{percents:.2g} %"


def _bytes(size: float) -> str:
    step = min(int(math.log(size, 1024)), len(_BYTE_UNITS) - 1) if size >= 1 else 0
    digits = 0 if step == 0 else 1
    scaled = size / 1024**step
    return f"{scaled:.{digits}f} {_BYTE_UNITS[step]}"


def _plain_number(size: float) -> str:
    if size.is_integer():
        return f"{size:,.0f}"
    return f"{size:,.2f}" if size >= 1000 else f"{size:.6g}"


def percent(share: float) -> str:
    """A share that somebody chose (a threshold, a fee), without digits that would look measured: "60 %", "0.1 %"."""
    if not math.isfinite(share):
        return "n/a"
    percents = share * 100
    return f"{percents:,.4g} %".replace("-", "−")


def points(ratio: float) -> str:
    """A difference of two shares, as a number of percentage points."""
    if ratio < 1e-4:
        return "less than 0.01 percentage points"
    percents = ratio * 100
    return f"{percents:.2g} percentage points"


def plural(number: float, noun: str, nouns: str = "") -> str:
    """The noun for so many, without the number: "position" for 1, else "positions" (or `nouns`)."""
    return noun if number == 1 else nouns or f"{noun}s"


def counted(number: int, noun: str, nouns: str = "") -> str:
    """So many of something: "1 position", "1,204 positions"."""
    return f"{number:,} {plural(number, noun, nouns)}"


def names(values: Sequence[str], most: int = 5) -> str:
    """`values` as a list in words, at most `most` of them: "a, b and 3 more"."""
    shown = ", ".join(values[:most])
    left_out = len(values) - most
    return f"{shown} and {left_out} more" if left_out > 0 else shown


def duration(seconds: float) -> str:
    """Seconds as people say them: "850 ms", "42 s", "7 min 30 s", "3 h 5 min", "2 d 4 h"; "n/a" for none."""
    if not math.isfinite(seconds):
        return "n/a"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < _MINUTE:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    for size, unit, smaller_size, smaller_unit in (
        (_DAY, "d", _HOUR, "h"),
        (_HOUR, "h", _MINUTE, "min"),
        (_MINUTE, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // smaller_size
            largest = f"{whole // size} {unit}"
            return f"{largest} {rest} {smaller_unit}" if rest else largest
    return f"{whole} s"


def ago(seconds: float) -> str:
    """An age as people say it: "5 min ago"; "never" where there is none."""
    return f"{duration(seconds)} ago" if math.isfinite(seconds) else "never"


def moment(value: datetime | None) -> str:
    """A time in UTC, to the second: "2026-01-15 14:02:00Z"; "n/a" for none."""
    return "n/a" if is_missing(value) else f"{value:%Y-%m-%d %H:%M:%SZ}"


def clock(value: datetime | None) -> str:
    """The time of day in UTC, to the minute: "14:02 UTC"; "n/a" for none."""
    return "n/a" if is_missing(value) else f"{value:%H:%M} UTC"


def clock_seconds(value: datetime | None) -> str:
    """The time of day in UTC, to the second: "14:02:00Z"; "n/a" for none."""
    return "n/a" if is_missing(value) else f"{value:%H:%M:%S}Z"


def is_missing(value: datetime | None) -> bool:
    """Whether `value` is no moment: None or pandas' NaT, which alone differs from itself."""
    return value is None or value != value


def capitalised(text: str) -> str:
    """`text` with its first letter large, the rest as it is (str.capitalize would make names small)."""
    return text[:1].upper() + text[1:]


def unbroken(text: str) -> str:
    """`text` whose numbers keep to their units at the end of a line."""
    return _BEFORE_UNIT.sub("\u00a0", text)


def one_line(text: str, most: int) -> str:
    """`text` on one line, at most `most` characters, without control, direction and invisible characters."""
    cleaned = "".join(" " if unicodedata.category(ch) in _INVISIBLE else ch for ch in text[: 8 * most])
    line = " ".join(cleaned.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def visible(text: str) -> str:
    """`text` with what a reader cannot see, and a page or terminal must not obey, shown as �: control and direction."""
    return _SHOWN_AS_PLACEHOLDER.sub("\ufffd", text)


def severity_rank(severity: str) -> int:
    """0 for the most severe; what is no severity ranks after all that are. A key to sort by, the worst first."""
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)


def known_severity(*named: str | None) -> str:
    """The first of `named` that is a severity, however it is written; "" where none is."""
    return next((name.lower() for name in named if name and name.lower() in SEVERITIES), "")


def severity_text(named: str, counted_as: str) -> str:
    """The severity that counts, beside what the alert calls it where that is none: "P1, treated as warning"."""
    if not named or known_severity(named):
        return counted_as
    return f"{one_line(named, 40)}, treated as {counted_as}"


def status_rank(status: str) -> int:
    """0 for the worst; what is no status ranks as unknown. A key to sort by, the worst first."""
    return STATUSES.index(status if status in STATUSES else "unknown")


def worst_status(statuses: Iterable[str]) -> str:
    """The worst of `statuses`; "unknown" where there are none, for nothing checked is not ok."""
    return min(statuses, key=status_rank, default="unknown")


def tally(statuses: Sequence[str]) -> str:
    """How many of each status, the worst first: "1 critical, 2 warning, 9 ok"."""
    return ", ".join(f"{statuses.count(status)} {status}" for status in STATUSES if status in statuses)


def _finite(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
