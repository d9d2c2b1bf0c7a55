"""Volumes and tables: forecasts with a range, what fills the volume, sizes that are asked for."""

from __future__ import annotations

import math
import shlex
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import promql_parser
import pytest

from cryptofunk_demo import incidents_resources, objects, patches
from runbook import charts
from runbook.alert import Alert, Window
from runbook.findings import Finding, Findings, NotKnown
from runbook.outcome import Status, Verdict
from runbook.steps.disk import causes, claims, figures, reclaimable, storage, verdict, volumes, write_ahead_log
from runbook.steps.disk.figures import Filler
from runbook.steps.platform import ConfigChange, ConfigChanges
from runbook.steps.shared import trend

MOMENT = datetime(2026, 1, 15, 14, 2, tzinfo=UTC)
WINDOW = Window(MOMENT - timedelta(hours=24), MOMENT, MOMENT + timedelta(minutes=8))
ALERT = Alert("DiskSpaceWarning", {"persistentvolumeclaim": "postgres-pvc", "namespace": "cryptofunk"}, {}, MOMENT)
GIBI = 1024.0**3
DAY = 86_400.0


class Source:
    """A source that answers every question with `frames`, in turn, and keeps the questions."""

    schema = "platform"

    def __init__(self, *frames: pd.DataFrame) -> None:
        self.frames = list(frames)
        self.questions: list[str] = []

    def ask(self, question: str, *_: Any, **__: Any) -> SimpleNamespace:
        self.questions.append(question)
        return SimpleNamespace(frame=self.frames.pop(0))

    instant = range = ask


def finding(found: Any, status: Status = Status.WARNING) -> Finding[Any]:
    return Finding(status, type(found).__name__, figures=found)


def volume(used: float = 41.0, capacity: float = 50.0) -> Finding[figures.VolumeUsage]:
    return finding(figures.VolumeUsage("postgres-pvc", used * GIBI, capacity * GIBI))


def used(per_day_gib: float, began_hours: float = 48.0) -> pd.DataFrame:
    """Two days that end at 41 GiB, growing for `began_hours`, with a little scatter."""
    hours = np.arange(0, 48, 0.2)
    grown = np.maximum(hours, 48 - began_hours) - 48
    growth = per_day_gib / 24 * grown
    values = (41 + growth + 0.002 * np.random.default_rng(5).standard_normal(len(hours))) * GIBI
    times = [pd.Timestamp(WINDOW.as_of) - pd.Timedelta(hours=48 - float(hour)) for hour in hours]
    return pd.DataFrame({"time": pd.Series(times).astype("datetime64[us, UTC]"), "value": values})


@pytest.mark.parametrize("began", [48.0, 20.0])
def test_the_forecast_says_when_and_since_when(began: float) -> None:
    source: Any = Source(used(3.0, began))
    found = volumes.forecast(volume(), source, ALERT, WINDOW)
    forecast = found.known
    assert forecast.seconds_left == pytest.approx(3 * DAY, rel=0.05)
    assert forecast.earliest_seconds <= forecast.seconds_left <= forecast.latest_seconds
    since = forecast.since
    assert (since is None) == (began == 48.0)
    if since is not None:
        assert abs((WINDOW.as_of - since).total_seconds() / 3600 - began) < 2
    promql_parser.parse(source.questions[0])


def test_a_volume_that_does_not_grow_is_never_full() -> None:
    found = volumes.forecast(volume(), Source(used(0.0)), ALERT, WINDOW)  # type: ignore[arg-type]
    assert (found.known.grows, found.known.seconds_left, found.status) == (False, math.inf, Status.OK)


@pytest.mark.parametrize(("per_day", "days"), [(3.0, 3.0), (0.6, 7.0)])
def test_the_drawn_forecast_is_the_verdicts(per_day: float, days: float) -> None:
    found = volumes.forecast(volume(), Source(used(per_day)), ALERT, WINDOW)  # type: ignore[arg-type]
    forecast, line = found.known, found.known.line
    assert line is not None
    assert forecast.full_at is not None
    seconds = (line["time"].iloc[1] - line["time"].iloc[0]).total_seconds()
    assert line["time"].iloc[0] == WINDOW.as_of
    assert seconds == pytest.approx(days * DAY, rel=0.05)
    assert np.diff(line["value"])[0] / seconds * DAY == pytest.approx(forecast.per_day)
    meets = line["value"].iloc[1] == pytest.approx(50 * GIBI)
    assert meets == (line["time"].iloc[1].floor("s") == pd.Timestamp(forecast.full_at).floor("s"))
    assert meets == (days < 7)
    chart = charts.volume(found, WINDOW)
    assert chart is not None
    assert f"forecast: full {forecast.full_at:%m-%d %H:%M}" in chart.svg
    assert "stroke-dasharray" in chart.svg
    assert f"{line['time'].iloc[1]:%m-%d %H:%M}" in chart.alt


