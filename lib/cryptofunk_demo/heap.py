"""Heap profiles of the platform's Go programs, in the text form of net/http/pprof (heap?debug=1)."""

from __future__ import annotations

import math

from cryptofunk_demo.incident import Allocation, Incident
from cryptofunk_demo.state import Answer, Proxy
from cryptofunk_demo.workloads import MEBI, Workload

_RATE = 512 * 1024
"""runtime.MemProfileRate: one sample for so many allocated bytes, on average."""
# (share of what the program usually uses, objects, frames with the innermost first)
_USUAL = (
    (
        0.22,
        4_100,
        (
            ("encoding/json.(*decodeState).literalStore", "/usr/local/go/src/encoding/json/decode.go:927"),
            ("github.com/example/cryptofunk/internal/mcp.(*Client).Call", "/src/internal/mcp/client.go:118"),
        ),
    ),
    (
        0.16,
        900,
        (
            ("bytes.growSlice", "/usr/local/go/src/bytes/buffer.go:254"),
            ("net/http.(*persistConn).readLoop", "/usr/local/go/src/net/http/transport.go:2234"),
        ),
    ),
    (
        0.11,
        2_300,
        (
            ("github.com/example/cryptofunk/internal/indicators.NewWindow", "/src/internal/indicators/window.go:41"),
            ("github.com/example/cryptofunk/internal/agents.(*Base).Decide", "/src/internal/agents/base.go:203"),
        ),
    ),
    (
        0.07,
        310,
        (
            ("github.com/jackc/pgx/v5.(*Conn).Query", "/go/pkg/mod/github.com/jackc/pgx/v5/conn.go:715"),
            ("github.com/example/cryptofunk/internal/db.(*Store).Positions", "/src/internal/db/positions.go:66"),
        ),
    ),
)


def proxy(workload: Workload, incident: Incident) -> Proxy:
    """What the pod's port 6060 answers at /debug/pprof/heap: text with debug=1, else the binary form's beginning."""

    def answer(path: str, query: dict[str, str]) -> Answer:
        if query.get("debug") != "1":
            return 200, "application/octet-stream", b"\x1f\x8b\x08\x00"
        return 200, "text/plain; charset=utf-8", profile(workload, incident).encode()

    return answer


def profile(workload: Workload, incident: Incident) -> str:
    """The profile's text: the usual allocations, those of the incident, and runtime.MemStats."""
    base = int(workload.memory_used * MEBI * 0.55)
    sites = [
        Allocation(workload.name, size_bytes=int(base * share), objects=count, frames=frames)
        for share, count, frames in _USUAL
    ]
    sites += [site for site in incident.allocations if site.workload == workload.name]
    sites.sort(key=lambda site: -site.size_bytes)
    live = sum(site.size_bytes for site in sites)
    sampled = [_sampled(site) for site in sites]
    head = f"{sum(s[0] for s in sampled)}: {sum(s[1] for s in sampled)}"
    lines = [f"heap profile: {head} [{head}] @ heap/{2 * _RATE}"]
    for number, (site, (count, size)) in enumerate(zip(sites, sampled, strict=True)):
        places = [0x4A0000 + 0x1000 * number + 0x40 * frame for frame in range(len(site.frames))]
        lines.append(f"{count}: {size} [{count * 3}: {size * 3}] @ {' '.join(f'{place:#x}' for place in places)}")
        for place, (function, source) in zip(places, site.frames, strict=True):
            lines.append(f"#\t{place - 1:#x}\t{function}+{place % 97:#x}\t\t{source}")
        lines.append("")
    lines += [
        "",
        "# runtime.MemStats",
        f"# Alloc = {live}",
        f"# Sys = {int(live * 1.35)}",
        f"# HeapAlloc = {live}",
        f"# HeapSys = {int(live * 1.28)}",
        f"# HeapIdle = {int(live * 0.16)}",
        f"# HeapInuse = {int(live * 1.08)}",
        f"# HeapReleased = {int(live * 0.05)}",
        f"# NextGC = {live * 2}",
        "# NumGC = 4127",
        "# GCCPUFraction = 0.0031",
    ]
    return "\n".join(lines) + "\n"


def _sampled(site: Allocation) -> tuple[int, int]:
    """(objects, bytes) that sampling sees of `site`: the profile holds these, and its reader scales them up."""
    mean = site.size_bytes / site.objects
    seen = 1 - math.exp(-mean / _RATE)
    count = max(1, round(site.objects * seen))
    return count, round(count * mean)
