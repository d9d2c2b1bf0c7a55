"""`python -m benchmarks [a b c d e f g] [--quick] [--out FILE]`: run the sections and write results.md."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks import measure
from benchmarks.measure import Section, tell

LETTERS = "abcdefg"


def main() -> None:
    """Run what the arguments name."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("sections", nargs="*", choices=[*LETTERS, []], help="all of them by default")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, no table of ten million rows")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results.md"))
    given = parser.parse_args()
    wanted = set(given.sections or LETTERS)
    facts = measure.machine()
    missing = sorted(set(LETTERS) - wanted)
    left_out = [f"not measured in this run: {', '.join(missing)}"] if missing else []
    left_out += ["quick: two rounds, no table of ten million rows"] if given.quick else []
    sections: list[Section] = []
    with tempfile.TemporaryDirectory(prefix="runbook-bench-", ignore_cleanup_errors=True) as folder:
        for section in _sections(Path(folder), wanted, given.quick):
            sections.append(section)
            sections.sort(key=lambda one: one.letter)
            measure.write(given.out, sections, facts, left_out)  # after each: a later one may break
    tell(f"written: {given.out}")


def _sections(folder: Path, wanted: set[str], quick: bool) -> Iterator[Section]:
    from runbook.kernels import Warm

    with Warm(kernels=2) as warm:
        warm.wait_ready(120, idle=1)
        if wanted & set("abfg"):
            from benchmarks import speed

            yield from speed.measure(folder, warm, wanted, quick)
        if "d" in wanted:
            from benchmarks import volume

            yield volume.measure(folder, warm, quick)
        if "e" in wanted:
            from benchmarks import delay

            yield delay.measure(folder, warm, quick)
    if "c" in wanted:
        from benchmarks import storm

        yield storm.measure(folder, quick)


if __name__ == "__main__":
    main()
