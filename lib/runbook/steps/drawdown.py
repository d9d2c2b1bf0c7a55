"""Drawdown: measured from fills, from performance rows and by the gauge; its history; the decision."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from runbook.alert import Alert, Window
from runbook.outcome import Action, Finding, Status, Table, Verdict
from runbook.sources.database import Database
from runbook.sources.metrics import Metrics
from runbook.steps.agents import DEPLOYMENTS
from runbook.steps.values import number
from runbook.steps.verdicts import figures_of, kubectl, silence, unknown_reasons
from runbook.tables import amount, duration, moment

DEFAULT_LIMIT = 0.10
_AGREE_POINTS = 0.01
_NOTABLE_DEPTH = 0.03
_FINE_BUCKETS = 400
_COARSE_BUCKETS = 300


@dataclass(frozen=True, slots=True)
class Episode:
    """One drawdown: from a peak of the equity to its trough and, if it came, the recovery of the peak.

    `depth` is a ratio of the peak.
    """

    peak_at: datetime
    trough_at: datetime
    recovered_at: datetime | None
    depth: float
    peak: float
    trough: float


def underwater(equity: pd.Series[Any]) -> pd.Series[Any]:
    """equity / running peak − 1: zero at a peak, negative below it.

    The underwater curve as in Magdon-Ismail and Atiya, "Maximum drawdown" (Risk, 2004).
    """
    return equity / equity.cummax() - 1


def episodes(curve: pd.DataFrame, least_depth: float = 0.002) -> list[Episode]:
    """The drawdowns of `curve` (time, value) at least `least_depth` deep, in order of time."""
    values, times = curve["value"].to_numpy(dtype=float), curve["time"].tolist()
    found: list[Episode] = []
    peak = trough = 0
    for i in range(1, len(values) + 1):
        if i == len(values) or values[i] >= values[peak]:
            depth = 1 - values[trough] / values[peak] if values[peak] > 0 else 0.0
            if trough > peak and depth >= least_depth:
                recovered = times[i] if i < len(values) else None
                found.append(
                    Episode(
                        times[peak], times[trough], recovered, float(depth), float(values[peak]), float(values[trough])
                    )
                )
            peak = trough = i
        elif values[i] < values[trough]:
            trough = i
    return found


def from_fills(session: Finding, database: Database, window: Window) -> Finding:
    """Drawdown from fills: cash and quantities of every fill, priced with the candles of the time."""
    arguments = _grid(session, window)
    fills = database.ask("drawdown/fills", **arguments).frame
    if fills.empty:
        return Finding(
            "drawdown.from_fills",
            Status.UNKNOWN,
            "Drawdown from fills: the session has no fills",
            "Nothing was traded, so fills give no equity.",
        )
    closes = database.ask("market/closes", since=arguments["started_at"], **arguments).frame
    curve = _equity(fills, closes, session.figures["initial_capital"], session.figures["started_at"])
    limit = limit_of(0.0, session.figures["max_drawdown_limit"])
    found = _measured("drawdown.from_fills", "fills and candles", curve, limit)
    return replace(found, series={**found.series, "closes": closes})


def from_performance(session: Finding, database: Database, window: Window) -> Finding:
    """Drawdown from performance rows: total_value of performance_metrics against its running peak."""
    frame = database.ask("drawdown/performance", **_grid(session, window)).frame
    if frame.empty:
        return Finding("drawdown.from_performance", Status.UNKNOWN, "Drawdown from performance rows: there are none",
                       "performance_metrics holds no usable total_value for this session.")  # fmt: skip
    # Within a bucket the order of its extremes is not known: the high is set before the low, then the last value.
    parts = [
        frame[["bucket", name]].rename(columns={name: "value", "bucket": "time"}).assign(order=i)
        for i, name in enumerate(("high", "low"))
    ]
    parts.append(frame[["time", "last"]].rename(columns={"last": "value"}).assign(order=2))
    curve = pd.concat(parts).sort_values(["time", "order"], ignore_index=True)[["time", "value"]]
    return _measured(
        "drawdown.from_performance", "performance_metrics", curve, limit_of(0.0, session.figures["max_drawdown_limit"])
    )


def gauge(metrics: Metrics, window: Window) -> Finding:
    """Drawdown by the gauge: cryptofunk_current_drawdown, the metric that fired, and its threshold."""
    series = metrics.range("max(cryptofunk_current_drawdown)", window.start, window.as_of, series=2).frame.dropna(
        subset=["value"]
    )
    limits = metrics.instant("max(cryptofunk_max_drawdown_threshold)", window.as_of).frame.dropna(subset=["value"])
    if series.empty:
        return Finding("drawdown.gauge", Status.UNKNOWN, "Drawdown by the gauge: no usable sample",
                       "cryptofunk_current_drawdown has no sample in the window, or only NaN.")  # fmt: skip
    limit = float(limits["value"].iloc[0]) if len(limits) else float("nan")
    last, highest = float(series["value"].iloc[-1]), float(series["value"].max())
    at_alert = series[series["time"] <= window.starts_at]["value"]
    over = math.isfinite(limit) and last > limit
    return Finding(
        "drawdown.gauge",
        Status.WARNING if over else Status.OK,
        f"The gauge reads {amount(last, '%')} at the report, at most {amount(highest, '%')}; threshold {amount(limit, '%')}",
        f"At the alert's moment it read {amount(at_alert.iloc[-1] if len(at_alert) else None, '%')}. Samples at least every "
        f"{duration(_step_seconds(series))}, so single peaks between them are not seen.",
        {
            "drawdown": last,
            "highest": highest,
            "at_alert": float(at_alert.iloc[-1]) if len(at_alert) else None,
            "threshold": limit,
        },
        series={"gauge": series[["time", "value"]]},
    )


def agreement(fills: Finding, performance: Finding, gauge_now: Finding, threshold: float = 0.0) -> Finding:
    """Do the measures agree: fills, performance rows and gauge, and are they over the threshold."""
    measured = {
        "fills and candles": number(fills.figures["drawdown"]),
        "performance_metrics": number(performance.figures["drawdown"]),
        "gauge": number(gauge_now.figures["drawdown"]),
    }
    nameless = [name for name, value in measured.items() if not math.isfinite(value)]
    if nameless:
        return Finding("drawdown.agreement", Status.UNKNOWN, "Do the measures agree: not known",
                       f"There is no usable figure by {' and '.join(nameless)}.")  # fmt: skip
    limit = limit_of(threshold, gauge_now.figures.get("threshold"))
    apart = {name: value - measured["fills and candles"] for name, value in measured.items()}
    odd = [name for name, by in apart.items() if abs(by) > max(_AGREE_POINTS, 0.1 * measured["fills and candles"])]
    over = [name for name, value in measured.items() if value > limit]
    table = pd.DataFrame({"measure": list(measured), "drawdown": list(measured.values()), "against fills": list(apart.values()),
                          "over the threshold": ["yes" if name in over else "no" for name in measured]})  # fmt: skip
    if not odd:
        title = f"All three measures agree: drawdown {amount(measured['fills and candles'], '%')}, threshold {amount(limit, '%')}"
        detail = f"They differ by at most {_points(max(abs(v) for v in apart.values()))}."
    elif odd == ["gauge"]:
        title = f"The gauge is wrong: it reads {amount(measured['gauge'], '%')}, fills and performance rows say {amount(measured['fills and candles'], '%')}"
        detail = (f"It is {_points(abs(apart['gauge']))} {'above' if apart['gauge'] > 0 else 'below'} the fills, while fills and performance rows agree to "
                  f"{_points(abs(apart['performance_metrics']))}. What fired is the exporter's figure, not a loss of that size.")  # fmt: skip
    else:
        title = f"The measures disagree: fills {amount(measured['fills and candles'], '%')}, " + ", ".join(
            f"{name} {amount(measured[name], '%')}" for name in list(measured)[1:]
        )
        detail = (
            "Trust the fills: they are what was traded. Find out why "
            + " and ".join(odd)
            + " differ before acting on them."
        )
    status = Status.CRITICAL if "fills and candles" in over else (Status.WARNING if odd or over else Status.OK)
    return Finding("drawdown.agreement", status, title, detail,
                   {"drawdown": measured["fills and candles"], "gauge": measured["gauge"], "threshold": limit, "odd": ", ".join(odd),
                    "gauge_error": apart["gauge"], "exceeded": "fills and candles" in over},
                   (Table("Drawdown now, by measure", table, {"drawdown": "%", "against fills": "%"}),))  # fmt: skip


def history(fills: Finding, window: Window) -> Finding:
    """Depth and duration: this drawdown beside the earlier ones of the session."""
    curve: pd.DataFrame = fills.series["equity"]
    found = episodes(curve)
    if not found:
        return Finding(
            "drawdown.history",
            Status.OK,
            "The equity is at its peak: there is no drawdown to speak of",
            "",
            {"episodes": 0},
        )
    current = found[-1] if found[-1].recovered_at is None else None
    earlier = [one for one in found if one is not current]
    rows = [
        {
            "peak at": one.peak_at, "trough at": one.trough_at, "depth": one.depth,
            "to trough": (one.trough_at - one.peak_at).total_seconds(),
            "to recover": (one.recovered_at - one.trough_at).total_seconds() if one.recovered_at else None,
            "lost": one.peak - one.trough,
        }
        for one in sorted(found, key=lambda one: -one.depth)[:8]
    ]  # fmt: skip
    table = Table("Deepest drawdowns of the session; no time to recover: not recovered yet", pd.DataFrame(rows),
                  {"peak at": "time", "trough at": "time", "depth": "%", "to trough": "s", "to recover": "s", "lost": "USDT"})  # fmt: skip
    times = [(one.recovered_at - one.trough_at).total_seconds() for one in earlier if one.recovered_at]
    usual = (
        f"Earlier ones ({len(earlier)}) were at most {amount(max(one.depth for one in earlier), '%')} deep"
        if earlier
        else "There is no earlier one"
    )
    usual += f" and took {duration(float(np.median(times)))} (median) to recover." if times else "."
    if current is None:
        return Finding(
            "drawdown.history",
            Status.OK,
            "The last drawdown has been recovered",
            usual,
            {"episodes": len(found)},
            (table,),
        )
    needed = current.peak / float(curve["value"].iloc[-1]) - 1
    unusual = current.depth >= _NOTABLE_DEPTH and current.depth > 2 * max((one.depth for one in earlier), default=0.0)
    return Finding(
        "drawdown.history",
        Status.WARNING if unusual else Status.OK,
        f"{amount(current.depth, '%')} deep, {duration((window.as_of - current.peak_at).total_seconds())} since the peak at {moment(current.peak_at)}",
        f"Trough at {moment(current.trough_at)}. {usual} To reach the peak again the portfolio has to gain {amount(needed, '%')}.",
        {"depth": current.depth, "peak_at": current.peak_at, "trough_at": current.trough_at, "seconds": (window.as_of - current.peak_at).total_seconds(),
         "needed": needed, "lost": current.peak - float(curve["value"].iloc[-1]), "earlier": len(earlier), "peak": current.peak},
        (table,),
    )  # fmt: skip


def limit_of(threshold: float, exported: Any) -> float:
    """The threshold to judge by, a ratio: the one given, else the exported one, else risk.max_drawdown's default 0.10."""
    if threshold > 0:
        return threshold
    value = number(exported)
    return value if value > 0 else DEFAULT_LIMIT


