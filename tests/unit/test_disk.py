"""Volumes and tables: forecasts with a range, what fills the volume, sizes that are asked for."""

from __future__ import annotations

import shlex
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
from runbook.legacy import Finding
from runbook.outcome import Status
from runbook.steps.disk import storage, volumes
from runbook.steps.disk import verdict as disk
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


def volume(used: float = 41.0, capacity: float = 50.0) -> Finding:
    figures = {"volume": "postgres-pvc", "used_bytes": used * GIBI, "capacity_bytes": capacity * GIBI, "ratio": used / capacity, "left_bytes": (capacity - used) * GIBI}  # fmt: skip
    return Finding("disk.usage", Status.WARNING, "", figures=figures)


def used(per_day_gib: float, began_hours: float = 48.0) -> pd.DataFrame:
    """Two days that end at 41 GiB, growing for `began_hours`, with a little scatter."""
    hours = np.arange(0, 48, 0.2)
    growth = per_day_gib / 24 * np.minimum(0.0, hours - 48) if began_hours >= 48 else per_day_gib / 24 * (np.maximum(hours, 48 - began_hours) - 48)  # fmt: skip
    values = (41 + growth + 0.002 * np.random.default_rng(5).standard_normal(len(hours))) * GIBI
    times = [pd.Timestamp(WINDOW.as_of) - pd.Timedelta(hours=48 - float(hour)) for hour in hours]
    return pd.DataFrame({"time": pd.Series(times).astype("datetime64[us, UTC]"), "value": values})


@pytest.mark.parametrize("began", [48.0, 20.0])
def test_the_forecast_says_when_and_since_when(began: float) -> None:
    source: Any = Source(used(3.0, began))
    found = volumes.forecast(volume(), source, ALERT, WINDOW)
    assert found.figures["seconds_left"] == pytest.approx(3 * DAY, rel=0.05)
    assert found.figures["earliest_seconds"] <= found.figures["seconds_left"] <= found.figures["latest_seconds"]
    since = found.figures["since"]
    assert (since is None) == (began == 48.0)
    if since is not None:
        assert abs((WINDOW.as_of - since).total_seconds() / 3600 - began) < 2
    promql_parser.parse(source.questions[0])


def test_a_volume_that_does_not_grow_is_never_full() -> None:
    found = volumes.forecast(volume(), Source(used(0.0)), ALERT, WINDOW)  # type: ignore[arg-type]
    assert (found.figures["grows"], found.figures["seconds_left"], found.status) == (False, None, Status.OK)


@pytest.mark.parametrize(("per_day", "days"), [(3.0, 3.0), (0.6, 7.0)])
def test_the_drawn_forecast_is_the_verdicts(per_day: float, days: float) -> None:
    found = volumes.forecast(volume(), Source(used(per_day)), ALERT, WINDOW)  # type: ignore[arg-type]
    line = found.series["forecast"]
    seconds = (line["time"].iloc[1] - line["time"].iloc[0]).total_seconds()
    assert line["time"].iloc[0] == WINDOW.as_of
    assert seconds == pytest.approx(days * DAY, rel=0.05)
    assert np.diff(line["value"])[0] / seconds * DAY == pytest.approx(found.figures["per_day"])
    meets = line["value"].iloc[1] == pytest.approx(50 * GIBI)
    assert meets == (line["time"].iloc[1].floor("s") == found.figures["full_at"].floor("s"))
    assert meets == (days < 7)
    chart = charts.volume(found, WINDOW)
    assert chart is not None
    assert f"forecast: full {found.figures['full_at']:%m-%d %H:%M}" in chart.svg
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
    frame = pd.DataFrame({"time": [MOMENT], "value": [41 * GIBI], "__name__": ["kubelet_volume_stats_used_bytes"], "persistentvolumeclaim": ["postgres-pvc"]})  # fmt: skip
    source: Any = Source(frame)
    found = volumes.usage(source, ALERT, WINDOW)
    assert found.status is Status.UNKNOWN
    assert "capacity" in found.title
    promql_parser.parse(source.questions[0])


@pytest.mark.parametrize(("needed", "now", "text"), [(41, 50, "64Gi"), (60, 50, "96Gi"), (0.2, 0.25, "384Mi")])
def test_the_next_size_is_larger_and_holds_what_is_needed(needed: float, now: float, text: str) -> None:
    size = volumes.next_size(needed * GIBI, now * GIBI)
    assert size > now * GIBI
    assert needed * GIBI <= 0.7 * size
    assert volumes.size_text(size) == text


def sizes() -> Finding:
    frame = pd.DataFrame({"table": ["candlesticks", "audit_logs"], "total_bytes": [30 * GIBI, 6 * GIBI], "rows": [3e8, 1e7]})  # fmt: skip
    return Finding("disk.tables", Status.OK, "", figures={"biggest": "candlesticks"}, series={"frame": frame})


def growing(per_day: float = 3.0, grows: bool = True) -> Finding:
    return Finding("disk.forecast", Status.WARNING, "", figures={"per_day": per_day * GIBI, "grows": grows, "seconds_left": 3 * DAY, "earliest_seconds": 2 * DAY, "since": None})  # fmt: skip


def grown() -> Finding:
    frame = pd.DataFrame({"table": ["audit_logs", "candlesticks"], "last_day": [4_500_000, 1_000_000], "usual_day": [20_000, 1_000_000]})  # fmt: skip
    return storage.growth(sizes(), Source(frame), WINDOW, growing())  # type: ignore[arg-type]


