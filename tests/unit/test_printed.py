"""What cells printed and what errors quote is redacted in the notebook, whatever part of an output it stands in."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from runbook.redaction import MASK, TextRedactor
from runbook.runner.printed import without_printed_secrets

TOKEN = "ghp_" + "a1B2c3D4e5F6" * 3


def stream(text: Any, name: str = "stderr") -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": text}


def error(value: str, *traceback: str) -> dict[str, Any]:
    return {"output_type": "error", "ename": "ValueError", "evalue": value, "traceback": list(traceback)}


def redacted(*outputs: dict[str, Any]) -> list[dict[str, Any]]:
    notebook = {"cells": [{"cell_type": "markdown"}, {"cell_type": "code", "outputs": list(outputs)}]}
    without_printed_secrets(notebook, TextRedactor())
    left: list[dict[str, Any]] = notebook["cells"][1]["outputs"]  # type: ignore[assignment]
    return left


@pytest.mark.parametrize("text", [f"refused {TOKEN}\n", ["refused ", f"{TOKEN}\n"]])
def test_a_stream_is_redacted(text: Any) -> None:
    assert redacted(stream(text)) == [stream(f"refused {MASK}\n")]


def test_a_secret_that_reaches_over_several_parts_goes() -> None:
    parts = ["-----BEGIN RSA PRIVATE KEY-----\n", "bGVha2Vk\n", "-----END RSA PRIVATE KEY-----\n"]
    assert redacted(*(stream(part) for part in parts)) == [stream(f"{MASK}\n")]


def test_streams_that_are_not_one_text_stay_apart() -> None:
    outputs = [stream("token"), stream("=x", "stdout"), error("no"), stream("=y")]
    assert redacted(*copy.deepcopy(outputs)) == outputs


def test_an_error_is_redacted_in_colours_too() -> None:
    coloured = "\x1b[31mpassword\x1b[39m=\x1b[33mhunter22\x1b[39m"
    (found,) = redacted(error(f"token={TOKEN}", f"\x1b[31mValueError\x1b[39m: {TOKEN}", coloured))
    assert found["evalue"] == f"token={MASK}"
    assert found["traceback"] == [f"\x1b[31mValueError\x1b[39m: {MASK}", f"password={MASK}"]


def test_outputs_without_secrets_are_as_they_were() -> None:
    outputs = [
        stream(["two ", "lines\n"]),
        {"output_type": "display_data", "data": {"text/html": "<b id='token=x'>"}, "metadata": {}},
        error("no price", "\x1b[31mValueError\x1b[39m: no price"),
    ]
    assert redacted(*copy.deepcopy(outputs)) == outputs
