"""Quantiles of the platform's histograms: none reads higher than the end of the last finite bucket.

What stands at that end is "at least that": whether it is twice or twenty times as much is not known, and between two
such readings nothing can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from runbook.words import amount

ENDS_MS: Mapping[str, float] = {
    "agent_decision_duration_seconds": 5_000,
    "cryptofunk_agent_processing_duration_ms": 5_000,
    "cryptofunk_api_request_duration_ms": 5_000,
    "cryptofunk_audit_log_latency_ms": 500,
    "cryptofunk_database_query_duration_ms": 1_000,
    "cryptofunk_exchange_api_latency_ms": 5_000,
    "cryptofunk_llm_request_duration_ms": 10_000,
    "cryptofunk_mcp_tool_call_duration_ms": 2_500,
    "cryptofunk_orchestrator_latency_ms": 5_000,
    "cryptofunk_order_execution_latency_ms": 5_000,
    "cryptofunk_vault_request_duration_ms": 2_500,
    "cryptofunk_vector_search_latency_seconds": 10_000,
    "health_check_latency_ms": 2_000,
}
"""Where the last finite bucket of each ends, in milliseconds."""
_ROUNDING = 1e-3


def quantile(q: float, metric: str, by: str = "", over: str = "5m", offset: str = "") -> str:
    """PromQL: the quantile of what a histogram observed, by labels where some are given; `offset` before the moment."""
    labels = f"le, {by}" if by else "le"
    earlier = f" offset {offset}" if offset else ""
    return f"histogram_quantile({q:g}, sum by ({labels}) (rate({metric}_bucket[{over}]{earlier})))"


def is_capped(value_ms: float, metric: str) -> bool:
    """Whether a quantile stands at the end of the last bucket, so that it may be more."""
    end = ENDS_MS.get(metric, math.inf)
    return math.isclose(value_ms, end, rel_tol=_ROUNDING)


def reading(value_ms: float, metric: str) -> str:
    """A quantile in words: "850 ms", "at least 1,000 ms"."""
    shown = amount(value_ms, "ms")
    return f"at least {shown}" if is_capped(value_ms, metric) else shown


def growth(now_ms: float, before_ms: float, metric: str) -> float:
    """How many times as much it is, at least; NaN where nothing can be compared."""
    is_comparable = before_ms > 0 and math.isfinite(before_ms) and not is_capped(before_ms, metric)
    return now_ms / before_ms if is_comparable else math.nan
