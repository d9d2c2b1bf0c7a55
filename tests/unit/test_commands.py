"""The commands for when there is no report: what may be written, and that a label stays one word of a shell."""

from __future__ import annotations

import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook import commands

LOGS = "kubectl logs -n <namespace> pod/<pod> --tail=100 | grep -i error"
HOSTILE = ["x'; rm -rf /", 'x" --all', "$(id)", "`id`", "a b", "*", "\\", "<pod>", "a'b\"c", "!!", "~", "#x"]


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("", "one line of 1 to 300"),
        ("kubectl get pods\nkubectl delete pods", "one line of 1 to 300"),
        ("x" * 301, "one line of 1 to 300"),
        ("kubectl get pod/<node>", "asks for <node>; there are namespace, pod"),
        ("kubectl exec x -- psql -c \"SELECT 1 WHERE name = '<pod>'\"", "<pod> inside quotes"),
        ("kubectl get 'pod/<pod>'", "<pod> inside quotes"),
        ("kubectl get pod/\\<pod>", "<pod> inside quotes"),
        ("kubectl get 'pods", "a quote that is not closed"),
        ("echo `kubectl get pod/<pod>`", "a backtick"),
    ],
)
def test_what_could_not_be_filled_safely_is_refused(command: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        commands.require(command, ["pod"])


def test_what_can_be_filled_is_taken() -> None:
    commands.require(LOGS, ["pod"])
    commands.require("psql -c \"SELECT 1 WHERE status <> 'x' AND a < 3\"", [])


def test_a_command_is_left_out_where_its_label_is_missing() -> None:
    assert commands.filled([LOGS, "kubectl get pods -n <namespace>"], {"namespace": "cryptofunk"}) == (
        "kubectl get pods -n cryptofunk",
    )


@pytest.mark.parametrize("word", ["", "--all", "-o", "a\nb", "a\x00b", "a\u202eb", "a\u2028b", "\ud800", "x" * 254])
def test_a_label_that_cannot_be_a_word_leaves_its_command_out(word: str) -> None:
    assert commands.filled([LOGS], {"namespace": "cryptofunk", "pod": word}) == ()


@pytest.mark.parametrize("word", HOSTILE)
def test_a_shell_sees_one_word_whatever_a_label_says(word: str) -> None:
    filled = commands.filled(["printf '%s\\n' pod/<pod> | cat"], {"pod": word})
    done = subprocess.run(["sh", "-c", *filled], capture_output=True, text=True, timeout=10)
    assert done.stdout == f"pod/{word}\n"


@given(st.text())
def test_no_label_changes_the_other_words(word: str) -> None:
    for command in commands.filled([LOGS], {"namespace": "cryptofunk", "pod": word}):
        words = shlex.split(command)
        assert words == [*shlex.split("kubectl logs -n cryptofunk"), f"pod/{word}", *shlex.split(LOGS)[5:]]
        assert len(command) <= commands.FILLED_MAX
