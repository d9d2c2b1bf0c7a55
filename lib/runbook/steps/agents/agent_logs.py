"""What the affected agent logged, in the window and before its last restart."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pandas as pd

from runbook.alert import Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.cluster import Cluster
from runbook.sources.logs import ERRORS, UNKNOWN
from runbook.steps import platform
from runbook.steps.agents.figures import AgentLog, Fleet, LastWords
from runbook.steps.shared.log_patterns import patterns, unlevelled, unlevelled_detail

_REACH_BACK = timedelta(hours=18)
"""How long before the window a container that ended in it may have logged last."""


def logs(side: Finding[Fleet], cluster: Cluster, window: Window) -> Finding[AgentLog]:
    """Agent logs: the affected agent's log lines in the window by pattern, worst first."""
    app = side.known.first
    if not app:
        return Finding(Status.OK, "No agent is affected or named, so no log was read", "", AgentLog())
    log = platform.logs(cluster, window, app)
    read = log.figures or platform.Logs(app)
    found = AgentLog(app, read.errors, read.worst)
    return Finding(log.status, log.title, log.detail, found, log.tables)


def last_words(side: Finding[Fleet], cluster: Cluster, window: Window) -> Finding[LastWords]:
    """Last words: the log of the container before the last restart of an affected agent."""
    fleet = side.known
    if not fleet.pods_known:
        nothing = "Which pods restarted is not known without the cluster."
        return Finding(Status.UNKNOWN, "Last words: not known", nothing)
    affected = [agent for agent in fleet.affected if agent in fleet.restarted]
    app = next(iter((*affected, *fleet.restarted)), "")
    return words_before_restart(app, cluster, window)


def words_before_restart(app: str, cluster: Cluster, window: Window) -> Finding[LastWords]:
    """The last complaint of `app`'s previous container; ok where nothing restarted."""
    if not app:
        return Finding(Status.OK, "Nothing restarted in the window, so there are no last words", "", LastWords())
    frame = cluster.logs(app, window.start - _REACH_BACK, window.as_of, tail=200, previous=True).frame
    if frame.empty:
        nothing = "It may have been cleaned up with its node."
        return Finding(Status.UNKNOWN, f"Last words: the previous container of {app} left no log", nothing)
    bad = frame[frame["level"].isin(ERRORS)]
    warned = frame[frame["level"].isin(["warn", "warning"])]
    if bad.empty and warned.empty and unlevelled(frame):
        return _unlevelled_words(app, frame)
    if bad.empty and warned.empty:
        title = f"Before its restart {app} logged neither an error nor a warning"
        last = " ".join(str(frame["message"].iloc[-1]).split())[:160]
        detail = f"Its last line: {last}. It was killed, or it ended by itself."
        return Finding(Status.OK, title, detail, LastWords(app))
    complaints = warned if bad.empty else bad
    words = _words(complaints.iloc[-1])
    found = LastWords(app, words, panics=_panics(bad))
    severity, detail = Status.WARNING, ""
    if bad["level"].isin(["panic", "fatal"]).any():
        severity = Status.CRITICAL
    if bad.empty and unlevelled(frame):
        detail = unlevelled_detail(patterns(frame))
    elif bad.empty:
        detail = "Nothing worse than a warning came before the end: it was killed, or it ended by itself."
    return Finding(
        severity,
        f"Before its restart {app} said “{words}”",
        detail,
        found,
        (_table(app, frame),),
    )


def _unlevelled_words(app: str, frame: pd.DataFrame) -> Finding[LastWords]:
    """Last words of a container that complained of nothing in lines that tell their level, and wrote others."""
    last = frame[frame["level"] == UNKNOWN].iloc[-1]
    return Finding(
        Status.UNKNOWN,
        f"Before its restart {app} said last, at no known level: “{_words(last)}”",
        unlevelled_detail(patterns(frame)),
        LastWords(app),
        (_table(app, frame),),
    )


def _panics(lines: pd.DataFrame) -> int:
    """How many panics ended it: not those that were recovered from."""
    is_recovered = [bool(fields.get("recovered")) for fields in lines["fields"]]
    return sum(
        level == "panic" and not recovered for level, recovered in zip(lines["level"], is_recovered, strict=True)
    )


def _table(app: str, frame: pd.DataFrame) -> Table:
    return Table(f"Last lines of {app}'s previous container, newest first", _newest(frame), {"time": "time"})


def _words(line: Mapping[str, Any]) -> str:
    """A log line's message, with its error where the message does not hold it, at most 200 characters."""
    fields = line["fields"] if isinstance(line["fields"], Mapping) else {}
    error = str(fields.get("error", fields.get("err", "")))
    message = str(line["message"])
    if error and error not in message:
        message = f"{message}: {error}"
    return " ".join(message.split())[:200]


def _newest(frame: pd.DataFrame) -> pd.DataFrame:
    """The last lines with their errors, newest first."""
    rows = frame.tail(8).iloc[::-1].reset_index(drop=True)
    errors = [str(fields.get("error", "")) if isinstance(fields, Mapping) else "" for fields in rows["fields"]]
    return rows[["time", "level", "message"]].assign(error=errors)