def log(held_back: bool = False) -> Finding:
    return Finding("disk.wal", Status.OK, "", figures={"held_back": held_back, "reasons": "the slot old keeps 9 GiB" if held_back else ""})  # fmt: skip


def test_the_table_that_grows_is_named_not_the_biggest() -> None:
    found = grown()
    assert (found.figures["table"], found.figures["unusual"], found.status) == ("audit_logs", True, Status.WARNING)
    why = disk.cause(growing(), sizes(), found, log())
    assert (why.figures["kind"], why.figures["table"], why.figures["is_biggest"]) == ("table", "audit_logs", False)


@pytest.mark.parametrize(
    ("filling", "held_back", "kind"),
    [(growing(9.0), False, "not tables"), (growing(9.0), True, "wal"), (growing(0.0, grows=False), False, "none")],
)
def test_what_fills_the_volume(filling: Finding, held_back: bool, kind: str) -> None:
    assert disk.cause(filling, sizes(), grown(), log(held_back)).figures["kind"] == kind


def wal_row(**changes: Any) -> pd.DataFrame:
    row = {"database_bytes": 1e9, "max_wal_bytes": 1e9, "may_list": False, "archive_mode": "off", "logging_collector": "off", "slots": 0,
           "inactive_slots": None, "retained_bytes": None, "archive_failures": 0, "archive_fails_now": None, "archive_failed_at": None}  # fmt: skip
    return pd.DataFrame([{**row, **changes}], dtype="object")


def test_what_holds_the_log_back() -> None:
    quiet: Any = Source(wal_row())
    assert storage.wal(quiet, WINDOW).status is Status.OK
    assert quiet.questions == ["disk/wal"]
    slot: Any = Source(wal_row(slots=1, inactive_slots="old_replica", retained_bytes=9e9))
    assert "old_replica" in storage.wal(slot, WINDOW).title
    archiver: Any = Source(
        wal_row(archive_mode="on", archive_fails_now=True, archive_failures=12, archive_failed_at=MOMENT)
    )
    assert "archiving fails" in storage.wal(archiver, WINDOW).title
    listed: Any = Source(wal_row(may_list=True), pd.DataFrame({"files": [200], "bytes": [3.3e9], "oldest": [MOMENT]}))
    assert storage.wal(listed, WINDOW).status is Status.WARNING


def test_compression_on_timescale_is_estimated_from_what_it_saved_so_far() -> None:
    version = pd.DataFrame({"version": ["2.14.2"]})
    chunks = pd.DataFrame({"hypertable": ["candlesticks"], "chunks": [40], "compressed": [20], "old": [13], "old_bytes": [13 * GIBI]})  # fmt: skip
    saved = pd.DataFrame({"hypertable": ["candlesticks"], "before_bytes": [20 * GIBI], "after_bytes": [4 * GIBI]})
    frames = {"disk/timescale": version, "disk/chunks": chunks, "disk/compressed": saved}
    source: Any = SimpleNamespace(ask=lambda question, **_: SimpleNamespace(frame=frames[question]))
    found = storage.compression(sizes(), source, WINDOW)
    assert found.figures["gain_bytes"] == pytest.approx(13 * GIBI * 0.8)
    assert found.status is Status.WARNING
    nothing: Any = Source(pd.DataFrame({"version": []}), pd.DataFrame({"recent": [100_000_000]}))
    plain = storage.compression(sizes(), nothing, WINDOW)
    assert not plain.figures["timescale"]
    assert plain.figures["old_bytes"] == pytest.approx(20 * GIBI)


def verdict_of(*findings: Finding) -> Any:
    return disk.decide({one.id: one for one in findings}, ALERT)


def test_the_flood_is_stopped_first_and_the_claim_is_patched_validly() -> None:
    found = grown()
    why = disk.cause(growing(), sizes(), found, log())
    who = Finding(
        "disk.writers", Status.WARNING, "", figures={"kind": "MCP_TOOL_CALL, DEBUG", "new": True, "since": None}
    )
    size = Finding("disk.expansion", Status.WARNING, "", figures={"volume": "postgres-pvc", "text": "96Gi"})
    verdict = verdict_of(volume(), growing(), sizes(), found, why, who, size)
    assert verdict.decision.startswith("stop what floods audit_logs")
    assert "candlesticks is the biggest table" in verdict.summary
    words = shlex.split(next(a.command for a in verdict.actions if a.changes and "pvc" in a.command))
    claim = objects.every(incidents_resources.MEMORY_LEAK)["persistentvolumeclaims"][0]
    after = patches.patched(claim, words[words.index("-p") + 1].encode(), patches.MERGE)
    patches.validate(claim, after)
    assert after["spec"]["resources"]["requests"]["storage"] == "96Gi"


def test_sessions_are_deleted_after_what_refers_to_them() -> None:
    old = Finding("disk.archive", Status.OK, "", figures={"sessions": 40.0, "gain_bytes": 1e6, "before": pd.Timestamp(MOMENT), "key": "session_id"})  # fmt: skip
    delete = next(a for a in verdict_of(volume(), old).actions if a.title.startswith("Delete"))
    tables = [line.split()[2] for line in delete.command.splitlines() if line.startswith("DELETE")]
    assert (
        tables.index("trades") < tables.index("orders") < tables.index("positions") < tables.index("trading_sessions")
    )
    assert tables[-1] == "trading_sessions"
    assert delete.changes


def test_unknown_usage_is_never_ok() -> None:
    assert verdict_of(Finding("disk.usage", Status.UNKNOWN, "Disk usage: not known")).status is Status.UNKNOWN
    assert verdict_of(volume(20.0)).status is Status.WARNING
