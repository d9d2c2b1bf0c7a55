"""The exchange as our requests see it: errors by type, requests and latency by endpoint, against the usual."""

from __future__ import annotations

import math
from datetime import datetime

import pandas as pd

from runbook.alert import Window
from runbook.legacy import Finding
from runbook.outcome import Status
from runbook.steps.shared.levels import by_label, level, levels_table, or_zero
from runbook.words import amount

QUERIES = {
    "errors": "sum by (error_type) (rate(cryptofunk_exchange_api_errors_total[5m])) * 60",
    "requests": "sum by (endpoint) (rate(cryptofunk_exchange_api_latency_ms_count[5m])) * 60",
    "p95": "histogram_quantile(0.95, sum by (le, endpoint) (rate(cryptofunk_exchange_api_latency_ms_bucket[5m])))",
}


def judged(frame: pd.DataFrame, window: Window) -> Finding:
    """The finding "dependencies.exchange" from the answers to QUERIES over the window."""
    errors = {name: level(rows, window, least=0.5) for name, rows in by_label(frame, "error_type", "errors").items()}
    asked = {name: level(rows, window, factor=2.0) for name, rows in by_label(frame, "endpoint", "requests").items()}
    slow = {name: level(rows, window, factor=2.0) for name, rows in by_label(frame, "endpoint", "p95").items()}
    if not any(math.isfinite(one.now) for one in (*errors.values(), *asked.values())):
        return Finding("dependencies.exchange", Status.UNKNOWN, "The exchange: no current sample of its errors and latency",
                       "cryptofunk_exchange_api_errors_total and cryptofunk_exchange_api_latency_ms are missing.")  # fmt: skip
    total = sum(or_zero(one.now) for one in errors.values())
    usual = sum(or_zero(one.usual) for one in errors.values())
    kind = max(errors, key=lambda name: or_zero(errors[name].now), default="")
    share = or_zero(errors[kind].now) / total if total > 0 else 0.0
    grown = max(asked, key=lambda name: or_zero(asked[name].growth), default="")
    slowest = max(slow, key=lambda name: or_zero(slow[name].growth), default="")
    growth = asked[grown].growth if grown else float("nan")
    slowdown = slow[slowest].growth if slowest else float("nan")
    trouble = total > max(3 * usual, usual + 0.5)
    began = errors[kind].rose_at if trouble else None
    rows = [(f"errors: {name}", one) for name, one in errors.items()] + [
        (f"requests: {name}", one) for name, one in asked.items()
    ]
    tables = (
        levels_table("Exchange, per minute", rows, ""),
        levels_table("Exchange latency, p95", list(slow.items()), "ms"),
    )
    detail = f"Usually {amount(round(usual, 2))} errors a minute. "
    detail += (
        f"Requests to {grown} are {amount(growth, 'ratio')} times the usual, since {_clock(asked[grown].rose_at)}. "
        if growth >= 2
        else "Requests are as usual. "
    )
    detail += (
        f"Latency of {slowest} is {amount(slowdown, 'ratio')} times the usual."
        if slowdown >= 2
        else "Latency is as usual."
    )
    return Finding(
        "dependencies.exchange",
        Status.CRITICAL if trouble and total >= 6 else Status.WARNING if trouble or slowdown >= 2 or growth >= 2 else Status.OK,
        f"The exchange refuses {amount(round(total, 1))} requests a minute: {amount(share, '%')} of them {kind}" + (f", since {_clock(began)}" if began else "")
        if trouble
        else f"The exchange answers as usual ({amount(round(total, 2))} errors a minute)" if not slowdown >= 2
        else f"The exchange is slow: {slowest} takes {amount(slow[slowest].now, 'ms')} (p95), usually {amount(slow[slowest].usual, 'ms')}",
        detail,
        {"errors_per_minute": total, "usual_errors_per_minute": usual, "trouble": trouble, "kind": kind if trouble else "", "kind_share": share,
         "since": began, "endpoint": grown if growth >= 2 else "", "request_growth": growth, "requests_since": asked[grown].rose_at if grown else None,
         "requests_now": asked[grown].now if grown else None, "requests_usual": asked[grown].usual if grown else None,
         "slow_endpoint": slowest if slowdown >= 2 else "", "slowdown": slowdown},
        tuple(table for table in tables if len(table.frame)),
        series={"errors": by_label(frame, "error_type", "errors"), "requests": by_label(frame, "endpoint", "requests")},
    )  # fmt: skip


def _clock(at: datetime | None) -> str:
    return f"{at:%H:%M} UTC" if at else "before the window"
