"""Workers as a queue: `python -m benchmarks.queueing` prints how long pages wait at today's alerts, 10× and 1000×.

M/G/c with bursts: alerts come at random, some of them as storms of many at once; each takes a time drawn from
measured runs; `c` reports run at once. Two at once on two processors do not take twice as long each, but longer:
measured service times already hold that.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass

HOURS = 200.0


@dataclass(frozen=True, slots=True)
class Load:
    """Alerts an hour that come one by one, storms a day, and alerts in each storm."""

    name: str
    alerts_an_hour: float
    storms_a_day: float
    storm: int


TODAY = Load("today", 6, 1, 20)
"""What the written runbook's platform sees: some 150 alerts a day, and one incident that sets off many."""

TEN = Load("10×", 60, 10, 20)
THOUSAND = Load("1000×", 6_000, 24, 800)


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds from alert to page: median, 99th percentile, greatest; and the share of time that workers are busy."""

    median: float
    p99: float
    most: float
    busy: float


def drain_seconds(alerts: int, at_once: int, service: Sequence[float], seed: int = 1) -> float:
    """How long `alerts` that came together keep `at_once` slots busy, with service times drawn from `service`."""
    drawn = random.Random(seed)
    free = [0.0] * at_once
    for _ in range(alerts):
        heapq.heappush(free, heapq.heappop(free) + drawn.choice(service))
    return max(free)


def simulate(load: Load, at_once: int, service: Sequence[float], hours: float = HOURS, seed: int = 1) -> Waits:
    """Alert to page over `hours` of `load` with `at_once` reports at once."""
    drawn = random.Random(seed)
    free, waits, busy = [0.0] * at_once, [], 0.0
    for arrived in _arrivals(load, hours * 3600, drawn):
        takes = drawn.choice(service)
        ended = max(arrived, heapq.heappop(free)) + takes
        heapq.heappush(free, ended)
        waits.append(ended - arrived)
        busy += takes
    waits.sort()
    share = busy / (at_once * max(*free, hours * 3600))
    return Waits(waits[len(waits) // 2], waits[int(len(waits) * 0.99)], waits[-1], share)


def least_workers(load: Load, service: Sequence[float], p99_seconds: float, at_once: int = 2) -> int:
    """How many workers of `at_once` reports keep the 99th percentile under `p99_seconds`."""
    workers = 1
    while simulate(load, workers * at_once, service, hours=24).p99 > p99_seconds:
        workers = workers + 1 if workers < 8 else int(workers * 1.25)
    return workers


def _arrivals(load: Load, until: float, drawn: random.Random) -> list[float]:
    moments, now = [], 0.0
    while (now := now + drawn.expovariate(load.alerts_an_hour / 3600)) < until:
        moments.append(now)
    now = 0.0
    while (now := now + drawn.expovariate(load.storms_a_day / 86_400)) < until:
        moments += [now] * load.storm
    return sorted(moments)


def main() -> None:
    """Print the table of docs/scaling.md for service times of 0.6 to 1.0 s (two at once on two processors)."""
    service = [0.6, 0.7, 0.75, 0.8, 1.0]
    for load in (TODAY, TEN, THOUSAND):
        for workers in sorted({1, 2, 4, least_workers(load, service, 30.0)}):
            waits = simulate(load, 2 * workers, service, hours=48)
            print(
                f"{load.name:6} {workers:3} workers: median {waits.median:8.1f} s, p99 {waits.p99:9.1f} s, "
                f"most {waits.most:9.1f} s, busy {waits.busy:.1%}"
            )


if __name__ == "__main__":
    main()
