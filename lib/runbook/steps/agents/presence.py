"""Whether agents are there: by their own word in agent_status, by their metric and by the signals they make."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pandas as pd

from runbook.alert import Window
from runbook.findings import Figures, Finding, Table
from runbook.outcome import Status
from runbook.sources.database import Database
from runbook.sources.metrics import Metrics
from runbook.sources.overlap import at_once
from runbook.steps.agents import wording
from runbook.steps.agents.figures import (
    EVERY_AGENT,
    HEARTBEAT_STALE_SECONDS,
    AgentStatus,
    Fleet,
    Online,
    Recovery,
    Signals,
)
from runbook.steps.agents.habits import signal_habits
from runbook.steps.agents.state import RUNNING, last_error
from runbook.steps.shared.grading import graded
from runbook.steps.shared.values import age_seconds

_STOPPED = "STOPPED"
_SAMPLES_END = timedelta(minutes=10)
"""A metric whose last sample is older than this counts as offline: nobody reports it."""


def status(database: Database, window: Window) -> Finding[AgentStatus]:
    """Agent status: what agent_status says of each agent, and the age of its heartbeat."""
    frame = database.ask("agents/status", as_of=window.as_of).frame
    if frame.empty:
        nothing = "No agent has ever reported, or the table was emptied."
        return Finding(Status.UNKNOWN, "Agent status: agent_status has no row", nothing)
    ages = frame["last_heartbeat"].map(partial(age_seconds, window=window)).astype("float64")
    is_ahead = ages < -HEARTBEAT_STALE_SECONDS
    # From a little later than the report's moment it is fresh; from much later its age is not known.
    is_working = frame["status"].isin(RUNNING)
    is_never = (frame["status"] == _STOPPED) & frame["started_at"].isna() & frame["last_heartbeat"].isna()
    rows = frame.assign(age=ages.clip(lower=0.0).mask(is_ahead), ahead=is_ahead, never=is_never)
    is_stopped = ~is_working & ~is_never
    is_silent = ~(rows["age"] <= HEARTBEAT_STALE_SECONDS) & ~is_ahead & ~is_never
    is_bad = is_stopped | is_silent
    found = AgentStatus(
        total=int((~is_never).sum()),
        bad=_agents(rows[is_bad]),
        silent=_agents(rows[is_silent]),
        stopped=_agents(rows[is_stopped]),
        oldest_heartbeat_seconds=float(rows["age"].max()),
        rows=rows,
        ahead=_agents(rows[is_ahead]),
        never=_agents(rows[is_never]),
    )
    lines = [wording.status_line(row, last_error(row)) for row in rows[is_bad].head(6).itertuples()]
    order = rows["age"].fillna(math.inf).sort_values(ascending=False).index
    shown = rows.loc[order, ["agent_name", "status", "last_heartbeat", "age", "error_count", "last_error"]]
    shown = shown.assign(last_error=[last_error(row) for row in shown.itertuples()])
    units = {"last_heartbeat": "time", "age": "s", "error_count": ""}
    return Finding(
        graded(found.bad and len(found.bad) == found.total, found.bad, found.ahead or not found.total),
        wording.status_title(found),
        wording.status_detail(found, "; ".join(lines), float(-ages.min())),
        found,
        (Table("agent_status, the longest silent first", shown, units),),
    )


def online(metrics: Metrics, window: Window) -> Finding[Online]:
    """Agents online: cryptofunk_agent_status of each agent over the window, 1 online and 0 not."""
    frame = metrics.range("min by (agent_type) (cryptofunk_agent_status)", window.start, window.as_of, series=7).frame
    frame = frame.dropna(subset=["value"])
    if frame.empty:
        nothing = "cryptofunk_agent_status has no sample in the window."
        return Finding(Status.UNKNOWN, "Agents online: no usable sample", nothing)
    types = frame.get("agent_type", pd.Series(EVERY_AGENT, index=frame.index))
    lanes = {str(kind): part[["time", "value"]].reset_index(drop=True) for kind, part in frame.groupby(types)}
    oldest = pd.Timestamp(window.as_of - _SAMPLES_END)
    ended = {kind for kind, lane in lanes.items() if lane["time"].iloc[-1] < oldest}
    never = tuple(kind for kind, lane in lanes.items() if lane["value"].max() <= 0 and kind not in ended)
    if len(never) == len(lanes):
        never = ()  # What was online nowhere is told of nobody: all are offline.
    offline = {
        kind: _since(lane)
        for kind, lane in lanes.items()
        if (lane["value"].iloc[-1] < 1 or kind in ended) and kind not in never
    }
    total = len(lanes) - len(never)
    found = Online(total, tuple(offline), min(offline.values(), default=None), lanes, never)
    return Finding(
        graded(len(offline) == found.total, offline),
        wording.online_title(found),
        wording.online_detail(offline, ended, never),
        found,
    )


def signals(database: Database, window: Window) -> Finding[Signals]:
    """Signals: how many each agent made over the window, and who fell silent against its own habit before the alert."""
    width = max(300, math.ceil(window.seconds / 40 / 300) * 300)
    # The habit is measured before the alert: afterwards an agent may be down.
    made, gaps = at_once(
        lambda: database.ask("agents/signals", start=window.start, as_of=window.as_of, seconds=width),
        lambda: database.ask("agents/gaps", since=window.start - timedelta(days=1), before=window.starts_at),
    )
    frame = made.frame
    if frame.empty:
        nothing = "agent_signals has no row in the window: no decision rests on anything."
        nobody = Signals(count=0, silent=(EVERY_AGENT,))
        return Finding(Status.WARNING, "No agent made a signal in the window", nothing, nobody)
    table = signal_habits(frame, gaps.frame, window)
    is_quiet = table["state"] == "quiet"
    found = Signals(
        count=int(frame["signals"].sum()),
        silent=tuple(map(str, table.loc[table["state"] == "silent", "agent"])),
        quiet=tuple(map(str, table.loc[is_quiet, "agent"])),
        untold=tuple(map(str, table.loc[table["state"] == "habit not known", "agent"])),
        last_at=table["last signal"].max(),
        grid=_grid(frame, window, width),
    )
    units = {"signals": "", "last signal": "time", "age": "s", "median gap": "s", "p95 gap": "s"}
    quiet = wording.quiet_agents(table[is_quiet])
    return Finding(
        graded(len(found.silent) == len(table), found.silent or found.quiet, len(found.untold) == len(table)),
        wording.signals_title(found, len(table), quiet),
        wording.signals_detail(found, table.iloc[0], quiet),
        found,
        (Table("Signals by agent, the longest without one first", table, units),),
    )


def recovery(
    window: Window,
    status: Finding[AgentStatus],
    signals: Finding[Signals],
    online: Finding[Online],
    side: Finding[Fleet],
) -> Finding[Recovery]:
    """Recovery: whether the agents run, are heard, and make signals again, and whether they failed repeatedly."""
    unwell = {
        "agent_status": _of_known(status, lambda found: found.bad),
        "signals": _of_known(signals, lambda found: found.silent or found.quiet),
        "metric": _of_known(online, lambda found: found.offline),
        "pods": _of_known(side, lambda found: found.affected),
    }
    unknown = [name for name, agents in unwell.items() if agents is None]
    open_ends = {name: agents for name, agents in unwell.items() if agents}
    # A fleet that is known by half has figures all the same.
    repeatedly = side.figures.repeatedly if side.figures is not None else ()
    severity = Status.OK
    if open_ends:
        severity = Status.WARNING
    elif unknown:
        severity = Status.UNKNOWN
    return Finding(
        severity,
        wording.recovery_title(open_ends, unknown),
        wording.recovery_detail(repeatedly, unknown),
        Recovery(severity is Status.OK, repeatedly),
    )


def _agents(rows: pd.DataFrame) -> tuple[str, ...]:
    return tuple(map(str, rows["agent_name"]))


def _of_known(finding: Finding[Figures], agents: Callable[[Figures], tuple[str, ...]]) -> tuple[str, ...] | None:
    return agents(finding.known) if finding.is_known else None


def _since(lane: pd.DataFrame) -> pd.Timestamp:
    """When the last run of equal values began."""
    changed = lane["value"].ne(lane["value"].shift())
    began: pd.Timestamp = lane.loc[changed, "time"].iloc[-1]
    return began


def _grid(made: pd.DataFrame, window: Window, width_seconds: int) -> pd.DataFrame:
    """Signals by agent and time, with zeros where nothing was made."""
    grid = made.pivot_table(index="agent_name", columns="bucket", values="signals", aggfunc="sum")
    buckets = pd.date_range(made["bucket"].min(), pd.Timestamp(window.as_of), freq=f"{width_seconds}s")
    return grid.reindex(columns=buckets).fillna(0.0)
