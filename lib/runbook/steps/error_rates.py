"""Error rates: which requests and components fail, since when, what the logs say more often than before; the decision."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from runbook.alert import Alert, Window
from runbook.outcome import Action, Finding, Status, Table, Verdict
from runbook.sources.cluster import Cluster
from runbook.sources.database import Database
from runbook.sources.metrics import Metrics, quote, union
from runbook.steps import platform
from runbook.steps.levels import by_label, level, part
from runbook.steps.verdicts import Suspect, figures_of, kubectl, silence, suspects, title_of, unknown_reasons
from runbook.tables import amount, duration, moment

THRESHOLD = 0.05
APPS = ("orchestrator", "api")
_RISE_MINUTES = 20
_SHOWN = 20
_TOGETHER = timedelta(minutes=4)


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
    now, then = metrics.instant(_BY_PATH, window.as_of).frame, metrics.instant(_BY_PATH, before).frame
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
    frame = metrics.range(union(_ERRORS), window.start, window.as_of, series=9).frame
    series = {name or "(none)": rows for name, rows in by_label(frame, "component", "component").items()}
    tools = part(frame, "mcp")
    if len(tools):
        series["MCP tools"] = tools
    levels = {name: level(rows, window, least=0.5) for name, rows in series.items()}
    levels = {name: one for name, one in levels.items() if math.isfinite(one.now)}
    if not levels:
        return Finding("error_rates.components", Status.UNKNOWN, "Errors by component: no current sample of cryptofunk_errors_total",
                       "So no component can be said to work without errors.")  # fmt: skip
    kinds = metrics.instant(_TYPES, window.as_of).frame
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
    frame = cluster.logs(app, window.start, window.as_of, tail=2000).frame
    name = f"error_rates.logs.{app}"
    if frame.empty:
        return Finding(
            name,
            Status.UNKNOWN,
            f"{app} logged nothing in the window",
            "A deployment that runs logs something: is it running?",
        )
    grouped = platform.patterns(frame)
    bad = frame[frame["level"].isin(["panic", "fatal", "error", "warning"])]
    began = frame["time"].min()
    quiet, loud = (
        max((split - began).total_seconds(), 0.0),
        max((pd.Timestamp(window.as_of) - split).total_seconds(), 1.0),
    )
    rows = []
    if len(bad):
        later = bad["time"] > split
        after = platform.patterns(bad[later]) if later.any() else grouped.iloc[:0]
        earlier = platform.patterns(bad[~later]) if (~later).any() else grouped.iloc[:0]
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
    cut = len(frame) >= 2000
    return Finding(
        name,
        Status.CRITICAL if any(row["level"] in ("panic", "fatal") for row in rows) else Status.WARNING if rows else Status.OK,
        f"{app}: “{worst['pattern'][:110]}” {worst['lines']}× since {worst['first']:%H:%M} UTC" if worst
        else f"{app} logs no warning or error more often than before {split:%H:%M} UTC",
        f"{len(errors)} error and {len(rows) - len(errors)} warning patterns rose; compared are {duration(quiet)} before {split:%H:%M} and {duration(loud)} after."
        + (" The log was cut at 2,000 lines, so older ones are missing." if cut else ""),
        {"rose": len(rows), "errors": sum(row["lines"] for row in errors), "worst": worst["pattern"] if worst else "", "since": worst["first"] if worst else None},
        tuple(tables),
    )  # fmt: skip


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


def decide(
    findings: Mapping[str, Finding],
    alert: Alert,
    window: Window,
    namespace: str = "cryptofunk",
    component: str = "",
    exchange: str = "",
) -> Verdict:
    """The decision point of HighErrorRate: which dependency or change is behind the errors, and what to do."""
    http, parts = figures_of(findings, "error_rates.api"), figures_of(findings, "error_rates.components")
    since = min((at for at in (http.get("since"), parts.get("since")) if at), default=None)
    cause, decision, detail, began = _cause(findings)
    broken = [
        one for name, one in findings.items() if name.startswith("dependencies.") and one.status is Status.CRITICAL
    ]
    client = http.get("client", 0.0) > max(THRESHOLD, 3 * http.get("client_usual", 0.0)) if http else False
    trouble = http.get("over") or bool(parts.get("risen")) or bool(broken) or client
    known = bool(http) or bool(parts)
    near = suspects(findings, began or since or window.starts_at)
    affected = _trading(findings)
    if not known and not cause:
        status, decision = Status.UNKNOWN, "find out whether requests fail"
        summary = (
            "Whether errors are high cannot be told: neither the API's nor the components' counters gave an answer."
        )
        summary += "".join(f" {one.title}." for one in _risen_logs(findings))
    elif not trouble and not cause:
        past = http.get("was_over")
        status, decision = (Status.WARNING, "watch") if past else (Status.OK, "no action, watch")
        rate = (
            f"{amount(http.get('now'), '%')} of API requests fail with 5xx"
            if http
            else "no component has more errors than usual"
        )
        summary = f"{'The errors have gone' if past else 'Healthy'}: {rate}."
    else:
        status = Status.CRITICAL if trouble else Status.WARNING
        what = (
            f"{amount(http['now'], '%')} of API requests fail" if http.get("over")
            else f"Errors rose in {parts['risen']}" if parts.get("risen")
            else broken[0].title if broken
            else f"{amount(http['client'], '%')} of API requests are answered 4xx" if client else "A dependency is in trouble"
        )  # fmt: skip
        summary = (
            f"{what}. Cause: {cause or 'not found by these checks'}."
            + (f" It follows {near[0].text}." if near else "")
            + f" {affected}"
        )
    reasons = (
        _named(component, exchange, parts),
        detail,
        *(f"Just before: {one.text}." for one in near[:3]),
        *_facts(findings, since),
        affected,
    )
    return Verdict(
        decision, summary.strip(), status, tuple(one for one in reasons if one) + unknown_reasons(findings),
        tuple(_actions(decision, near, alert, namespace, summary)), _checklist(findings, affected),
    )  # fmt: skip


def _cause(findings: Mapping[str, Finding]) -> tuple[str, str, str, datetime | None]:
    """(cause, decision, how it follows, since when): what others depend on is judged before what depends on it."""
    pods, server = figures_of(findings, "platform.pods"), findings.get("dependencies.database")
    pool, parts = figures_of(findings, "dependencies.pool"), figures_of(findings, "error_rates.components")
    nats, checks = figures_of(findings, "dependencies.nats"), figures_of(findings, "dependencies.health_checks")
    down = [name for name in str(pods.get("not_ready", "")).split(", ") if name]
    base = next((name for name in ("postgres", "nats", "redis") if name in down), "")
    if base:
        why = ", ".join(
            one
            for one in (
                str(pods.get("waiting", "")),
                "out of memory" if base in str(pods.get("oom_killed", "")) else "",
            )
            if one
        )
        return (
            f"{base} is down ({why or 'not ready'})",
            f"bring {base} back",
            f"Its pod is not ready: {why or 'see its events'}.",
            pods.get("last_exit_at"),
        )
    if pool.get("exhausted"):
        roomy = server is not None and server.is_known and not server.figures.get("full")
        use = f"{amount(round(pool['active']))} of {amount(round(pool['size']))} connections in use, usually {amount(round(pool['usual'], 1))}"
        slow = f"queries take {amount(pool['p95_ms'], 'ms')} (p95), usually {amount(pool['usual_p95_ms'], 'ms')}"
        return (
            "the database's connection pool is exhausted" + ("; the server itself has room" if roomy else ""),
            "free the pool: find what holds its connections",
            f"{use}; {slow}. Errors elsewhere follow from waiting for a connection.",
            pool.get("since"),
        )
    if server is not None and server.figures.get("full"):
        return "the database server has no connections left", "free connections on the server", server.title + ".", None
    if (
        server is not None
        and not server.is_known
        and "database" in f"{parts.get('risen', '')} {checks.get('failed', '')}"
    ):
        return "the database does not answer", "restore the database", server.detail, parts.get("since")
    if nats.get("silent"):
        return "NATS carries no messages", "bring nats back", findings["dependencies.nats"].title + ".", None
    found = figures_of(findings, "dependencies.exchange")
    if found.get("trouble") and found.get("errors_per_minute", 0) >= 1:
        hint = {"rate_limit": "check rate limits", "authentication": "verify credentials"}.get(
            str(found["kind"]), "check the way to the exchange"
        )
        grown = (
            f", and we ask {found['endpoint']} {amount(found['request_growth'], 'ratio')} times as often as usual"
            if found.get("endpoint")
            else ""
        )
        return (
            f"the exchange answers {found['kind']}{grown}",
            hint,
            findings["dependencies.exchange"].title + ".",
            found.get("since"),
        )
    llm = figures_of(findings, "dependencies.llm")
    if llm.get("failing"):
        return (
            "the LLM gateway's requests fail",
            "check Bifrost and the provider",
            findings["dependencies.llm"].title + ".",
            llm.get("since"),
        )
    if down:
        return (
            f"not ready: {', '.join(down)}",
            f"bring {down[0]} back",
            "Its pods are not ready.",
            pods.get("last_exit_at"),
        )
    redis = figures_of(findings, "dependencies.redis")
    if parts.get("risen") and redis.get("fell"):
        return (
            "the cache answers less",
            "check what changed in the cache's use",
            findings["dependencies.redis"].title + ".",
            None,
        )
    first = parts.get("first", "")
    return (
        "",
        f"look into {first}" if first else "read the log patterns that rose",
        f"{first} rose first." if first else "",
        parts.get("since"),
    )


def _named(component: str, exchange: str, parts: Mapping[str, Any]) -> str:
    """What the alert's labels name, with its present errors; empty where they name nothing."""
    rate = parts.get("rates", {}).get(component)
    words = [
        f"component {component[:60]}" + (f", {amount(round(rate, 1))} errors a minute now" if rate is not None else "")
    ] * bool(component)
    words += [f"exchange {exchange[:60]}"] * bool(exchange)
    return f"The alert names {' and '.join(words)}." if words else ""


