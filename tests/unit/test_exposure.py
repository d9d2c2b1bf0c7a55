"""Exposure: which limit is exceeded and how, why risk allowed it, what reducing takes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pandas as pd
import promql_parser
import pytest

from runbook.alert import Alert, Window
from runbook.findings import Finding, Findings, step_id
from runbook.outcome import Status
from runbook.steps import exposure
from runbook.steps.exposure.figures import Approvals, BreachCause, Limits, Openers, Reduction

MOMENT = datetime(2026, 1, 15, 14, 2, tzinfo=UTC)
WINDOW = Window(MOMENT - timedelta(hours=6), MOMENT, MOMENT + timedelta(minutes=8))
ALERT = Alert("PositionLimitExceeded", {"symbol": "SOLUSDT"}, {}, MOMENT)


class Source:
    """A source that answers with one frame and keeps the questions."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame
        self.questions: list[str] = []

    def ask(self, question: str, *_: Any, **__: Any) -> SimpleNamespace:
        self.questions.append(question)
        return SimpleNamespace(frame=self.frame)

    range = ask


def limits_row(**changes: Any) -> pd.DataFrame:
    row = {
        "session_id": "s1",
        "mode": "LIVE",
        "symbol": "BTCUSDT",
        "max_position_size": "0.1",
        "max_positions": "3",
        "default_stop_loss": "0.02",
        "min_confidence": "0.7",
        "equity": 10_000.0,
        "equity_at": pd.Timestamp(WINDOW.as_of - timedelta(seconds=30)),
        "stored_equity": 10_000.0,
        "initial_capital": 10_000.0,
        "is_open": True,
    }
    return pd.DataFrame([{**row, **changes}])


def bounds(**changes: Any) -> Finding[Limits]:
    return exposure.limits(Source(limits_row(**changes)), WINDOW)  # type: ignore[arg-type]


def held(*positions: tuple[str, float, float], agent: str = "trend-follower") -> pd.DataFrame:
    """Open positions as (symbol, notional now, notional at entry), the newest last."""
    rows = [
        {
            "position_id": f"p{i}",
            "symbol": symbol,
            "side": "LONG",
            "quantity": now / 100,
            "entry_price": entry / (now / 100),
            "close": 100.0,
            "closed_at": pd.Timestamp(WINDOW.as_of),
            "candle": "1m",
            "priced_as": symbol,
            "stop_loss": 95.0,
            "agent": f"{agent}-{i}",
            "session_id": "s1",
            "entry_equity": 10_000.0,
            "entry_time": pd.Timestamp(MOMENT - timedelta(minutes=60 - i)),
        }
        for i, (symbol, now, entry) in enumerate(positions)
    ]
    return pd.DataFrame(rows)


def now(*positions: tuple[str, float, float], **limits: Any) -> Finding[exposure.Exposure]:
    return exposure.current(bounds(**limits), Source(held(*positions)), WINDOW)  # type: ignore[arg-type]


def findings(*found: Finding[Any]) -> Findings:
    """As the session would have them, each under its step's id."""
    steps = {exposure.Exposure: exposure.current, BreachCause: exposure.cause, Reduction: exposure.reduction}
    return Findings(finding.named(step_id(steps[type(finding.figures)])) for finding in found)


STACKED = (("SOLUSDT", 900.0, 900.0), ("SOLUSDT", 950.0, 950.0), ("ETHUSDT", 500.0, 500.0))


@pytest.mark.parametrize(
    ("positions", "kind"),
    [
        ((("SOLUSDT", 3400.0, 3400.0),), "oversized"),
        (STACKED, "stacked"),
        ((("SOLUSDT", 1200.0, 950.0),), "grown"),
        ((("SOLUSDT", 1030.0, 1000.0),), "none"),
        (tuple((f"S{i}", 500.0, 500.0) for i in range(4)), "too many"),
        ((("SOLUSDT", 900.0, 900.0),), "none"),
    ],
)
def test_the_kind_of_breach(positions: tuple[tuple[str, float, float], ...], kind: str) -> None:
    found = now(*positions)
    assert found.known.kind == kind
    assert (found.status is Status.OK) == (kind == "none")


def test_limits_come_from_the_session_else_the_defaults() -> None:
    loose = bounds(max_position_size="0.25", max_positions=None, min_confidence="NaN")
    limits = loose.known
    assert (limits.max_position_size, limits.max_positions, limits.min_confidence) == (0.25, 3.0, 0.7)
    assert limits.defaulted == ("max_positions", "min_confidence")
    assert loose.status is Status.WARNING
    assert "max_positions" in loose.detail
    assert bounds(max_position_size="<script>").known.max_position_size == 0.1