def _grid(session: Finding, window: Window) -> dict[str, Any]:
    """Session and bucket sizes: some 400 buckets in the window, 300 before it, whatever the session's length."""
    started_at = session.figures["started_at"]
    before = max((window.start - started_at).total_seconds(), 0)
    return {
        "session_id": session.figures["session_id"],
        "started_at": started_at,
        "start": window.start,
        "as_of": window.as_of,
        "fine_seconds": max(30, math.ceil(window.seconds / _FINE_BUCKETS / 30) * 30),
        "coarse_seconds": max(60, math.ceil(before / _COARSE_BUCKETS / 60) * 60),
    }


def _equity(fills: pd.DataFrame, closes: pd.DataFrame, capital: float, started_at: datetime) -> pd.DataFrame:
    """Equity (time, value) at the end of each bucket: capital + cash flows + Σ quantity held · last close.

    `fills`: symbol, bucket, quantity, cash. `closes`: symbol, bucket, close, time. A symbol without
    a close yet is worth what was paid for it.
    """
    buckets = sorted({*fills["bucket"], *closes["bucket"]})
    cash = fills.groupby("bucket")["cash"].sum().reindex(buckets).fillna(0.0).cumsum()
    held = (
        fills.pivot_table(index="bucket", columns="symbol", values="quantity", aggfunc="sum")
        .reindex(buckets)
        .fillna(0.0)
        .cumsum()
    )
    paid = (fills.assign(price=(fills["cash"] / fills["quantity"].where(fills["quantity"] != 0)).abs())
            .pivot_table(index="bucket", columns="symbol", values="price", aggfunc="last").reindex(buckets, columns=held.columns).ffill().bfill())  # fmt: skip
    prices = paid
    if len(closes):
        marks = (
            closes.pivot_table(index="bucket", columns="symbol", values="close", aggfunc="last")
            .reindex(buckets, columns=held.columns)
            .ffill()
        )
        prices = marks.fillna(paid)
    value = capital + cash + (held * prices).where(held.abs() > 1e-12, 0.0).sum(axis=1)
    ends = (
        closes.groupby("bucket")["time"].max().reindex(buckets)
        if len(closes)
        else pd.Series(index=buckets, dtype="datetime64[us, UTC]")
    )
    times = ends.fillna(pd.Series(buckets, index=buckets))
    curve = pd.DataFrame({"time": times.to_numpy(), "value": value.to_numpy(dtype=float)})
    first = pd.DataFrame({"time": [pd.Timestamp(started_at)], "value": [float(capital)]})
    curve["time"] = pd.to_datetime(curve["time"], utc=True).astype("datetime64[us, UTC]")
    first["time"] = first["time"].astype("datetime64[us, UTC]")
    joined = pd.concat([first, curve[curve["time"] > first["time"].iloc[0]]], ignore_index=True)
    return joined.dropna(subset=["value"]).sort_values("time", ignore_index=True)


