"""What the zygote imports before the first fork, by name: nothing here depends on any of it.

Imports alone leave work to the first use, so a chart is drawn and a table written once. No thread, no
socket and no connection may remain: a fork has only the thread that forked.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from pathlib import Path

LIBRARIES = (
    # the kernel
    "bdb",
    "debugpy.server.api",
    "encodings.ascii",
    "encodings.latin_1",
    "encodings.unicode_escape",
    "faulthandler",
    "ipykernel.debugger",  # half of a kernel's own memory, were each to import it
    "ipykernel.ipkernel",
    "ipykernel.kernelapp",
    "ipykernel.zmqshell",
    "IPython.core.completer",
    "IPython.core.completerlib",
    "IPython.core.debugger",
    "IPython.core.history",
    "IPython.core.oinspect",
    "IPython.extensions.storemagic",
    "IPython.lib.pretty",
    "matplotlib_inline.backend_inline",
    "tornado.platform.asyncio",
    "tornado.queues",
    "zmq.asyncio",
    # the notebook's libraries
    "numpy.random",
    "pandas",
    "pandas.io.formats.html",
    "pandas.io.formats.string",
    "PIL.BmpImagePlugin",
    "PIL.GifImagePlugin",
    "PIL.JpegImagePlugin",
    "PIL.PngImagePlugin",
    "PIL.PpmImagePlugin",
    "matplotlib.backends.backend_svg",
    "matplotlib.dates",
    "matplotlib.figure",
    "pandas.core.methods.to_dict",
    "pandas.core.reshape.reshape",
    "anyio",
    "httpcore",
    "httpx",
    "kubernetes.client",
    "kubernetes.config",
    "psycopg",
    "psycopg.types.json",
    "psycopg_pool",
    # the executor
    "jupyter_client.asynchronous",
    "jupyter_client.manager",
    "jupyter_client.provisioning",
    "nbclient",
    "nbformat.v4",
    "papermill.clientwrap",
    "papermill.engines",
    "papermill.execute",
)
OURS = (
    "runbook.session",
    "runbook.charts",
    "runbook.kernels.client",
    "runbook.kernels.provisioner",
    "runbook.runner.engine",
    "runbook.runner.processes",
)
STEPS = "runbook.steps"
_CHARTS = 6  # of most pages; what is made and not used costs memory once, in the zygote


class NotForkable(RuntimeError):
    """An import has started a thread. A fork would not have it, and could wait for it for ever."""


def everything() -> None:
    """Import all of it. Raises NotForkable. A part that is missing is left to the notebook that asks for it."""
    # Before numpy and matplotlib are loaded, which read these once.
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    for name in (*LIBRARIES, *OURS, *_steps()):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    with contextlib.suppress(ImportError):
        _first_uses()
    threads = len(list(Path("/proc/self/task").iterdir()))  # those that no Python module knows of, too
    if threads > 1:
        raise NotForkable(f"{threads} threads after the imports")


def _steps() -> list[str]:
    """The names of all modules of steps, those in folders too."""
    with contextlib.suppress(ImportError):
        folder = Path(next(iter(importlib.import_module(STEPS).__path__)))
        inside = [file.relative_to(folder).with_suffix("").parts for file in folder.rglob("[a-z]*.py")]
        return sorted(".".join((STEPS, *parts)) for parts in inside)
    return []


def _first_uses() -> None:
    """Do once what is slow the first time: fonts, date axes, SVG, number formats, a certificate store."""
    pandas = importlib.import_module("pandas")
    charts = importlib.import_module("runbook.charts")
    alert = importlib.import_module("runbook.alert")
    times = pandas.date_range("2026-01-15T08:00:00Z", periods=120, freq="5min")
    frame = pandas.DataFrame({"time": times, "value": range(120)})
    began, ended = times[60].to_pydatetime(), times[-1].to_pydatetime()
    limit = charts.Threshold(90.0, "limit")
    lines = [charts.Line("one", frame, fill=True), charts.Line("two", frame, step=True)]
    charts.timeline("A title − with signs", "%", alert.window_of(began, ended, 5.0), lines, thresholds=[limit])
    charts.bars("A title", "USD", {"gain": 3.0, "loss": -2.0})
    charts.prepare(_CHARTS)
    frame.groupby(frame["time"].dt.floor("h"))["value"].max()
    frame.to_dict("records")
    importlib.import_module("ssl").create_default_context()
    nbformat = importlib.import_module("nbformat")
    nbformat.validate(nbformat.v4.new_notebook())  # compiles the schema
