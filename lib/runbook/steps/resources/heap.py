"""Heap profiles of Go programs, read from the text form of net/http/pprof."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

PORT = 6060
_SITE = re.compile(r"^(\d+): (\d+) \[(\d+): (\d+)\] @")
_HEAD = re.compile(r"^heap profile: \d+: \d+ \[\d+: \d+\] @ heap(?:_v2)?/(\d+)")
_FRAME = re.compile(r"^#\t0x[0-9a-f]+\t(\S+?)(?:\+0x[0-9a-f]+)?\s+(\S+)$")
_STAT = re.compile(r"^# (\w+) = (\d+)\s*$")
_LIBRARY = ("runtime.", "bytes.", "strings.", "encoding/", "net/", "bufio.", "io.", "reflect.", "sync.", "fmt.")
_SITES_MAX = 5_000


@dataclass(frozen=True, slots=True)
class Site:
    """One place that allocated what still lives: bytes and objects, scaled up from samples; frames innermost first."""

    size_bytes: float
    objects: float
    frames: tuple[tuple[str, str], ...]

    @property
    def owner(self) -> tuple[str, str]:
        """The innermost frame outside Go's own library: (function, file:line)."""
        own = (one for one in self.frames if not one[0].startswith(_LIBRARY))
        return next(own, self.frames[0] if self.frames else ("(unknown)", ""))


def parse(text: str) -> tuple[list[Site], dict[str, float]]:
    """(sites, the greatest first; runtime.MemStats by name) of a heap profile in its debug=1 text form.

    Sampled figures are scaled as `go tool pprof` does (scaleHeapSample in google/pprof's
    legacy_profile.go): by 1 / (1 − exp(−mean size / sampling rate)). Raises ValueError for other text.
    """
    lines = text.split("\n")
    head = _HEAD.match(lines[0]) if lines else None
    if head is None:
        raise ValueError("not a heap profile")
    rate = int(head[1]) / 2
    sites: list[Site] = []
    stats: dict[str, float] = {}
    current: tuple[int, int] | None = None
    frames: list[tuple[str, str]] = []
    for line in [*lines[1:], "0: 0 [0: 0] @"]:
        if match := _SITE.match(line):
            if current is not None and current[0] > 0 and len(sites) < _SITES_MAX:
                sites.append(_scaled(*current, rate, frames))
            current, frames = (int(match[1]), int(match[2])), []
        elif match := _FRAME.match(line):
            frames.append((match[1][:200], match[2][:200]))
        elif match := _STAT.match(line):
            stats[match[1]] = float(match[2])
    return sorted(sites, key=lambda one: -one.size_bytes), stats


def _scaled(objects: int, size: int, rate: float, frames: Iterable[tuple[str, str]]) -> Site:
    scale = 1.0
    if rate > 1 and size > 0:
        scale = 1 / (1 - math.exp(-(size / objects) / rate))
    return Site(size * scale, objects * scale, tuple(frames))


def top(sites: Iterable[Site]) -> pd.DataFrame:
    """Live memory by owner: function, at, bytes, objects, share; the greatest first."""
    rows = [
        {"function": one.owner[0], "at": one.owner[1], "bytes": one.size_bytes, "objects": one.objects} for one in sites
    ]
    frame = pd.DataFrame(rows, columns=["function", "at", "bytes", "objects"])
    grouped = frame.groupby(["function", "at"], as_index=False, sort=False)[["bytes", "objects"]].sum()
    grouped["share"] = grouped["bytes"] / max(grouped["bytes"].sum(), 1.0)
    return grouped.sort_values("bytes", ascending=False, ignore_index=True)


def short(function: str) -> str:
    """The function without its package's path: market.(*CandleCache).Fill."""
    return str(function).rsplit("/", 1)[-1]