def _measured(name: str, source: str, curve: pd.DataFrame, limit: float) -> Finding:
    depths = -underwater(curve["value"])
    now, deepest, at = float(depths.iloc[-1]), float(depths.max()), curve["time"][int(depths.idxmax())]
    peak = float(curve["value"].max())
    return Finding(
        name,
        Status.CRITICAL if now > limit else Status.OK,
        f"By {source} the drawdown is {amount(now, '%')} now, at most {amount(deepest, '%')} ({moment(at)})",
        f"Equity {amount(curve['value'].iloc[-1], 'USDT')} against a peak of {amount(peak, 'USDT')} at {moment(curve['time'][int(curve['value'].idxmax())])}; "
        f"{len(curve)} points since {moment(curve['time'].iloc[0])}, the last at {moment(curve['time'].iloc[-1])}.",
        {"drawdown": now, "threshold": limit, "deepest": deepest, "deepest_at": at, "equity": float(curve["value"].iloc[-1]), "peak": peak,
         "peak_at": curve["time"][int(curve["value"].idxmax())]},
        series={"equity": curve, "underwater": pd.DataFrame({"time": curve["time"], "value": -depths})},
    )  # fmt: skip


def _points(ratio: float) -> str:
    return f"{ratio * 100:.2g} percentage points" if ratio >= 1e-4 else "less than 0.01 percentage points"