def test_a_volume_that_does_not_grow_has_no_forecast_drawn() -> None:
    found = volumes.forecast(volume(), Source(used(0.0)), ALERT, WINDOW)  # type: ignore[arg-type]
    chart = charts.volume(found, WINDOW)
    assert chart is not None
    assert "forecast" not in chart.svg


@pytest.mark.parametrize(
    ("range_seconds", "words"),
    [
        ((3 * DAY, 2 * DAY, 4 * DAY), "between 2 d and 4 d"),
        ((3 * DAY, 2 * DAY, np.inf), "between 2 d and never"),
        ((3 * DAY + 1800, 3 * DAY + 1300, 3 * DAY + 2000), "give or take 9 min"),
        ((3 * DAY, 3 * DAY, 3 * DAY), "give or take 1 min"),
    ],
)
def test_a_range_whose_ends_read_the_same_is_told_by_its_width(
    range_seconds: tuple[float, float, float], words: str
) -> None:
    assert trend.spread(*range_seconds) == words


def test_no_samples_are_unknown() -> None:
    nothing = pd.DataFrame({"time": [], "value": []})
    assert volumes.usage(Source(nothing), ALERT, WINDOW).status is Status.UNKNOWN  # type: ignore[arg-type]
    assert volumes.forecast(volume(), Source(nothing), ALERT, WINDOW).status is Status.UNKNOWN  # type: ignore[arg-type]


def test_a_volume_without_its_capacity_is_unknown_not_ok() -> None:
    frame = pd.DataFrame(
        {
            "time": [MOMENT],
            "value": [41 * GIBI],
            "__name__": ["kubelet_volume_stats_used_bytes"],
            "persistentvolumeclaim": ["postgres-pvc"],
        }
    )
    source: Any = Source(frame)
    found = volumes.usage(source, ALERT, WINDOW)
    assert found.status is Status.UNKNOWN
    assert "capacity" in found.title
    promql_parser.parse(source.questions[0])


@pytest.mark.parametrize(("needed", "now", "text"), [(41, 50, "64Gi"), (60, 50, "96Gi"), (0.2, 0.25, "384Mi")])
def test_the_next_size_is_larger_and_holds_what_is_needed(needed: float, now: float, text: str) -> None:
    size = claims.next_size(needed * GIBI, now * GIBI)
    assert size > now * GIBI
    assert needed * GIBI <= 0.7 * size
    assert claims.size_text(size) == text


def sizes() -> Finding[figures.Tables]:
    rows = pd.DataFrame(
        {"table": ["candlesticks", "audit_logs"], "total_bytes": [30 * GIBI, 6 * GIBI], "rows": [3e8, 1e7]}
    )
    return finding(figures.Tables("candlesticks", 30 * GIBI, 36 * GIBI, rows))


def growing(per_day: float = 3.0, grows: bool = True) -> Finding[figures.Forecast]:
    pace = per_day * GIBI
    steady = figures.Forecast(pace, pace, pace, 50 * GIBI, used(per_day))
    soon = replace(steady, grows=True, seconds_left=3 * DAY, earliest_seconds=2 * DAY, latest_seconds=4 * DAY)
    return finding(soon if grows else steady)


def grown() -> Finding[figures.Growth]:
    rows = pd.DataFrame(
        {
            "table": ["audit_logs", "candlesticks"],
            "last_day": [4_500_000, 1_000_000],
            "usual_day": [20_000, 1_000_000],
        }
    )
    return storage.growth(sizes(), Source(rows), WINDOW, growing())  # type: ignore[arg-type]


def log(held_back: bool = False) -> Finding[figures.WriteAheadLog]:
    slots = ("old",) if held_back else ()
    return finding(figures.WriteAheadLog(1 * GIBI, len(slots), slots, retained_bytes=9 * GIBI), Status.OK)


