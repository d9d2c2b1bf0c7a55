"""PromQL read: which metrics an expression asks for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import promql_parser

_INNER = ("expr", "lhs", "rhs", "vector_selector")
_LENGTH_MAX = 2_000
_NESTED_MAX = 60


def metrics_in(expression: str) -> tuple[str, ...]:
    """The metrics that `expression` names, each once; none where it cannot be read."""
    if len(expression) > _LENGTH_MAX or expression.count("(") > _NESTED_MAX:
        return ()
    try:
        node = promql_parser.parse(expression)
    except ValueError:
        return ()
    return tuple(dict.fromkeys(_names(node)))


def _names(node: Any) -> Iterator[str]:
    name = getattr(node, "name", None)
    if isinstance(name, str) and name:
        yield name
    for part in (*(getattr(node, inner, None) for inner in _INNER), *(getattr(node, "args", None) or ())):
        if part is not None:
            yield from _names(part)