def _step_seconds(series: pd.DataFrame) -> float:
    steps = series["time"].diff().dt.total_seconds().dropna()
    return float(steps.median()) if len(steps) else float("nan")


def decide(findings: Mapping[str, Finding], alert: Alert, window: Window, namespace: str = "cryptofunk") -> Verdict:
    """The decision point of MaxDrawdownExceeded: continue, pause or modify the strategy, and why."""
    agree, why = figures_of(findings, "drawdown.agreement"), figures_of(findings, "market.cause")
    who, halt = figures_of(findings, "positions.contributions"), figures_of(findings, "sessions.paused")
    restart, past = figures_of(findings, "positions.restart_safety"), figures_of(findings, "drawdown.history")
    fills, rows = figures_of(findings, "drawdown.from_fills"), figures_of(findings, "drawdown.from_performance")
    drawdown = agree.get("drawdown", fills.get("drawdown", rows.get("drawdown")))
    limit = limit_of(0.0, agree.get("threshold"))
    status, decision, summary = _choice(drawdown, limit, agree, why, who, fills)
    halted = (
        ""
        if not halt
        else " Trading is paused."
        if halt["paused"]
        else ""
        if status is Status.OK
        else " Trading is NOT paused."
    )
    return Verdict(
        decision,
        summary + halted,
        status,
        tuple(_reasons(drawdown, limit, agree, why, who, halt, restart)) + unknown_reasons(findings),
        tuple(_actions(decision, who, halt, restart, alert, namespace)),
        _checklist(findings, drawdown, limit, past),
    )


