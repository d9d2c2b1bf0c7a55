"""What is said of a volume and of what fills it: titles and details from figures."""

from __future__ import annotations

import math

from runbook.steps.disk.figures import (
    Archive,
    Cause,
    Compression,
    Filler,
    Forecast,
    Growth,
    Tables,
    VolumeUsage,
    WriteAheadLog,
    Writers,
)
from runbook.steps.shared import trend
from runbook.words import amount, duration, moment, percent


def size(size_bytes: float) -> str:
    return amount(size_bytes, "bytes")


def usage_title(usage: VolumeUsage) -> str:
    return f"{_full(usage)}: {size(usage.used_bytes)} of {size(usage.capacity_bytes)}"


def fullness(usage: VolumeUsage, forecast: Forecast | None) -> str:
    """How full it is, and when it will be where it grows."""
    if forecast is None or not forecast.grows:
        return _full(usage)
    return f"{_full(usage)} and will be full in {duration(forecast.seconds_left)}"


def _full(usage: VolumeUsage) -> str:
    return f"{usage.volume} is {amount(usage.ratio, '%')} full"


def forecast_title(forecast: Forecast) -> str:
    pace = f"{_signed(forecast.per_day)} a day"
    if not forecast.grows:
        return (
            f"It does not fill up: {pace} (95 %: {_signed(forecast.per_day_low)} to {_signed(forecast.per_day_high)})"
        )
    on = f", on {forecast.full_at:%Y-%m-%d %H:%M} UTC" if forecast.full_at is not None else ""
    sure = trend.spread(forecast.seconds_left, forecast.earliest_seconds, forecast.latest_seconds)
    return f"Full in {duration(forecast.seconds_left)}{on} ({sure}): {pace}"


def forecast_detail(forecast: Forecast, trend_hours: float) -> str:
    changed = "It grew evenly all the time."
    if forecast.since is not None:
        before = _signed(forecast.per_day_before)
        changed = f"It grows so since {moment(forecast.since)}; before, it grew by {before} a day."
    return (
        f"{changed} The trend is Theil and Sen's over the last stretch without a bend; "
        f"the range is its 95 % interval, widened by the trend of the whole {trend_hours:g} hours."
    )


def _signed(size_bytes: float) -> str:
    sign = "+" if size_bytes > 0 else ""
    return f"{sign}{size(size_bytes)}"


def tables_title(tables: Tables) -> str:
    share = amount(tables.biggest_bytes / tables.total_bytes, "%")
    of_all = f"{share} of all tables' {size(tables.total_bytes)}"
    return f"The biggest table is {tables.biggest}: {size(tables.biggest_bytes)}, {of_all}"


def tables_detail(tables: Tables) -> str:
    dead = ""
    if tables.bloated:
        dead = f"Many dead rows: {', '.join(tables.bloated)}; vacuum is behind. "
    return f"{dead}Rows are the planner's estimate. The biggest is not always the one that grows."


def growth_title(growth: Growth) -> str:
    share = growth.table_per_day / growth.per_day if growth.per_day else math.nan
    pace = "none three days before"
    if math.isfinite(growth.factor):
        pace = f"{amount(growth.factor, 'ratio')} times a usual day"
    of_all = f"{size(growth.table_per_day)} in the last day, {amount(share, '%')} of all"
    return f"{growth.table} grows most: {of_all}; {pace}"


def growth_detail(growth: Growth) -> str:
    rows = f"{amount(growth.last_day_rows)} rows of {size(growth.bytes_a_row)} with indexes"
    usual = f"a usual day, three days earlier, had {amount(growth.usual_day_rows)}"
    return f"{rows}; {usual}. All tables together {size(growth.per_day)} a day."


def writers_title(writers: Writers) -> str:
    share = amount(writers.share, "%")
    began = f", which began {moment(writers.since)}" if writers.is_new else ""
    return f"{share} of the new rows in {writers.table} are “{writers.kind[:100]}”{began}"


def writers_detail(writers: Writers) -> str:
    return f"{amount(writers.last_day_rows)} rows in the last day, {amount(writers.usual_day_rows)} on a usual one."


