"""Beta, correlation and the share of a loss that the market explains, against a well-kept library."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import empyrical
import numpy as np
import pandas as pd
import pytest

from runbook.alert import Window
from runbook.findings import Finding
from runbook.outcome import Status
from runbook.steps.drawdown import ByFills, MarketCause, market
from runbook.steps.drawdown.figures import LossCause, Measure
from runbook.steps.drawdown.measures import measured

START = datetime(2026, 1, 15, 8, 2, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(hours=6), START + timedelta(hours=6, minutes=8))


def times(count: int) -> pd.DatetimeIndex:
    return pd.date_range(START, periods=count, freq="60s").astype("datetime64[us, UTC]")


def closes(**prices: np.ndarray) -> pd.DataFrame:
    frames = [
        pd.DataFrame({"symbol": name, "bucket": times(len(values)), "close": values, "time": times(len(values))})
        for name, values in prices.items()
    ]
    return pd.concat(frames, ignore_index=True)


def fills_of(values: np.ndarray, table: pd.DataFrame) -> ByFills:
    curve = pd.DataFrame({"time": times(len(values)), "value": values})
    return ByFills(Measure.FILLS, 0.1, **measured(curve), closes=table)


def judged(equity: np.ndarray, table: pd.DataFrame) -> Finding[MarketCause]:
    return market.market_cause(Finding(Status.OK, "t", figures=fills_of(equity, table)), WINDOW)


@pytest.mark.parametrize("seed", range(8))
def test_beta_and_correlation_are_empyricals(seed: int) -> None:
    random = np.random.default_rng(seed)
    moves = random.normal(-0.0006, 0.002, 368)
    index = 100 * np.cumprod(1 + moves)
    equity = 10_000 * np.cumprod(1 + 0.7 * moves + random.normal(0, 0.0005, 368))
    found = judged(equity, closes(A=index))

    since = pd.Timestamp(found.known.since)
    inside = times(368) >= since
    own = pd.Series(equity[inside]).pct_change().dropna()
    factor = pd.Series(index[inside]).pct_change().dropna()
    assert found.known.beta == pytest.approx(empyrical.beta(own, factor), rel=1e-9)
    assert found.known.correlation == pytest.approx(float(np.corrcoef(own, factor)[0, 1]), rel=1e-9)
    assert found.known.portfolio_return == pytest.approx(empyrical.cum_returns_final(own), rel=1e-9)
    assert found.known.market_return == pytest.approx(empyrical.cum_returns_final(factor), rel=1e-9)


def test_a_fall_with_the_market_is_market_wide() -> None:
    moves = np.concatenate([np.full(200, 0.0), np.tile([-0.004, 0.001, -0.002], 56)])
    found = judged(
        10_000 * np.cumprod(1 + 0.5 * moves), closes(A=100 * np.cumprod(1 + moves), B=7 * np.cumprod(1 + moves))
    )
    assert found.known.kind is LossCause.MARKET_WIDE
    assert found.known.beta == pytest.approx(0.5, rel=0.02)
    assert found.known.explained_share == pytest.approx(1.0, rel=0.1)


def test_a_fall_in_a_calm_market_is_the_strategys_own() -> None:
    random = np.random.default_rng(3)
    found = judged(
        10_000 * np.cumprod(1 + np.full(368, -0.0004)), closes(A=100 * np.cumprod(1 + random.normal(0, 0.0002, 368)))
    )
    assert found.known.kind is LossCause.STRATEGY_SPECIFIC


def test_no_loss_needs_no_cause() -> None:
    moves = np.full(368, 0.0002)
    assert judged(10_000 * np.cumprod(1 + moves), closes(A=100 * np.cumprod(1 + moves))).known.kind is LossCause.NO_LOSS


@pytest.mark.parametrize(
    "table",
    [
        closes(A=np.array([])),
        closes(A=np.full(368, np.nan)),
        closes(A=np.full(5, 100.0)),
        pd.DataFrame({"symbol": [], "bucket": [], "close": [], "time": []}),
    ],
)
def test_too_few_candles_are_unknown(table: pd.DataFrame) -> None:
    found = judged(np.linspace(10_000, 8_000, 368), table)
    assert found.status is Status.UNKNOWN
    assert found.detail


def test_a_market_that_does_not_move_explains_nothing() -> None:
    found = judged(np.linspace(10_000, 8_000, 368), closes(A=np.full(368, 100.0)))
    assert found.known.kind is not LossCause.MARKET_WIDE
    assert found.status is not Status.OK


@pytest.mark.parametrize(
    ("lost", "share", "kind"),
    [
        (-0.005, 0.9, LossCause.NO_LOSS),
        (0.1, 0.0, LossCause.NO_LOSS),
        (-0.1, 5.0, LossCause.MARKET_WIDE),
        (-0.1, 0.6, LossCause.MARKET_WIDE),
        (-0.1, 0.59, LossCause.MIXED),
        (-0.1, 0.31, LossCause.MIXED),
        (-0.1, 0.3, LossCause.STRATEGY_SPECIFIC),
        (-0.1, -2.0, LossCause.STRATEGY_SPECIFIC),
        (-0.1, float("nan"), LossCause.STRATEGY_SPECIFIC),
    ],
)
def test_the_bounds(lost: float, share: float, kind: LossCause) -> None:
    assert market.kind_of(lost, share) is kind


def test_the_fall_began_where_a_tenth_was_not_yet_lost() -> None:
    equity = np.concatenate([np.full(100, 10_000.0), np.linspace(10_000, 8_000, 101), np.full(167, 8_000.0)])
    began = market.fall_began(fills_of(equity, closes(A=equity)), WINDOW)
    assert began in times(368)[109:111]


def test_without_a_fall_it_began_with_the_window() -> None:
    rising = np.linspace(10_000, 10_100, 368)
    assert market.fall_began(fills_of(rising, closes(A=rising)), WINDOW) == START