def _choice(
    drawdown: float | None,
    limit: float,
    agree: Mapping[str, Any],
    why: Mapping[str, Any],
    who: Mapping[str, Any],
    fills: Mapping[str, Any],
) -> tuple[Status, str, str]:
    """(status, decision, summary): the procedure's rule, from what is known."""
    if drawdown is None:
        return (Status.UNKNOWN, "keep trading paused until the drawdown is known",
                "The drawdown cannot be measured: neither fills nor performance rows gave an answer.")  # fmt: skip
    shown = f"drawdown {amount(drawdown, '%')} against a threshold of {amount(limit, '%')}"
    if drawdown <= limit and agree.get("odd") == "gauge" and agree["gauge_error"] > 0:
        return (Status.WARNING, "continue trading, repair the gauge",
                f"The gauge is wrong, not the portfolio: it reads {amount(agree['gauge'], '%')}, but fills say {shown}.")  # fmt: skip
    if drawdown <= limit:
        deepest = fills.get("deepest", drawdown)
        if deepest > limit:
            return (Status.WARNING, "continue trading, watch closely",
                    f"The drawdown was {amount(deepest, '%')} at its deepest and is back under the threshold: {shown}.")  # fmt: skip
        return Status.OK, "continue trading", f"Healthy: {shown}."
    kind = why.get("kind")
    if kind == "market-wide":
        return (Status.CRITICAL, "pause trading",
                f"Market-wide fall: {shown}; the market moved {amount(why['market_return'], '%')} and explains {amount(min(why['explained_share'], 1.0), '%')} of the loss.")  # fmt: skip
    if kind == "strategy-specific" and who.get("agent_share", 0) >= 0.5:
        return (Status.CRITICAL, f"modify strategy: stop {who['agent']}",
                f"Strategy-specific loss: {shown}; {who['agent']} made {amount(who['agent_share'], '%')} of the losses while the market moved only {amount(why['market_return'], '%')}.")  # fmt: skip
    if kind in ("strategy-specific", "mixed"):
        return (Status.CRITICAL, "pause trading",
                f"{'Loss of several strategies' if kind == 'strategy-specific' else 'Mixed cause'}: {shown}; the market explains {amount(max(number(why['explained_share']), 0.0), '%')} of the loss.")  # fmt: skip
    return Status.CRITICAL, "pause trading", f"The threshold is exceeded, the cause is not known: {shown}."


def _reasons(
    drawdown: float | None,
    limit: float,
    agree: Mapping[str, Any],
    why: Mapping[str, Any],
    who: Mapping[str, Any],
    halt: Mapping[str, Any],
    restart: Mapping[str, Any],
) -> Iterator[str]:
    if drawdown is not None:
        yield f"By the fills (or, without them, the performance rows) the drawdown is {amount(drawdown, '%')}; the threshold is {amount(limit, '%')}."
    if agree:
        yield (f"The gauge reads {amount(agree['gauge'], '%')}, which differs by {_points(abs(agree['gauge_error']))}." if "gauge" in agree["odd"]
               else f"The gauge agrees ({amount(agree['gauge'], '%')}).")  # fmt: skip
    if why:
        yield f"Since the fall began the portfolio moved {amount(why['portfolio_return'], '%')}, the market {amount(why['market_return'], '%')} (beta {amount(why['beta'], 'ratio')}): {why['kind']}."
    if who.get("agent_pnl", 0) < 0:
        yield f"{who['agent']} lost most: {amount(who['agent_pnl'], 'USDT')} in {amount(who['agent_positions'])} positions, {amount(who['agent_share'], '%')} of all losses."
    if halt:
        further = ": further losses are possible" if drawdown is not None and drawdown > limit else ""
        yield f"Trading is paused: {halt['reason']}." if halt["paused"] else f"Trading is not paused{further}."
    if restart:
        yield "A restart is safe now." if restart["safe"] else f"A restart is not safe yet: {restart['reasons']}."


