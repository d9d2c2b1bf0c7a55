"""The drawdowns of a session: how deep and long this one is beside the earlier ones."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import pandas as pd

from runbook.alert import Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.steps.drawdown import wording
from runbook.steps.drawdown.equity import Episode, episodes
from runbook.steps.drawdown.figures import ByFills, History, Ongoing

_NOTABLE_DEPTH = 0.03


def history(fills: Finding[ByFills], window: Window) -> Finding[History]:
    """Depth and duration: this drawdown beside the earlier ones of the session."""
    measured = fills.known
    found = episodes(measured.curve)
    if not found:
        return Finding(Status.OK, "The equity is at its peak: there is no drawdown to speak of", "", History())
    earlier = [episode for episode in found if episode.recovered_at is not None]
    ongoing = next((episode for episode in found if episode.recovered_at is None), None)
    recoveries = [episode.recovery_seconds for episode in earlier]
    figures = History(
        episodes=len(found),
        earlier=len(earlier),
        earlier_depth=max((episode.depth for episode in earlier), default=0.0),
        recovery_seconds=median(recoveries) if recoveries else None,
        ongoing=None if ongoing is None else _ongoing(ongoing, measured.equity, window),
    )
    status = Status.OK
    if ongoing is not None and ongoing.depth >= _NOTABLE_DEPTH and ongoing.depth > 2 * figures.earlier_depth:
        status = Status.WARNING
    return Finding(status, wording.history(figures), wording.history_detail(figures), figures, (_deepest(found),))


def _ongoing(episode: Episode, equity: float, window: Window) -> Ongoing:
    return Ongoing(
        depth=episode.depth,
        peak=episode.peak,
        peak_at=episode.peak_at,
        trough_at=episode.trough_at,
        seconds=(window.as_of - episode.peak_at).total_seconds(),
        lost=episode.peak - equity,
        needed=episode.peak / equity - 1,
    )


def _deepest(found: Sequence[Episode]) -> Table:
    rows = [
        {
            "peak at": episode.peak_at,
            "trough at": episode.trough_at,
            "depth": episode.depth,
            "to trough": (episode.trough_at - episode.peak_at).total_seconds(),
            "to recover": episode.recovery_seconds,
            "lost": episode.peak - episode.trough,
        }
        for episode in sorted(found, key=lambda episode: -episode.depth)[:8]
    ]
    units = {"peak at": "time", "trough at": "time", "depth": "%", "to trough": "s", "to recover": "s", "lost": "USDT"}
    return Table("Deepest drawdowns of the session; no time to recover: not recovered yet", pd.DataFrame(rows), units)
