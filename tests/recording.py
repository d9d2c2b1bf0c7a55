"""Records what Prometheus and Alertmanager answer about each incident, for machines that have neither.

    python -m tests.recording [INCIDENT …]

Runs each incident's procedure against the real servers and keeps their answers under recorded/,
which `Platform` replays where they are not installed. To be run again when a question changes: a
test compares the questions asked with those recorded.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from cryptofunk_demo import incidents, prometheus
from cryptofunk_demo.platform import Platform
from runbook.errors import DemoError

SOURCES = ("metrics", "alertmanager")


def record(incident: str, target: Path) -> int:
    """How many answers were kept in `target`, from a run of the incident's procedure. Raises DemoError."""
    if not prometheus.is_installed():
        raise DemoError("Recording needs the real servers: install prometheus and prometheus-alertmanager.")
    with Platform.start(incident) as platform, tempfile.TemporaryDirectory() as place:
        payload = Path(place, "payload.json")
        payload.write_text(json.dumps(platform.payload), encoding="utf-8")
        command = [sys.executable, "-m", "runbook", "run", platform.incident.alert.name, "--payload", str(payload)]
        done = subprocess.run(
            [*command, "--out", place],
            env={**os.environ, **platform.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in (0, 3):
            raise DemoError(f"The procedure of {incident} did not run to its end (exit {done.returncode}).")
        return _keep(Path(done.stdout.strip().splitlines()[-1]).parent / "evidence", target)


def _keep(evidence: Path, target: Path) -> int:
    manifest = json.loads((evidence / "manifest.json").read_text(encoding="utf-8"))
    kept = [entry for entry in manifest["answers"] if entry["source"] in SOURCES and entry["status"] == "ok"]
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for number, entry in enumerate(sorted(kept, key=lambda entry: (entry["source"], entry["key"])), start=1):
        name = f"{number:02d}-{entry['source']}.json"
        shutil.copyfile(evidence / entry["file"], target / name)
        entry["file"] = name
    kept.sort(key=lambda entry: str(entry["file"]))
    manifest["answers"] = kept
    (target / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return len(kept)


def main(names: list[str]) -> None:
    for name in names or list(incidents.INCIDENTS):
        count = record(name, prometheus.recorded_folder(name))
        sys.stderr.write(f"{name}: {count} answers\n")


if __name__ == "__main__":
    main(sys.argv[1:])