def _trading(findings: Mapping[str, Finding]) -> str:
    flow, halt, no = (
        figures_of(findings, "dependencies.flow"),
        figures_of(findings, "sessions.paused"),
        figures_of(findings, "error_rates.refused"),
    )
    if not flow and not halt:
        return "Whether trading is affected is not known."
    words = ["trading is paused"] * bool(halt.get("paused")) + [f"far fewer than usual: {flow.get('stopped')}"] * bool(
        flow.get("stopped")
    )
    words += [f"{no.get('refused', flow.get('refused'))} orders refused"] * bool(
        no.get("refused") or flow.get("refused")
    )
    return (
        f"Trading is affected: {'; '.join(words)}."
        if words
        else "By what is written to the database, trading is not affected so far."
    )


def _facts(findings: Mapping[str, Finding], since: datetime | None) -> Iterator[str]:
    if since:
        yield f"The errors rose at {moment(since)}."
    for name in (
        "error_rates.api",
        "error_rates.paths",
        "error_rates.components",
        "dependencies.database",
        "dependencies.exchange",
    ):
        found = findings.get(name)
        if found is not None and found.is_known:
            yield f"{found.title}."
    for found in _risen_logs(findings):
        yield f"{found.title}."


def _risen_logs(findings: Mapping[str, Finding]) -> list[Finding]:
    """The log findings whose patterns rose."""
    return [
        one
        for name, one in findings.items()
        if name.startswith("error_rates.logs.") and one.is_known and one.figures["rose"]
    ]


