"""The alert among others: what else fires, how often it fired before; and of an alert without a procedure, what it says."""

from __future__ import annotations

import operator as op
import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pandas as pd
import promql_parser

from runbook.alert import Alert, Window
from runbook.errors import SourceError
from runbook.outcome import Action, Finding, Status, Table, Verdict
from runbook.sources.alerts import Alerts
from runbook.sources.cluster import Cluster
from runbook.sources.database import Database
from runbook.sources.metrics import Metrics, quote, union
from runbook.sources.overlap import at_once
from runbook.steps.levels import part
from runbook.steps.platform import logs_of, names
from runbook.steps.verdicts import Suspect, figures_of, kubectl, silence, suspects, title_of, unknown_reasons
from runbook.tables import amount, duration, moment

HISTORY_DAYS = 14
_BUCKET_SECONDS = 600
_SERIES_MAX = 8
_APPS_MAX = 4
_EXPRESSION_MAX = 2_000
_NESTED_MAX = 60
_FRESH_SECONDS = 600
_COMPARE = {">": op.gt, ">=": op.ge, "<": op.lt, "<=": op.le, "==": op.eq, "!=": op.ne}
_COMPARED = {">": "over", ">=": "at or over", "<": "under", "<=": "at or under", "==": "equal to", "!=": "other than"}
_FLIPPED = {">": "<", ">=": "<=", "<": ">", "<=": ">=", "==": "==", "!=": "!="}
# Labels that may name something in the cluster, those that name it most narrowly first.
_LABELS = (
    "pod",
    "deployment",
    "container",
    "app",
    "app_kubernetes_io_name",
    "service",
    "job",
    "agent_type",
    "persistentvolumeclaim",
    "exchange",
    "component",
)
_ALIASES = {
    "database": ("postgres",), "postgres-pvc": ("postgres",), "storage": ("postgres",), "cache": ("redis",), "messaging": ("nats",), "llm": ("bifrost",),
    "exchange": ("order-executor-server", "market-data-server"), "binance": ("order-executor-server", "market-data-server"), "risk": ("risk-agent", "risk-analyzer-server"),
    "agents": ("orchestrator",), "trading": ("orchestrator", "order-executor-server"), "technical": ("technical-agent",),
}  # fmt: skip
_METRIC_APPS = {
    "_redis_": ("redis",), "_nats_": ("nats",), "_database_": ("postgres",), "_llm_": ("bifrost",), "_http_": ("api",), "_api_request": ("api",),
    "_exchange_api_": ("order-executor-server", "market-data-server"), "_order_execution_": ("order-executor-server",), "_orchestrator_": ("orchestrator",),
    "_mcp_tool_": ("market-data-server",), "kubelet_volume_": ("postgres",),
}  # fmt: skip
_TABLES = {
    "candle": ("candlesticks",), "order": ("orders",), "position": ("positions",), "session": ("trading_sessions",), "trade": ("trades",), "fill": ("trades",),
    "agent": ("agent_status", "agent_signals"), "signal": ("agent_signals",), "llm": ("llm_decisions",), "audit": ("audit_logs",),
    "drawdown": ("performance_metrics",), "pnl": ("performance_metrics",), "sharpe": ("performance_metrics",),
}  # fmt: skip