def test_the_table_that_grows_is_named_not_the_biggest() -> None:
    found = grown()
    assert (found.known.table, found.known.is_unusual, found.status) == ("audit_logs", True, Status.WARNING)
    why = causes.cause(growing(), sizes(), found, log()).known
    assert (why.filler, why.table, why.is_biggest) == (Filler.TABLE, "audit_logs", False)


@pytest.mark.parametrize(
    ("filling", "held_back", "filler"),
    [
        (growing(9.0), False, Filler.ELSEWHERE),
        (growing(9.0), True, Filler.WAL),
        (growing(0.0, grows=False), False, Filler.NOTHING),
    ],
)
def test_what_fills_the_volume(filling: Finding[figures.Forecast], held_back: bool, filler: Filler) -> None:
    assert causes.cause(filling, sizes(), grown(), log(held_back)).known.filler is filler


def test_usual_growth_is_a_warning_only_where_the_volume_fills_up() -> None:
    rows = pd.DataFrame({"table": ["audit_logs"], "last_day": [4_500_000], "usual_day": [20_000]})
    away: Finding[figures.Forecast] = Finding(Status.UNKNOWN, "Forecast: not known")
    for filling, status in ((growing(0.0, grows=False), Status.OK), (away, Status.WARNING), (None, Status.WARNING)):
        source: Any = Source(rows)
        assert storage.growth(sizes(), source, WINDOW, filling).status is status


def wal_row(**changes: Any) -> pd.DataFrame:
    row = {
        "database_bytes": 1e9,
        "max_wal_bytes": 1e9,
        "may_list": False,
        "archive_mode": "off",
        "logging_collector": "off",
        "slots": 0,
        "inactive_slots": None,
        "retained_bytes": None,
        "archive_failures": 0,
        "archive_fails_now": None,
        "archive_failed_at": None,
    }
    return pd.DataFrame([{**row, **changes}], dtype="object")


def test_what_holds_the_log_back() -> None:
    quiet: Any = Source(wal_row())
    assert write_ahead_log.wal(quiet).status is Status.OK
    assert quiet.questions == ["disk/wal"]
    slot: Any = Source(wal_row(slots=2, inactive_slots="old_replica, older", retained_bytes=9e9))
    found = write_ahead_log.wal(slot)
    assert "the unused replication slot old_replica, older keeps" in found.title
    assert found.known.inactive_slots == ("old_replica", "older")
    archiver: Any = Source(
        wal_row(archive_mode="on", archive_fails_now=True, archive_failures=12, archive_failed_at=MOMENT)
    )
    assert "archiving fails" in write_ahead_log.wal(archiver).title
    listed: Any = Source(wal_row(may_list=True), pd.DataFrame({"files": [200], "bytes": [3.3e9], "oldest": [MOMENT]}))
    assert write_ahead_log.wal(listed).status is Status.WARNING


def test_compression_on_timescale_is_estimated_from_what_it_saved_so_far() -> None:
    version = pd.DataFrame({"version": ["2.14.2"]})
    chunks = pd.DataFrame(
        {"hypertable": ["candlesticks"], "chunks": [40], "compressed": [20], "old": [13], "old_bytes": [13 * GIBI]}
    )
    saved = pd.DataFrame({"hypertable": ["candlesticks"], "before_bytes": [20 * GIBI], "after_bytes": [4 * GIBI]})
    frames = {"disk/timescale": version, "disk/chunks": chunks, "disk/compressed": saved}
    source: Any = SimpleNamespace(ask=lambda question, **_: SimpleNamespace(frame=frames[question]))
    found = reclaimable.compression(sizes(), source, WINDOW)
    assert found.known.gain_bytes == pytest.approx(13 * GIBI * 0.8)
    assert found.status is Status.WARNING
    nothing: Any = Source(pd.DataFrame({"version": []}), pd.DataFrame({"recent": [100_000_000]}))
    plain = reclaimable.compression(sizes(), nothing, WINDOW)
    assert not plain.known.version
    assert plain.known.old_bytes == pytest.approx(20 * GIBI)


def verdict_of(*found: Finding[Any]) -> Verdict:
    return verdict.decide(Findings(found), ALERT)


