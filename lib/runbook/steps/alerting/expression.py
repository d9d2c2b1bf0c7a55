"""An alert's expression: what it measures against which limit, and whether and since when it holds."""

from __future__ import annotations

import operator as op
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pandas as pd
import promql_parser

_EXPRESSION_MAX = 2_000
_NESTED_MAX = 60
_COMPARE = {">": op.gt, ">=": op.ge, "<": op.lt, "<=": op.le, "==": op.eq, "!=": op.ne}
IN_WORDS = {">": "over", ">=": "at or over", "<": "under", "<=": "at or under", "==": "equal to", "!=": "other than"}
_FLIPPED = {">": "<", ">=": "<=", "<": ">", "<=": ">=", "==": "==", "!=": "!="}


def split(expression: str) -> tuple[str, str, str]:
    """(measured side, comparison, limit) of an alert's expression; ("…", "", "") where it compares nothing.

    Of conditions joined by and/unless the left one counts. "0.5 > x" is read as "x < 0.5".
    """
    if len(expression) > _EXPRESSION_MAX or expression.count("(") > _NESTED_MAX:
        return expression, "", ""
    try:
        node = promql_parser.parse(expression)
    except ValueError:
        return expression, "", ""
    while (inner := _left_of(node)) is not None:
        node = inner
    if not isinstance(node, promql_parser.BinaryExpr) or str(node.op) not in _FLIPPED:
        return expression, "", ""
    if isinstance(node.lhs, promql_parser.NumberLiteral):
        return str(node.rhs), _FLIPPED[str(node.op)], str(node.lhs)
    return str(node.lhs), str(node.op), str(node.rhs)


def _left_of(node: Any) -> Any:
    """What stands in parentheses, or left of a join of conditions; None where `node` is neither."""
    if isinstance(node, promql_parser.ParenExpr):
        return node.expr
    if isinstance(node, promql_parser.BinaryExpr) and str(node.op) in ("and", "unless"):
        return node.lhs
    return None


def of_generator(url: str) -> str:
    """The expression in Prometheus' own link (g0.expr); empty where the link is of another kind."""
    try:
        link = urlsplit(url)
        values = parse_qs(link.query, max_num_fields=20).get("g0.expr", [])
    except ValueError:
        return ""
    if link.scheme not in ("http", "https") or not values:
        return ""
    return values[0].strip()[:_EXPRESSION_MAX]


def holds(value: float, operator: str, limit: float | None) -> bool:
    """Whether `value operator limit`; an expression that compares nothing holds where it has a value."""
    compare = _COMPARE.get(operator)
    return limit is None or compare is None or bool(compare(value, limit))


def holds_since(rows: pd.DataFrame, operator: str, limit: float | None) -> datetime | None:
    """Since when the condition has held without a break up to the last sample; None where it does not or always did."""
    held = [holds(value, operator, limit) for value in rows["value"]]
    first = len(held)
    while first > 0 and held[first - 1]:
        first -= 1
    if first in (0, len(held)):
        return None
    moment_of: datetime = rows["time"].iloc[first].to_pydatetime()
    return moment_of


def constant(text: str) -> float | None:
    """The number that a limit is; None where it is an expression of its own."""
    try:
        return float(text)
    except ValueError:
        return None
