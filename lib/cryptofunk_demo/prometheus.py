"""A real Prometheus over the incident's metrics, backfilled; recorded evidence where none is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from importlib import resources
from pathlib import Path

from cryptofunk_demo import metrics
from cryptofunk_demo.processes import Serving, serve
from cryptofunk_demo.rules import rules_file
from cryptofunk_demo.series import Series, openmetrics
from cryptofunk_demo.simulation import Simulation, version
from runbook.errors import DemoError

_BACKFILL_SECONDS = 120
_CONFIG = "global: {scrape_interval: 15s, evaluation_interval: 1m}\nrule_files: [rules.json]\n"


def is_installed() -> bool:
    """Whether this machine has both prometheus and promtool."""
    return shutil.which("prometheus") is not None and shutil.which("promtool") is not None


def recorded(incident: str) -> Path | None:
    """The folder with the incident's recorded evidence that comes with the package, if there is one."""
    folder = recorded_folder(incident)
    return folder if folder.is_dir() else None


def recorded_folder(incident: str) -> Path:
    """Where the incident's recorded evidence belongs, whether or not it is there."""
    return Path(str(resources.files("cryptofunk_demo") / "recorded" / incident))


def blocks(folder: Path, incident: str, seed: int, simulate: Callable[[], Simulation]) -> Path:
    """The folder of the incident's TSDB blocks, kept under `folder`; made where it is not there yet."""
    target = folder / f"{incident}-{seed}-{version()}"
    if target.is_dir():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="making-") as place:
        made = make_blocks(Path(place), metrics.every(simulate()))
        try:
            made.rename(target)
        except OSError:
            if not target.is_dir():  # else another process was as fast
                raise
    return target


def make_blocks(place: Path, series: Iterable[Series]) -> Path:
    """A folder in `place` with the series as TSDB blocks; none of them where there are no series."""
    text, made = place / "metrics.txt", place / "blocks"
    with text.open("w") as output:
        output.writelines(openmetrics(series))
    made.mkdir()
    if text.stat().st_size > len("# EOF\n"):
        backfill(text, made)
    text.unlink()
    return made


def backfill(text: Path, target: Path) -> None:
    """Turn a file of OpenMetrics text into TSDB blocks. Raises DemoError with promtool's reason."""
    command = [_program("promtool"), "tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=744h"]
    try:
        done = subprocess.run(
            [*command, str(text), str(target)], capture_output=True, text=True, timeout=_BACKFILL_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DemoError(f"promtool could not turn the metrics into blocks: {error.__class__.__name__}.") from error
    if done.returncode != 0:
        words = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        raise DemoError(f"promtool could not turn the metrics into blocks: {words[:400]}.")


def start(place: Path, kept: Path) -> Serving:
    """A Prometheus over a copy of the blocks in `kept`, working in `place`. Raises DemoError."""
    shutil.copytree(kept, place / "data", copy_function=os.link)
    (place / "rules.json").write_text(rules_file())
    (place / "prometheus.yml").write_text(_CONFIG)
    program = _program("prometheus")
    return serve(
        "prometheus",
        lambda port: (
            program,
            f"--config.file={place / 'prometheus.yml'}",
            f"--storage.tsdb.path={place / 'data'}",
            "--storage.tsdb.retention.time=100y",
            f"--web.listen-address=127.0.0.1:{port}",
            "--web.enable-lifecycle",
            "--log.level=warn",
        ),
        "/-/ready",
        place,
    )


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise DemoError(f"{name} is not installed. Install Prometheus, or start the demo with recorded metrics.")
    return path