def test_without_a_session_or_a_value_limits_are_unknown() -> None:
    assert exposure.limits(Source(limits_row().iloc[:0]), WINDOW).status is Status.UNKNOWN  # type: ignore[arg-type]
    nothing = bounds(equity=float("nan"), stored_equity=None, initial_capital=float("nan"))
    assert nothing.status is Status.UNKNOWN


@pytest.mark.parametrize(
    ("changes", "status", "says"),
    [
        ({}, Status.OK, "is worth 10,000.00 USDT. "),
        ({"equity": None}, Status.OK, "10,000.00 USDT by its row in trading_sessions"),
        ({"equity": None, "stored_equity": None}, Status.UNKNOWN, "if it is still what it began with"),
        ({"equity_at": pd.Timestamp(WINDOW.as_of - timedelta(hours=3))}, Status.UNKNOWN, "over 15 minutes old"),
        ({"equity_at": pd.Timestamp(WINDOW.as_of - timedelta(hours=3)), "is_open": False}, Status.OK, "is worth"),
    ],
)
def test_what_the_portfolio_is_worth_is_said_by_what(changes: dict[str, Any], status: Status, says: str) -> None:
    found = bounds(**changes)
    assert found.status is status
    assert says in f"{found.detail} "


def test_a_position_without_a_price_has_none_and_makes_the_rest_a_part() -> None:
    frame = held(("SOLUSDT", 900.0, 900.0), ("ETHUSDT", 500.0, 500.0)).assign(close=[float("nan"), 100.0])
    found = exposure.current(bounds(), Source(frame), WINDOW)  # type: ignore[arg-type]
    assert found.status is Status.UNKNOWN
    assert found.title.startswith(
        "1 of 2 positions have no usable price; of the others the largest is ETHUSDT with 5.0 %"
    )
    assert "no usable price of SOLUSDT" in found.detail
    frame = held(("SOLUSDT", 900.0, 900.0), ("ETHUSDT", 5_000.0, 500.0)).assign(close=[float("nan"), 100.0])
    assert exposure.current(bounds(), Source(frame), WINDOW).status is Status.CRITICAL  # type: ignore[arg-type]


def test_other_prices_than_the_usual_are_named() -> None:
    frame = held(("SOLUSDT", 900.0, 900.0), ("ETHUSDT", 500.0, 500.0))
    frame = frame.assign(candle=["1h", "1m"], priced_as=["SOLUSDT", "ETH/USDT"])
    found = exposure.current(bounds(), Source(frame), WINDOW)  # type: ignore[arg-type]
    assert "SOLUSDT by 1 h candles" in found.detail
    assert "ETHUSDT by candles of ETH/USDT" in found.detail
    assert "riced otherwise" not in now(("SOLUSDT", 900.0, 900.0)).detail


def test_positions_without_a_price_are_not_called_nothing() -> None:
    frame = held(("SOLUSDT", 900.0, 900.0)).assign(close=float("nan"))
    assert exposure.current(bounds(), Source(frame), WINDOW).status is Status.UNKNOWN  # type: ignore[arg-type]
    none = exposure.current(bounds(), Source(held()), WINDOW)  # type: ignore[arg-type]
    assert (none.status, none.known.count) == (Status.OK, 0)


def test_reducing_closes_the_newest_first_down_to_the_limit() -> None:
    found = exposure.reduction(now(*STACKED), bounds())
    table = found.tables[0].frame
    assert found.known.notional == pytest.approx(850.0)
    assert table["agent"].tolist() == ["trend-follower-1"]
    assert table["close"].tolist() == ["part"]
    assert found.known.fees == pytest.approx(0.85)


def test_reducing_too_many_closes_the_smallest() -> None:
    positions = (("A", 500.0, 500.0), ("B", 300.0, 310.0), ("C", 600.0, 600.0), ("D", 400.0, 400.0))
    found = exposure.reduction(now(*positions), bounds())
    assert found.tables[0].frame["symbol"].tolist() == ["B"]
    assert found.known.pnl == pytest.approx(-10.0)


def test_nothing_is_reduced_within_the_limits() -> None:
    assert exposure.reduction(now(("SOLUSDT", 900.0, 900.0)), bounds()).known.positions == 0


def opened(current: Finding[exposure.Exposure], stated: list[Any]) -> pd.DataFrame:
    symbols = current.known.positions.sort_values("position_id")["symbol"].tolist()[: len(stated)]
    return pd.DataFrame(
        {
            "position_id": [f"p{i}" for i in range(len(stated))],
            "symbol": symbols,
            "side": "LONG",
            "entry_time": pd.Timestamp(MOMENT),
            "agent": [f"trend-follower-{i}" for i in range(len(stated))],
            "signal": "BUY",
            "confidence": 0.8,
            "reasoning": "because",
            "model": "m",
            "signalled_at": pd.Timestamp(MOMENT),
            "entry_reason": "because",
            "risk_answer": ["Approved" if one is not None else None for one in stated],
            "risk_confidence": 0.8,
            "answered_at": pd.Timestamp(MOMENT),
            "answer_recorded": True,
            "answer_seconds": 1.0,
            "inferred": False,
            "signal_seconds": 2.0,
            "stated_share": [None if one is None else str(one) for one in stated],
        }
    )


