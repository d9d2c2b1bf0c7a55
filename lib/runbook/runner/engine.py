"""papermill with the run's own client, manager and engine: saved as results appear, every cell reported."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import ensure_event_loop
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from papermill import execute_notebook
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, NotebookExecutionManager, papermill_engines
from papermill.exceptions import PapermillExecutionError
from papermill.iorw import load_notebook_node

from runbook.kernels.client import PromptClient
from runbook.kernels.owner import ADDRESS
from runbook.kernels.provisioner import WarmProvisioner
from runbook.outcome import FINDING_MIME
from runbook.runner.spec import Emit, Spec

STREAM_MAX = 200_000
_SAVE_SECONDS = 0.1
"""How far the notebook on disk may be behind: replacing a file waits for the disk, and a run has many displays."""

_START_SECONDS = 60


class Client(PapermillNotebookClient):
    """papermill's client, saving as results appear and refusing endless output."""

    def __init__(self, manager: Manager, **options: Any) -> None:
        super().__init__(manager, **options)
        self.emit = manager.emit
        self.streamed: dict[int, int] = {}

    def process_message(self, msg: dict[str, Any], cell: NotebookNode, cell_index: int) -> Any:
        is_stream = msg["msg_type"] == "stream"
        if is_stream and not self._fits(msg["content"], cell_index):
            return None
        output = super().process_message(msg, cell, cell_index)
        is_result = msg["msg_type"] in ("display_data", "execute_result", "error")
        if is_result or is_stream:
            self.nb_man.save()
        finding = msg["content"].get("data", {}).get(FINDING_MIME) if is_result else None
        if isinstance(finding, dict):
            told = {name: str(finding.get(name, ""))[:300] for name in ("id", "status", "title")}
            self.emit({"event": "finding", "index": cell_index, **told})
        return output

    def _fits(self, content: dict[str, Any], cell_index: int) -> bool:
        """Cut the printed text of one cell at STREAM_MAX characters; false where all of it is too much."""
        used = self.streamed.get(cell_index, 0)
        self.streamed[cell_index] = used + len(content["text"])
        if used < STREAM_MAX < self.streamed[cell_index]:
            content["text"] = content["text"][: STREAM_MAX - used] + "\n[cut: too much output]\n"
        return used < STREAM_MAX

    def papermill_execute_cells(self) -> None:
        try:
            super().papermill_execute_cells()
        except DeadKernelError:
            self.nb_man.write()
            self.emit({"event": "kernel_died"})
        else:
            self.nb_man.write()
            self.emit({"event": "done"})


class Manager(NotebookExecutionManager):
    """Reports the start and end of each cell, and saves through a temporary file, at once or very soon."""

    def __init__(self, notebook: NotebookNode, output: Path, emit: Emit) -> None:
        super().__init__(notebook, progress_bar=False, autosave_cell_every=0)
        self.output = output
        self.emit = emit
        self.written = -math.inf
        self.soon: asyncio.TimerHandle | None = None
        self.is_unsaved = False

    def save(self, **options: Any) -> None:
        left = self.written + _SAVE_SECONDS - time.monotonic()
        if left <= 0:
            self.write()
        elif self.soon is None:
            # nbclient's own loop: it runs whenever a cell does, and a timer outlives its pauses between them.
            self.soon = ensure_event_loop().call_later(left, self.write)

    def write(self) -> None:
        """Write the notebook as it is now."""
        if self.soon is not None:
            self.soon.cancel()
            self.soon = None
        self.written = time.monotonic()
        temporary = self.output.with_name(f".{self.output.name}.part")
        try:
            temporary.write_text(json.dumps(self.nb, ensure_ascii=False), encoding="utf-8", errors="replace")
            temporary.replace(self.output)
        except OSError:  # the disk is full, or gone: the run goes on, and the runner keeps the notebook
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            self.emit({"event": "notebook", "notebook": self.nb})
            self.is_unsaved = True
        else:
            if self.is_unsaved:
                self.emit({"event": "notebook", "notebook": None})
            self.is_unsaved = False

    def cell_start(self, cell: NotebookNode, cell_index: int | None = None, **options: Any) -> None:
        super().cell_start(cell, cell_index=cell_index, **options)
        if _is_code(cell):
            self.emit({"event": "cell_started", "index": cell_index})

    def cell_complete(self, cell: NotebookNode, cell_index: int | None = None, **options: Any) -> None:
        super().cell_complete(cell, cell_index=cell_index, **options)
        if _is_code(cell) and sys.exc_info()[0] is None:  # else the kernel died: there is no end to report
            errors = [output for output in cell.outputs if output.output_type == "error"]
            self.emit({"event": "cell_finished", "index": cell_index, "error": _first(errors)})


