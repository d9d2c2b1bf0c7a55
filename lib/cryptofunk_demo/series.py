"""Time series on the demo's scrape grid, and how an incident's overrides change them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf

import numpy as np

from cryptofunk_demo.incident import Override
from cryptofunk_demo.market import Floats
from cryptofunk_demo.moment import AS_OF, MOMENT

MINUTE = 60.0


def grid(*parts: tuple[float, int]) -> Floats:
    """Unix seconds up to `AS_OF`: for each (hours before, seconds) that spacing from then on."""
    end = int(AS_OF.timestamp())
    spans = [*parts, (0.0, 0)]
    pieces = [
        np.arange(end - int(hours * 3600), end - int(spans[i + 1][0] * 3600), step, dtype=np.float64)
        for i, (hours, step) in enumerate(parts)
    ]
    return np.concatenate([*pieces, [float(end)]])


# Trading gauges are scraped for the whole 48 hours; rates and resources reach back one day.
FINE = grid((47.9, 120), (8, 15))
COARSE = grid((26, 120), (8, 30))


@dataclass(frozen=True, slots=True)
class Series:
    """One series: its name, labels and a value for each time (NaN where it was not scraped)."""

    name: str
    labels: Mapping[str, str]
    times: Floats
    values: Floats


class Recorder:
    """Makes series with an incident's overrides applied. `facts` are the simulation's figures."""

    def __init__(self, overrides: Sequence[Override], facts: Mapping[str, float], seed: int) -> None:
        self._overrides = overrides
        self._facts = facts
        self._rng = np.random.default_rng([seed, 5])

    def gauge(
        self,
        name: str,
        value: Floats | float,
        labels: Mapping[str, str] | None = None,
        *,
        times: Floats = FINE,
        noise: float = 0.0,
    ) -> Iterator[Series]:
        """A gauge of `value`, with relative `noise`."""
        labels = labels or {}
        values = np.broadcast_to(np.asarray(value, dtype=np.float64), times.shape).copy()
        if noise:
            values *= 1 + noise * self._rng.standard_normal(times.shape)
        for override in self._matching(name, labels):
            share = _share(override, times)
            if override.scale is not None:
                values *= 1 + (override.scale - 1) * share
            target = self._facts[override.fact] if override.fact else override.value
            if target is not None:
                values += (target - values) * share
            if override.noise:
                values *= 1 + override.noise * share * self._rng.standard_normal(times.shape)
        yield Series(name, labels, times, values)

    def counter(
        self,
        name: str,
        per_minute: float,
        labels: Mapping[str, str] | None = None,
        *,
        start: float = 0.0,
        times: Floats = COARSE,
        whole: bool = True,
    ) -> Iterator[Series]:
        """A counter that grows by about `per_minute` a minute; `value` of an override replaces that rate."""
        labels = labels or {}
        rate = self._rate(name, labels, per_minute, times)
        steps = np.diff(times, prepend=times[0]) / MINUTE
        grown = self._rng.poisson(rate * steps) if whole else rate * steps * self._rng.normal(1, 0.05, times.shape)
        yield Series(name, labels, times, start + np.cumsum(np.maximum(grown, 0.0)))

    def histogram(
        self,
        name: str,
        per_minute: float,
        typical: float,
        bounds: Sequence[float],
        labels: Mapping[str, str] | None = None,
        *,
        spread: float = 0.45,
        times: Floats = COARSE,
        is_regular: bool = False,
    ) -> Iterator[Series]:
        """A log-normal histogram around `typical`; overrides of `name` change durations, of `name`_count the rate.

        Where `is_regular`, what is measured happens at an even pace, else at random times.
        """
        labels = labels or {}
        middle = np.full(times.shape, float(typical))
        for override in self._matching(name, labels):
            share = _share(override, times)
            target = override.value if override.value is not None else typical * (override.scale or 1)
            middle = middle + (target - middle) * share
        middle *= 1 + 0.04 * self._rng.standard_normal(times.shape)
        rate = self._rate(f"{name}_count", labels, per_minute, times)
        steps = np.diff(times, prepend=times[0]) / MINUTE
        counts = rate * steps if is_regular else self._rng.poisson(rate * steps).astype(np.float64)
        for bound in (*bounds, inf):
            below = _share_below(bound, middle, spread) if bound < inf else np.ones(times.shape)
            total = np.floor(np.cumsum(counts * below) + 1e-6)
            text = "+Inf" if bound == inf else f"{bound:g}"
            yield Series(f"{name}_bucket", {**labels, "le": text}, times, total)
        yield Series(f"{name}_sum", labels, times, np.cumsum(counts * middle * np.exp(spread**2 / 2)))
        yield Series(f"{name}_count", labels, times, np.cumsum(counts))

    def _rate(self, name: str, labels: Mapping[str, str], per_minute: float, times: Floats) -> Floats:
        rate = np.full(times.shape, float(per_minute))
        for override in self._matching(name, labels):
            share = _share(override, times)
            target = override.value if override.value is not None else per_minute * (override.scale or 1)
            rate = rate + (target - rate) * share
        return rate

    def _matching(self, name: str, labels: Mapping[str, str]) -> Iterator[Override]:
        for override in self._overrides:
            if override.metric == name and override.labels.items() <= labels.items():
                yield override


def _share_below(bound: float, middle: Floats, spread: float) -> Floats:
    """The log-normal distribution function, through the logistic curve that lies within 0.01 of it."""
    return np.asarray(1 / (1 + np.exp(-1.702 * (np.log(bound) - np.log(middle)) / spread)))


def _share(override: Override, times: Floats) -> Floats:
    """How far the override is in force at each time, 0 to 1."""
    minutes = (times - MOMENT.timestamp()) / MINUTE
    inside = (minutes >= override.start_minute) & (minutes < override.end_minute)
    if not override.ramp_minutes:
        return inside.astype(np.float64)
    return np.where(inside, np.clip((minutes - override.start_minute) / override.ramp_minutes, 0.0, 1.0), 0.0)


def spans(name: str, labels: Mapping[str, str], firings: Iterable[tuple[datetime, datetime]]) -> Iterator[Series]:
    """A series that is 1 during `firings` and absent otherwise, once a minute; for ALERTS."""
    for start, end in firings:
        count = max(1, int((end - start) / timedelta(minutes=1)) + 1)
        times = start.timestamp() + MINUTE * np.arange(count, dtype=np.float64)
        yield Series(name, labels, times, np.ones(count))


def openmetrics(series: Iterable[Series]) -> Iterator[str]:
    """The series as OpenMetrics text, one piece a series, and its end mark."""
    known = {id(times): _stamps(times) for times in (FINE, COARSE)}
    for line in series:
        times = known.get(id(line.times)) or _stamps(line.times)
        labels = ",".join(f'{key}="{_escaped(value)}"' for key, value in line.labels.items())
        prefix = f"{line.name}{{{labels}}} " if labels else f"{line.name} "
        pairs = zip(line.values.tolist(), times, strict=True)
        yield "".join([f"{prefix}{value:.10g} {time}\n" for value, time in pairs]).replace(" nan ", " NaN ")
    yield "# EOF\n"


def _stamps(times: Floats) -> list[str]:
    return [f"{time:.0f}" for time in times.tolist()]


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
