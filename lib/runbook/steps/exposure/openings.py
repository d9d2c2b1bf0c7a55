"""How positions came to be: the signal and agent behind each, what risk answered, and how agents size them."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from runbook.alert import Window
from runbook.findings import Finding, Table
from runbook.outcome import Status
from runbook.sources.database import Database
from runbook.steps.exposure import wording
from runbook.steps.exposure.answers import Reading, read
from runbook.steps.exposure.figures import Approval, Approvals, Exposure, Limits, Misstated, Openers, Sizing
from runbook.steps.exposure.observations import DRIFT, OPENED_OVER
from runbook.steps.shared.values import number, text

_APART = 0.01


def openers(now: Finding[Exposure], database: Database, window: Window) -> Finding[Openers]:
    """Who opened it: the signal, agent, reasoning and confidence behind each open position."""
    exposure = now.known
    if exposure.positions.empty:
        nobody = Openers(exposure.positions)
        return Finding(Status.OK, "No position is open, so nobody opened one", "", nobody)
    found = database.ask("exposure/openers", as_of=window.as_of).frame
    shares = exposure.positions[["position_id", "entry_share"]]
    frame = found.merge(shares, on="position_id", how="inner")
    frame = frame.sort_values("entry_time", ascending=False, ignore_index=True)
    mine = frame[frame["symbol"] == exposure.symbol]
    reason = mine["reasoning"].iloc[0] if len(mine) else None
    figures = Openers(
        openings=frame,
        symbol=exposure.symbol,
        positions=len(mine),
        agents=tuple(dict.fromkeys(map(str, mine["agent"]))),
        everyone=tuple(dict.fromkeys(map(str, frame["agent"]))),
        without_signal=int(frame["signal"].isna().sum()),
        lowest_confidence=number(mine["confidence"].astype("float64").min()) if len(mine) else math.nan,
        first_reason=text(reason) if isinstance(reason, str) else None,
        inferred=int(frame["inferred"].sum()),
        farthest_seconds=number(frame.loc[frame["inferred"].astype(bool), "signal_seconds"].max()),
    )
    status = Status.WARNING if figures.without_signal else Status.OK
    return Finding(status, wording.openers(figures), wording.openers_detail(figures), figures, (_signals(frame),))


def _signals(openings: pd.DataFrame) -> Table:
    shown = openings[
        ["symbol", "side", "entry_share", "agent", "confidence", "reasoning", "entry_reason", "model", "entry_time"]
    ]
    if all(map(_repeats, openings["entry_reason"], openings["reasoning"])):
        shown = shown.drop(columns="entry_reason")
    units = {"entry_share": "%", "confidence": "ratio", "entry_time": "time"}
    return Table("Signals behind the open positions, the newest first", shown, units)


def _repeats(entry: Any, reason: Any) -> bool:
    """Whether the reason given with the position says no more than the signal's own."""
    return not isinstance(entry, str) or (isinstance(reason, str) and entry.strip().endswith(reason.strip()))


def approvals(opened: Finding[Openers], now: Finding[Exposure]) -> Finding[Approvals]:
    """Why risk allowed it: what the risk agent answered, and whether the size it was told is the real one."""
    frame, exposure = opened.known.openings, now.known
    mine = frame[frame["symbol"] == exposure.symbol] if len(frame) else frame
    if mine.empty:
        return Finding(Status.OK, "There is no position to ask about", "", Approvals(Approval.NONE))
    stated, entry_share = mine["stated_share"].map(number), mine["entry_share"]
    readings = mine["risk_answer"].map(read)
    answered = readings != Reading.NONE
    is_inferred = answered & ~mine["answer_recorded"].astype(bool)
    wrong = (stated - entry_share).abs() > _APART + 0.1 * entry_share
    misstated = map(Misstated, stated[wrong].map(float), entry_share[wrong].map(float))
    first_answer = next((text(answer) for answer in mine.loc[answered, "risk_answer"]), None)
    figures = Approvals(
        kind=_approval(readings, wrong, stated > exposure.limit * OPENED_OVER, stated.isna()),
        positions=len(mine),
        answered=int(answered.sum()),
        largest_stated=float(stated.max()),
        misstated=next(misstated, None),
        first_answer=first_answer,
        inferred=int(is_inferred.sum()),
        farthest_seconds=number(mine.loc[is_inferred, "answer_seconds"].max()),
    )
    table = mine.assign(stated=stated)[
        ["symbol", "agent", "entry_share", "stated", "risk_answer", "risk_confidence", "answered_at"]
    ]
    units = {"entry_share": "%", "stated": "%", "risk_confidence": "ratio", "answered_at": "time"}
    fine = figures.kind is Approval.WITHIN and not exposure.over_symbols
    return Finding(
        Status.OK if fine else Status.WARNING,
        wording.approvals(figures, exposure),
        wording.approvals_detail(figures),
        figures,
        (Table("What the risk agent answered", table, units),),
    )


def _approval(
    readings: pd.Series[Any], wrong: pd.Series[bool], knowing: pd.Series[bool], unsized: pd.Series[bool]
) -> Approval:
    """What the answers come to: one refusal, one unclear or one missing answer counts for all."""
    said = set(readings)
    kinds = {
        Approval.MISSING: said == {Reading.NONE},
        Approval.REFUSED: Reading.REFUSED in said,
        Approval.UNCLEAR: Reading.UNCLEAR in said,
        Approval.WRONG: wrong.any(),
        Approval.KNOWING: knowing.any(),
    }
    if found := next((kind for kind, is_so in kinds.items() if is_so), None):
        return found
    if Reading.NONE in said:
        return Approval.MISSING
    return Approval.UNSIZED if unsized.any() else Approval.WITHIN


def sizing(bounds: Finding[Limits], database: Database, window: Window) -> Finding[Sizing]:
    """Sizing: how large each agent opens its positions in this session, against the limit."""
    in_force = bounds.known
    limit = in_force.limit_usdt
    frame = database.ask(
        "exposure/sizing", session_id=in_force.session_id, as_of=window.as_of, limit_usdt=limit * DRIFT
    ).frame
    if frame.empty:
        return Finding(Status.OK, "No position was opened in this session", "", Sizing(limit))
    over = frame[frame["over_limit"] > 0]
    figures = Sizing(
        limit_usdt=limit,
        positions=int(frame["positions"].sum()),
        without_stop=int(frame["without_stop"].sum()),
        over=int(over["over_limit"].sum()),
        agents=tuple(map(str, over["agent"])),
    )
    columns = {
        "average share": frame["average_notional"] / in_force.equity,
        "largest share": frame["largest_notional"] / in_force.equity,
    }
    shown = frame.assign(**columns)[
        ["agent", "positions", "average share", "largest share", "over_limit", "without_stop", "last_entry"]
    ]
    units = {
        "positions": "",
        "average share": "%",
        "largest share": "%",
        "over_limit": "",
        "without_stop": "",
        "last_entry": "time",
    }
    status = Status.WARNING if figures.agents else Status.OK
    table = Table("Sizes by agent", shown, units)
    return Finding(status, wording.sizing(figures), wording.sizing_detail(figures), figures, (table,))