def _actions(decision: str, near: Sequence[Suspect], alert: Alert, namespace: str, summary: str) -> Iterator[Action]:
    deployment = next((one.deployment for one in near if one.deployment), "")
    healthy = decision in ("no action, watch", "watch")
    if deployment and not healthy:
        yield Action(f"Roll back {deployment}", kubectl(namespace, "rollout", "undo", f"deployment/{deployment}"),
                     f"The last change before the errors: {next(one.text for one in near if one.deployment)}. See kubectl rollout history first.", changes=True)  # fmt: skip
    if decision.startswith("bring "):
        name = decision.split()[1]
        yield Action(
            f"See why {name} does not start",
            kubectl(namespace, "logs", f"deployment/{name}", "--previous", "--tail=50"),
            "The end of the container that died.",
        )
        yield Action(f"Restart {name}", kubectl(namespace, "rollout", "restart", f"deployment/{name}"),
                     "If it was killed for memory, raise its limit first, or it will be killed again.", changes=True)  # fmt: skip
    if "connections" in decision or "database" in decision:
        yield Action("See who holds the connections",
                     f"kubectl exec -i -n {namespace} deployment/postgres -- psql -U postgres -d cryptofunk <<'SQL'\n"
                     "SELECT pid, application_name, state, wait_event_type, now() - xact_start AS open_for FROM pg_stat_activity "
                     "WHERE backend_type = 'client backend' ORDER BY xact_start NULLS LAST LIMIT 20;\nSQL", "The longest open first.")  # fmt: skip
    if not healthy:
        text = json.dumps({"text": f"{alert.name}: {summary}"}, ensure_ascii=False)
        yield Action("Tell #cryptofunk-critical", f"curl -s -X POST -H 'Content-Type: application/json' --data {shlex.quote(text)} \"$SLACK_WEBHOOK_URL\"",
                     "The channel wants the status; tell the stakeholders when trading is affected.")  # fmt: skip
    for app in APPS:
        yield Action(
            f"Follow the errors of {app}",
            f"{kubectl(namespace, 'logs', '-f', f'deployment/{app}', '--tail=50')} | grep -i error",
            "Are they still coming?",
        )
    yield silence(alert)


def _checklist(findings: Mapping[str, Finding], affected: str) -> tuple[tuple[str, str], ...]:
    questions = (
        ("How many requests failed, since when?", "error_rates.api"),
        ("Which component was first?", "error_rates.components"),
        ("Did the database have connections?", "dependencies.pool"),
        ("Did NATS carry messages?", "dependencies.nats"),
        ("Did the exchange answer?", "dependencies.exchange"),
        ("What was rolled out before?", "platform.rollouts"),
        ("What was configured before?", "platform.config_changes"),
    )
    return (
        *((question, title_of(findings, name)) for question, name in questions),
        ("Was trading affected?", affected),
    )


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