def execute(spec: Spec, emit: Emit) -> None:
    """Execute `spec` in this process; events go to `emit`, the notebook to spec.output. Never raises for a cell.

    Raises ValueError when papermill wrote other parameters than asked.
    """

    class OwnEngine(Engine):
        """papermill's engine with the two classes above and a kernel of this very Python."""

        @classmethod
        def execute_notebook(cls, nb: NotebookNode, kernel_name: str, **options: Any) -> NotebookNode:
            _require_exact(nb, spec.parameters)
            manager = Manager(nb, Path(spec.output), emit)
            emit({"event": "plan", "cells": _plan(nb.cells)})
            manager.notebook_start()
            Client(manager, km=_kernel(spec), timeout=None, startup_timeout=_START_SECONDS).execute()
            return nb

    papermill_engines.register("runbook", OwnEngine)
    notebook = load_notebook_node(spec.notebook)
    if notebook.nbformat_minor < 5:
        notebook = nbformat.v4.upgrade(notebook)
    with contextlib.suppress(PapermillExecutionError):  # a cell raised: told as its cell_finished, and saved
        execute_notebook(notebook, None, spec.parameters, engine_name="runbook", progress_bar=False)


def _kernel(spec: Spec) -> AsyncKernelManager:
    """A kernel of this Python, whatever kernelspecs are installed; it dies with this process.

    ipc: sockets in the private folder, since two processes that choose free TCP ports can choose the same.
    """
    private = Path(spec.private)
    die_with_parent = "import ctypes;ctypes.CDLL(None).prctl(1,9);" if sys.platform == "linux" else ""
    launch = (
        f"import sys;del sys.path[0];{die_with_parent}from ipykernel import kernelapp;kernelapp.launch_new_instance()"
    )
    manager = AsyncKernelManager(transport="ipc", ip=str(private / "k"), connection_file=str(private / "kernel.json"))
    manager._kernel_spec = KernelSpec(
        argv=[sys.executable, "-c", launch, "-f", "{connection_file}", "--HistoryManager.enabled=False"],
        display_name="runbook",
        language="python",
    )
    if os.environ.get(ADDRESS):  # a zygote is there: a warm kernel, falling back to the one above
        manager.client_factory = PromptClient
        manager.provisioner = WarmProvisioner(kernel_id=spec.run_id, kernel_spec=manager._kernel_spec, parent=manager)
    return manager


def _plan(cells: list[Any]) -> list[dict[str, Any]]:
    """One entry a cell: its index, whether it counts, and the heading it stands under."""
    plan, title = [], ""
    for index, cell in enumerate(cells):
        if cell.cell_type == "markdown":
            headings = [line.lstrip("# ").strip() for line in cell.source.splitlines() if line.startswith("#")]
            title = headings[-1][:100] if headings else title
        counts = _is_code(cell) and "injected-parameters" not in cell.metadata.get("tags", [])
        plan.append({"index": index, "counts": counts, "title": title if counts else ""})
    return plan


def _is_code(cell: Any) -> bool:
    return bool(cell.cell_type == "code" and cell.source.strip())


def _first(errors: list[Any]) -> str:
    return f"{errors[-1].ename}: {errors[-1].evalue}"[:500] if errors else ""


def _require_exact(notebook: Any, parameters: dict[str, Any]) -> None:
    """Raise ValueError unless the injected cell says exactly `parameters`: it is code, written by papermill."""
    if not parameters:
        return
    cells = [cell for cell in notebook.cells if "injected-parameters" in cell.metadata.get("tags", [])]
    statements = ast.parse(cells[0].source).body if len(cells) == 1 else []
    said = {
        statement.targets[0].id: ast.literal_eval(statement.value)
        for statement in statements
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
    }
    if said != parameters or len(said) != len(statements):
        raise ValueError("The injected parameters are not those that were asked for.")