def openers(current: Finding[exposure.Exposure], stated: list[Any], **changes: Any) -> Finding[Openers]:
    frame = opened(current, stated).assign(**changes)
    return exposure.openers(current, Source(frame), WINDOW)  # type: ignore[arg-type]


def answers(current: Finding[exposure.Exposure], stated: list[Any], **changes: Any) -> Finding[Approvals]:
    return exposure.approvals(openers(current, stated, **changes), current)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("r", "unclear"),
        ("position_share 0.09 of BTCUSDT", "unclear"),
        ('{"reason": "fine", "confidence": 0.9}', "unclear"),
        ("Approved: size 9% of the portfolio, within limits", "within"),
        ('{"approved": true}', "within"),
        ('{"decision": "APPROVE", "reason": "not rejected by any rule"}', "within"),
        ("Rejected: over the limit", "refused"),
        ("I cannot approve this trade", "refused"),
        ('{"approved": false, "reason": "approved sizes are smaller"}', "refused"),
        ('{"action": "VETO"}', "refused"),
        ("", "missing"),
    ],
)
def test_an_answer_is_an_approval_by_its_own_words_alone(answer: str, kind: str) -> None:
    current = now(("SOLUSDT", 900.0, 900.0))
    found = answers(current, [0.09], risk_answer=answer)
    assert found.known.kind == kind
    assert (found.status is Status.OK) is (kind == "within")
    assert ("as within the limit" in found.title) is (kind == "within")


def test_an_approval_without_a_size_is_not_one_of_the_size() -> None:
    found = answers(now(("SOLUSDT", 900.0, 900.0)), [0.09], stated_share=None)
    assert (found.status, found.known.kind) == (Status.WARNING, "unsized")


def test_who_opened_is_called_inferred_with_how_far_away_the_signal_lay() -> None:
    current = now(("SOLUSDT", 3400.0, 3400.0))
    by = openers(current, [0.34], inferred=True, signal_seconds=540.0)
    assert "by inference, opened by trend-follower-0" in by.title
    assert "the last signal for the symbol and side, up to 9 min before the entry" in by.detail
    assert "recorded signal" not in by.detail
    asked = exposure.approvals(by, current)
    why = exposure.cause(current, by, asked)
    assert why.title.startswith("By inference trend-follower-0 opened SOLUSDT")
    verdict = exposure.decide(findings(current, why, exposure.reduction(current, bounds())), ALERT)
    assert verdict.decision == "reduce SOLUSDT, find out whether trend-follower-0 opened it"


def test_nobody_is_blamed_where_nobody_is_recorded() -> None:
    current = now(("SOLUSDT", 3400.0, 3400.0))
    by = openers(current, [0.34], agent="(not recorded)", signal=None, signal_seconds=None)
    why = exposure.cause(current, by, exposure.approvals(by, current))
    assert "not recorded" in why.title
    verdict = exposure.decide(findings(current, why, exposure.reduction(current, bounds())), ALERT)
    assert verdict.decision == "reduce SOLUSDT, find out who opened it"
    assert not any("scale" in action.command for action in verdict.actions)


def several(**positions: list[tuple[str, float, float]]) -> tuple[Finding[Limits], Finding[exposure.Exposure]]:
    """Limits and exposure of open sessions, each named by its mode and a number, the first in question."""
    rows, frames = [], []
    for name, its in positions.items():
        row = limits_row(session_id=name, mode=name.split("_")[0], symbol=name)
        rows.append(row.assign(max_position_size=None, max_positions=None, default_stop_loss=None, min_confidence=None))
        frames.append(held(*its).assign(session_id=name, position_id=[f"{name}{i}" for i in range(len(its))]))
    limited = exposure.limits(Source(pd.concat(rows)), WINDOW)  # type: ignore[arg-type]
    source = Source(pd.concat(frames, ignore_index=True))
    return limited, exposure.current(limited, source, WINDOW)  # type: ignore[arg-type]


