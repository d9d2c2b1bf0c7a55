"""One-minute candlesticks of five symbols: a common market factor, each symbol's own noise, and shocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from cryptofunk_demo.moment import AS_OF, MINUTES, MOMENT, minute, opened

EXCHANGE = "binance"
HOURS_IN_MINUTES = 48
"""Hours before `AS_OF` that are kept as one-minute candlesticks; all earlier ones are hourly only."""

_FACTOR_SIGMA = 0.00033
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Symbol:
    """A traded pair: start price in USDT, beta to the market factor, own noise a minute, quote volume a minute."""

    name: str
    price: float
    beta: float
    noise: float
    quote_volume: float
    price_decimals: int
    quantity_decimals: int


SYMBOLS = (
    Symbol("BTCUSDT", 96_400.0, 0.90, 0.00018, 1_300_000, 2, 5),
    Symbol("ETHUSDT", 3_310.0, 1.00, 0.00026, 820_000, 2, 4),
    Symbol("SOLUSDT", 144.2, 1.12, 0.00042, 410_000, 2, 3),
    Symbol("BNBUSDT", 931.0, 0.86, 0.00028, 190_000, 2, 3),
    Symbol("XRPUSDT", 2.114, 1.10, 0.00040, 360_000, 4, 1),
)
NAMES = tuple(symbol.name for symbol in SYMBOLS)


@dataclass(frozen=True, slots=True)
class Shock:
    """A move of the market factor by `log_return` between two minutes relative to the alert's moment.

    `roughness` multiplies the noise inside it. `symbols` limits it to some; empty means all.
    """

    start_minute: int
    end_minute: int
    log_return: float
    roughness: float = 1.0
    symbols: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Market:
    """Candlesticks as arrays of shape (minutes, symbols); row i opens i minutes after the market's start."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats


def simulate(seed: int, shocks: Sequence[Shock] = (), calm: float = 1.0) -> Market:
    """A seeded market from the first session to `AS_OF`. `calm` multiplies all noise outside shocks."""
    rng = np.random.default_rng([seed, 1])
    count = len(SYMBOLS)
    roughness = np.full(MINUTES, calm)
    drift = np.zeros((MINUTES, count))
    for shock in shocks:
        first, last = minute(MOMENT) + shock.start_minute, min(minute(MOMENT) + shock.end_minute, MINUTES)
        weights = rng.dirichlet(np.full(last - first, 6.0))
        chosen = [not shock.symbols or name in shock.symbols for name in NAMES]
        betas = np.array([s.beta if hit else 0.0 for s, hit in zip(SYMBOLS, chosen, strict=True)])
        drift[first:last] += shock.log_return * weights[:, None] * betas
        roughness[first:last] *= shock.roughness
    hours = np.arange(MINUTES) / 60.0
    daily = 1.0 + 0.35 * np.sin((hours + 6.0 - 9.0) / 24.0 * 2 * np.pi)
    factor = _fat_tailed(rng, (MINUTES, 1)) * _FACTOR_SIGMA
    noise = _fat_tailed(rng, (MINUTES, count)) * np.array([s.noise for s in SYMBOLS])
    shaking = factor * np.array([s.beta for s in SYMBOLS]) + noise
    shaking -= shaking.mean(axis=0)
    shaking *= (daily * roughness)[:, None]
    decimals = [s.price_decimals for s in SYMBOLS]
    log_price = np.log([s.price for s in SYMBOLS]) + np.cumsum(shaking + drift, axis=0)
    close = _rounded(np.exp(log_price), decimals)
    start = _rounded(np.array([[s.price for s in SYMBOLS]]), decimals)
    opening = np.vstack([start, close[:-1]])
    reach = (np.abs(shaking) + np.abs(drift) * 0.25 + 0.0001) * rng.random((MINUTES, count))
    high = _rounded(np.maximum(opening, close) * (1 + reach), decimals)
    low = _rounded(np.minimum(opening, close) * (1 - reach[::-1] * 0.2 - reach * 0.8), decimals)
    low = np.minimum(low, np.minimum(opening, close))
    high = np.maximum(high, np.maximum(opening, close))
    moves = np.abs(shaking + drift) / _FACTOR_SIGMA
    busy = rng.lognormal(0.0, 0.35, (MINUTES, count)) * daily[:, None] * (0.7 + 0.25 * np.minimum(moves, 60.0))
    volume = np.round(busy * np.array([s.quote_volume for s in SYMBOLS]) / close, 3)
    return Market(opening, high, low, close, volume)


def candlesticks(market: Market) -> Iterator[tuple[object, ...]]:
    """Rows of the table candlesticks without id: minutes of the last 48 hours, hours of the whole time."""
    first = MINUTES - HOURS_IN_MINUTES * 60
    for column, symbol in enumerate(SYMBOLS):
        for index in range(first, MINUTES):
            yield _row(market, symbol, column, "1m", index, index + 1)
        for index in range(0, MINUTES - 59, 60):
            yield _row(market, symbol, column, "1h", index, index + 60)


def _row(market: Market, symbol: Symbol, column: int, interval: str, first: int, last: int) -> tuple[object, ...]:
    begins: datetime = opened(first)
    ends = opened(last) - timedelta(milliseconds=1)
    part = slice(first, last)
    volume = float(market.volume[part, column].sum())
    quote = round(float((market.volume[part, column] * market.close[part, column]).sum()), 4)
    taker = 0.46 + 0.08 * ((first * 7 + column * 3) % 11) / 10
    return (
        symbol.name,
        EXCHANGE,
        interval,
        begins,
        ends,
        float(market.open[first, column]),
        float(market.high[part, column].max()),
        float(market.low[part, column].min()),
        float(market.close[last - 1, column]),
        round(volume, 3),
        quote,
        max(1, int(quote / 900)),
        round(volume * taker, 3),
        round(quote * taker, 4),
        min(opened(last), AS_OF),
    )


def _fat_tailed(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Student's t with 5 degrees of freedom, scaled to variance one."""
    return np.asarray(rng.standard_t(5, shape) / np.sqrt(5 / 3), dtype=np.float64)


def _rounded(values: Floats, decimals: Sequence[int]) -> Floats:
    return np.column_stack([np.round(values[:, i], d) for i, d in enumerate(decimals)])
