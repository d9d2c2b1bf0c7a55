"""/metrics: this process's webhook figures, and from the database what all processes did."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from runbook.errors import StorageError
from runbook.history import listing
from runbook.history.listing import Count, Figures
from runbook.history.runs import SECONDS_BUCKETS
from runbook.service.context import Context


class Metrics:
    """What a scrape shows. Labels are procedures, severities and states: nothing an alert brings in."""

    def __init__(self, context: Context) -> None:
        self.registry = CollectorRegistry()
        self._results = Counter(
            "runbook_webhook_messages", "Webhook messages by result", ["result"], registry=self.registry
        )
        self._seconds = Histogram(
            "runbook_webhook_seconds",
            "Time to answer a webhook message",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0),
            registry=self.registry,
        )
        self.registry.register(_FromHistory(context))

    def webhook(self, result: str, seconds: float) -> None:
        """Count one webhook message."""
        self._results.labels(result).inc()
        self._seconds.observe(seconds)

    def text(self) -> bytes:
        """All figures in Prometheus's text format. Asks the database."""
        return generate_latest(self.registry)


class _FromHistory(Collector):
    def __init__(self, context: Context) -> None:
        self.context = context

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("runbook_database_up", "Whether the queue's database answers")
        try:
            with self.context.database.transaction() as connection:
                figures = listing.figures(connection)
        except StorageError:
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        yield from _counts(figures.counts)
        yield from _gauges(figures)


def _counts(counts: list[Count]) -> Iterator[Metric]:
    runs = CounterMetricFamily("runbook_runs", "Runs by procedure and how they ended", labels=["procedure", "state"])
    messages = CounterMetricFamily("runbook_messages", "Messages by medium and result", labels=["medium", "result"])
    seconds = HistogramMetricFamily("runbook_run_seconds", "How long runs took", labels=["procedure"])
    buckets: dict[str, dict[str, float]] = {}
    sums: dict[str, float] = {}
    for item in counts:
        match item.metric, item.labels:
            case "runs", labels:
                runs.add_metric(labels, item.value)
            case "messages", labels:
                messages.add_metric(labels, item.value)
            case "run_seconds", [procedure, edge]:
                buckets.setdefault(procedure, {})[edge] = item.value
            case "run_seconds_sum", [procedure]:
                sums[procedure] = item.value
    for procedure, found in buckets.items():
        total, rising = 0.0, []
        for edge in (*(str(edge) for edge in SECONDS_BUCKETS), "+Inf"):
            total += found.get(edge, 0.0)
            rising.append((edge, total))
        seconds.add_metric([procedure], rising, sums.get(procedure, 0.0))
    yield from (runs, messages, seconds)


def _gauges(figures: Figures) -> Iterator[Metric]:
    depth = GaugeMetricFamily("runbook_queue_runs", "Runs that wait or run", labels=["state", "severity"])
    oldest = GaugeMetricFamily("runbook_queue_oldest_seconds", "Age of the oldest waiting run")
    incidents = GaugeMetricFamily("runbook_incidents_open", "Open incidents", labels=["severity"])
    waiting = GaugeMetricFamily("runbook_messages_unsent", "Messages that are not out", labels=["medium", "state"])
    workers = GaugeMetricFamily("runbook_workers", "Worker processes that gave a sign of life in 30 s")
    for live in figures.live:
        depth.add_metric([live.state, live.severity], live.count)
    ages = [float(live.oldest_seconds) for live in figures.live if live.state == "queued"]
    oldest.add_metric([], max(ages, default=0.0))
    for open_incidents in figures.incidents:
        incidents.add_metric([open_incidents.severity], open_incidents.count)
    for unsent in figures.messages:
        waiting.add_metric([unsent.medium, unsent.state], unsent.count)
    workers.add_metric([], figures.workers)
    yield from (depth, oldest, incidents, waiting, workers)