def firing(alerts: Alerts, alert: Alert, window: Window) -> Finding:
    """Other alerts: what else fires now in Alertmanager, and whether this one is silenced."""
    frame = alerts.active().frame
    frame = frame[frame["since"] <= window.as_of] if len(frame) else frame
    this = frame[frame["name"] == alert.name]
    others = frame[frame["name"] != alert.name]
    critical = others[others["severity"] == "critical"]
    silenced = bool(len(this)) and all(len(by) for by in this["silenced_by"])
    state = "silenced" if silenced else "firing" if len(this) else "not firing"
    shown = others.sort_values(["severity", "since"], ignore_index=True)
    table = pd.DataFrame({"alert": shown["name"], "severity": shown["severity"], "state": shown["state"], "since": shown["since"],
                          "labels": [", ".join(f"{k}={v}" for k, v in sorted(one.items()) if k not in ("alertname", "severity"))[:160] for one in shown["labels"]]})  # fmt: skip
    distinct = sorted(set(map(str, others["name"])))
    return Finding(
        "alerting.firing",
        Status.WARNING if len(critical) else Status.OK,
        f"{len(others) or 'No'} other {'alert fires' if len(others) < 2 else 'alerts fire'}"
        + (f": {names(distinct)}" if distinct else ""),
        f"{alert.name} itself is {state} in Alertmanager.",
        {"others": len(others), "critical": len(critical), "names": ", ".join(distinct[:20]), "this": state},
        (Table("Other alerts, the most severe first", table, {"since": "time"}),) if len(table) else (),
    )


def history(metrics: Metrics, alert: Alert, window: Window) -> Finding:
    """This alert's history: when it fired in the two weeks before, from the ALERTS series."""
    start = window.as_of - timedelta(days=HISTORY_DAYS)
    expression = f'max(ALERTS{{alertname={quote(alert.name)},alertstate="firing"}})'
    frame = metrics.range(
        f"max_over_time({expression}[{_BUCKET_SECONDS}s:60s])", start, window.as_of, series=1, step=_BUCKET_SECONDS
    ).frame
    spans = _spans(frame)
    earlier = [span for span in spans if span[1] < window.starts_at - timedelta(seconds=_BUCKET_SECONDS)]
    if not earlier:
        return Finding(
            "alerting.history",
            Status.OK,
            f"{alert.name} did not fire in the {HISTORY_DAYS} days before",
            "",
            {"times": 0},
        )
    table = pd.DataFrame(
        {
            "from": [a for a, _ in earlier],
            "to": [b for _, b in earlier],
            "for": [(b - a).total_seconds() for a, b in earlier],
        }
    )
    usual = float(table["for"].median())
    return Finding(
        "alerting.history",
        Status.WARNING if len(earlier) >= 3 else Status.OK,
        f"{alert.name} fired {len(earlier)} {'time' if len(earlier) == 1 else 'times'} before in {HISTORY_DAYS} days, last on {moment(earlier[-1][0])}",
        f"It fired for {duration(usual)} (median); seen at a resolution of {duration(_BUCKET_SECONDS)}.",
        {"times": len(earlier), "last": earlier[-1][0], "median_seconds": usual},
        (
            Table(
                "Earlier firings, newest first",
                table.iloc[::-1].reset_index(drop=True),
                {"from": "time", "to": "time", "for": "s"},
            ),
        ),
    )


def _spans(frame: pd.DataFrame) -> list[tuple[pd.Timestamp, pd.Timestamp]]:
    """(first bucket's start, last bucket's end) of each unbroken run of samples."""
    spans: list[tuple[pd.Timestamp, pd.Timestamp]] = []
    bucket = pd.Timedelta(seconds=_BUCKET_SECONDS)
    for time in frame["time"]:
        if spans and time - spans[-1][1] <= bucket:
            spans[-1] = (spans[-1][0], time)
        else:
            spans.append((time - bucket, time))
    return spans


