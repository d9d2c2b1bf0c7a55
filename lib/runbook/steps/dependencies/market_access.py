"""The way to the market: the exchange as our requests see it, and CoinGecko as market-data-server logs it."""

from __future__ import annotations

import math

import pandas as pd

from runbook.alert import Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.cluster import Cluster
from runbook.sources.logs import COMPLAINTS
from runbook.sources.metrics import Metrics, union
from runbook.steps.dependencies.figures import CoinGecko, Exchange
from runbook.steps.dependencies.wording import exchange_detail, exchange_title
from runbook.steps.shared.grading import graded
from runbook.steps.shared.levels import Level, by_label, level, levels_table, or_zero
from runbook.steps.shared.log_patterns import patterns, unlevelled, unlevelled_detail
from runbook.words import counted, moment

EXCHANGE_QUERIES = {
    "errors": "sum by (error_type) (rate(cryptofunk_exchange_api_errors_total[5m])) * 60",
    "requests": "sum by (endpoint) (rate(cryptofunk_exchange_api_latency_ms_count[5m])) * 60",
    "p95": "histogram_quantile(0.95, sum by (le, endpoint) (rate(cryptofunk_exchange_api_latency_ms_bucket[5m])))",
}
_MANY_ERRORS = 6
"""A minute: trouble of that size is critical."""
_GROWN = 2
"""Times the usual."""
_UNSEEN = Level(math.nan, math.nan, math.nan, None)


def exchange(metrics: Metrics, window: Window) -> Finding[Exchange]:
    """The exchange: errors by type, requests and latency by endpoint, now against the usual."""
    frame = metrics.range(union(EXCHANGE_QUERIES), window.start, window.as_of, series=12).frame
    error_curves, request_curves = by_label(frame, "error_type", "errors"), by_label(frame, "endpoint", "requests")
    errors = {name: level(rows, window, least=0.5) for name, rows in error_curves.items()}
    requests = {name: level(rows, window, factor=2.0) for name, rows in request_curves.items()}
    latency = {name: level(rows, window, factor=2.0) for name, rows in by_label(frame, "endpoint", "p95").items()}
    if not any(math.isfinite(seen.now) for seen in (*errors.values(), *requests.values())):
        return Finding(
            Status.UNKNOWN,
            "The exchange: no current sample of its errors and latency",
            "cryptofunk_exchange_api_errors_total and cryptofunk_exchange_api_latency_ms are missing.",
        )
    found = _exchange(errors, requests, latency, error_curves, request_curves)
    return Finding(
        graded(
            found.trouble and found.errors_per_minute >= _MANY_ERRORS,
            found.trouble or found.slow_endpoint or found.endpoint,
        ),
        exchange_title(found),
        exchange_detail(found),
        found,
        _tables(errors, requests, latency),
    )


def _exchange(
    errors: dict[str, Level],
    requests: dict[str, Level],
    latency: dict[str, Level],
    error_curves: dict[str, pd.DataFrame],
    request_curves: dict[str, pd.DataFrame],
) -> Exchange:
    total = sum(or_zero(seen.now) for seen in errors.values())
    usual = sum(or_zero(seen.usual) for seen in errors.values())
    trouble = total > max(3 * usual, usual + 0.5)
    kind = max(errors, key=lambda name: or_zero(errors[name].now), default="")
    most = errors.get(kind, _UNSEEN)
    endpoint, asked = _most_grown(requests)
    slow_endpoint, slow = _most_grown(latency)
    return Exchange(
        total,
        usual,
        trouble,
        kind=kind if trouble else "",
        kind_share=or_zero(most.now) / total if total > 0 else 0.0,
        since=most.rose_at if trouble else None,
        endpoint=endpoint if asked.growth >= _GROWN else "",
        request_growth=asked.growth,
        requests_now=asked.now,
        requests_usual=asked.usual,
        requests_since=asked.rose_at,
        slow_endpoint=slow_endpoint if slow.growth >= _GROWN else "",
        slowdown=slow.growth,
        slow_ms=slow.now,
        usual_slow_ms=slow.usual,
        errors=error_curves,
        requests=request_curves,
    )


def _most_grown(levels: dict[str, Level]) -> tuple[str, Level]:
    """The name and level of what grew most; a level without a sample where none has a name."""
    name = max(levels, key=lambda name: or_zero(levels[name].growth), default="")
    return (name, levels[name]) if name else ("", _UNSEEN)


def _tables(errors: dict[str, Level], requests: dict[str, Level], latency: dict[str, Level]) -> tuple[Table, ...]:
    counts = [(f"errors: {name}", seen) for name, seen in errors.items()]
    counts += [(f"requests: {name}", seen) for name, seen in requests.items()]
    tables = (
        levels_table("Exchange, per minute", counts, ""),
        levels_table("Exchange latency, p95", list(latency.items()), "ms"),
    )
    return tuple(table for table in tables if len(table.frame))


def coingecko(cluster: Cluster, window: Window) -> Finding[CoinGecko]:
    """CoinGecko: what market-data-server logs about it; the platform has no metric of its own for it."""
    lines = cluster.logs("market-data-server", window.start, window.as_of, tail=2000).frame
    if lines.empty:
        return Finding(
            Status.UNKNOWN,
            "CoinGecko: market-data-server logged nothing in the window",
            "Its log is the only place that tells how CoinGecko answers.",
        )
    about = lines[_name_coingecko(lines)]
    complaints = about[about["level"].isin(COMPLAINTS)]
    found = CoinGecko(len(complaints))
    if not found.complaints and unlevelled(about):
        return Finding(
            Status.UNKNOWN,
            "CoinGecko: what market-data-server logs about it tells no level",
            unlevelled_detail(patterns(about)),
            found,
        )
    if not found.complaints:
        naming = len(about) or "none"
        return Finding(
            Status.OK,
            "No complaint about CoinGecko in the log of market-data-server",
            f"{len(lines):,} lines read, {naming} of them name it; there is no metric for it.",
            found,
        )
    last = str(complaints["message"].iloc[-1])[:160]
    return Finding(
        Status.WARNING,
        f"CoinGecko: {counted(found.complaints, 'complaint')} in the log of market-data-server",
        f"Last at {moment(complaints['time'].max())}: {last}",
        found,
    )


def _name_coingecko(lines: pd.DataFrame) -> list[bool]:
    """Whether each line names it, in its message or in a field."""
    texts = (
        " ".join([message, *fields.values()]).lower()
        for message, fields in zip(lines["message"], lines["fields"], strict=True)
    )
    return ["coingecko" in text for text in texts]
