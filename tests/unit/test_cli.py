"""The command line, in processes of its own: bad input is one line and exit code 2, and nothing has run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FIXTURES = Path(__file__).parents[1] / "fixtures"
ALERT = {"labels": {"alertname": "AllRuns"}, "startsAt": "2026-01-15T14:02:00Z", "status": "firing"}
MESSAGE = {"version": "4", "status": "firing", "alerts": [ALERT]}


def runbook(
    *arguments: str, text: str = "", folder: Path = FIXTURES, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "runbook", *arguments],
        cwd=folder,
        input=text,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["run"], "Name the alert"),
        (["run", ""], "Name the alert"),
        (["run", "AllRuns", "--bogus"], "No such option"),
        (["run", "AllRuns", "Extra"], "unexpected extra argument"),
        (["run", "AllRuns", "--limit", "soon"], "--limit"),
        (["run", "AllRuns", "--limit", "-1"], "limit"),
        (["run", "AllRuns", "--limit", "nan"], "limit"),
        (["run", "AllRuns", "--starts-at", "noon"], "--starts-at is not a time"),
        (["run", "AllRuns", "--as-of", "2026-01-15T14:10:00"], "--as-of is not a time"),
        (["run", "AllRuns", "--label", "symbol"], "is not name=value"),
        (["run", "AllRuns", "-p", "treshold=1"], "Did you mean threshold?"),
        (["run", "AllRuns", "-p", "threshold=much"], "threshold takes a number"),
        (["run", "AllRuns", "-p", "a b=1"], "cannot be a parameter's name"),
        (["run", "AllRuns", "-p", "x=1;import os=1"], "no parameter x"),
        (["run", "AllRuns", "-p", "lookback_hours=-1"], "more than 0"),
        (["run", "AllRuns", "--payload", "missing.json"], "cannot be read"),
        (["run", "AllRuns", "--evidence", "missing"], "no recorded evidence"),
        (["run", "NotWrittenYet"], "no notebook"),
        (["run", "AlRuns"], "Did you mean AllRuns?"),
        (["run", "echoparameters"], "Did you mean EchoParameters?"),
        (["run", "Something"], "`runbook list` shows them. The general procedure AnyAlert takes any name with --any."),
        (["run", "Something", "--any"], "no notebook"),
        (["list", "Nothing"], "no procedure or alert"),
        (["demo", "--incident", "nothing"], "no incident"),
        (["demo", "--schema", "other"], "--schema"),
        (["nothing"], "No such command"),
    ],
)
def test_bad_input_is_one_line_and_runs_nothing(tmp_path: Path, arguments: list[str], reason: str) -> None:
    out = ["--out", str(tmp_path)] if arguments[0] == "run" else []
    done = runbook(*arguments, *out)
    assert done.returncode == 2
    assert reason in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ("[" * 100_000, "nested too deeply"),
        (json.dumps({**MESSAGE, "version": "3"}), "version"),
        (json.dumps({**MESSAGE, "alerts": []}), "no alerts"),
        (json.dumps(MESSAGE), "no alert named 'Unknown'"),
        (" " * (4 * 1024 * 1024 + 1), "over 4 MiB"),
    ],
)
def test_a_bad_payload_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    done = runbook("run", "Unknown", "--payload", "-", "--out", str(tmp_path), text=text)
    assert (done.returncode, reason in done.stderr, len(done.stderr.splitlines())) == (2, True, 1)
    assert list(tmp_path.iterdir()) == []


def test_a_setting_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    done = runbook("run", "AllRuns", "--out", str(tmp_path), RUNBOOK_RUN_SECONDS="never")
    assert done.returncode == 2
    assert "RUNBOOK_RUN_SECONDS" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_misspelt_setting_is_said(tmp_path: Path) -> None:
    done = runbook("run", "NotWrittenYet", "--out", str(tmp_path), RUNBOOK_RUN_SECOND="9")
    assert done.returncode == 2
    said = "RUNBOOK_RUN_SECOND is no setting and is not read. Did you mean RUNBOOK_RUN_SECONDS?"
    assert f"runbook: {said}" in done.stderr.splitlines()


def test_hostile_names_do_not_reach_the_terminal(tmp_path: Path) -> None:
    done = runbook("run", "AllRuns", "-p", "\x1b]0;owned\x07\nx=1", "--out", str(tmp_path))
    assert done.returncode == 2
    assert "\x1b" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_run_prints_the_path_last_and_progress_on_standard_error(tmp_path: Path) -> None:
    """Slow: it starts a kernel."""
    done = runbook(
        "run", "--payload", "-", "--label", "symbol=BTCUSDT", "--out", str(tmp_path), text=json.dumps(MESSAGE)
    )
    assert done.returncode == 0
    (path,) = done.stdout.splitlines()
    outcome = json.loads((Path(path).parent / "outcome.json").read_text())
    assert Path(path).name == "report.html"
    assert outcome["labels"] == {"alertname": "AllRuns", "symbol": "BTCUSDT"}
    assert outcome["starts_at"] == "2026-01-15T14:02:00Z"
    assert "4 of 4: Conclusion" in done.stderr
    assert "■ critical: Drawdown is 14.2 %" in done.stderr
    assert "The drawdown is real: 14.2 %." in done.stderr


def test_list_shows_procedures_and_their_alerts() -> None:
    done = runbook("list")
    assert done.returncode == 0
    assert "AllRuns, AlsoRuns" in done.stdout
    assert "not written yet" in done.stdout


def test_list_shows_the_parameters_of_a_procedure_by_its_alert() -> None:
    done = runbook("list", "AlsoRuns")
    assert done.returncode == 0
    assert "lookback_hours  number        6.0" in done.stdout
    assert "hours before the alert" in done.stdout


@pytest.mark.parametrize("command", [[], ["run"], ["list"], ["demo"], ["lab"]])
def test_help_teaches_by_example(command: list[str]) -> None:
    done = runbook(*command, "--help")
    assert done.returncode == 0
    assert "runbook" in done.stdout.split("Options:")[-1]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['runbook', '--help']\n"
        "from runbook.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'pandas', 'numpy', 'matplotlib', 'papermill', 'nbconvert', 'psycopg', 'kubernetes', 'pydantic'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
