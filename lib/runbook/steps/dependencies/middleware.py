"""Redis and NATS, by their own metrics."""

from __future__ import annotations

import math

from runbook.alert import Window
from runbook.findings import Finding
from runbook.outcome import Status
from runbook.sources.metrics import Metrics, union
from runbook.steps.dependencies.figures import Nats, Redis
from runbook.steps.dependencies.wording import nats_title
from runbook.steps.shared.grading import graded
from runbook.steps.shared.levels import level, part, usually
from runbook.words import amount

NATS_QUERIES = {
    "published": "sum(rate(cryptofunk_nats_messages_published_total[5m])) * 60",
    "received": "sum(rate(cryptofunk_nats_messages_received_total[5m])) * 60",
}


def redis(metrics: Metrics, window: Window) -> Finding[Redis]:
    """Redis: its cache's hit rate now against the usual one."""
    frame = metrics.range("min(cryptofunk_redis_cache_hit_rate)", window.start, window.as_of, series=2).frame
    rate = level(frame, window)
    if not math.isfinite(rate.now):
        return Finding(
            Status.UNKNOWN,
            "Redis: no current sample of cryptofunk_redis_cache_hit_rate",
            "So it cannot be said whether the cache serves; see the redis pod below.",
        )
    found = Redis(rate.now, rate.usual, fell=rate.now < 0.7 * rate.usual)
    title = f"Redis answers {amount(rate.now, '%')} of requests from its cache"
    if not rate.has_history:
        return Finding(Status.UNKNOWN, title, f"Usually: {usually(rate.usual)}, so it may be low.", found)
    if not found.fell:
        return Finding(Status.OK, title, figures=found)
    return Finding(
        Status.WARNING,
        f"{title}; usually {amount(rate.usual, '%')}",
        "What the cache does not answer falls on the exchange's and CoinGecko's APIs and on the database.",
        found,
    )


def nats(metrics: Metrics, window: Window) -> Finding[Nats]:
    """NATS: messages published and received a minute, now against the usual."""
    frame = metrics.range(union(NATS_QUERIES), window.start, window.as_of, series=2).frame
    published, received = level(part(frame, "published"), window), level(part(frame, "received"), window)
    if not math.isfinite(published.now) or not math.isfinite(received.now):
        return Finding(
            Status.UNKNOWN,
            "NATS: its message counters have no current sample",
            "cryptofunk_nats_messages_published_total or _received_total is missing.",
        )
    found = Nats(
        published.now,
        received.now,
        published.usual,
        received.usual,
        silent=published.now < 0.2 * published.usual or (published.now == 0 and received.now == 0),
        lost=received.now < 0.8 * published.now,
    )
    usual, usual_received = usually(found.usual, digits=1), usually(found.usual_received, digits=1)
    return Finding(
        graded(found.silent, found.lost, not published.has_history),
        nats_title(found),
        f"Usually {usual} published and {usual_received} received.",
        found,
    )
