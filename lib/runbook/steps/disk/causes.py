"""What fills the volume: a table, the write-ahead log, or something else."""

from __future__ import annotations

import math

from runbook.findings import Finding
from runbook.outcome import Status
from runbook.steps.disk.figures import Cause, Filler, Forecast, Growth, Tables, WriteAheadLog
from runbook.steps.disk.wording import cause_detail, cause_title


def cause(
    filling: Finding[Forecast], sizes: Finding[Tables], grown: Finding[Growth], log: Finding[WriteAheadLog]
) -> Finding[Cause]:
    """What fills the volume: the tables' growth against the volume's, and which table it is."""
    forecast, growth = filling.known, grown.known
    explained = growth.per_day / forecast.per_day if forecast.grows else math.nan
    filler = _filler(forecast, log.known, explained)
    found = Cause(filler, growth.table, sizes.known.biggest, growth.is_unusual, explained)
    status = {Filler.NOTHING: Status.OK, Filler.WAL: Status.WARNING}.get(filler, filling.status)
    return Finding(status, cause_title(found, forecast, growth, log.known), cause_detail(found, growth), found)


def _filler(forecast: Forecast, log: WriteAheadLog, explained: float) -> Filler:
    if not forecast.grows:
        return Filler.NOTHING
    if log.is_held_back:
        return Filler.WAL
    return Filler.ELSEWHERE if explained < 0.5 else Filler.TABLE