def rule(alert: Alert, metrics: Metrics) -> Finding:
    """The alert's expression: from its generatorURL, else from the rule of its name in Prometheus."""
    given = _generator_expression(alert.generator_url)
    try:
        rules = metrics.rules().frame
        failed = ""
    except SourceError as error:
        rules, failed = pd.DataFrame(), str(error)
    mine = rules[rules["name"] == alert.name] if len(rules) else rules
    fitting = [
        row for row in mine.to_dict("records") if dict(row["labels"]).items() <= dict(alert.labels).items()
    ] or mine.to_dict("records")
    found = fitting[0] if fitting else None
    expression = given or (str(found["expression"]) if found else "")
    if not expression:
        return Finding("alerting.rule", Status.UNKNOWN, "The alert's expression is not known",
                       failed or "Neither does its generatorURL hold one, nor has Prometheus a rule of this name.")  # fmt: skip
    measured, operator, limit = split(expression)
    differs = bool(given and found and " ".join(given.split()) != " ".join(str(found["expression"]).split()))
    held = f"It must hold for {duration(found['for_seconds'])}. " if found else ""
    return Finding(
        "alerting.rule", Status.WARNING if differs else Status.OK, f"The alert fires on: {expression[:240]}",
        held + ("From the alert's generatorURL" if given else f"From the rule {alert.name}")
        + ("; the rule of this name in Prometheus is another now." if differs else "." if found or not given else f"; Prometheus' rules are not known: {failed}" if failed
           else "; Prometheus lists no rule of this name now."),
        {"expression": expression, "measured": measured, "operator": operator, "limit": limit,
         "for_seconds": found["for_seconds"] if found else None, "health": str(found["health"]) if found else ""},
    )  # fmt: skip


def evaluated(rule_found: Finding, alert: Alert, metrics: Metrics, window: Window) -> Finding:
    """The expression around the moment: what it measures, against its threshold, and when it crossed it."""
    measured, operator, limit = (str(rule_found.figures[name]) for name in ("measured", "operator", "limit"))
    pick = "bottomk" if operator in ("<", "<=") else "topk"
    number = _number(limit)
    parts = {"value": f"{pick}({_SERIES_MAX}, {measured})"} | (
        {} if number is not None or not limit else {"limit": f"topk(1, {limit})"}
    )
    frame = metrics.range(union(parts), window.start, window.as_of, series=_SERIES_MAX).frame.dropna(subset=["value"])
    if len(limits := part(frame, "limit")):
        number = float(limits["value"].iloc[-1])
    series = _series(frame[frame["what"] == "value"] if "what" in frame else frame.iloc[:0], alert)
    if not series:
        return Finding("alerting.evaluated", Status.UNKNOWN, "The alert's expression has no sample in the window",
                       f"Asked for: {measured[:300]}.")  # fmt: skip
    name, rows = series[0]
    now, fresh = (
        float(rows["value"].iloc[-1]),
        (pd.Timestamp(window.as_of) - rows["time"].iloc[-1]).total_seconds() <= _FRESH_SECONDS,
    )
    holds = _holds(now, operator, number) if fresh else None
    since = _crossed(rows, operator, number)
    shown = dict(series[:6])
    words = (
        f"it is {amount(now, 'ratio')}, {'' if holds else 'not '}{_COMPARED.get(operator, operator)} {amount(number, 'ratio')}"
        if number is not None
        else f"it is {amount(now, 'ratio')}"
    )
    return Finding(
        "alerting.evaluated",
        Status.UNKNOWN if not fresh else Status.OK if holds is False else Status.CRITICAL if alert.severity == "critical" else Status.WARNING,
        (f"The alert's condition {'holds' if holds else 'does not hold'}: {words}" if fresh else f"The alert's condition has no sample for {duration((pd.Timestamp(window.as_of) - rows['time'].iloc[-1]).total_seconds())}")
        + (f", since {since:%H:%M} UTC" if since and holds else ""),
        f"{name or 'One series'}; {len(series)} {'series' if len(series) != 1 else 'series in all'}, the first {len(shown)} are drawn."
        if len(series) > 1 else (f"Series: {name}." if name else ""),
        {"now": now, "threshold": number, "operator": operator, "holds": holds, "since": since, "series": name},
        series={"values": shown},
    )  # fmt: skip


