"""The decision point of HighErrorRate: which dependency or change is behind the errors, and what to do."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from runbook.alert import Alert, Window
from runbook.legacy import Finding
from runbook.outcome import Action, Status, Verdict
from runbook.steps.platform import known_limits
from runbook.steps.platform.suspects import Suspect, suspects
from runbook.steps.shared.quotas import raise_limit
from runbook.steps.shared.verdicts import (
    checklist,
    figures_of,
    known,
    kubectl,
    psql,
    silence,
    unknown_reasons,
)
from runbook.words import amount, moment

THRESHOLD = 0.05
APPS = ("orchestrator", "api")


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
    # The restart of what is down is the trouble itself, not a change before it.
    near = [
        one
        for one in suspects(findings, began or since or window.starts_at)
        if not cause.startswith(f"{one.text.split()[0]} is down")
    ]
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
        detail,
        *(f"Just before: {one.text}." for one in near[:3]),
        *_facts(findings, since),
        affected,
        _named(component, exchange, parts),
    )
    return Verdict(
        decision, summary.strip(), status, tuple(one for one in reasons if one) + unknown_reasons(findings),
        tuple(_actions(decision, near, alert, namespace, summary, findings)), _checklist(findings, affected),
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
                "out of memory" if base in str(pods.get("oom_killed", "")).split(", ") else "",
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
    if server is not None and server.is_known and server.figures.get("full"):
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
    logged = _logged(findings)
    if not flow and not halt and not logged:
        return "Whether trading is affected is not known."
    words = ["trading is paused"] * bool(halt.get("paused")) + [f"far fewer than usual: {flow.get('stopped')}"] * bool(
        flow.get("stopped")
    )
    words += [f"{no.get('refused', flow.get('refused'))} orders refused"] * bool(
        no.get("refused") or flow.get("refused")
    )
    if words:
        return f"Trading is affected: {'; '.join([*words, *logged])}."
    if logged:
        return f"Trading is possibly affected: the logs tell of {' and '.join(logged)}" + (
            ", though what is written to the database is as usual." if flow else "."
        )
    return "By what is written to the database, trading is not affected so far."


def _logged(findings: Mapping[str, Finding]) -> list[str]:
    """What the logs tell of trading that failed since the trouble began: decisions, orders and messages, counted."""
    totals = {
        words: sum(
            int(one.figures.get(name, 0))
            for key, one in findings.items()
            if key.startswith("error_rates.logs.") and one.is_known
        )
        for name, words in (
            ("stores_failed", "failed stores"),
            ("orders_failed", "orders that failed or timed out"),
            ("publishes_failed", "messages not published"),
        )
    }
    return [f"{count} {words}" for words, count in totals.items() if count]


def _facts(findings: Mapping[str, Finding], since: datetime | None) -> Iterator[str]:
    if since:
        yield f"The errors rose at {moment(since)}."
    names = (
        "error_rates.api",
        "error_rates.paths",
        "error_rates.components",
        "dependencies.database",
        "dependencies.exchange",
    )
    yield from (f"{found.title}." for found in (*known(findings, names), *_risen_logs(findings)))


def _risen_logs(findings: Mapping[str, Finding]) -> list[Finding]:
    """The log findings whose patterns rose."""
    return [
        one
        for name, one in findings.items()
        if name.startswith("error_rates.logs.") and one.is_known and one.figures["rose"]
    ]


def _actions(
    decision: str, near: Sequence[Suspect], alert: Alert, namespace: str, summary: str, findings: Mapping[str, Finding]
) -> Iterator[Action]:
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
        if name in str(figures_of(findings, "platform.pods").get("oom_killed", "")).split(", "):
            note = "That is a restart already. If it is killed again, look for what fills its memory."
            yield from raise_limit(name, "memory", known_limits(findings), namespace, note)
        else:
            yield Action(f"Restart {name}", kubectl(namespace, "rollout", "restart", f"deployment/{name}"),
                         "Only when its log shows nothing that would end it again.", changes=True)  # fmt: skip
    if "connections" in decision or "database" in decision:
        yield Action("See who holds the connections",
                     psql(namespace, "SELECT pid, application_name, state, wait_event_type, now() - xact_start AS open_for FROM pg_stat_activity "
                     "WHERE backend_type = 'client backend' ORDER BY xact_start NULLS LAST LIMIT 20;"), "The longest open first.")  # fmt: skip
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
        *checklist(findings, questions),
        ("Was trading affected?", affected),
    )
