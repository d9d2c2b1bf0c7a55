"""The API's requests: which share of them fails, since when, and on which paths."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import timedelta

import pandas as pd

from runbook.alert import Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.metrics import Metrics, quote, union
from runbook.sources.overlap import at_once
from runbook.steps.error_rates import wording
from runbook.steps.error_rates.figures import Api, Paths
from runbook.steps.shared.grading import graded
from runbook.steps.shared.levels import level, part

THRESHOLD = 0.05
_SHOWN = 20
_LEAST = 0.005
_NAME_LENGTH = 120
_PATH = ("method", "path")
_PATH_AND_STATUS = (*_PATH, "status_code", "status")
Labels = tuple[str, ...]


def requests_expression(matching: str, by: str = "") -> str:
    """PromQL: API requests a second whose status code matches, whichever of the two spellings is exported."""
    code = f"status_code=~{quote(matching)}" if matching else ""
    status = f"status=~{quote(matching)}" if matching else ""
    grouped = f"sum by ({by}) " if by else "sum"
    ours = f"{grouped}(rate(cryptofunk_http_requests_total{{{code}}}[5m]))"
    usual = f"{grouped}(rate(http_requests_total{{{status}}}[5m]))"
    return f"({ours} or {usual})"


def ratio_expression(matching: str) -> str:
    """PromQL: the share of API requests whose status code matches; 0 where requests come and none of them does."""
    everything = requests_expression("")
    return f"({requests_expression(matching)} or 0 * {everything}) / ({everything} > 0)"


RATIOS_QUERY = union(
    {
        "5xx": ratio_expression("5.."),
        "4xx": ratio_expression("4.."),
        "requests": f"{requests_expression('')} * 60",
    }
)
PATHS_QUERY = union(
    {
        "failed": f"topk({_SHOWN}, {requests_expression('[45]..', ', '.join(_PATH_AND_STATUS))} * 60)",
        "all": f"topk({5 * _SHOWN}, {requests_expression('', ', '.join(_PATH))} * 60)",
    }
)


def api(metrics: Metrics, window: Window, threshold: float = THRESHOLD) -> Finding[Api]:
    """API error ratio: the share of requests answered 5xx and 4xx over the window, and the moment it rose."""
    frame = metrics.range(RATIOS_QUERY, window.start, window.as_of, series=3).frame
    server, client = part(frame, "5xx"), part(frame, "4xx")
    found = Api(
        threshold,
        server=level(server, window, least=threshold),
        client=level(client, window, least=threshold),
        requests=level(part(frame, "requests"), window),
        server_curve=server,
        client_curve=client,
    )
    is_current = math.isfinite(found.server.now)
    if not is_current and not math.isfinite(found.server.peak):
        return Finding(
            Status.UNKNOWN,
            "API error ratio: no request was counted around the alert",
            "Neither cryptofunk_http_requests_total nor http_requests_total has a usable sample, "
            "or there is no traffic.",
        )
    is_odd = found.was_over or found.client.now > threshold or found.has_few_requests or not is_current
    return Finding(graded(found.is_over, is_odd), wording.api_title(found), wording.api_detail(found), found)


def paths(metrics: Metrics, window: Window) -> Finding[Paths]:
    """Failing paths: which method, path and status fail a minute now, against an hour before the alert."""
    before = window.starts_at - timedelta(hours=1)
    now, then = (
        answer.frame
        for answer in at_once(
            lambda: metrics.instant(PATHS_QUERY, window.as_of), lambda: metrics.instant(PATHS_QUERY, before)
        )
    )
    totals = _counts(now, "all", _PATH)
    if not totals:
        return Finding(
            Status.UNKNOWN,
            "Failing paths: no request of the API is counted now",
            "Its request counters have no sample at the report's moment.",
        )
    failing = _failing(now, then, totals)
    hit = failing[failing["status"].str.startswith("5") & (failing["of its requests"] > THRESHOLD)]
    found = Paths(len(totals), tuple(hit["request"].unique()))
    units = {"a minute": "", "an hour before": "", "of its requests": "%"}
    table = Table("Failing requests a minute, the most first", failing.head(_SHOWN), units)
    return Finding(
        graded(found.failing),
        wording.paths_title(found, THRESHOLD),
        wording.paths_detail(found),
        found,
        (table,) if len(failing) else (),
    )


def _failing(now: pd.DataFrame, then: pd.DataFrame, totals: Mapping[Labels, float]) -> pd.DataFrame:
    """What fails by path and status, the most a minute first, with its share of the path's requests."""
    failed, earlier = (_counts(frame, "failed", _PATH_AND_STATUS) for frame in (now, then))
    rows = []
    for key, value in sorted(failed.items(), key=lambda item: -item[1]):
        path, statuses = key[: len(_PATH)], key[len(_PATH) :]
        name, status = " ".join(filter(None, path))[:_NAME_LENGTH], next(filter(None, statuses), "?")
        before, total = earlier.get(key, 0.0), totals.get(path, 0.0)
        share = value / total if total else math.nan
        if value > _LEAST:
            rows.append((name, status, round(value, 2), round(before, 2), share))
    frame = pd.DataFrame(rows, columns=["request", "status", "a minute", "an hour before", "of its requests"])
    return frame.astype({"status": str})


def _counts(frame: pd.DataFrame, what: str, labels: Sequence[str]) -> dict[Labels, float]:
    """The values of the part `what` of a union by their labels; a label that is missing is empty."""
    rows = frame[frame["what"] == what] if "what" in frame else frame.iloc[:0]
    columns = [rows[name].astype(str) if name in rows else [""] * len(rows) for name in labels]
    keys = zip(*columns, strict=True)
    return {key: float(value) for key, value in zip(keys, rows["value"], strict=True) if math.isfinite(value)}
