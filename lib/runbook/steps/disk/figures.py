"""What the checks of a full volume find, as figures. Sizes are in bytes, growth in bytes a day."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

DAY = 86_400.0
THRESHOLD = 0.8
"""The share of its capacity above which a volume is too full."""
_CRITICAL = 0.95
FEW_ROWS = 100
"""A kind of row that is new counts as a flood above so many a day."""


@dataclass(frozen=True, slots=True)
class VolumeUsage:
    """How full the volume in question is."""

    volume: str
    used_bytes: float
    capacity_bytes: float

    @property
    def ratio(self) -> float:
        return self.used_bytes / self.capacity_bytes

    @property
    def left_bytes(self) -> float:
        return self.capacity_bytes - self.used_bytes

    @property
    def is_over(self) -> bool:
        return self.ratio > THRESHOLD

    @property
    def is_critical(self) -> bool:
        return self.ratio > _CRITICAL


@dataclass(frozen=True, slots=True)
class Forecast:
    """How fast the volume fills, with its 95 % interval, and in how many seconds it is full: infinite for never.

    `since`: when it began to grow so, and how fast it grew before; None where it grew evenly all the time. `full_at`
    is None beyond ten years. `used` is what the forecast rests on, `line` the forecast itself (both time, value).
    """

    per_day: float
    per_day_low: float
    per_day_high: float
    capacity_bytes: float
    used: pd.DataFrame
    since: datetime | None = None
    per_day_before: float = math.nan
    grows: bool = False
    seconds_left: float = math.inf
    earliest_seconds: float = math.inf
    latest_seconds: float = math.inf
    full_at: datetime | None = None
    line: pd.DataFrame | None = None

    @property
    def is_near(self) -> bool:
        """Whether it is likely to be full within a fortnight."""
        return self.seconds_left < 14 * DAY

    @property
    def is_imminent(self) -> bool:
        """Whether it may be full within a day."""
        return self.earliest_seconds < DAY


@dataclass(frozen=True, slots=True)
class Expansion:
    """The size that the claim of the volume should have next, also as Kubernetes writes it (96Gi)."""

    volume: str
    new_bytes: float
    quantity: str
    is_needed: bool
    storage_class: str = ""


@dataclass(frozen=True, slots=True)
class Tables:
    """The database's tables with their indexes. `rows`: table, total_bytes, rows and more, the biggest first."""

    biggest: str
    biggest_bytes: float
    total_bytes: float
    rows: pd.DataFrame
    bloated: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Growth:
    """What all tables grow by, and the one that grows most; without a name where none got a row.

    `factor`: its rows of the last day against those of a usual one, NaN where that had none.
    """

    per_day: float = 0.0
    table: str = ""
    table_per_day: float = 0.0
    last_day_rows: float = 0.0
    usual_day_rows: float = 0.0
    bytes_a_row: float = 0.0
    factor: float = 0.0
    by_table: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_unusual(self) -> bool:
        return self.factor >= 3 or (self.usual_day_rows == 0 and self.last_day_rows > FEW_ROWS)


@dataclass(frozen=True, slots=True)
class Writers:
    """The kind of rows that most of a table's new ones are; empty where it got none. `since`: when a new kind began."""

    table: str = ""
    kind: str = ""
    share: float = 0.0
    last_day_rows: float = 0.0
    usual_day_rows: float = 0.0
    is_new: bool = False
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class WriteAheadLog:
    """What may hold the write-ahead log back. `size_bytes` and `files` are NaN where this role may not list them."""

    max_bytes: float
    slots: float = 0.0
    inactive_slots: tuple[str, ...] = ()
    retained_bytes: float = 0.0
    archive_mode: str = "off"
    archive_fails: bool = False
    archive_failures: float = 0.0
    archive_failed_at: datetime | None = None
    size_bytes: float = math.nan
    files: float = math.nan
    has_log_files: bool = False

    @property
    def is_listed(self) -> bool:
        return math.isfinite(self.size_bytes)

    @property
    def is_kept_by_slot(self) -> bool:
        return bool(self.inactive_slots) and self.retained_bytes > self.max_bytes

    @property
    def is_kept_by_archiver(self) -> bool:
        return self.archive_mode != "off" and self.archive_fails

    @property
    def is_oversized(self) -> bool:
        return self.size_bytes > 2 * self.max_bytes

    @property
    def is_held_back(self) -> bool:
        return self.is_kept_by_slot or self.is_kept_by_archiver or self.is_oversized


@dataclass(frozen=True, slots=True)
class Compression:
    """What compressing chunks older than seven days would give back, and the share of its size that would remain.

    Without a `version` of TimescaleDB nothing can be compressed; `old_bytes` are those of old candles then.
    """

    version: str = ""
    gain_bytes: float = 0.0
    old_bytes: float = 0.0
    old_chunks: int = 0
    hypertables: tuple[str, ...] = ()
    ratio: float = math.nan
    is_measured: bool = False


@dataclass(frozen=True, slots=True)
class Archive:
    """What sessions from `before` would give back with all that hangs on them. `key`: the column that names one."""

    sessions: float
    gain_bytes: float
    before: datetime
    key: str


class Filler(StrEnum):
    """What fills a volume. Elsewhere: not in tables, and the write-ahead log is not known to be it."""

    NOTHING = "none"
    TABLE = "table"
    WAL = "wal"
    ELSEWHERE = "not tables"


@dataclass(frozen=True, slots=True)
class Cause:
    """What fills the volume. `table`: the one that grows most.

    `explained`: the tables' growth as a share of the volume's, NaN where that does not grow.
    """

    filler: Filler
    table: str
    biggest: str
    is_unusual: bool = False
    explained: float = math.nan

    @property
    def is_biggest(self) -> bool:
        return self.table == self.biggest
