"""Kubernetes quantities."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

_SUFFIXES = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}
_QUANTITY = re.compile(r"([0-9.eE+-]+?)(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")


def quantity(text: Any) -> float:
    """A Kubernetes quantity ("500m", "2Gi") as a plain number (cores, bytes); NaN for none or nonsense."""
    return float("nan") if text is None else _number(str(text))


@lru_cache(maxsize=1024)
def _number(text: str) -> float:
    match = _QUANTITY.fullmatch(text)
    if match is None:
        return float("nan")
    try:
        return float(Decimal(match[1]) * _SUFFIXES.get(match[2] or "", Decimal(1)))
    except InvalidOperation:
        return float("nan")