def about(alert: Alert, cluster: Cluster, rule: Finding | None = None) -> Finding:
    """What the alert is about: its labels and its expression's metrics, resolved to pods, deployments and tables."""
    pods, deployments = (answer.frame for answer in at_once(cluster.pods, cluster.deployments))
    expression = str(rule.figures.get("expression", "")) if rule is not None else ""
    why: dict[str, str] = {}
    for label in _LABELS:
        for app in _apps(alert.labels.get(label, ""), pods, deployments):
            why.setdefault(app, f"label {label}")
    named = set(map(str, [*pods["app"], *deployments["name"]]))
    for word, makers in _METRIC_APPS.items():
        if word in expression:
            for app in makers:
                if app in named:
                    why.setdefault(app, "the metric's name")
    text = f"{alert.name} {expression} {' '.join(alert.labels.values())}".lower()
    tables = [table for word, held_in in _TABLES.items() if word in text for table in held_in][:6]
    apps = list(why)[:_APPS_MAX]
    mine = pods[pods["app"].isin(apps)]
    down = mine[~mine["ready"].astype(bool)] if len(mine) else mine
    shown = pd.DataFrame({"deployment": mine["app"], "pod": mine["name"], "ready": ["yes" if one else "NO" for one in mine["ready"]], "restarts": mine["restarts"],
                          "last ended by": mine["last_exit"], "ended at": mine["last_exit_at"], "found by": [why[str(app)] for app in mine["app"]]})  # fmt: skip
    return Finding(
        "alerting.about",
        Status.CRITICAL if len(down) else Status.WARNING if not apps else Status.OK,
        f"It is about {names(apps)}" + (f"; not ready: {names(list(map(str, down['app'])))}" if len(down) else "; ready") if apps
        else "Nothing in the cluster is named by the alert's labels or metrics",
        (f"Tables: {', '.join(dict.fromkeys(tables))}. " if tables else "") + "Labels that name a pod, deployment or component count first, then the metric's name.",
        {"apps": ", ".join(apps), "tables": ", ".join(dict.fromkeys(tables)), "not_ready": ", ".join(map(str, down["app"]))},
        (Table("Pods the alert is about", shown, {"restarts": "", "ended at": "time"}),) if len(shown) else (),
    )  # fmt: skip


def logs(about_found: Finding, cluster: Cluster, window: Window) -> Finding:
    """What the alert's deployments log, by pattern, worst first."""
    apps = [app for app in str(about_found.figures["apps"]).split(", ") if app]
    if not apps:
        return Finding(
            "alerting.logs",
            Status.OK,
            "The alert names no deployment whose log to read",
            "Neither its labels nor its metrics do.",
            {"errors": 0, "worst": ""},
        )
    return logs_of(cluster, window, apps[:3], "alerting.logs")


def tables(about_found: Finding, database: Database) -> Finding:
    """The tables the alert is about: size, live and dead rows, last cleaning."""
    wanted = [table for table in str(about_found.figures["tables"]).split(", ") if table]
    if not wanted:
        return Finding(
            "alerting.tables",
            Status.OK,
            "The alert names no table",
            "Neither its labels nor its metrics do.",
            {"tables": 0},
        )
    frame = database.ask("health/tables", names=wanted).frame
    if frame.empty:
        return Finding(
            "alerting.tables", Status.UNKNOWN, f"The tables {', '.join(wanted)} are not visible to this role", ""
        )
    dead = frame[frame["dead_rows"] > frame["live_rows"].clip(lower=10_000)]
    return Finding(
        "alerting.tables",
        Status.WARNING if len(dead) else Status.OK,
        f"{frame['table_name'].iloc[0]} is {amount(frame['bytes'].iloc[0], 'bytes')} with about {int(frame['live_rows'].iloc[0]):,} rows"
        + (f"; more dead than live rows in {', '.join(dead['table_name'])}" if len(dead) else ""),
        "",
        {"tables": len(frame)},
        (Table("Tables the alert is about", frame, {"bytes": "bytes", "live_rows": "", "dead_rows": "", "last_vacuum": "time", "last_analyze": "time"}),),
    )  # fmt: skip


