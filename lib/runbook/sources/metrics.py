"""Prometheus: instant and range queries, with steps chosen so that few enough points come back."""

from __future__ import annotations

import json
import math
import re
import shlex
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import httpx
import numpy as np
import pandas as pd

from runbook.errors import NotConfigured, QueryFailed, SourceUnavailable
from runbook.sources.evidence import Answer, Evidence, Recording

NAME = "metrics"
POINTS_MAX = 2_000
STEP_MIN_SECONDS = 15
_BYTES_MAX = 32 * 1024 * 1024


def quote(value: str) -> str:
    """`value` as a PromQL string literal, whatever it holds."""
    # JSON's escapes are Go's, apart from surrogate pairs, which ensure_ascii=False does not write.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def quote_pattern(value: str) -> str:
    """`value` as a PromQL string literal that matches itself only in =~ (RE2 syntax)."""
    return quote(re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", value))


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
        self, expression: str, start: datetime, end: datetime, *, series: int = 8, step: int | None = None
    ) -> Answer:
        """`expression` over [start, end]: one row a point, at most 2,000 in all for `series` expected series.

        `step` in seconds is chosen when not given: at least 15 s (the scrape interval).
        """
        points = max(2, POINTS_MAX // max(series, 1))
        span = max((end - start).total_seconds(), 1)
        step = step or max(STEP_MIN_SECONDS, math.ceil(span / (points - 1) / STEP_MIN_SECONDS) * STEP_MIN_SECONDS)
        return self._ask("query_range", expression, {"start": _stamp(start), "end": _stamp(end), "step": str(step)})

    def rules(self) -> Answer:
        """Every alerting rule: DataFrame name, expression, for_seconds, state, labels, annotations, health."""
        return self._evidence.ask(
            NAME,
            "/api/v1/rules",
            {"type": "alert"},
            'curl -sG "$PROMETHEUS_URL/api/v1/rules" --data-urlencode type=alert',
            lambda: _rules(self._get("/api/v1/rules", {"type": "alert"})),
            replay=self._recording,
        )

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _ask(self, endpoint: str, expression: str, times: Mapping[str, str]) -> Answer:
        arguments = " ".join(
            f"--data-urlencode {shlex.quote(f'{k}={v}')}" for k, v in {"query": expression, **times}.items()
        )
        return self._evidence.ask(
            NAME,
            expression,
            times,
            f'curl -sG "$PROMETHEUS_URL/api/v1/{endpoint}" {arguments}',
            lambda: _frame(self._get(f"/api/v1/{endpoint}", {"query": expression, **times})),
            replay=self._recording,
        )

    def _get(self, path: str, parameters: Mapping[str, str]) -> Any:
        if not self._url:
            raise NotConfigured("metrics are not configured: set PROMETHEUS_URL to Prometheus")
        with self._lock:  # steps ask side by side, and a second client would never be closed
            if self._client is None:
                self._client = client_of(self._url, self._evidence.limit_seconds)
        return get_json(self._client, self._url + path, parameters, NAME, "PROMETHEUS_URL")


def client_of(url: str, limit_seconds: float) -> httpx.Client:
    """A client for `url`, which keeps its connections; certificates are checked where it speaks TLS.

    Where it does not, their authorities are not loaded (15 ms): a redirect to TLS is not followed.
    """
    has_tls = not url.lower().startswith("http:")
    return httpx.Client(timeout=limit_seconds, follow_redirects=False, trust_env=False, verify=has_tls)


def get_json(client: httpx.Client, url: str, parameters: Mapping[str, Any], source: str, variable: str) -> Any:
    """The JSON body of a GET, at most 32 MiB of it. Raises SourceError naming `source` and `variable`."""
    try:
        with client.stream("GET", url, params=dict(parameters)) as response:
            body = bytearray()
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > _BYTES_MAX:
                    raise QueryFailed(f"{source} sent over 32 MiB; ask a narrower question")
        content = json.loads(body)
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError):
        raise NotConfigured(f"{source}: {variable} is not an http address") from None
    except httpx.TimeoutException:
        raise SourceUnavailable(f"{source} did not answer in time") from None
    except httpx.HTTPError as error:
        raise SourceUnavailable(f"{source} cannot be reached ({type(error).__name__}); is {variable} right?") from None
    except ValueError:
        raise SourceUnavailable(f"{source} answered {response.status_code} with something that is not JSON") from None
    if isinstance(content, Mapping) and content.get("status") == "error":
        text = str(content.get("error", "")).splitlines() or [""]
        raise QueryFailed(f"{source} refused the query: {text[0][:300]}")
    if response.status_code in (401, 403):
        raise SourceUnavailable(f"{source} refused access ({response.status_code}); {variable} needs credentials")
    if response.status_code >= 300:
        raise SourceUnavailable(f"{source} answered {response.status_code}")
    return content


def _stamp(moment: datetime) -> str:
    return f"{moment.astimezone(UTC).timestamp():.3f}".removesuffix(".000")


def _frame(content: Any) -> pd.DataFrame:
    """A query's result (vector, matrix or scalar) -> tidy DataFrame sorted by labels and time."""
    try:
        kind, result = content["data"]["resultType"], content["data"]["result"]
        if kind == "scalar":
            result = [{"metric": {}, "value": result}]
        series = [
            ({_label(name): value for name, value in one["metric"].items()}, one.get("values") or [one["value"]])
            for one in result
        ]
        labels = sorted({name for names, _ in series for name in names})
        series.sort(key=lambda one: [one[0].get(name, "") for name in labels])
        samples = [sample for _, part in series for sample in part]
        times = pd.to_datetime(pd.Series([float(at) for at, _ in samples], dtype="float64"), unit="s", utc=True)
        values = np.array([float(value) for _, value in samples], dtype="float64")
    except (KeyError, TypeError, ValueError, AttributeError):
        raise SourceUnavailable(
            "metrics answered in a form that Prometheus does not use; is PROMETHEUS_URL right?"
        ) from None
    lengths = [len(part) for _, part in series]
    columns = {
        name: np.repeat(np.array([names.get(name, "") for names, _ in series], dtype="object"), lengths)
        for name in labels
    }
    return pd.DataFrame({"time": times.astype("datetime64[us, UTC]"), "value": values} | columns).astype(
        dict.fromkeys(labels, "object")
    )


def _label(name: str) -> str:
    """A label's column; those named like ours get Prometheus' own prefix for such clashes."""
    return f"exported_{name}" if name in ("time", "value") else name


def _rules(content: Any) -> pd.DataFrame:
    columns = ["name", "expression", "for_seconds", "state", "labels", "annotations", "health"]
    try:
        rows = [
            [
                r["name"],
                r["query"],
                float(r.get("duration", 0)),
                r.get("state", ""),
                r.get("labels", {}),
                r.get("annotations", {}),
                r["health"],
            ]
            for group in content["data"]["groups"]
            for r in group["rules"]
            if r.get("type") == "alerting"
        ]
    except (KeyError, TypeError, ValueError):
        raise SourceUnavailable(
            "metrics answered in a form that Prometheus does not use; is PROMETHEUS_URL right?"
        ) from None
    return pd.DataFrame(rows, columns=columns)
