"""Trading sessions: which one this is about, whether trading is halted or failed and why, and how fresh its data is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import pandas as pd

from runbook.alert import Alert, Window
from runbook.outcome import Action, Finding, Status, Table, Verdict
from runbook.sources.cluster import Cluster
from runbook.sources.database import Database
from runbook.sources.metrics import Metrics
from runbook.steps import agents
from runbook.steps.values import age_seconds, number, text
from runbook.steps.verdicts import figures_of, kubectl, silence, unknown_reasons
from runbook.tables import amount, duration, moment

FILL_STALE_SECONDS = 15 * 60
CANDLE_STALE_SECONDS = 3 * 60


def latest(database: Database, window: Window) -> Finding:
    """Latest session: total PnL, maximum drawdown and ROI, with the four before it."""
    frame = database.ask("sessions/latest", as_of=window.as_of, starts_at=window.starts_at).frame
    if frame.empty:
        return Finding(
            "sessions.latest",
            Status.UNKNOWN,
            "Latest session: there is none",
            "trading_sessions has no row up to the report's moment.",
        )
    row = frame.iloc[0]
    is_open = row["stopped_at"] is None or pd.isna(row["stopped_at"])
    pnl, roi, worst = number(row["total_pnl"]), number(row["roi"]), number(row["max_drawdown"])
    limit = number(row["max_drawdown_limit"])
    over = math.isfinite(worst) and math.isfinite(limit) and worst > limit
    missing = [name for name, value in (("total_pnl", pnl), ("max_drawdown", worst)) if not math.isfinite(value)]
    shown = frame[
        [
            "mode",
            "started_at",
            "stopped_at",
            "initial_capital",
            "total_pnl",
            "roi",
            "max_drawdown",
            "total_trades",
            "losing_trades",
        ]
    ]
    return Finding(
        "sessions.latest",
        Status.WARNING if over or missing else Status.OK,
        f"The {'open' if is_open else 'last'} {row['mode']} session: total PnL {amount(pnl, 'USDT')}, ROI {amount(roi, '%')}, "
        f"maximum drawdown {amount(worst, '%')}",
        f"Began {moment(row['started_at'])}; {'still open' if is_open else 'stopped ' + moment(row['stopped_at'])}; "
        f"initial capital {amount(row['initial_capital'], 'USDT')}; {amount(row['losing_trades'])} of {amount(row['total_trades'])} closed trades lost."
        + (f" The row has no usable {' and '.join(missing)}." if missing else ""),
        {
            "session_id": row["session_id"],
            "started_at": row["started_at"],
            "initial_capital": number(row["initial_capital"]),
            "total_pnl": pnl,
            "roi": roi,
            "max_drawdown": worst,
            "max_drawdown_limit": limit,
            "is_open": is_open,
            "mode": row["mode"],
        },
        (
            Table(
                "Latest trading sessions, the one in question first",
                shown,
                {"started_at": "time", "stopped_at": "time", "initial_capital": "USDT", "total_pnl": "USDT", "roi": "%", "max_drawdown": "%",
                 "total_trades": "", "losing_trades": ""},
            ),
        ),
    )  # fmt: skip


def paused(database: Database, window: Window) -> Finding:
    """Trading paused: whether the orchestrator is paused, since when and why."""
    frame = database.ask("sessions/halt", as_of=window.as_of).frame
    if frame.empty:
        return Finding(
            "sessions.paused",
            Status.UNKNOWN,
            "Trading paused: orchestrator_state has no row",
            "So it cannot be said whether trading runs.",
        )
    row = frame.iloc[0]
    since = row["paused_at"]
    if not row["paused"]:
        return Finding("sessions.paused", Status.OK, "The orchestrator is not paused: trading goes on", f"State as of {moment(row['updated_at'])}.",
                       {"paused": False})  # fmt: skip
    return Finding(
        "sessions.paused",
        Status.WARNING,
        f"Trading is paused since {moment(since)}",
        f"Paused by {text(row['paused_by'])}: {text(row['pause_reason'])}.",
        {"paused": True, "paused_at": since, "paused_by": text(row["paused_by"]), "reason": text(row["pause_reason"])},
    )


def breakers(metrics: Metrics, window: Window) -> Finding:
    """Trading breakers: which are tripped (cryptofunk_circuit_breaker_status), and how often each tripped."""
    now = metrics.instant("cryptofunk_circuit_breaker_status", window.as_of).frame
    if now.empty:
        return Finding("sessions.breakers", Status.UNKNOWN, "Trading breakers: no metric cryptofunk_circuit_breaker_status",
                       "Prometheus has no such series at the report's moment, so the breakers' state is not known.")  # fmt: skip
    hours = max(1, round(window.seconds / 3600))
    trips = metrics.instant(
        f"sum by (breaker_type, reason) (increase(cryptofunk_circuit_breaker_trips_total[{hours}h]))", window.as_of
    ).frame
    names = [str(name) for name in now.get("breaker_type", pd.Series(dtype=object))[now["value"] >= 1]]
    tripped = ", ".join(names)
    trips = trips[trips["value"] > 0.5] if len(trips) else trips
    counted = [name for name in ("breaker_type", "reason") if name in trips]
    return Finding(
        "sessions.breakers",
        Status.WARNING if names else Status.OK,
        f"Tripped trading breakers: {tripped}" if names else "No trading breaker is tripped",
        "",
        {"tripped": tripped, "count": len(names)},
        (
            Table(
                f"Breaker trips in the last {hours} h",
                trips[[*counted, "value"]].rename(columns={"value": "trips"}),
                {"trips": ""},
            ),
        )
        if len(trips)
        else (),
    )


def activity(database: Database, window: Window) -> Finding:
    """Freshness: age of the last fill, order, signal, candle and performance row."""
    frame = database.ask("sessions/activity", as_of=window.as_of).frame
    ages = {name.removeprefix("last_"): age_seconds(frame[name].iloc[0], window) for name in frame.columns}
    if not any(math.isfinite(age) for age in ages.values()):
        return Finding(
            "sessions.activity",
            Status.UNKNOWN,
            "Freshness: the trading tables are empty",
            "There is no fill, order, signal or candle at all.",
        )
    stale = [
        name
        for name, limit in (("candle", CANDLE_STALE_SECONDS), ("performance", CANDLE_STALE_SECONDS))
        if not ages[name] <= limit
    ]
    shown = pd.DataFrame(
        {"last": list(ages), "at": [frame[f"last_{name}"].iloc[0] for name in ages], "age": list(ages.values())}
    )
    return Finding(
        "sessions.activity",
        Status.WARNING if stale else Status.OK,
        f"Last candle {_ago(ages['candle'])}, last fill {_ago(ages['fill'])}",
        f"Stale: {', '.join(stale)} (over {duration(CANDLE_STALE_SECONDS)} old): market data or the writer is behind, so prices below may be too." if stale
        else "Market data and the performance writer are current.",
        {f"{name}_age_seconds": age for name, age in ages.items()} | {"stale": ", ".join(stale)},
        (Table("Age of the newest rows", shown, {"at": "time", "age": "s"}),),
    )  # fmt: skip


def _ago(seconds: float) -> str:
    return f"{duration(seconds)} ago" if math.isfinite(seconds) else "never"


def orchestrator(cluster: Cluster) -> Finding:
    """Orchestrator health: what it answers at /health and /readiness, through the API server's proxy."""
    answers = {path: cluster.health("orchestrator-service", 8081, path).data for path in ("/health", "/readiness")}
    rows = [
        {"path": path, "code": int(one["code"]), "answer": " ".join(str(one["body"]).split())[:200]}
        for path, one in answers.items()
    ]
    failing = [str(row["path"]) for row in rows if int(str(row["code"])) >= 300]
    return Finding(
        "sessions.orchestrator",
        Status.CRITICAL if failing else Status.OK,
        f"The orchestrator does not answer at {', '.join(failing)}" if failing else "The orchestrator answers at /health and /readiness",
        "; ".join(f"{row['path']}: {row['code']} {row['answer']}" for row in rows),
        {"failing": ", ".join(failing), "answers": not failing},
        (Table("What the orchestrator answers", pd.DataFrame(rows), {"code": ""}),),
    )  # fmt: skip