def test_the_flood_is_stopped_first_and_the_claim_is_patched_validly() -> None:
    found = grown()
    why = causes.cause(growing(), sizes(), found, log())
    who = finding(figures.Writers("audit_logs", "MCP_TOOL_CALL, DEBUG", is_new=True))
    size = finding(figures.Expansion("postgres-pvc", 96 * GIBI, "96Gi", is_needed=True))
    decided = verdict_of(volume(), growing(), sizes(), found, why, who, size)
    assert decided.decision == "stop what floods audit_logs, then make room"
    assert "with new “MCP_TOOL_CALL, DEBUG” rows" in decided.summary
    assert "candlesticks is the biggest table" in decided.summary
    assert decided.actions[1].why == "Undo what makes audit_logs grow, then restart what reads it."
    words = shlex.split(next(a.command for a in decided.actions if a.changes and "pvc" in a.command))
    claim = objects.every(incidents_resources.MEMORY_LEAK)["persistentvolumeclaims"][0]
    after = patches.patched(claim, words[words.index("-p") + 1].encode(), patches.MERGE)
    patches.validate(claim, after)
    assert after["spec"]["resources"]["requests"]["storage"] == "96Gi"


@pytest.mark.parametrize(("after_hours", "is_named"), [(0.5, True), (-0.5, True), (1.5, False)])
def test_the_change_around_which_the_flood_began_is_named(after_hours: float, is_named: bool) -> None:
    why = causes.cause(growing(), sizes(), grown(), log())
    who = finding(figures.Writers("audit_logs", "DEBUG", is_new=True, since=MOMENT + timedelta(hours=after_hours)))
    changed = finding(ConfigChanges((ConfigChange(MOMENT, "audit.level info -> debug", "ops"),)))
    decided = verdict_of(volume(), growing(), why, who, changed)
    assert ("after the change “audit.level info -> debug” at 2026-01-15 14:02:00Z" in decided.summary) is is_named


@pytest.mark.parametrize(
    ("filler", "decision", "summary"),
    [
        (Filler.WAL, "release the write-ahead log", "The write-ahead log piles up, the unused replication slot old"),
        (Filler.ELSEWHERE, "find what else lies on the volume; expand it meanwhile", "The tables do not explain"),
        (Filler.TABLE, "expand the volume, plan retention", "Ordinary growth, most of it audit_logs"),
        (Filler.NOTHING, "expand the volume", "postgres-pvc is 82.0 % full and will be full in 3 d, but it does not"),
    ],
)
def test_each_filler_has_its_decision(filler: Filler, decision: str, summary: str) -> None:
    why = finding(figures.Cause(filler, "audit_logs", "candlesticks", explained=0.4))
    decided = verdict_of(volume(), growing(), why, log(held_back=True))
    assert decided.decision == decision
    assert decided.summary.startswith(summary)
    drop = next(a for a in decided.actions if a.title.startswith("Drop"))
    assert "pg_drop_replication_slot('old')" in drop.command


def test_sessions_are_deleted_after_what_refers_to_them() -> None:
    old = finding(figures.Archive(40.0, 1e6, pd.Timestamp(MOMENT), "session_id"), Status.OK)
    delete = next(a for a in verdict_of(volume(), old).actions if a.title.startswith("Delete"))
    tables = [line.split()[2] for line in delete.command.splitlines() if line.startswith("DELETE")]
    assert (
        tables.index("trades") < tables.index("orders") < tables.index("positions") < tables.index("trading_sessions")
    )
    assert tables[-1] == "trading_sessions"
    assert delete.changes


def test_what_is_written_in_a_day_is_not_worth_deleting_for() -> None:
    old = finding(figures.Archive(40.0, 1e6, pd.Timestamp(MOMENT), "session_id"), Status.OK)
    assert not any(a.title.startswith("Delete") for a in verdict_of(volume(), grown(), old).actions)


def test_unknown_usage_is_never_ok() -> None:
    unknown: Finding[Any] = Finding(Status.UNKNOWN, "Disk usage: not known")
    assert verdict_of(unknown).status is Status.UNKNOWN
    assert verdict_of(volume(20.0)).status is Status.WARNING
    assert verdict_of(volume(20.0), growing(0.0, grows=False)).status is Status.OK


def test_a_step_says_nothing_without_what_it_builds_on() -> None:
    unknown: Finding[Any] = Finding(Status.UNKNOWN, "Forecast: not known")
    with pytest.raises(NotKnown):
        causes.cause(unknown, sizes(), grown(), log())
