"""The decision of TradingSessionFailure: resume, restart, or repair first what the orchestrator needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from runbook.alert import Alert, Window
from runbook.legacy import Finding
from runbook.outcome import Action, Status, Verdict
from runbook.steps.agents.causes import cause_of, repair
from runbook.steps.platform import known_limits
from runbook.steps.shared.fleet import MCP_SERVERS
from runbook.steps.shared.quotas import raise_limit
from runbook.steps.shared.verdicts import figures_of, known, kubectl, psql, silence, title_of, unknown_reasons
from runbook.words import moment


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
    """(kind, culprit) of a session that does not trade: "paused", "dependency", "resources", "crashed",
    "stalled" (up, but nothing flows), "silent" (nothing flows, the orchestrator not seen), "running" or "unknown".

    What the orchestrator needs comes before how it ended: it exits when a server it needs is away, which looks like a crash.
    """
    halt, flows = figures_of(findings, "sessions.paused"), figures_of(findings, "sessions.flow")
    pods, health = figures_of(findings, "platform.pods.orchestrator"), figures_of(findings, "sessions.orchestrator")
    broken = bool(pods.get("not_ready")) or bool(health.get("failing"))
    still = bool(flows) and not flows["flows"]
    if halt.get("paused") and not broken:
        return "paused", str(halt["paused_by"])
    if not broken and not still:
        return ("running", "") if flows and halt and (pods or health) else ("unknown", "")
    if pods.get("oom_killed"):
        return "resources", "orchestrator"
    blamed, culprit = cause_of(findings)
    if blamed in ("database", "llm", "mcp"):
        return "dependency", culprit
    if broken:
        return "crashed", "orchestrator"
    # That it is up is only claimed where it was seen to be.
    return ("stalled" if halt and (pods or health) else "silent"), ""


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
                f"No session trades because {culprit} does not serve the orchestrator: restarting does not help before that.{since}",
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
            checked = all(figures_of(findings, f"agents.{name}") for name in ("mcp_servers", "store", "llm"))
            wells = "what it depends on is well" if checked else "nothing it depends on is known to be down"
            said = f" Its last words: “{words[:120]}”." if words else ""
            if rolled:
                return (
                    "take the orchestrator's rollout back",
                    f"The orchestrator crashes since it was rolled out; {wells}.{said}{since}",
                    Status.CRITICAL,
                )
            return (
                "restart the orchestrator",
                f"The orchestrator crashed; {wells}.{said}{since}",
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
        case "silent":
            return (
                "look at the orchestrator",
                f"Nothing flows, and whether the orchestrator runs is not known.{since}",
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
    for found in known(findings, order):
        if found.status is not Status.OK or found.id in ("sessions.flow", "sessions.paused"):
            yield f"{found.title}."
    restart = figures_of(findings, "sessions.restart_safety")
    if restart:
        yield "A restart is safe now." if restart["safe"] else f"A restart is not safe yet: {restart['reasons']}."


def _actions(
    kind: str, culprit: str, findings: Mapping[str, Finding], alert: Alert, namespace: str
) -> Iterator[Action]:
    restart, limits = figures_of(findings, "sessions.restart_safety"), known_limits(findings)
    rolled = str(figures_of(findings, "platform.rollouts").get("rolled_out", "")).split(", ")
    unsafe = "" if not restart or restart["safe"] else f" Not before this is settled: {restart['reasons']}."
    killed = str(figures_of(findings, "platform.pods.mcp-server").get("oom_killed", ""))
    if kind == "dependency":
        blamed = (
            "mcp"
            if any(one in MCP_SERVERS for one in culprit.split(", "))
            else "database"
            if culprit == "postgres"
            else "llm"
        )
        yield from repair(blamed, culprit, rolled, namespace, limits)
        if killed:
            yield from repair("resources", killed, rolled, namespace, limits)
    if kind == "resources":
        yield from raise_limit(
            "orchestrator", "memory", limits, namespace, "Look for the reason of the growth as well."
        )
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
    yield Action("See whether a session trades again", psql(namespace, "SELECT started_at, stopped_at, mode, total_trades FROM trading_sessions ORDER BY created_at DESC LIMIT 3;\n"
                 "SELECT max(created_at) AS last_signal FROM agent_signals;\nSELECT max(placed_at) AS last_order FROM orders;"))  # fmt: skip
    yield silence(alert)


def _checklist(findings: Mapping[str, Finding]) -> tuple[tuple[str, str], ...]:
    title = partial(title_of, findings)
    return (
        ("Paused or crashed?", f"{title('sessions.paused')}; {title('platform.pods.orchestrator').lower()}"),
        ("What did it say last?", title("sessions.last_words")),
        ("Were the agents well?", title("agents.status")),
        ("Were the MCP servers well?", title("agents.mcp_servers")),
        ("What changed before?", f"{title('platform.rollouts')}; {title('platform.config_changes')}"),
        ("What stayed open meanwhile?", title("exposure.open_positions")),
        ("Since when does trading flow again?", title("sessions.flow")),
    )