def split(expression: str) -> tuple[str, str, str]:
    """(measured side, comparison, limit) of an alert's expression; ("…", "", "") where it compares nothing.

    Of conditions joined by and/unless the left one counts. "0.5 > x" is read as "x < 0.5".
    """
    if len(expression) > _EXPRESSION_MAX or expression.count("(") > _NESTED_MAX:
        return expression, "", ""
    try:
        node = promql_parser.parse(expression)
    except ValueError:
        return expression, "", ""
    while True:
        if isinstance(node, promql_parser.ParenExpr):
            node = node.expr
        elif isinstance(node, promql_parser.BinaryExpr) and str(node.op) in ("and", "unless"):
            node = node.lhs
        else:
            break
    if not isinstance(node, promql_parser.BinaryExpr) or str(node.op) not in _FLIPPED:
        return expression, "", ""
    if isinstance(node.lhs, promql_parser.NumberLiteral):
        return str(node.rhs), _FLIPPED[str(node.op)], str(node.lhs)
    return str(node.lhs), str(node.op), str(node.rhs)


def decide(findings: Mapping[str, Finding], alert: Alert, window: Window, namespace: str = "cryptofunk") -> Verdict:
    """The conclusion for an alert without a procedure: does it hold, what is it about, and what changed just before."""
    measured, it = figures_of(findings, "alerting.evaluated"), figures_of(findings, "alerting.about")
    apps = [app for app in str(it.get("apps", "")).split(", ") if app]
    near = suspects(findings, measured.get("since") or window.starts_at)
    # What this alert itself shows is not a second fault.
    broken = [
        one
        for one in findings.values()
        if one.status is Status.CRITICAL and not one.id.startswith("alerting.evaluated")
    ]
    shown = findings["alerting.evaluated"].title if measured else "The alert's condition could not be evaluated"
    if measured.get("holds") is False:
        status = Status.CRITICAL if broken else Status.OK
        decision = "fix what else is broken" if broken else "no action, watch"
        summary = f"{shown}." if broken else f"Healthy: {shown[:1].lower()}{shown[1:]}."
    elif not measured:
        status, decision, summary = Status.UNKNOWN, "evaluate the alert by hand", f"{shown}."
    else:
        status = Status.CRITICAL if alert.severity == "critical" or broken else Status.WARNING
        decision = (
            "fix what is broken first" if broken
            else "undo or correct the change before it" if near
            else f"look into {names(apps)}" if apps else "read the logs"
        )  # fmt: skip
        summary = f"{shown}."
    if it and not it["not_ready"] and apps and measured.get("holds"):
        errors = figures_of(findings, "alerting.logs").get("errors")
        summary += f" {names(apps, 2)} " + (
            f"is ready, but logs {errors} error lines."
            if errors
            else "itself shows no fault: ready" + (", no error logged." if errors == 0 else ".")
        )
    if broken:
        summary += f" Broken: {broken[0].title}."
    if near and measured.get("holds") is not False:
        summary += f" Just before: {'; '.join(one.text for one in near[:2])}."
    reasons = [*(f"{one.title}." for one in broken[:5]), *(f"Just before: {one.text}." for one in near[:4])]
    reasons += [
        f"{findings[name].title}."
        for name in ("alerting.about", "alerting.logs", "alerting.history")
        if name in findings and findings[name].is_known
    ]
    questions = (
        ("Does the condition hold?", "alerting.evaluated"), ("What is it about?", "alerting.about"), ("What is logged?", "alerting.logs"),
        ("What was rolled out before?", "platform.rollouts"), ("What was configured before?", "platform.config_changes"), ("Does trading go on?", "dependencies.flow"),
    )  # fmt: skip
    return Verdict(decision, summary, status, tuple(reasons) + unknown_reasons(findings), tuple(_actions(apps, near, findings, alert, namespace)),
                   (*((question, title_of(findings, name)) for question, name in questions), ("Does this alert deserve a procedure?", "See CONTRIBUTING: a notebook, a parameters file, a catalog line")))  # fmt: skip


