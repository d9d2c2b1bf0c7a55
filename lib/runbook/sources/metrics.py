"""Prometheus: instant and range queries, with steps chosen so that few enough points come back."""

from __future__ import annotations

import json
import math
import re
import shlex
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx

from runbook.errors import NotConfigured
from runbook.sources.evidence import Answer, Evidence, Partial, Recording
from runbook.sources.http_json import client_of, get_json
from runbook.sources.samples import frame_of, missing_of, names_of, rules_of, warnings_of

NAME = "metrics"
POINTS_MAX = 2_000
STEP_MIN_SECONDS = 15


def quote(value: str) -> str:
    """`value` as a PromQL string literal, whatever it holds."""
    # JSON's escapes are Go's, apart from surrogate pairs, which ensure_ascii=False does not write.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def quote_pattern(value: str) -> str:
    """`value` as a PromQL string literal that matches itself only in =~ (RE2 syntax)."""
    return quote(_literally(value))


def _literally(value: str) -> str:
    return re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", value)


def selector(**labels: str | None) -> str:
    """{name="value",…} from the labels that are given; empty text for none."""
    pairs = [f"{name}={quote(value)}" for name, value in labels.items() if value]
    return "{" + ",".join(pairs) + "}" if pairs else ""


def union(expressions: Mapping[str, str]) -> str:
    """Several expressions as one query: each one's series carry its name in the label `what`."""
    return "\nor\n".join(f'label_replace({text}, "what", {quote(name)}, "", "")' for name, text in expressions.items())


class Metrics:
    """Asks Prometheus. Answers are tidy DataFrames: `time` (UTC), `value`, and one text column a label."""

    name = NAME

    def __init__(self, url: str | None, evidence: Evidence) -> None:
        self._url = url.rstrip("/") if url else None
        self._evidence = evidence
        self._recording = Recording.at(url)
        self._client: httpx.Client | None = None
        self._lock = threading.Lock()

    def instant(self, expression: str, at: datetime) -> Answer:
        """`expression` at one moment: one row a series. Raises SourceError."""
        return self._ask("query", expression, {"time": _stamp(at)})

    def range(
        self,
        expression: str,
        start: datetime,
        end: datetime,
        *,
        series: int = 8,
        step: int | None = None,
        may_end: bool = False,
    ) -> Answer:
        """`expression` over [start, end]: one row a point, at most 2,000 in all for `series` expected series.

        `step` in seconds is chosen when not given: at least 15 s (the scrape interval). An answer whose samples end
        before `end` is not whole, unless they `may_end`.
        """
        points = max(2, POINTS_MAX // max(series, 1))
        span = max((end - start).total_seconds(), 1)
        step = step or max(STEP_MIN_SECONDS, math.ceil(span / (points - 1) / STEP_MIN_SECONDS) * STEP_MIN_SECONDS)
        times = {"start": _stamp(start), "end": _stamp(end), "step": str(step)}
        return self._ask("query_range", expression, times, None if may_end else end)

    def rules(self) -> Answer:
        """Every alerting rule: DataFrame name, expression, for_seconds, state, labels, annotations, health."""
        return self._evidence.ask(
            NAME,
            "/api/v1/rules",
            {"type": "alert"},
            'curl -sG "$PROMETHEUS_URL/api/v1/rules" --data-urlencode type=alert',
            self._rules,
            replay=self._recording,
        )

    def existing(self, names: Sequence[str]) -> Answer:
        """Those of `names` that are metrics which Prometheus has or had samples of: a list."""
        path = "/api/v1/label/__name__/values"
        pattern = quote("|".join(map(_literally, names)))
        parameters = {"match[]": f"{{__name__=~{pattern}}}"}
        argument = shlex.quote(f"match[]={{__name__=~{pattern}}}")
        return self._evidence.ask(
            NAME,
            path,
            parameters,
            f'curl -sG "$PROMETHEUS_URL{path}" --data-urlencode {argument}',
            lambda: names_of(self._get(path, parameters)),
            replay=self._recording,
        )

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _rules(self) -> Partial:
        content = self._get("/api/v1/rules", {"type": "alert"})
        return Partial(rules_of(content), warnings_of(content))

    def _samples(self, endpoint: str, expression: str, times: Mapping[str, str], end: datetime | None) -> Partial:
        content = self._get(f"/api/v1/{endpoint}", {"query": expression, **times})
        frame = frame_of(content)
        return Partial(frame, missing_of(content, frame, expression, end))

    def _ask(self, endpoint: str, expression: str, times: Mapping[str, str], end: datetime | None = None) -> Answer:
        arguments = " ".join(
            f"--data-urlencode {shlex.quote(f'{k}={v}')}" for k, v in {"query": expression, **times}.items()
        )
        return self._evidence.ask(
            NAME,
            expression,
            times,
            f'curl -sG "$PROMETHEUS_URL/api/v1/{endpoint}" {arguments}',
            lambda: self._samples(endpoint, expression, times, end),
            replay=self._recording,
        )

    def _get(self, path: str, parameters: Mapping[str, str]) -> Any:
        if not self._url:
            raise NotConfigured("metrics are not configured: set PROMETHEUS_URL to Prometheus")
        with self._lock:  # steps ask side by side, and a second client would never be closed
            if self._client is None:
                self._client = client_of(self._url, self._evidence.limit_seconds)
        limit_seconds = self._evidence.limit_seconds
        return get_json(self._client, self._url + path, parameters, NAME, "PROMETHEUS_URL", limit_seconds)


def _stamp(moment: datetime) -> str:
    return f"{moment.astimezone(UTC).timestamp():.3f}".removesuffix(".000")
