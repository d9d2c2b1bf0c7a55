"""Claims of volumes: which size one should have next, and the patch that asks for it."""

from __future__ import annotations

import json
import math

from runbook.findings import Finding
from runbook.outcome import Status
from runbook.sources.cluster import Cluster
from runbook.steps.disk.figures import DAY, THRESHOLD, Expansion, Forecast, VolumeUsage
from runbook.steps.shared.grading import graded
from runbook.words import amount, duration

_MEBI = 1024 * 1024
_TARGET = 0.7
# Sizes between which a new one is chosen: a power of two MiB, and half as much again.
_LADDER = tuple(step * 2**power * _MEBI for power in range(30) for step in (1.0, 1.5))
_ONLY = "Only a storage class with allowVolumeExpansion: true takes it, and a volume cannot shrink again."


def expansion(volume: Finding[VolumeUsage], growth: Finding[Forecast], cluster: Cluster) -> Finding[Expansion]:
    """Expand the volume: the claim, its storage class, and the size at which a month's growth stays below 70 %."""
    claims = cluster.volumes().frame
    usage, forecast = volume.known, growth.known
    mine = claims[claims["name"] == usage.volume]
    if mine.empty:
        return Finding(
            Status.UNKNOWN,
            f"Expand the volume: there is no claim {usage.volume[:100]}",
            f"The namespace holds {len(claims)} claims; is KUBE_NAMESPACE right?",
        )
    claim = mine.iloc[0]
    now = float(claim["capacity_bytes"]) if claim["capacity_bytes"] > 0 else usage.capacity_bytes
    month = 30 * max(forecast.per_day, 0.0) if forecast.grows else 0.0
    size = next_size(usage.used_bytes + month, now)
    found = Expansion(
        str(claim["name"]),
        size,
        size_text(size),
        usage.is_over or forecast.is_near,
        str(claim["storage_class"]),
    )
    new = amount(size, "bytes")
    title = f"{found.volume} need not grow now; {new} would be its next size"
    if found.is_needed:
        now_is = f"{amount(now, 'bytes')}, class {claim['storage_class'] or 'default'}"
        title = f"{found.volume} ({now_is}) would do for a month with {new}"
    detail = _ONLY
    if forecast.grows:
        lasts = (size * THRESHOLD - usage.used_bytes) / forecast.per_day * DAY
        detail = f"At the present growth it would pass 80 % again in {duration(lasts)}. {_ONLY}"
    return Finding(graded(False, found.is_needed), title, detail, found)


def next_size(bytes_needed: float, now: float) -> float:
    """The smallest size above `now` of a power of two (or 1.5 of one) MiB that `bytes_needed` fills to 70 % at most."""
    return float(next((size for size in _LADDER if size > now * 1.01 and size * _TARGET >= bytes_needed), _LADDER[-1]))


def size_text(size: float) -> str:
    """`size` as a Kubernetes quantity: 384Mi, 96Gi."""
    mebi = math.ceil(size / _MEBI)
    return f"{mebi // 1024}Gi" if mebi % 1024 == 0 else f"{mebi}Mi"


def patch_body(quantity: str) -> str:
    """The patch that asks for a claim of that size, as compact JSON."""
    return json.dumps({"spec": {"resources": {"requests": {"storage": quantity}}}}, separators=(",", ":"))
