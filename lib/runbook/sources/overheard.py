"""What libraries print while a source is asked, in log records and warnings: redacted, and kept off the page.

They quote addresses, headers and what a plugin said. In a kernel their standard error is an output of the notebook.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections import deque
from collections.abc import Callable
from typing import Any

_LIBRARIES = ("kubernetes", "urllib3", "psycopg", "httpx", "httpcore", "asyncio")
_ASKING = ("ask-", "at-once", "ahead")
"""How the threads are called in which sources are asked."""
_LINES_MAX = 50
_TEXT_MAX = 500

lines: deque[str] = deque(maxlen=_LINES_MAX)
"""The latest of them, redacted, for whoever looks for the cause of a silence in JupyterLab."""


def listen(redact: Callable[[str], str]) -> None:
    """From now on keeps what the sources' libraries print to itself, as `redact` leaves it."""
    for name in _LIBRARIES:
        logger = logging.getLogger(name)
        for handler in [handler for handler in logger.handlers if isinstance(handler, _Keeper)]:
            logger.removeHandler(handler)
        logger.addHandler(_Keeper(redact))
    if not isinstance(warnings.showwarning, _Warnings):
        warnings.showwarning = _Warnings(warnings.showwarning)
    warnings.showwarning.redact = redact


class _Keeper(logging.Handler):
    """Keeps records of libraries; nothing is printed."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        super().__init__(logging.WARNING)
        self._redact = redact

    def emit(self, record: logging.LogRecord) -> None:
        lines.append(self._redact(f"{record.name}: {record.getMessage()}")[:_TEXT_MAX])


class _Warnings:
    """Keeps warnings that come up where a source is asked; shows all others as before."""

    def __init__(self, show: Callable[..., Any]) -> None:
        self._show = show
        self.redact: Callable[[str], str] = str

    def __call__(self, message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
        if threading.current_thread().name.startswith(_ASKING):
            lines.append(self.redact(f"{category.__name__}: {message}")[:_TEXT_MAX])
        else:
            self._show(message, category, *where, **more)
