"""A real Alertmanager holding the incident's firing alerts, where one is installed."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

from cryptofunk_demo import alerts
from cryptofunk_demo.processes import Serving, serve
from cryptofunk_demo.simulation import Simulation
from runbook.errors import DemoError

# Alertmanager's own clock is today's: an alert of January fires as long as its end lies ahead.
_NEVER = "2099-01-01T00:00:00Z"
_CONFIG = {
    "route": {
        "receiver": "all",
        "group_by": ["alertname", "cluster", "service"],
        "group_wait": "10s",
        "group_interval": "5m",
        "repeat_interval": "6h",
    },
    "receivers": [{"name": "all"}],
    "inhibit_rules": [
        {"source_matchers": ["severity=critical"], "target_matchers": ["severity=warning"], "equal": ["alertname"]}
    ],
}


def program() -> str | None:
    """The Alertmanager of this machine, if it has one."""
    return shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")


def start(place: Path, command: str, simulation: Simulation) -> Serving:
    """An Alertmanager working in `place` that holds every firing alert of the incident. Raises DemoError."""
    (place / "alertmanager.yml").write_text(json.dumps(_CONFIG))
    serving = serve(
        "alertmanager",
        lambda port: (
            command,
            f"--config.file={place / 'alertmanager.yml'}",
            f"--storage.path={place / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
            "--log.level=warn",
        ),
        "/-/ready",
        place,
    )
    try:
        _post(serving.url, simulation)
    except BaseException:
        serving.stop()
        raise
    return serving


def _post(url: str, simulation: Simulation) -> None:
    incident = simulation.incident
    firing = [
        {name: value for name, value in alert.items() if name not in ("status", "fingerprint")} | {"endsAt": _NEVER}
        for alert in (alerts.alert(simulation, spec) for spec in (incident.alert, *incident.also_firing))
        if alert["status"] == "firing"
    ]
    request = Request(  # noqa: S310 - our own http address
        f"{url}/api/v2/alerts", json.dumps(firing).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    with suppress(URLError), urlopen(request, timeout=5) as response:  # noqa: S310
        if response.status == 200:
            return
    raise DemoError("Alertmanager did not take the demo's alerts. Start the demo again.")
