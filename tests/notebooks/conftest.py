"""What the notebooks' tests share.

`NOTEBOOKS`  every notebook there is; a new one is in every test without being named anywhere.
`platforms`  a function: `platforms(incident, schema="platform", world="")` -> a running demo platform, its data
             changed by that world of tests.worlds. Kept for the next test, the latest few of them.
`investigate`  a function: runs a notebook's cells in this process, through the real session, and returns all
             that it displayed: an `Investigation`.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

from cryptofunk_demo import incidents
from cryptofunk_demo.platform import Platform
from runbook import catalog, parameters
from runbook import settings as settings_module
from runbook.alert import alert_from_json
from runbook.catalog import FALLBACK
from runbook.outcome import CONTEXT_MIME, FINDING_MIME, OUTCOME_MIME
from runbook.runner.request import Request, prepare
from runbook.settings import Settings
from tests import worlds

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = parameters.Folders(ROOT / "notebooks", ROOT / "parameters")
NOTEBOOKS = sorted(path.stem for path in FOLDERS.notebooks.glob("*.ipynb"))
CATALOG = catalog.load(FOLDERS.catalog)
PLATFORMS_KEPT = 3


def incidents_of(procedure: str) -> list[str]:
    """The demo's incidents that `procedure` is for, by the catalog; healthy apart."""
    return [
        name
        for name, incident in incidents.INCIDENTS.items()
        if name != "healthy" and CATALOG.entry(incident.alert.name).procedure == procedure
    ]


def alert_of(platform: Platform | None, procedure: str) -> dict[str, Any] | None:
    """The alert that `procedure` is run for: the platform's own if it is one of its alerts, else none.

    AnyAlert gets the platform's alert under a name that the catalog does not know.
    """
    if platform is None:
        return None
    if procedure == FALLBACK:
        return {**platform.alert, "labels": {**platform.alert["labels"], "alertname": "NotInTheCatalog"}}
    return platform.alert if CATALOG.entry(platform.incident.alert.name).procedure == procedure else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Cheap tests first, then those of one platform side by side: each platform is started once a worker."""

    def place(item: pytest.Item) -> tuple[bool, str]:
        given: Mapping[str, Any] = (
            item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        )
        platform = [str(given.get(name, "")) for name in ("incident", "schema", "world")]
        return any(platform), "/".join(platform)

    here = Path(__file__).parent
    own = [n for n, item in enumerate(items) if item.path.parent == here]
    for n, item in zip(own, sorted((items[n] for n in own), key=place), strict=True):
        items[n] = item


@dataclass(slots=True)
class Investigation:
    """All that a notebook displayed, in order, and the book it left."""

    outputs: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = field(default_factory=list)
    book: Any = None

    def of(self, mime: str) -> list[Any]:
        return [data[mime] for data, _ in self.outputs if mime in data]

    @property
    def findings(self) -> list[dict[str, Any]]:
        return self.of(FINDING_MIME)

    @property
    def outcome(self) -> dict[str, Any]:
        (outcome,) = self.of(OUTCOME_MIME)
        return outcome

    @property
    def context(self) -> dict[str, Any]:
        (context,) = self.of(CONTEXT_MIME)
        return context

    @property
    def html(self) -> list[str]:
        return self.of("text/html")

    def names(self, cause: str) -> bool:
        """Whether the verdict names `cause`: all of its words."""
        return all(word in self.conclusion.lower() for word in cause.lower().split() if word != "of")

    @property
    def conclusion(self) -> str:
        """What the verdict says, in one text."""
        outcome = self.outcome
        return " ".join([outcome["decision"], outcome["verdict"], *outcome["reasons"]])

    def describe(self) -> str:
        lines = [f"[{one['status']}] {one['id']}: {one['title']} -- {one['detail']}" for one in self.findings]
        return "\n".join([*lines, f"VERDICT [{self.outcome['status']}] {self.conclusion}"])


@pytest.fixture(scope="session")
def platforms(run_folder: Path) -> Iterator[Callable[..., Platform]]:
    kept: OrderedDict[tuple[str, str, str], Platform] = OrderedDict()

    def start(incident: str = incidents.DEFAULT, schema: str = "platform", world: str = "") -> Platform:
        key = (incident, schema, world)
        if key not in kept:
            kept[key] = Platform.start(incident, schema, run_folder / "demo")
            if world:
                worlds.WORLDS[world](kept[key])
        kept.move_to_end(key)
        while len(kept) > PLATFORMS_KEPT:
            kept.popitem(last=False)[1].stop()
        return kept[key]

    yield start
    for platform in kept.values():
        platform.stop()


@pytest.fixture(scope="session")
def shell() -> InteractiveShell:
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.xmode = "Plain"
    return InteractiveShell.instance(config=config)


@pytest.fixture
def investigate(shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Investigation]:
    def run(
        procedure: str,
        environment: Mapping[str, str],
        *,
        alerts: list[dict[str, Any]] | None = None,
        alertname: str = "",
        **given: Any,
    ) -> Investigation:
        for name in Settings.model_fields:
            monkeypatch.delenv(name.upper(), raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        firing = tuple(alert_from_json(one) for one in alerts or ())
        request = (
            Request.of_alert(firing[0], firing, parameters=given)
            if firing
            else Request(alertname or procedure, parameters=given)
        )
        prepared = prepare(request, CATALOG, FOLDERS, settings_module.load())
        assert prepared.entry.procedure == procedure
        return execute(shell, prepared.notebook, prepared.parameters)

    return run


def execute(shell: InteractiveShell, notebook: Path, values: Mapping[str, Any]) -> Investigation:
    """Every code cell of `notebook` in `shell`, `values` set after its parameters cell. Raises what a cell raises."""
    found = Investigation()
    shell.reset(new_session=False)
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code":
            continue
        with capture_output() as captured:
            shell.run_cell("".join(cell["source"])).raise_error()
        assert re.sub(r"Out\[\d+\]: ?\n?", "", captured.stdout) == ""  # the shell's own prompt
        assert captured.stderr == ""
        found.outputs += [(output.data, output.metadata or {}) for output in captured.outputs]
        if "parameters" in cell["metadata"].get("tags", []):
            shell.user_ns.update(values)
    found.book = shell.user_ns.get("book")
    return found
