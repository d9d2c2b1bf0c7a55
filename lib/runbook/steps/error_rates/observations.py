"""Error rates: which requests and components fail, since when, what the logs say more often than before; the decision."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from runbook.alert import Window
from runbook.findings import Table
from runbook.legacy import Finding
from runbook.outcome import Status
from runbook.sources.cluster import Cluster
from runbook.sources.database import Database
from runbook.sources.metrics import Metrics, quote, union
from runbook.sources.overlap import at_once
from runbook.steps.error_rates.verdict import THRESHOLD
from runbook.steps.shared.levels import by_label, level, part
from runbook.steps.shared.log_patterns import patterns
from runbook.words import amount, duration, moment

_RISE_MINUTES = 20
_SHOWN = 20
_TOGETHER = timedelta(minutes=4)
_FAILING = re.compile(r"\b(fail|error|cannot|could not|timed out|timeout|deadline)")
_STORING = re.compile(r"\b(stor|sav|persist|insert|writ)(e|es|ing|ed)?\b")
_ORDER_TOOLS = ("place_order", "place_market_order", "place_limit_order", "cancel_order")


def requests_expression(matching: str, by: str = "") -> str:
    """PromQL: API requests a second whose status code matches, whichever of the two spellings is exported."""
    code = f"status_code=~{quote(matching)}" if matching else ""
    status = f"status=~{quote(matching)}" if matching else ""
    grouped = f"sum by ({by}) " if by else "sum"
    return f"({grouped}(rate(cryptofunk_http_requests_total{{{code}}}[5m])) or {grouped}(rate(http_requests_total{{{status}}}[5m])))"


def ratio_expression(matching: str) -> str:
    """PromQL: the share of API requests whose status code matches; 0 where requests come and none of them does."""
    everything = requests_expression("")
    return f"({requests_expression(matching)} or 0 * {everything}) / ({everything} > 0)"


_RATIOS = {
    "5xx": ratio_expression("5.."),
    "4xx": ratio_expression("4.."),
    "requests": f"{requests_expression('')} * 60",
}
_BY_PATH = union({
    "failed": f"topk({_SHOWN}, {requests_expression('[45]..', 'method, path, status_code, status')} * 60)",
    "all": f"topk({5 * _SHOWN}, {requests_expression('', 'method, path')} * 60)",
})  # fmt: skip
_ERRORS = {
    "component": "sum by (component) (rate(cryptofunk_errors_total[5m])) * 60",
    "mcp": "sum(rate(mcp_tool_errors_total[5m])) * 60",
}
_TYPES = f"topk({_SHOWN}, sum by (component, type) (increase(cryptofunk_errors_total[15m])))"


def api(metrics: Metrics, window: Window, threshold: float = THRESHOLD) -> Finding:
    """API error ratio: the share of requests answered 5xx and 4xx over the window, and the moment it rose."""
    frame = metrics.range(union(_RATIOS), window.start, window.as_of, series=3).frame
    ratios = {name: part(frame, name) for name in ("5xx", "4xx")}
    server, client, volume = (
        level(ratios["5xx"], window, least=threshold),
        level(ratios["4xx"], window, least=threshold),
        level(part(frame, "requests"), window),
    )
    if not math.isfinite(server.now) and not math.isfinite(server.peak):
        return Finding("error_rates.api", Status.UNKNOWN, "API error ratio: no request was counted around the alert",
                       "Neither cryptofunk_http_requests_total nor http_requests_total has a usable sample, or there is no traffic.")  # fmt: skip
    over_now, was_over = server.now > threshold, server.peak > threshold
    since = server.rose_at if was_over else None
    fewer = volume.usual > 0 and volume.now < 0.3 * volume.usual
    return Finding(
        "error_rates.api",
        Status.CRITICAL if over_now else Status.WARNING if was_over or client.now > threshold or fewer or not math.isfinite(server.now) else Status.OK,
        f"{amount(server.now, '%')} of API requests fail with 5xx now, {amount(server.peak, '%')} at the worst; threshold {amount(threshold, '%')}"
        + (f"; it rose at {since:%H:%M} UTC" if since else ""),
        f"Usually {amount(server.usual, '%')}. 4xx: {amount(client.now, '%')}, usually {amount(client.usual, '%')}. "
        f"{amount(round(volume.now, 1))} requests a minute, usually {amount(round(volume.usual, 1))}.",
        {"now": server.now, "peak": server.peak, "usual": server.usual, "threshold": threshold, "since": since, "client": client.now,
         "client_usual": client.usual, "over": over_now, "was_over": was_over, "requests": volume.now, "fewer": fewer},
        series={"ratios": {name: rows for name, rows in ratios.items() if len(rows)}},
    )  # fmt: skip


def paths(metrics: Metrics, window: Window) -> Finding:
    """Failing paths: which method, path and status fail a minute now, against an hour before the alert."""
    before = window.starts_at - timedelta(hours=1)
    now, then = (
        answer.frame
        for answer in at_once(
            lambda: metrics.instant(_BY_PATH, window.as_of), lambda: metrics.instant(_BY_PATH, before)
        )
    )
    totals = _counts(now, "all", ("method", "path"))
    if not totals:
        return Finding("error_rates.paths", Status.UNKNOWN, "Failing paths: no request of the API is counted now",
                       "Its request counters have no sample at the report's moment.")  # fmt: skip
    failed, earlier = (_counts(frame, "failed", ("method", "path", "status_code", "status")) for frame in (now, then))
    rows = [
        {"request": " ".join(one for one in key[:2] if one)[:120], "status": next((one for one in key[2:] if one), "?"), "a minute": round(value, 2),
         "an hour before": round(earlier.get(key, 0.0), 2), "of its requests": value / totals[key[:2]] if totals.get(key[:2]) else float("nan")}
        for key, value in sorted(failed.items(), key=lambda item: -item[1])
        if value > 0.005
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["request", "status", "a minute", "an hour before", "of its requests"])
    server = table[table["status"].str.startswith("5")] if len(table) else table
    hit = list(dict.fromkeys(server[server["of its requests"] > THRESHOLD]["request"])) if len(server) else []
    everywhere = len(hit) >= 3 and len(hit) >= 0.6 * len(totals)
    return Finding(
        "error_rates.paths",
        Status.CRITICAL if hit else Status.OK,
        f"{len(hit)} of {len(totals)} paths fail, the most {hit[0]}" if hit else f"None of {len(totals)} paths fails more than {amount(THRESHOLD, '%')} with 5xx",
        "They fail together: suspect what they share (database, pool, a deployment), not one handler." if everywhere
        else f"Only {', '.join(hit[:3])}: suspect its handler or what it alone depends on." if hit else "",
        {"paths": len(totals), "failing": len(hit), "worst": hit[0] if hit else "", "everywhere": everywhere},
        (Table("Failing requests a minute, the most first", table.head(_SHOWN), {"a minute": "", "an hour before": "", "of its requests": "%"}),) if len(table) else (),
    )  # fmt: skip


def components(metrics: Metrics, window: Window) -> Finding:
    """Errors by component: how many a minute now, against the usual, and when each rose."""
    frame, kinds = (
        answer.frame
        for answer in at_once(
            lambda: metrics.range(union(_ERRORS), window.start, window.as_of, series=9),
            lambda: metrics.instant(_TYPES, window.as_of),
        )
    )
    series = {name or "(none)": rows for name, rows in by_label(frame, "component", "component").items()}
    tools = part(frame, "mcp")
    if len(tools):
        series["MCP tools"] = tools
    levels = {name: level(rows, window, least=0.5) for name, rows in series.items()}
    levels = {name: one for name, one in levels.items() if math.isfinite(one.now)}
    if not levels:
        return Finding("error_rates.components", Status.UNKNOWN, "Errors by component: no current sample of cryptofunk_errors_total",
                       "So no component can be said to work without errors.")  # fmt: skip
    order = sorted(levels, key=lambda name: -levels[name].now)
    risen = [name for name in order if levels[name].now > max(3 * levels[name].usual, levels[name].usual + 0.5)]
    rose = {name: at for name in risen if (at := levels[name].rose_at)}
    earliest = min(rose.values(), default=None)
    # Closer together than a few samples, the order of two rises says nothing: then the louder one is named.
    together = [name for name in rose if earliest and rose[name] - earliest <= _TOGETHER]
    first = together[0] if together else ""
    table = pd.DataFrame({
        "component": order, "usual, a minute": [round(levels[name].usual, 3) for name in order], "now, a minute": [round(levels[name].now, 2) for name in order],
        "rose at": pd.to_datetime([levels[name].rose_at for name in order], utc=True),
        "types in 15 min": [_types(kinds, name) for name in order],
    }).head(_SHOWN)  # fmt: skip
    top = order[0]
    return Finding(
        "error_rates.components",
        Status.CRITICAL if risen and levels[risen[0]].now >= 1 else Status.WARNING if risen else Status.OK,
        f"Errors rose in {', '.join(risen[:5])}: {top} has {amount(round(levels[top].now, 1))} a minute, usually {amount(round(levels[top].usual, 2))}" if risen
        else f"No component has more errors than usual; {top} the most, {amount(round(levels[top].now, 2))} a minute",
        f"{' and '.join(together)} rose together, at {moment(earliest)}." if len(together) > 1
        else f"{first} rose first, at {moment(earliest)}: what rises first is nearer to the cause." if first and len(rose) > 1 else "",
        {"risen": ", ".join(risen), "top": top if risen else "", "first": first, "since": earliest,
         "rates": {name: one.now for name, one in levels.items()}, "now": levels[top].now, "usual": levels[top].usual},
        (Table("Errors by component, the most first", table, {"usual, a minute": "", "now, a minute": "", "rose at": "time"}),),
        series={"errors": {name: series[name] for name in order}},
    )  # fmt: skip


def logs(cluster: Cluster, window: Window, app: str = "api", since: datetime | None = None) -> Finding:
    """Log patterns that rose: what a deployment logs more often since the trouble began than before it."""
    split = pd.Timestamp(since or window.starts_at - timedelta(minutes=_RISE_MINUTES))
    frame = cluster.logs(app, window.start, window.as_of).frame
    name = f"error_rates.logs.{app}"
    if frame.empty:
        return Finding(
            name,
            Status.UNKNOWN,
            f"{app} logged nothing in the window",
            "A deployment that runs logs something: is it running?",
        )
    grouped = patterns(frame)
    bad = frame[frame["level"].isin(["panic", "fatal", "error", "warning"])]
    began = frame["time"].min()
    quiet, loud = (
        max((split - began).total_seconds(), 0.0),
        max((pd.Timestamp(window.as_of) - split).total_seconds(), 1.0),
    )
    rows = []
    if len(bad):
        later = bad["time"] > split
        after = patterns(bad[later]) if later.any() else grouped.iloc[:0]
        earlier = patterns(bad[~later]) if (~later).any() else grouped.iloc[:0]
        counts = {(row.level, row.pattern): row.lines for row in earlier.itertuples()}
        for row in after.itertuples():
            usual = counts.get((row.level, row.pattern), 0) / quiet * 60 if quiet >= 60 else 0.0
            now = row.lines / loud * 60
            if now > 3 * usual:
                rows.append({"level": row.level, "pattern": row.pattern, "lines": row.lines, "first": row.first, "usual, a minute": round(usual, 2),
                             "now, a minute": round(now, 2)})  # fmt: skip
    table = pd.DataFrame(rows)
    errors = [row for row in rows if row["level"] != "warning"]
    worst = next(iter(errors or rows), None)
    tables = [
        Table(
            f"What {app} logs more often since {split:%H:%M} UTC",
            table,
            {"lines": "", "first": "time", "usual, a minute": "", "now, a minute": ""},
        )
    ] * bool(rows)
    tables += [Table(f"All patterns of {app}, worst first", grouped, {"lines": "", "first": "time", "last": "time"})]
    failed = _failures(bad[bad["time"] > split])
    cut = len(frame) >= 2000
    return Finding(
        name,
        Status.CRITICAL if any(row["level"] in ("panic", "fatal") for row in rows) else Status.WARNING if rows else Status.OK,
        f"{app}: “{worst['pattern'][:110]}” {worst['lines']}× since {worst['first']:%H:%M} UTC" if worst
        else f"{app} logs no warning or error more often than before {split:%H:%M} UTC",
        f"{len(errors)} error and {len(rows) - len(errors)} warning patterns rose; compared are {duration(quiet)} before {split:%H:%M} UTC and {duration(loud)} after."
        + (" The log was cut at 2,000 lines, so older ones are missing." if cut else ""),
        {"rose": len(rows), "errors": sum(row["lines"] for row in errors), "worst": worst["pattern"] if worst else "", "since": worst["first"] if worst else None,
         **failed},
        tuple(tables),
    )  # fmt: skip


def _failures(frame: pd.DataFrame) -> dict[str, int]:
    """How many log lines tell of decisions not stored, orders that failed, messages not published."""
    texts = [str(one).lower() for one in frame["message"]]
    tools = [str(fields.get("tool", "")).lower() for fields in frame["fields"]]
    failing = [bool(_FAILING.search(text)) for text in texts]
    stores = [bad and bool(_STORING.search(text)) for text, bad in zip(texts, failing, strict=True)]
    orders = [
        (bad and tool in _ORDER_TOOLS) or "order not placed" in text
        for text, tool, bad in zip(texts, tools, failing, strict=True)
    ]
    published = [bad and "publish" in text for text, bad in zip(texts, failing, strict=True)]
    return {"stores_failed": sum(stores), "orders_failed": sum(orders), "publishes_failed": sum(published)}


def refused(database: Database, window: Window) -> Finding:
    """Refused orders: which orders were rejected or failed around the alert, and what they say."""
    since = window.starts_at - timedelta(hours=1)
    frame = database.ask("errors/refused", since=since, as_of=window.as_of).frame
    count = int(frame["orders"].sum()) if len(frame) else 0
    return Finding(
        "error_rates.refused",
        Status.WARNING if count else Status.OK,
        f"{count} orders were refused since {since:%H:%M} UTC: {str(frame['message'].iloc[0])[:120]}" if count else f"No order was refused since {since:%H:%M} UTC",
        "",
        {"refused": count},
        (Table("Refused orders, by what they say", frame, {"orders": "", "first_at": "time", "last_at": "time"}),) if count else (),
    )  # fmt: skip


def expressions() -> dict[str, str]:
    """The PromQL of this module, by name; a test parses all of it."""
    return {"ratios": union(_RATIOS), "paths": _BY_PATH, "errors": union(_ERRORS), "types": _TYPES}


def _counts(frame: pd.DataFrame, what: str, labels: Sequence[str]) -> dict[tuple[str, ...], float]:
    """The values of the part `what` of a union by their labels; a label that is missing is empty."""
    rows = frame[frame["what"] == what] if "what" in frame else frame.iloc[:0]
    columns = [rows[name].astype(str) if name in rows else [""] * len(rows) for name in labels]
    return {
        key: float(value)
        for *key_parts, value in zip(*columns, rows["value"], strict=True)
        for key in [tuple(key_parts)]
        if math.isfinite(value)
    }


def _types(kinds: pd.DataFrame, component: str) -> str:
    """ "12 timeout, 3 tool_error" of one component."""
    if "component" not in kinds or "type" not in kinds:
        return ""
    mine: Any = (
        kinds[(kinds["component"] == component) & (kinds["value"] >= 0.5)].sort_values("value", ascending=False).head(5)
    )
    return ", ".join(f"{row.value:.0f} {str(row.type)[:40]}" for row in mine.itertuples())
