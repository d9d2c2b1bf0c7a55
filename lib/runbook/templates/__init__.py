"""Data -> escaped HTML: the blocks that notebooks show and the page is made of.

Everything is hostile text until it is escaped here: markup, and control and direction characters, which a
page must not obey. Nothing but the macros of report/blocks.html.j2 makes markup.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from runbook.outcome import Action, Conclusion, Context, ShownFinding, Status
from runbook.words import unbroken, visible

FOLDER = Path(__file__).parent
Region = Callable[[str], str]
"""What (a table, a listing) -> the attributes by which a page's reader scrolls it with the keyboard."""

SIGNS = {
    Status.OK: "✓",
    Status.WARNING: "▲",
    Status.CRITICAL: "■",
    Status.UNKNOWN: "?",
    Status.SKIPPED: "–",
}
"""A status is a word with a sign, so that colour is never alone."""


def _nowhere(what: str) -> str:
    """No attributes: notebooks scroll by themselves."""
    return ""


def finding(shown: ShownFinding, region: Region = _nowhere) -> str:
    """A finding: status in words, title, detail, tables, and how it was found, folded."""
    return _block("finding", shown, region)


def conclusion(shown: Conclusion, region: Region = _nowhere) -> str:
    """A conclusion: decision, reasons, every finding in a line, and the checklist."""
    return _block("conclusion", shown, region)


def actions(items: Iterable[Action], region: Region = _nowhere) -> str:
    """Next actions: why, and the command; those that change the platform say so."""
    return _block("actions", tuple(items), region)


def context(shown: Context, region: Region = _nowhere) -> str:
    """What an investigation is about: alert and window, labels, and the plan, folded."""
    return _block("context", shown, region)


def notebook_style() -> Markup:
    """How findings look in JupyterLab; the page has a style sheet of its own and drops this."""
    return Markup(f"<style>{_text('notebook.css')}</style>")  # noqa: S704 (our own file)


def prepare(environment: Environment) -> Environment:
    """`environment` as every template here expects it: escaping, strict, with our filters."""
    environment.autoescape = True
    environment.undefined = StrictUndefined
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.finalize = _inert
    environment.filters |= {"sign": sign, "unbroken": unbroken}
    return environment


def sign(status: str) -> str:
    """The sign beside a status; a question mark for what is none."""
    return SIGNS.get(Status(status), "?") if status in set(Status) else "?"


def _block(name: str, shown: Any, region: Region) -> str:
    return str(getattr(_blocks(), name)(shown, region))


@cache
def _blocks() -> Any:
    environment = prepare(Environment(loader=FileSystemLoader(FOLDER / "report"), autoescape=True))
    return environment.get_template("blocks.html.j2").module


@cache
def _text(name: str) -> str:
    return (FOLDER / "report" / name).read_text(encoding="utf-8").replace("\n", "")


def _inert(value: Any) -> Any:
    """What is written into a page, before it is escaped."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return visible(value)