def holders(log: WriteAheadLog) -> str:
    """What holds the write-ahead log back; empty for nothing."""
    reasons = []
    if log.is_kept_by_slot:
        slots = ", ".join(log.inactive_slots)[:100]
        reasons.append(f"the unused replication slot {slots} keeps {size(log.retained_bytes)}")
    if log.is_kept_by_archiver:
        since = f"{moment(log.archive_failed_at)} ({amount(log.archive_failures)} failures)"
        reasons.append(f"archiving fails since {since}, so no segment is removed")
    if log.is_oversized and not reasons:
        reasons.append(f"it holds {size(log.size_bytes)}, over twice max_wal_size")
    return "; ".join(reasons)


def wal_title(log: WriteAheadLog) -> str:
    if log.is_held_back:
        return f"The write-ahead log piles up: {holders(log)}"
    files = "its size is not readable by this role"
    if log.is_listed:
        files = f"{size(log.size_bytes)} in {amount(log.files)} files"
    return f"Nothing holds the write-ahead log back; {files}"


def wal_detail(log: WriteAheadLog) -> str:
    slots = f"{amount(log.slots)} replication slots"
    settings = f"max_wal_size {size(log.max_bytes)}; {slots}; archive_mode {log.archive_mode}."
    logs = "PostgreSQL logs to the container's output, not to this volume."
    if log.has_log_files:
        logs = "PostgreSQL logs to files on the volume (logging_collector = on): look at log_directory too."
    grant = "" if log.is_listed else " GRANT pg_monitor to this role to see the files' size."
    return f"{settings} {logs}{grant}"


def compression_title(found: Compression) -> str:
    if not found.version:
        old = f"candles older than 7 days take about {size(found.old_bytes)}"
        return f"Plain PostgreSQL, without TimescaleDB: chunks cannot be compressed; {old}"
    if not found.hypertables:
        return "Every chunk older than 7 days is compressed already"
    gain = size(found.gain_bytes)
    return f"Compressing {amount(found.old_chunks)} chunks older than 7 days would give back about {gain}"


def compression_detail(found: Compression) -> str:
    """On TimescaleDB: how much it saves, and what is not compressed."""
    remains = f"Nothing is compressed yet; {percent(found.ratio)} of the size is assumed to remain."
    if found.is_measured:
        remains = f"So far compression leaves {amount(found.ratio, '%')} of the size."
    left = ""
    if found.hypertables:
        uncompressed = f"Uncompressed: {size(found.old_bytes)} of {', '.join(found.hypertables)}."
        left = f" {uncompressed} Is the compression policy's job running?"
    return f"TimescaleDB {found.version}. {remains}{left}"


def archive_title(archive: Archive) -> str:
    if not archive.sessions:
        return "No session is older than 90 days: there is nothing to archive"
    gain = f"with all that hangs on them they take about {size(archive.gain_bytes)}"
    return f"{amount(archive.sessions)} sessions are older than 90 days; {gain}"


def cause_title(cause: Cause, forecast: Forecast, growth: Growth, log: WriteAheadLog) -> str:
    volume_grows, tables_grow = size(forecast.per_day), size(growth.per_day)
    match cause.filler:
        case Filler.NOTHING:
            return "Nothing fills the volume: it does not grow"
        case Filler.WAL:
            return f"The write-ahead log fills the volume: {holders(log)}"
        case Filler.ELSEWHERE:
            share = f"The tables explain only {amount(cause.explained, '%')} of the growth"
            return f"{share}: {volume_grows} a day fill the volume, {tables_grow} the tables"
        case Filler.TABLE:
            other = "" if cause.is_biggest else f", not the biggest table ({cause.biggest})"
            takes = f"it takes about {size(growth.table_per_day)} a day"
            return f"{cause.table} fills the volume{other}: {takes}, the volume grows by {volume_grows}"


def cause_detail(cause: Cause, growth: Growth) -> str:
    match cause.filler:
        case Filler.NOTHING:
            return f"The tables take {size(growth.per_day)} a day."
        case Filler.WAL:
            return f"The tables explain {amount(cause.explained, '%')} of the growth."
        case Filler.ELSEWHERE:
            return (
                "The rest is write-ahead log, log files, temporary files, another database, "
                "or bloat that row counts do not show. Look with du on the volume."
            )
        case Filler.TABLE:
            share = amount(cause.explained, "%") if cause.explained < 1 else "all"
            estimate = "that is an estimate from rows and bytes a row"
            return f"The tables' growth explains {share} of the volume's; {estimate}."
