"""What cells printed, and the errors that ended them, without secrets.

Libraries and plugins write to standard error on their own: log records, warnings, a plugin's complaint.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import groupby
from typing import Any

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def without_printed_secrets(notebook: dict[str, Any], redact: Callable[[str], str]) -> None:
    """Takes secrets out of the streams and errors of `notebook` (as JSON), in place."""
    for cell in notebook["cells"]:
        outputs = cell.get("outputs") or []
        for _, streams in groupby(outputs, key=_stream_of):
            _redact_stream([output for output in streams if output["output_type"] == "stream"], redact)
        for output in outputs:
            if output["output_type"] == "error":
                _redact_error(output, redact)
        if outputs:
            cell["outputs"] = [output for output in outputs if output.get("text", True)]


def _stream_of(output: dict[str, Any]) -> str:
    """The name of a stream that outputs side by side are parts of; "" for others."""
    return str(output.get("name", "")) if output["output_type"] == "stream" else ""


def _redact_stream(parts: list[dict[str, Any]], redact: Callable[[str], str]) -> None:
    """Redacts the parts of a stream as one text, for a secret may reach over several: the first then holds it all."""
    text = "".join(_text(part["text"]) for part in parts)
    redacted = _redact_coloured(text, redact)
    if redacted == text:
        return
    parts[0]["text"] = redacted
    for part in parts[1:]:
        part["text"] = ""


def _redact_error(output: dict[str, Any], redact: Callable[[str], str]) -> None:
    output["evalue"] = redact(str(output.get("evalue", "")))
    output["traceback"] = [_redact_coloured(str(line), redact) for line in output.get("traceback", [])]


def _redact_coloured(text: str, redact: Callable[[str], str]) -> str:
    """`text` redacted; without its colours where they stand within a secret."""
    redacted = redact(text)
    plain = _COLOURS.sub("", redacted)
    redacted_plain = redact(plain)
    return redacted if redacted_plain == plain else redacted_plain


def _text(text: Any) -> str:
    """A stream's text, which notebooks may hold as a list of lines."""
    return "".join(map(str, text)) if isinstance(text, list) else str(text)
