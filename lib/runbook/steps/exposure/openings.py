"""How positions came to be: the signal and agent behind each, what the risk agent answered, and how agents size them."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from runbook.alert import Window
from runbook.findings import Table
from runbook.legacy import Finding
from runbook.outcome import Status
from runbook.sources.database import Database
from runbook.steps.shared.values import number, text
from runbook.words import amount, names

_APART = 0.01


def openers(now: Finding, database: Database, window: Window) -> Finding:
    """Who opened it: the signal, agent, reasoning and confidence behind each open position."""
    held: pd.DataFrame = now.series["positions"]
    if held.empty:
        return Finding(
            "exposure.openers",
            Status.OK,
            "No position is open, so nobody opened one",
            "",
            {"agents": ""},
            series={"openings": held},
        )
    found = database.ask("exposure/openers", as_of=window.as_of).frame
    shares = held[["position_id", "entry_share"]]
    frame = found.merge(shares, on="position_id", how="inner").sort_values(
        "entry_time", ascending=False, ignore_index=True
    )
    symbol = now.figures.get("symbol", "")
    mine = frame[frame["symbol"] == symbol]
    agents = list(dict.fromkeys(map(str, mine["agent"])))
    unsigned = int(frame["signal"].isna().sum())
    lowest = mine["confidence"].astype("float64").min() if len(mine) else math.nan
    shown = frame[
        ["symbol", "side", "entry_share", "agent", "confidence", "reasoning", "entry_reason", "model", "entry_time"]
    ]
    if all(_repeats(entry, reason) for entry, reason in zip(frame["entry_reason"], frame["reasoning"], strict=True)):
        shown = shown.drop(columns="entry_reason")
    return Finding(
        "exposure.openers",
        Status.WARNING if unsigned else Status.OK,
        f"{len(mine)} {'position' if len(mine) == 1 else 'positions'} in {symbol} opened by {names(agents, 5)}, confidence {amount(lowest, 'ratio')} or more"
        if len(mine) and math.isfinite(lowest) else f"The open positions were opened by {names(list(dict.fromkeys(map(str, frame['agent']))), 5)}",
        (f"First reason: {text(mine['reasoning'].iloc[0])}. " if len(mine) and isinstance(mine["reasoning"].iloc[0], str) else "")
        + (f"{unsigned} have no recorded signal: opened by hand, or the signal was not stored." if unsigned else "Each has a recorded signal."),
        {"agents": ", ".join(agents), "without_signal": unsigned, "lowest_confidence": number(lowest)},
        (Table("Signals behind the open positions, the newest first", shown, {"entry_share": "%", "confidence": "ratio", "entry_time": "time"}),),
        {"openings": frame},
    )  # fmt: skip


def _repeats(entry: Any, reason: Any) -> bool:
    """Whether the reason given with the position says no more than the signal's own."""
    return not isinstance(entry, str) or (isinstance(reason, str) and entry.strip().endswith(reason.strip()))


def approvals(opened: Finding, now: Finding) -> Finding:
    """Why risk allowed it: what the risk agent answered, and whether the size it was told is the real one."""
    frame: pd.DataFrame = opened.series["openings"]
    mine = frame[frame["symbol"] == now.figures.get("symbol", "")] if len(frame) else frame
    if mine.empty:
        return Finding("exposure.approvals", Status.OK, "There is no position to ask about", "", {"kind": "none"})
    limit = now.figures["limit"]
    stated = mine["stated_share"].map(number)
    answered = mine["risk_answer"].notna()
    wrong = (stated - mine["entry_share"]).abs() > _APART + 0.1 * mine["entry_share"]
    knowing = stated > limit * 1.02
    kind = "missing" if not answered.any() else "wrong" if wrong.any() else "knowing" if knowing.any() else "within"
    if kind == "within" and not answered.all():
        kind = "missing"
    title = {
        "missing": f"{int((~answered).sum())} of {len(mine)} positions have no recorded risk approval",
        "wrong": f"Risk was told another size than was opened: {amount(stated[wrong].iloc[0] if wrong.any() else None, '%')} instead of {amount(mine['entry_share'][wrong].iloc[0] if wrong.any() else None, '%')}",
        "knowing": f"Risk approved {amount(stated.max(), '%')} of the portfolio although the limit is {amount(limit, '%')}",
        "within": f"Risk approved each position as within the limit of {amount(limit, '%')}"
        + (": what is held together was not asked" if now.figures.get("over_symbols") else ""),
    }[kind]
    shown = mine.assign(stated=stated)[
        ["symbol", "agent", "entry_share", "stated", "risk_answer", "risk_confidence", "answered_at"]
    ]
    within = kind == "within" and not now.figures.get("over_symbols")
    answer = mine.loc[answered, "risk_answer"]
    return Finding(
        "exposure.approvals",
        Status.OK if within else Status.WARNING,
        title,
        f"Its answer: {text(answer.iloc[0])}." if len(answer) else "llm_decisions has no risk decision within ten minutes before the entry: was the check bypassed?",
        {"kind": kind, "answered": int(answered.sum()), "positions": len(mine)},
        (Table("What the risk agent answered", shown, {"entry_share": "%", "stated": "%", "risk_confidence": "ratio", "answered_at": "time"}),),
    )  # fmt: skip


def sizing(bounds: Finding, database: Database, window: Window) -> Finding:
    """Sizing: how large each agent opens its positions in this session, against the limit."""
    limit = bounds.figures["limit_usdt"]
    frame = database.ask(
        "exposure/sizing", session_id=bounds.figures["session_id"], as_of=window.as_of, limit_usdt=limit * 1.05
    ).frame
    if frame.empty:
        return Finding("exposure.sizing", Status.OK, "No position was opened in this session", "", {"over": 0})
    over = frame[frame["over_limit"] > 0]
    equity = bounds.figures["equity"]
    shown = frame.assign(
        **{"average share": frame["average_notional"] / equity, "largest share": frame["largest_notional"] / equity}
    )
    return Finding(
        "exposure.sizing",
        Status.WARNING if len(over) else Status.OK,
        f"{names(list(map(str, over['agent'])), 3)} opened {amount(over['over_limit'].sum())} {'position' if over['over_limit'].sum() == 1 else 'positions'} above {amount(limit, 'USDT')} in this session" if len(over)
        else f"No agent opened a position above {amount(limit, 'USDT')} in this session",
        f"{amount(frame['positions'].sum())} positions; {amount(frame['without_stop'].sum())} without a stop loss. Sizes against today's portfolio.",
        {"over": int(over["over_limit"].sum()) if len(over) else 0, "agents": ", ".join(map(str, over["agent"]))},
        (Table("Sizes by agent", shown[["agent", "positions", "average share", "largest share", "over_limit", "without_stop", "last_entry"]],
               {"positions": "", "average share": "%", "largest share": "%", "over_limit": "", "without_stop": "", "last_entry": "time"}),),
    )  # fmt: skip
