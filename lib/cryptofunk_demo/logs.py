"""Container logs in the platform's shapes: zerolog JSON and console, plain text of the stores, Go panics."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from cryptofunk_demo.incident import LogLine, PodState
from cryptofunk_demo.market import NAMES
from cryptofunk_demo.moment import AS_OF, MOMENT
from cryptofunk_demo.simulation import Simulation
from cryptofunk_demo.workloads import WORKLOADS, Workload

HOURS = 7
_CODES = {"trace": "TRC", "debug": "DBG", "info": "INF", "warn": "WRN", "error": "ERR", "fatal": "FTL", "panic": "PNC"}
_COLOURS = {"debug": 33, "info": 32, "warn": 31, "error": 31, "fatal": 31, "panic": 31}

_ROUTINE: dict[str, tuple[tuple[str, str, dict[str, object]], ...]] = {
    "trading-agent": (
        ("info", "Signal generated", {"symbol": "{symbol}", "signal": "HOLD", "confidence": 0.52}),
        ("info", "Heartbeat sent", {"latency_ms": 4}),
        ("debug", "MCP tool call finished", {"tool": "get_candlesticks", "duration_ms": "{ms}"}),
    ),
    "mcp-server": (
        ("info", "Tool call", {"tool": "get_ticker", "symbol": "{symbol}", "duration_ms": "{ms}"}),
        ("debug", "Cache hit", {"key": "candles:{symbol}:1m"}),
    ),
    "mcp-coordinator": (
        ("info", "Decision cycle finished", {"consensus": "no_trade", "duration_ms": "{ms}"}),
        ("info", "Agents online", {"count": 6}),
    ),
    "api-server": (
        ("info", "Request", {"method": "GET", "path": "/api/v1/positions", "status": 200, "duration_ms": "{ms}"}),
    ),
    "llm-gateway": (("info", "Completion", {"model": "claude-sonnet-4", "latency_ms": "{ms}", "tokens": 1180}),),
}
_PANIC = """panic: runtime error: index out of range [0] with length 0

goroutine 214 [running]:
github.com/example/cryptofunk/internal/exchange.(*OrderBook).Best(...)
\t/src/internal/exchange/orderbook.go:88
github.com/example/cryptofunk/internal/exchange.(*Service).PlaceOrder(0xc0004a6000, {0xc000712120, 0x7})
\t/src/internal/exchange/service.go:231 +0x4f2
created by main.(*Server).serve in goroutine 1
\t/src/cmd/order-executor/main.go:142 +0x1e5"""


@dataclass(frozen=True, slots=True)
class Line:
    """One line as the container runtime keeps it."""

    time: datetime
    text: str


def every(simulation: Simulation) -> dict[str, list[Line]]:
    """The lines of every workload's pod over the last hours, oldest first."""
    return {workload.name: _lines(workload, simulation, number) for number, workload in enumerate(WORKLOADS)}


def _lines(workload: Workload, simulation: Simulation, number: int) -> list[Line]:
    lines = [*_routine(workload, simulation.seed, number)]
    for entry in simulation.incident.logs:
        if entry.workload == workload.name:
            lines += _of_incident(entry, simulation)
    began = _began(workload, simulation)
    return sorted((line for line in lines if began <= line.time <= AS_OF), key=lambda line: line.time)


def _began(workload: Workload, simulation: Simulation) -> datetime:
    """Since when the running container has been logging: a restart begins a new log."""
    states = [s for s in simulation.incident.pods if s.workload == workload.name and s.restarts]
    return max((MOMENT + timedelta(minutes=s.minute) for s in states), default=AS_OF - timedelta(hours=HOURS))


def previous(state: PodState, simulation: Simulation, workload: Workload, number: int) -> list[Line]:
    """The log of the container that ended, for `kubectl logs --previous`."""
    ended = MOMENT + timedelta(minutes=state.minute)
    lines = [line for line in _routine(workload, simulation.seed, number) if line.time < ended][-40:]
    words = state.previous_log or (_PANIC if state.exit_code == 2 else "")
    return lines + [Line(ended - timedelta(seconds=1), text) for text in words.splitlines()]


def zerolog_json(time: datetime, level: str, message: str, fields: Mapping[str, object], unix: bool = False) -> str:
    """A line of zerolog's JSON form; its `time` RFC 3339, or Unix seconds."""
    stamp: object = int(time.timestamp()) if unix else time.strftime("%Y-%m-%dT%H:%M:%SZ")
    return json.dumps({"level": level, **fields, "time": stamp, "message": message}, separators=(",", ":"))