def _actions(
    apps: Sequence[str], near: Sequence[Suspect], findings: Mapping[str, Finding], alert: Alert, namespace: str
) -> Iterator[Action]:
    expression = str(figures_of(findings, "alerting.rule").get("expression", ""))
    if deployment := next((one.deployment for one in near if one.deployment), ""):
        yield Action(
            f"See what changed in {deployment}",
            kubectl(namespace, "rollout", "history", f"deployment/{deployment}"),
            f"Just before: {near[0].text}.",
        )
        yield Action(
            f"Roll back {deployment}",
            kubectl(namespace, "rollout", "undo", f"deployment/{deployment}"),
            "Only when the change explains the alert.",
            changes=True,
        )
    for app in apps[:2]:
        yield Action(
            f"Follow the log of {app}", kubectl(namespace, "logs", "-f", f"deployment/{app}", "--tail=100"), ""
        )
    if expression:
        yield Action(
            "Evaluate the expression again",
            f'curl -sG "$PROMETHEUS_URL/api/v1/query" --data-urlencode {shlex.quote("query=" + " ".join(expression.split()))}',
            "No result: it does not hold.",
        )
    yield silence(alert)


def _generator_expression(url: str) -> str:
    """The expression in Prometheus' own link (g0.expr); empty where the link is of another kind."""
    try:
        parsed = urlsplit(url)
        values = (
            parse_qs(parsed.query, max_num_fields=20).get("g0.expr", []) if parsed.scheme in ("http", "https") else []
        )
    except ValueError:
        return ""
    return values[0].strip()[:_EXPRESSION_MAX] if values else ""


def _series(frame: pd.DataFrame, alert: Alert) -> list[tuple[str, pd.DataFrame]]:
    """(name, rows) of each series: those with the alert's labels first, and only those where there are any."""
    labels = [name for name in frame.columns if name not in ("time", "value", "what", "__name__")]
    groups = list(frame.groupby(labels, sort=False)) if labels else ([((), frame)] if len(frame) else [])
    found = []
    for key, rows in groups:
        mine = {
            name: str(value)
            for name, value in zip(labels, key if isinstance(key, tuple) else (key,), strict=True)
            if value
        }
        fits = all(alert.labels.get(name, value) == value for name, value in mine.items())
        text = ", ".join(f"{name}={value}" for name, value in mine.items() if name != "namespace")[:120]
        found.append((fits, text, rows[["time", "value"]].reset_index(drop=True)))
    kept = [one for one in found if one[0]] or found
    return [(text, rows) for _, text, rows in kept]


def _holds(value: float, operator: str, limit: float | None) -> bool:
    """Whether `value operator limit`; an expression that compares nothing holds where it has a value."""
    return True if limit is None or operator not in _COMPARE else bool(_COMPARE[operator](value, limit))


def _crossed(rows: pd.DataFrame, operator: str, limit: float | None) -> datetime | None:
    """Since when the condition has held without a break up to the last sample; None where it does not hold or always did."""
    held = [_holds(value, operator, limit) for value in rows["value"]]
    first = len(held)
    while first > 0 and held[first - 1]:
        first -= 1
    if first in (0, len(held)):
        return None
    moment_of: datetime = rows["time"].iloc[first].to_pydatetime()
    return moment_of


def _apps(value: str, pods: pd.DataFrame, deployments: pd.DataFrame) -> list[str]:
    """The deployments that a label's value names: as a pod, an app, a service, a component, or by another name of it."""
    value = value.strip().lower()
    if not value or len(value) > 253:
        return []
    apps = [str(app) for app in dict.fromkeys([*pods["app"], *deployments["name"]]) if app]
    if value in set(map(str, pods["name"])):
        return [str(app) for app in pods[pods["name"] == value]["app"] if app]
    stem = value.removesuffix("-service")
    exact = [
        app
        for app in apps
        if app in (value, stem, f"{stem}-server", f"{stem}-agent") or (app.count("-") and value.startswith(f"{app}-"))
    ]
    if exact:
        return exact
    component = (
        [str(name) for name in deployments[deployments["component"] == value]["name"]] if len(deployments) else []
    )
    return [app for app in _ALIASES.get(value, ()) if app in apps] or component


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