def last_words(orchestrator_pods: Finding, cluster: Cluster, window: Window) -> Finding:
    """Last words: the orchestrator's log before its last restart in the window."""
    app = "orchestrator" if orchestrator_pods.figures.get("restarted") else ""
    return agents.words_before_restart("sessions.last_words", app, cluster, window)


def flow(database: Database, window: Window) -> Finding:
    """Flow: signals, orders, fills and new sessions over the window, and since the alert."""
    seconds = max(300, round(window.seconds / 60 / 300) * 300)
    frame = database.ask(
        "sessions/flow", start=window.start, as_of=window.as_of, starts_at=window.starts_at, seconds=seconds
    ).frame
    if frame.empty:
        return Finding("sessions.flow", Status.WARNING, "No signal, order or fill in the whole window", "Nothing flows: agents and orders both stand still.",
                       {"flows": False, "stopped_at": None, "since": 0, "signals": 0, "orders": 0, "fills": 0, "sessions": 0})  # fmt: skip
    full = pd.date_range(frame["bucket"].min(), pd.Timestamp(window.as_of), freq=f"{seconds}s")
    series = {
        str(kind): one.set_index("bucket")["count"]
        .reindex(full)
        .fillna(0.0)
        .rename_axis("time")
        .reset_index(name="value")
        for kind, one in frame[frame["kind"] != "sessions"].groupby("kind", sort=False)
    }
    since = frame.groupby("kind")["since"].sum()
    last = frame.groupby("kind")["last"].max()
    counts = {kind: int(since.get(kind, 0)) for kind in ("signals", "orders", "fills", "sessions")}
    newest = last[last.index != "sessions"].max() if (last.index != "sessions").any() else None
    quiet = age_seconds(newest, window)
    gaps = frame[frame["kind"] == "signals"]["bucket"].sort_values().diff().dt.total_seconds().dropna()
    usual = float(gaps.median()) if len(gaps) else float(seconds)
    flows = counts["signals"] > 0 and quiet <= max(3 * usual, 900)
    shown = pd.DataFrame(
        [
            {
                "what": kind,
                "in the window": int(frame.loc[frame["kind"] == kind, "count"].sum()),
                "since the alert": counts[kind],
                "last": last.get(kind),
            }
            for kind in counts
        ]
    )
    return Finding(
        "sessions.flow",
        Status.OK if flows else Status.WARNING,
        (f"Signals flow: {counts['signals']} since the alert, {counts['orders']} orders, {counts['fills']} fills" if flows
         else f"Nothing flows since {moment(newest)}: {counts['signals']} signals, {counts['orders']} orders and {counts['fills']} fills since the alert"),
        f"{counts['sessions'] or 'No'} new trading {'session' if counts['sessions'] == 1 else 'sessions'} since the alert.",
        {"flows": flows, "stopped_at": None if flows else newest, "bucket_minutes": seconds // 60, **counts},
        (Table("Signals, orders, fills and sessions", shown, {"in the window": "", "since the alert": "", "last": "time"}),),
        series={"flow": series},
    )  # fmt: skip


def decide(findings: Mapping[str, Finding], alert: Alert, window: Window, namespace: str = "cryptofunk") -> Verdict:
    """The decision of TradingSessionFailure: resume, restart, or repair first what the orchestrator needs, and why."""
    kind, culprit = failure(findings)
    decision, summary, status = _choice(kind, culprit, findings)
    return Verdict(
        decision,
        summary,
        status,
        (*_reasons(findings), *unknown_reasons(findings)),
        tuple(_actions(kind, culprit, findings, alert, namespace)),
        _checklist(findings),
    )


def failure(findings: Mapping[str, Finding]) -> tuple[str, str]:
    """(kind, culprit) of a session that does not trade: "paused", "dependency", "resources", "crashed", "stalled", "running" or "unknown".

    What the orchestrator needs comes before how it ended: it exits when a server it needs is away, which looks like a crash.
    """
    halt, flows = figures_of(findings, "sessions.paused"), figures_of(findings, "sessions.flow")
    pods, health = figures_of(findings, "platform.pods.orchestrator"), figures_of(findings, "sessions.orchestrator")
    broken = bool(pods.get("not_ready")) or bool(health.get("failing"))
    if broken or pods.get("restarted"):
        down = str(figures_of(findings, "agents.mcp_servers").get("down", ""))
        blamed, culprit = agents.cause_of(findings)
        if pods.get("oom_killed"):
            return "resources", "orchestrator"
        if down:
            return "dependency", down
        if blamed in ("database", "llm", "mcp"):
            return "dependency", culprit
        if broken:
            return "crashed", "orchestrator"
    if halt.get("paused"):
        return "paused", str(halt["paused_by"])
    if flows and not flows["flows"]:
        return "stalled", ""
    return ("running", "") if flows and halt and (pods or health) else ("unknown", "")


def _choice(kind: str, culprit: str, findings: Mapping[str, Finding]) -> tuple[str, str, Status]:
    halt, flows = figures_of(findings, "sessions.paused"), figures_of(findings, "sessions.flow")
    since = (
        f" Nothing has been traded or signalled since {moment(flows['stopped_at'])}."
        if flows.get("stopped_at") is not None
        else ""
    )
    match kind:
        case "dependency":
            return (
                f"repair {culprit} first",
                f"The orchestrator fails because {culprit} does not serve it: restarting the session does not help before that.{since}",
                Status.CRITICAL,
            )
        case "resources":
            return (
                "raise the memory limit of orchestrator",
                f"The orchestrator was killed for exceeding its memory limit.{since}",
                Status.CRITICAL,
            )
        case "crashed":
            rolled = "orchestrator" in str(figures_of(findings, "platform.rollouts").get("rolled_out", "")).split(", ")
            words = str(figures_of(findings, "sessions.last_words").get("words", ""))
            said = f" Its last words: “{words[:120]}”." if words else ""
            if rolled:
                return (
                    "take the orchestrator's rollout back",
                    f"The orchestrator crashes since it was rolled out; what it depends on is well.{said}{since}",
                    Status.CRITICAL,
                )
            return (
                "restart the orchestrator",
                f"The orchestrator crashed; nothing it depends on is known to be down.{said}{since}",
                Status.CRITICAL,
            )
        case "paused":
            return (
                "resume trading, if the reason is over",
                f"Nothing crashed: trading is paused since {moment(halt['paused_at'])} by {culprit} ({halt['reason']}).{since}",
                Status.WARNING,
            )
        case "stalled":
            return (
                "restart the orchestrator",
                f"The orchestrator is up and not paused, but nothing flows.{since}",
                Status.CRITICAL,
            )
        case "running":
            return (
                "nothing to restart",
                f"Healthy: the orchestrator runs, trading is not paused and {flows['signals']} signals came since the alert.",
                Status.OK,
            )
    return (
        "find out whether the orchestrator runs",
        "It is not known whether a session trades: too little could be asked.",
        Status.UNKNOWN,
    )


def _reasons(findings: Mapping[str, Finding]) -> Iterator[str]:
    order = ("platform.pods.orchestrator", "sessions.orchestrator", "sessions.last_words", "agents.mcp_servers", "platform.pods.mcp-server", "sessions.paused",
             "agents.status", "sessions.flow", "platform.rollouts", "platform.config_changes")  # fmt: skip
    for name in order:
        found = findings.get(name)
        if (
            found is not None
            and found.is_known
            and (found.status is not Status.OK or name in ("sessions.flow", "sessions.paused"))
        ):
            yield f"{found.title}."
    restart = figures_of(findings, "positions.restart_safety")
    if restart:
        yield "A restart is safe now." if restart["safe"] else f"A restart is not safe yet: {restart['reasons']}."


def _actions(
    kind: str, culprit: str, findings: Mapping[str, Finding], alert: Alert, namespace: str
) -> Iterator[Action]:
    restart = figures_of(findings, "positions.restart_safety")
    rolled = str(figures_of(findings, "platform.rollouts").get("rolled_out", "")).split(", ")
    unsafe = "" if not restart or restart["safe"] else f" Not before this is settled: {restart['reasons']}."
    killed = str(figures_of(findings, "platform.pods.mcp-server").get("oom_killed", ""))
    if kind == "dependency":
        blamed = (
            "mcp"
            if any(one in agents.MCP_SERVERS for one in culprit.split(", "))
            else "database"
            if culprit == "postgres"
            else "llm"
        )
        yield from agents.repair(blamed, culprit, rolled, namespace)
        if killed:
            yield from agents.repair("resources", killed, rolled, namespace)
    if kind == "resources":
        yield Action("Raise the memory limit of the orchestrator", kubectl(namespace, "set", "resources", "deployment/orchestrator", "--limits=cpu=1,memory=4Gi"),
                     "Twice the platform's usual 2Gi; look for the reason of the growth as well.", changes=True)  # fmt: skip
    if kind == "crashed" and "orchestrator" in rolled:
        yield Action("Take the last rollout of the orchestrator back", kubectl(namespace, "rollout", "undo", "deployment/orchestrator"),
                     f"It crashes since then.{unsafe}", changes=True)  # fmt: skip
    if kind != "running":
        after = {
            "dependency": " Only after the cause is repaired.",
            "paused": " A fresh orchestrator starts unpaused; prefer its own resume where there is one.",
        }.get(kind, "")
        yield Action("Restart the orchestrator gracefully", kubectl(namespace, "rollout", "restart", "deployment/orchestrator"),
                     f"It opens a new trading session.{after}{unsafe}", changes=True)  # fmt: skip
    yield Action("Monitor its startup", kubectl(namespace, "logs", "-f", "deployment/orchestrator"))
    yield Action("See whether a session trades again", f"kubectl exec -i -n {namespace} deployment/postgres -- psql -U postgres -d cryptofunk <<'SQL'\n"
                 "SELECT started_at, stopped_at, mode, total_trades FROM trading_sessions ORDER BY created_at DESC LIMIT 3;\n"
                 "SELECT max(created_at) AS last_signal FROM agent_signals;\nSELECT max(placed_at) AS last_order FROM orders;\nSQL")  # fmt: skip
    yield silence(alert)


def _checklist(findings: Mapping[str, Finding]) -> tuple[tuple[str, str], ...]:
    def title(name: str) -> str:
        found = findings.get(name)
        return found.title if found is not None else "not checked"

    return (
        ("Paused or crashed?", f"{title('sessions.paused')}; {title('platform.pods.orchestrator').lower()}"),
        ("What did it say last?", title("sessions.last_words")),
        ("Were the agents well?", title("agents.status")),
        ("Were the MCP servers well?", title("agents.mcp_servers")),
        ("What changed before?", f"{title('platform.rollouts')}; {title('platform.config_changes')}"),
        ("What stayed open meanwhile?", title("positions.open_now")),
        ("Since when does trading flow again?", title("sessions.flow")),
    )