def zerolog_console(time: datetime, level: str, message: str, fields: Mapping[str, object], full: bool = False) -> str:
    """A line of zerolog's console form with its ANSI colours; its time 3:04PM, or RFC 3339."""
    clock = time.strftime("%Y-%m-%dT%H:%M:%SZ") if full else time.strftime("%I:%M%p").lstrip("0")
    colour = _COLOURS.get(level, 32)
    parts = [f"\x1b[90m{clock}\x1b[0m", f"\x1b[{colour}m{_CODES.get(level, '???')}\x1b[0m", message]
    for name, value in fields.items():
        text = json.dumps(value) if isinstance(value, str) and (" " in value or '"' in value) else str(value)
        text = f"\x1b[31m{text}\x1b[0m" if name == "error" else text
        parts.append(f"\x1b[36m{name}=\x1b[0m{text}")
    return " ".join(parts)


def _routine(workload: Workload, seed: int, number: int) -> Iterator[Line]:
    rng = np.random.default_rng([seed, 6, number])
    choices = _ROUTINE.get(workload.component)
    time = AS_OF - timedelta(hours=HOURS)
    every_seconds = 20.0 if choices else 300.0
    count = 0
    while (time := time + timedelta(seconds=every_seconds * (0.5 + float(rng.random())))) < AS_OF:
        count += 1
        if choices is None:
            yield Line(time, _plain(workload, time, count))
            continue
        level, message, fields = choices[int(rng.integers(len(choices)))]
        filled = _filled(fields, {"symbol": NAMES[count % len(NAMES)], "ms": int(rng.lognormal(4.2, 0.6)), "n": count})
        yield Line(time, _zerolog(time, level, message, filled, number + count // 40))


def _of_incident(entry: LogLine, simulation: Simulation) -> Iterator[Line]:
    start = MOMENT + timedelta(minutes=entry.minute)
    for n in range(entry.count):
        time = start + timedelta(seconds=n * entry.every_seconds, milliseconds=37 * n % 1000)
        facts: dict[str, object] = {
            **simulation.facts,
            "symbol": NAMES[n * 2 % len(NAMES)],
            "n": n,
            "ms": 180 + 37 * n % 900,
        }
        fields, message = _filled(entry.fields, facts), entry.message.format_map(facts)
        if entry.level == "panic":
            yield from (Line(time, text) for text in (message or _PANIC).splitlines())
        elif entry.workload in ("postgres", "redis", "nats"):
            yield Line(time, _store_line(entry.workload, time, entry.level, message))
        else:
            yield Line(time, _zerolog(time, entry.level, message, fields, 3 if entry.console else n % 3))


def _zerolog(time: datetime, level: str, message: str, fields: Mapping[str, object], shape: int) -> str:
    if shape % 5 == 3:
        return zerolog_console(time, level, message, fields)
    if shape % 5 == 4:
        return zerolog_console(time, level, message, fields, full=True)
    return zerolog_json(time, level, message, fields, unix=shape % 5 == 1)


def _filled(fields: Mapping[str, object], facts: Mapping[str, object]) -> dict[str, object]:
    return {name: _value(value, facts) for name, value in fields.items()}


def _value(value: object, facts: Mapping[str, object]) -> object:
    """The value with its names filled in; a text that was one name only becomes the number it stands for."""
    if not isinstance(value, str) or "{" not in value:
        return value
    text = value.format_map(facts)
    try:
        return json.loads(text) if value.startswith("{") and value.endswith("}") else text
    except ValueError:
        return text


def _plain(workload: Workload, time: datetime, count: int) -> str:
    if workload.name in ("postgres", "redis", "nats"):
        words = {
            "postgres": f"checkpoint complete: wrote {40 + count * 7 % 300} buffers (0.2%); 0 WAL file(s) added",
            "redis": f"{80 + count % 40} changes in 300 seconds. Saving...",
            "nats": "JetStream cluster no metadata leader change",
        }
        return _store_line(workload.name, time, "info", words[workload.name])
    return f'ts={time.strftime("%Y-%m-%dT%H:%M:%S.000Z")} level=info component=main msg="Tick {count}"'


def _store_line(name: str, time: datetime, level: str, message: str) -> str:
    if name == "postgres":
        word = {"error": "ERROR", "fatal": "FATAL", "warn": "WARNING"}.get(level, "LOG")
        return f"{time:%Y-%m-%d %H:%M:%S}.{time.microsecond // 1000:03d} UTC [{61 + time.minute}] {word}:  {message}"
    if name == "redis":
        mark = {"warn": "#", "error": "#"}.get(level, "*")
        return f"1:M {time:%d %b %Y %H:%M:%S}.{time.microsecond // 1000:03d} {mark} {message}"
    return f"[1] {time:%Y/%m/%d %H:%M:%S}.{time.microsecond:06d} [{level.upper()[:3]}] {message}"