def test_every_open_session_is_looked_at_against_its_own_value() -> None:
    large, small = [("SOLUSDT", 3_400.0, 3_400.0)], [("ETHUSDT", 900.0, 900.0)]
    limited, found = several(LIVE_1=small, LIVE_2=[], PAPER_1=large)
    assert found.known.bounds is not None
    assert (found.status, found.known.bounds.session_id) == (Status.CRITICAL, "PAPER_1")
    assert "Over a limit: PAPER PAPER_1" in found.detail
    _, found = several(LIVE_1=small, LIVE_2=[("SOLUSDT", 1_500.0, 1_500.0)], PAPER_1=large)
    assert found.known.bounds is not None
    assert found.known.bounds.session_id == "LIVE_2"  # before PAPER
    assert [one.positions for one in found.known.sessions] == [1, 1, 1]
    assert found.known.live == {"ETHUSDT": 900.0, "SOLUSDT": 1_500.0}
    assert found.known.paper == {"SOLUSDT": 3_400.0}
    # Nine percent of each of two sessions are not eighteen of one.
    _, found = several(LIVE_1=small, LIVE_2=small)
    assert (found.status, found.known.kind) == (Status.OK, "none")
    assert limited.title.endswith("by default")
    assert "all are the platform's defaults" in limited.detail


def test_none_of_several_sessions_holds_anything() -> None:
    _, found = several(LIVE_1=[], PAPER_1=[])
    assert (found.status, found.title) == (
        Status.OK,
        "None of 2 open sessions holds a position: there is no exposure",
    )


@pytest.mark.parametrize(
    ("entry", "reason", "repeats"),
    [
        ("trend: EMA cross", "EMA cross", True),
        ("because", "because", True),
        (None, "EMA cross", True),
        ("by hand", "EMA cross", False),
        ("by hand", None, False),
    ],
)
def test_a_reason_is_shown_once(entry: str | None, reason: str | None, repeats: bool) -> None:
    current = now(("SOLUSDT", 900.0, 900.0))
    frame = opened(current, [0.09]).assign(entry_reason=entry, reasoning=reason)
    found = exposure.openers(current, Source(frame), WINDOW)  # type: ignore[arg-type]
    assert ("entry_reason" not in found.tables[0].frame.columns) is repeats


@pytest.mark.parametrize(
    ("stated", "kind"),
    [([0.09, 0.095], "within"), ([0.09, 0.02], "wrong"), ([None, None], "missing"), ([0.09, None], "missing")],
)
def test_what_risk_was_told(stated: list[Any], kind: str) -> None:
    found = answers(now(*STACKED), stated)
    assert found.known.kind == kind
    assert found.status is Status.WARNING


def test_risk_approved_it_knowing_the_size() -> None:
    current = now(("SOLUSDT", 3400.0, 3400.0))
    asked = answers(current, [0.34])
    assert asked.known.kind == "knowing"
    why = exposure.cause(current, openers(current, [0.34]), asked)
    assert "trend-follower-0 opened SOLUSDT with 34.0 %" in why.title


def test_stacked_positions_blame_no_single_agent() -> None:
    current = now(*STACKED)
    by = openers(current, [0.09, 0.095])
    why = exposure.cause(current, by, exposure.approvals(by, current))
    cut = exposure.reduction(current, bounds())
    verdict = exposure.decide(findings(current, why, cut), ALERT)
    assert "check exposure by symbol" in verdict.decision
    assert "none of the agents is to blame alone" in verdict.summary
    assert not any("sentiment" in action.command or "trend-agent" in action.command for action in verdict.actions)


def test_the_gauge_is_compared_with_the_positions() -> None:
    current, times = now(*STACKED), pd.date_range(WINDOW.start, WINDOW.as_of, periods=50, tz="UTC")
    values = [0.0] * 40 + [1850.0] * 10
    frame = pd.DataFrame({"time": times, "value": values, "symbol": "SOLUSDT"})
    source: Any = Source(frame)
    found = exposure.over_time(current, bounds(), source, WINDOW)
    assert found.known.since == times[40]
    assert found.known.apart == ("ETHUSDT",)
    promql_parser.parse(source.questions[0])
    empty: Any = Source(frame.iloc[:0])
    assert exposure.over_time(current, bounds(), empty, WINDOW).status is Status.UNKNOWN


def test_unknown_exposure_is_never_ok() -> None:
    unknown = Finding[Limits](Status.UNKNOWN, "Risk limits: not known", id="exposure.limits")
    verdict = exposure.decide(Findings([unknown]), ALERT)
    assert verdict.status is Status.UNKNOWN


def test_a_symbol_that_is_not_held_is_said_so_where_no_limit_is_exceeded() -> None:
    other, within = now(("XRPUSDT", 500.0, 500.0)), now(("SOLUSDT", 500.0, 500.0))
    assert "SOLUSDT, which the alert names, has no open position" in exposure.decide(findings(other), ALERT).summary
    assert "SOLUSDT" not in exposure.decide(findings(within), ALERT).summary