def _actions(
    decision: str,
    who: Mapping[str, Any],
    halt: Mapping[str, Any],
    restart: Mapping[str, Any],
    alert: Alert,
    namespace: str,
) -> Iterator[Action]:
    stopping = decision.startswith(("pause", "modify", "keep"))
    if stopping and not halt.get("paused"):
        yield Action("Pause trading", kubectl(namespace, "scale", "deployment/orchestrator", "--replicas=0"),
                     "No session runs without the orchestrator; open positions keep their stops at the exchange.", changes=True)  # fmt: skip
    deployment = DEPLOYMENTS.get(str(who.get("agent")))
    if decision.startswith("modify") and deployment:
        yield Action(f"Stop the losing agent ({who['agent']})", kubectl(namespace, "scale", f"deployment/{deployment}", "--replicas=0"),
                     "Keeps it out when the others resume.", changes=True)  # fmt: skip
        yield Action(
            "Read its decisions",
            kubectl(namespace, "logs", f"deployment/{deployment}", "--since=6h", "--tail=500"),
            "What it saw, and which configuration it runs.",
        )
    if decision.endswith("gauge"):
        yield Action("Restart the exporter of the gauge", kubectl(namespace, "rollout", "restart", "deployment/risk-agent"),
                     "The gauge is computed there; it keeps a wrong peak until it restarts from the right state.", changes=True)  # fmt: skip
    if restart and restart["stray_orders"]:
        yield Action("List the orders that a restart would meet",
                     f"kubectl exec -i -n {namespace} deployment/postgres -- psql -U postgres -d cryptofunk <<'SQL'\n"
                     "SELECT symbol, side, type, status, quantity, price, placed_at FROM orders WHERE status IN ('NEW', 'PARTIALLY_FILLED') ORDER BY placed_at;\nSQL",
                     "Cancel at the exchange what no position needs before trading resumes.")  # fmt: skip
    why = (
        "Only when the decision is to resume"
        + ("" if not restart or restart["safe"] else f", and not before this is settled: {restart['reasons']}")
        + "."
    )
    if halt.get("paused", True):
        yield Action(
            "Resume trading", kubectl(namespace, "rollout", "restart", "deployment/orchestrator"), why, changes=True
        )
    yield Action(
        "Watch for continued losses",
        kubectl(namespace, "logs", "-f", "deployment/risk-agent"),
        "Stop again at the first sign of the same pattern.",
    )
    yield silence(alert)


def _checklist(
    findings: Mapping[str, Finding], drawdown: float | None, limit: float, past: Mapping[str, Any]
) -> tuple[tuple[str, str], ...]:
    def title(name: str) -> str:
        found = findings.get(name)
        return found.title if found is not None else "not checked"

    depth = (
        f"{amount(past['depth'], '%')}, {amount(past['lost'], 'USDT')}, {duration(past['seconds'])} since {moment(past['peak_at'])}"
        if "depth" in past
        else title("drawdown.history")
    )
    return (
        ("How deep, how long, how much?", depth),
        ("Was the alert right?", title("drawdown.agreement")),
        ("Market or strategy?", title("market.cause")),
        ("Who lost?", title("positions.contributions")),
        ("What changed before?", title("platform.config_changes")),
        ("Did the breaker act?", f"{title('sessions.paused')}; {title('sessions.breakers').lower()}"),
        ("Was a stop missing?", title("positions.open_now")),
        (
            "Which risk parameter needs an update?",
            f"Threshold {amount(limit, '%')}, reached {amount(drawdown, '%')}; decide with the figures above",
        ),
    )
