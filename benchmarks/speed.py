"""(a) against papermill and nbconvert, (b) against the floor, (f) memory, (g) bytes: one pass over every procedure."""

from __future__ import annotations

import os
import statistics
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.cases import Case, case, procedures
from benchmarks.measure import Section, median, ratio, seconds, spread, tell
from runbook.kernels import Warm, status
from runbook.kernels.size import pss_mb

AT_ONCE = 4
_SAMPLE_SECONDS = 0.04
_SETTLE_SECONDS = 0.6


@dataclass(slots=True)
class Figures:
    """What one procedure came to: seconds of each way, bytes of each page, megabytes a run."""

    naive: list[float] = field(default_factory=list)
    warm: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)
    naive_bytes: int = 0
    bytes: int = 0
    naive_mb: float = 0.0
    mb: float = 0.0
    status: str = ""


def measure(folder: Path, warm: Warm, wanted: set[str], quick: bool) -> list[Section]:
    """The sections of `wanted` among a, b, f, g."""
    figures: dict[str, Figures] = {}
    for procedure in procedures():
        with case(procedure, folder) as (one, _):
            try:
                figures[procedure] = _figures(one, warm, wanted, rounds=2 if quick else 3)
            except subprocess.CalledProcessError as error:  # papermill's command ends so where a cell raises
                tell(f"{procedure}: left out: {error.stderr[-400:]!s}")
                continue
            tell(f"{procedure}: {_in_short(figures[procedure])}")
    makers = {"a": _against_naive, "b": _against_floor, "f": _memory, "g": _bytes}
    return [makers[letter](figures) for letter in "abfg" if letter in wanted]


def _figures(one: Case, warm: Warm, wanted: set[str], rounds: int) -> Figures:
    """Each way in turn, so that whatever else the machine does falls on all of them."""
    found = Figures()
    result = one.warm(warm)  # the pages of the database and of the notebook are read once for all ways
    found.status, found.bytes = result.status.value, result.report.stat().st_size
    for number in range(rounds):
        for _ in range(2):
            time.sleep(_SETTLE_SECONDS)
            found.warm.append(seconds(lambda: one.warm(warm)))
            if "b" in wanted:
                found.floor.append(seconds(lambda: one.floor(warm)))
        if wanted & {"a", "g"} and (number < 3 or "a" in wanted):
            found.naive.append(seconds(lambda n=number: one.naive(n)))  # type: ignore[misc]
            found.naive_bytes = (one.folder / f"naive-{number}.html").stat().st_size
    if "f" in wanted:
        found.mb = _peak_mb(lambda: _at_once(one, warm), lambda: _forks(warm)) / AT_ONCE
        found.naive_mb = _peak_mb(one.naive, _children)
    return found


def _at_once(one: Case, warm: Warm) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda _: one.warm(warm), range(AT_ONCE)))


def _forks(warm: Warm) -> list[int]:
    return [int(pid) for pid, state in status(warm.address)["pids"].items() if state in ("used", "activating")]


def _children() -> list[int]:
    """papermill, nbconvert and the kernel below them: what started last of this process's descendants."""
    mine = psutil.Process(os.getpid()).children(recursive=True)
    return [process.pid for process in mine if _is_naive(process)]


def _is_naive(process: psutil.Process) -> bool:
    try:
        line = " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
    return any(name in line for name in ("papermill", "nbconvert", "ipykernel_launcher"))


def _peak_mb(work: Callable[[], object], pids: Callable[[], list[int]]) -> float:
    """The greatest sum of proportional memory over the processes `pids` while `work` runs."""
    peaks, done = [0.0], threading.Event()

    def sample() -> None:
        while not done.wait(_SAMPLE_SECONDS):
            peaks.append(sum(pss_mb(pid) for pid in pids()))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        work()
    finally:
        done.set()
        thread.join()
    return max(peaks)


def _in_short(found: Figures) -> str:
    parts = [f"{found.status}, warm {median(found.warm):.2f} s"]
    parts += [f"naive {median(found.naive):.2f} s = {ratio(found.naive, found.warm):.1f}×"] if found.naive else []
    parts += [f"floor {median(found.floor):.2f} s"] if found.floor else []
    parts += [f"{found.mb:.0f} MB"] if found.mb else []
    return ", ".join([*parts, f"{found.bytes / 1000:.0f} kB"])


def _against_naive(figures: dict[str, Figures]) -> Section:
    ratios = [ratio(f.naive, f.warm) for f in figures.values()]
    says = (
        "From the alert to the written page, in a worker with warm kernels, against papermill's command followed by "
        f"nbconvert's on the same notebook and data. Wanted: at least 12×. Median {statistics.median(ratios):.1f}×, "
        f"least {min(ratios):.1f}×; {sum(r >= 12 for r in ratios)} of {len(ratios)} procedures reach it."
    )
    section = Section(
        "a",
        "Warm run against papermill and nbconvert",
        says,
        ("procedure", "run", "papermill + nbconvert", "warm", "ratio"),
    )
    for name, f in figures.items():
        section.rows.append((name, f.status, spread(f.naive), spread(f.warm), f"**{ratio(f.naive, f.warm):.1f}×**"))
    return section


def _against_floor(figures: dict[str, Figures]) -> Section:
    over = [median(f.warm) / median(f.floor) for f in figures.values()]
    says = (
        "The floor is the same cells' source in a fork of the same warm process: no kernel, no papermill, no notebook, "
        f"no page. Wanted: at most 2×. Median {statistics.median(over):.2f}×, most {max(over):.2f}×; "
        f"{sum(r <= 2 for r in over)} of {len(over)} procedures reach it."
    )
    section = Section(
        "b", "Warm run against bare warm Python", says, ("procedure", "floor", "warm, with page", "ratio", "added")
    )
    for name, f in figures.items():
        factor, added = median(f.warm) / median(f.floor), median(f.warm) - median(f.floor)
        section.rows.append((name, spread(f.floor), spread(f.warm), f"**{factor:.2f}×**", f"{added * 1000:.0f} ms"))
    return section


def _memory(figures: dict[str, Figures]) -> Section:
    most = max(f.mb for f in figures.values())
    says = (
        "Proportional memory (PSS) of executor and kernel together, "
        f"the greatest sum while {AT_ONCE} runs go on at once, divided by {AT_ONCE}. "
        f"Wanted: under 80 MB. Most: {most:.0f} MB."
    )
    section = Section("f", "Memory of a concurrent run", says, ("procedure", "papermill + kernel", "warm", "ratio"))
    for name, f in figures.items():
        section.rows.append((name, f"{f.naive_mb:.0f} MB", f"**{f.mb:.0f} MB**", f"{f.naive_mb / max(f.mb, 1):.1f}×"))
    section.notes.append(
        "What is shared with the zygote counts in parts; the zygote itself is one for all runs of a worker."
    )
    return section


def _bytes(figures: dict[str, Figures]) -> Section:
    most = max(f.bytes for f in figures.values())
    says = f"The page, one file with everything in it. Wanted: under 500 kB. Most: {most / 1000:.0f} kB."
    section = Section("g", "Bytes of a page", says, ("procedure", "nbconvert", "ours", "ratio"))
    for name, f in figures.items():
        section.rows.append(
            (name, f"{f.naive_bytes / 1000:.0f} kB", f"**{f.bytes / 1000:.0f} kB**", f"{f.naive_bytes / f.bytes:.1f}×")
        )
    return section
