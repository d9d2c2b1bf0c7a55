"""Takes secrets out of everything a source says, before anything else sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import pandas as pd

from runbook.redaction import MASK, TextRedactor, is_plain_value, is_secret_name

__all__ = ["MASK", "Redactor"]

_is_secret_name = lru_cache(maxsize=4_096)(is_secret_name)
"""The same names come in every row."""


class Redactor:
    """Replaces secrets in text, JSON-ready data and DataFrames: known values, and what looks like one.

    A text under a name that says so (a field "password", a column "api_key") is one, whatever it looks like.
    """

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        self._text = TextRedactor(secrets)

    def __call__(self, value: Any) -> Any:
        """`value` with its secrets masked; the same shape and types."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, pd.DataFrame):
            return self._frame(value)
        if isinstance(value, Mapping):
            return {self(key): self._named(key, item) for key, item in value.items()}
        if isinstance(value, list):
            return [self(item) for item in value]
        return tuple(self(item) for item in value) if isinstance(value, tuple) else value

    def _named(self, name: Any, value: Any) -> Any:
        """`value` as it may be shown under `name`."""
        if not isinstance(name, str) or not _is_secret_name(name):
            return self(value)
        if isinstance(value, str):
            return value if is_plain_value(name, value) else MASK
        if isinstance(value, list):
            return [self._named(name, item) for item in value]
        return self(value)

    def _frame(self, frame: pd.DataFrame) -> pd.DataFrame:
        textual = [name for name in frame.columns if frame[name].dtype == object or str(frame[name].dtype) == "str"]
        masked = {name: self._column(str(name), frame[name]) for name in textual}
        return frame.assign(**masked) if masked else frame

    def _column(self, name: str, column: pd.Series[Any]) -> pd.Series[Any]:
        """Each different text is looked at once: labels repeat from row to row."""
        values = column.tolist()
        texts = {value: self._named(name, value) for value in {value for value in values if type(value) is str}}
        return pd.Series(
            [texts[value] if type(value) is str else self._named(name, value) for value in values],
            index=column.index,
            dtype="object",
        )
