"""The seam: what is recorded can be replayed, nothing hangs, nothing secret is written."""

from __future__ import annotations

import json
import math
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from runbook.errors import NotConfigured, NotRecorded, QueryFailed, SourceError, SourceUnavailable
from runbook.sources.evidence import Answer, Evidence, Partial, Recording, collecting
from runbook.sources.metrics import Metrics

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "time": pd.to_datetime(["2026-01-15T14:00:00.123456Z", None], utc=True).astype("datetime64[us, UTC]"),
            "value": [math.nan, -math.inf],
            "count": [1, 2],
            "open": [True, False],
            "text": pd.Series(["a\u202eb 🙂", None], dtype="object"),
        }
    )


def raising(error: SourceError) -> Callable[[], Any]:
    def fetch() -> Any:
        raise error

    return fetch


def ask(evidence: Evidence, question: str = "q", fetch: Callable[[], Any] = table, **parameters: Any) -> Answer:
    return evidence.ask("database", question, parameters, f"psql {question}", fetch)


def never() -> Any:
    raise AssertionError("a replay asked the source")


def written(folder: Path) -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.iterdir()))


def test_a_recording_replays_to_equal_answers(tmp_path: Path) -> None:
    live = ask(Evidence(record=tmp_path), as_of=NOON, names=["a", "b"])

    again = ask(Evidence(replay=Recording(tmp_path)), fetch=never, as_of=NOON, names=["a", "b"])

    pd.testing.assert_frame_equal(again.frame, live.frame)
    assert (again.rows, again.asked_at, again.question, again.command) == (
        live.rows,
        live.asked_at,
        live.question,
        live.command,
    )
    assert (live.origin, again.origin) == ("live", "recorded")


def test_a_replay_tells_parameters_apart(tmp_path: Path) -> None:
    evidence = Evidence(record=tmp_path)
    ask(evidence, fetch=lambda: {"n": 1}, as_of=NOON)
    replay = Evidence(replay=Recording(tmp_path))

    with pytest.raises(NotRecorded, match="no answer of database"):
        ask(replay, fetch=never, as_of=NOON.replace(hour=13))


def test_the_nth_asking_gets_the_nth_recording_then_the_last(tmp_path: Path) -> None:
    evidence = Evidence(record=tmp_path)
    for number in (1, 2):
        ask(evidence, fetch=lambda number=number: {"n": number})
    replay = Evidence(replay=Recording(tmp_path))

    assert [ask(replay, fetch=never).data["n"] for _ in range(3)] == [1, 2, 2]


def test_a_recorded_replay_is_itself_a_recording(tmp_path: Path) -> None:
    ask(Evidence(record=tmp_path / "a"))
    ask(Evidence(record=tmp_path / "b", replay=Recording(tmp_path / "a")), fetch=never)

    assert ask(Evidence(replay=Recording(tmp_path / "b")), fetch=never).rows == 2


def test_a_failed_answer_is_recorded_with_its_reason_and_fails_again(tmp_path: Path) -> None:
    evidence = Evidence(record=tmp_path)
    with pytest.raises(QueryFailed):
        ask(evidence, fetch=raising(QueryFailed("database refused the query: no such column")))

    entry = json.loads((tmp_path / "manifest.json").read_text())["answers"][0]
    assert (entry["status"], entry["reason"]) == ("failed", "database refused the query: no such column")
    with pytest.raises(QueryFailed, match="no such column"):
        ask(Evidence(replay=Recording(tmp_path)), fetch=never)


def test_a_bug_is_not_an_answer(tmp_path: Path) -> None:
    evidence = Evidence(record=tmp_path)

    def buggy() -> Any:
        return {}["missing"]

    with pytest.raises(KeyError):
        ask(evidence, fetch=buggy)
    assert evidence.answers == ()


def test_a_source_that_cannot_be_reached_is_asked_once(tmp_path: Path) -> None:
    evidence = Evidence(record=tmp_path)
    asked: list[str] = []

    def down() -> Any:
        asked.append("once")
        raise SourceUnavailable("database cannot be used: connection refused")

    for question in ("a", "b", "c"):
        with pytest.raises(SourceUnavailable, match="connection refused"):
            ask(evidence, question, down)

    assert asked == ["once"]
    assert [answer.status for answer in evidence.answers] == ["failed"] * 3
    assert evidence.answers[2].reason.count("not asked again") == 1
    assert evidence.state("database").status == "unknown"
    assert "connection refused" in evidence.state("database").reason


def test_one_source_away_leaves_the_others() -> None:
    evidence = Evidence()
    with pytest.raises(SourceUnavailable):
        ask(evidence, fetch=raising(SourceUnavailable("gone")))

    assert evidence.ask("metrics", "up", {}, "curl", table).rows == 2
    assert evidence.state("metrics").status == "ok"
    assert evidence.state("cluster").status == "not_asked"


@pytest.mark.parametrize("error", [QueryFailed("refused"), NotConfigured("set DATABASE_URL")])
def test_a_refused_question_leaves_the_source_in_use(error: SourceError) -> None:
    evidence = Evidence()
    with pytest.raises(type(error)):
        ask(evidence, fetch=raising(error))

    assert ask(evidence).status == "ok"
    assert evidence.state("database").status == "unknown"
    assert "1 of 2 questions failed" in evidence.state("database").reason


class Hanging:
    """A source that answers nothing until it is let go."""

    def __init__(self) -> None:
        self.asked = 0
        self.go = threading.Event()

    def __call__(self) -> Any:
        self.asked += 1
        self.go.wait(30)
        return {}


def test_a_source_that_hangs_from_the_start_costs_one_time_limit() -> None:
    evidence, hanging = Evidence(limit_seconds=0.05), Hanging()
    for _ in range(5):
        with pytest.raises(SourceUnavailable, match=r"did not answer in 0\.05 s"):
            ask(evidence, fetch=hanging)
    hanging.go.set()

    assert hanging.asked == 1


def test_a_source_that_answered_before_is_given_up_after_the_second_timeout() -> None:
    evidence, hanging = Evidence(limit_seconds=0.05), Hanging()
    ask(evidence)
    for _ in range(5):
        with pytest.raises(SourceUnavailable):
            ask(evidence, fetch=hanging)
    hanging.go.set()

    assert hanging.asked == 2
    with pytest.raises(SourceUnavailable, match="not asked again"):
        ask(evidence)


def test_many_threads_asking_a_hanging_source_do_not_queue_up() -> None:
    evidence, hanging = Evidence(limit_seconds=0.1), Hanging()

    def one(number: int) -> str:
        with pytest.raises(SourceUnavailable):
            ask(evidence, f"q{number}", hanging)
        return "done"

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(8))) == ["done"] * 8
    asked = hanging.asked
    with pytest.raises(SourceUnavailable):
        ask(evidence, "later", hanging)
    hanging.go.set()

    assert hanging.asked == asked


def test_threads_get_ids_of_their_own_and_a_complete_manifest(tmp_path: Path) -> None:
    evidence = Evidence(record=tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: ask(evidence, f"q{n}", lambda: {"n": n}), range(60)))

    answers = json.loads((tmp_path / "manifest.json").read_text())["answers"]
    assert sorted({entry["id"] for entry in answers}) == sorted(f"e{n:02d}" for n in range(1, 61))
    replay = Evidence(replay=Recording(tmp_path))
    assert [ask(replay, f"q{n}", never).data["n"] for n in range(60)] == list(range(60))


def test_each_block_collects_its_own_answers() -> None:
    evidence = Evidence()

    def step(number: int) -> list[str]:
        with collecting() as answers:
            ask(evidence, f"q{number}")
        return [answer.question for answer in answers]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(step, range(8))) == [[f"q{n}"] for n in range(8)]


def test_a_block_collects_failures_too() -> None:
    evidence = Evidence()
    with collecting() as answers, pytest.raises(QueryFailed):
        ask(evidence, fetch=raising(QueryFailed("no")))
    assert [answer.reason for answer in answers] == ["no"]


SECRETS = {
    "password in the address": ("postgresql://reader:pa%21ss%2Fword@db:5432/x", "pa!ss/word"),
    "token set here": ("webhook-token-123456", "webhook-token-123456"),
}
SAID = {
    "bearer": ("Authorization: Bearer abcdef0123456789.zz", "abcdef0123456789.zz"),
    "api key": ("GET /v1?api_key=K3Y-abcdef&x=1", "K3Y-abcdef"),
    "json": ('{"secret":"s3cr3t-in-json","n":1}', "s3cr3t-in-json"),
    "escaped json": (r"{\"apiKey\":\"k3y-in-escaped-json\"}", "k3y-in-escaped-json"),
    "sql": ("ALTER ROLE x PASSWORD = 'sql-pass-word'", "sql-pass-word"),
    "slack": ("https://hooks.slack.com/services/T000/B000/XXXXsecretXXXX", "XXXXsecretXXXX"),
    "jwt": ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl end", "eyJzdWIiOiIxMjM0In0"),
    "foreign address": ("dial nats://svc:hunter2hunter2@nats:4222", "hunter2hunter2"),
    "key": ("openai sk-proj-abcdefghijklmnop1234 failed", "abcdefghijklmnop1234"),
}


@pytest.mark.parametrize("text", SAID, ids=str)
def test_no_secret_reaches_the_folder(tmp_path: Path, text: str) -> None:
    said, secret = SAID[text]
    evidence = Evidence(record=tmp_path, secrets=[address for address, _ in SECRETS.values()])
    evidence.context = {"labels": {"note": said}}
    known = " ".join(f"{address} {password}" for address, password in SECRETS.values())
    whole = f"{said} {known}"

    answers = [
        evidence.ask("a", f"SELECT '{whole}'", {"p": whole}, f"curl '{whole}'", lambda: {"k": [whole, {whole: whole}]}),
        evidence.ask("b", "q", {}, "c", lambda: pd.DataFrame({"fields": [{"error": whole}], "line": [whole]})),
    ]
    with pytest.raises(QueryFailed) as caught:
        evidence.ask("c", "q", {}, "c", raising(QueryFailed(whole)))

    everywhere = written(tmp_path) + repr(answers) + str(caught.value) + str([a.data for a in answers])
    for hidden in (secret, *(password for _, password in SECRETS.values()), "pa%21ss%2Fword"):
        assert hidden not in everywhere


def test_nan_and_infinities_survive_as_strict_json(tmp_path: Path) -> None:
    frame = pd.DataFrame({"value": [math.nan, math.inf, -math.inf, 1.5]})
    ask(Evidence(record=tmp_path), fetch=lambda: frame)

    def refuse(word: str) -> Any:
        raise AssertionError(f"{word} is not JSON")

    for path in tmp_path.iterdir():
        json.loads(path.read_text(), parse_constant=refuse)
    again = ask(Evidence(replay=Recording(tmp_path)), fetch=never).frame
    np.testing.assert_array_equal(again["value"].to_numpy(), frame["value"].to_numpy())


@pytest.mark.parametrize("damage", ["truncated", "removed", "not json", "wrong shape"])
def test_a_damaged_answer_is_not_recorded(tmp_path: Path, damage: str) -> None:
    ask(Evidence(record=tmp_path))
    path = tmp_path / "e01-database.json"
    match damage:
        case "removed":
            path.unlink()
        case "truncated":
            path.write_text(path.read_text()[:-20])
        case "not json":
            path.write_bytes(b"\xff\xfe\x00")
        case "wrong shape":
            path.write_text('{"kind": "table", "columns": {"a": "number"}, "rows": [["x"]]}')

    with pytest.raises(NotRecorded, match="missing or damaged"):
        ask(Evidence(replay=Recording(tmp_path)), fetch=never)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"context": {}, "answers": [1]}', '{"context": {}, "answers": 5}']
)
def test_a_damaged_manifest_is_said_to_be_damaged(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(NotRecorded, match=r"manifest\.json is damaged"):
        Recording(tmp_path)


def test_no_manifest_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(NotRecorded, match=r"manifest\.json is missing"):
        Recording(tmp_path / "nowhere")


@pytest.mark.parametrize("entry", [{"status": "ok"}, {"status": "ok", "file": 7}, {"file": "../../etc/passwd"}])
def test_an_entry_that_lacks_its_parts_is_damaged(tmp_path: Path, entry: dict[str, Any]) -> None:
    ask(Evidence(record=tmp_path))
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    manifest["answers"] = [{"key": manifest["answers"][0]["key"], **entry}]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(NotRecorded):
        ask(Evidence(replay=Recording(tmp_path)), fetch=never)


def test_the_manifest_is_whole_after_every_answer_and_a_kill(tmp_path: Path) -> None:
    """Kills a process amid its recording: the manifest names only answers whose files are whole."""
    script = (
        "import sys; from pathlib import Path; from runbook.sources.evidence import Evidence\n"
        "evidence = Evidence(record=Path(sys.argv[1]))\n"
        "for n in range(100000):\n"
        "    evidence.ask('database', f'q{n}', {}, '', lambda: {'text': 'x' * 5000})\n"
        "    if n == 20: print('ready', flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()

    recording = Recording(tmp_path)
    answers = json.loads((tmp_path / "manifest.json").read_text())["answers"]
    assert len(answers) > 20
    for number in range(len(answers)):
        data, _ = recording.find("database", f"q{number}", {})
        assert len(data["text"]) == 5000


def test_no_half_written_file_stays(tmp_path: Path) -> None:
    folder = tmp_path / "evidence"
    ask(Evidence(record=folder))
    assert {path.name for path in folder.iterdir()} == {"manifest.json", "e01-database.json"}


def test_lone_surrogates_and_nul_are_written_somehow(tmp_path: Path) -> None:
    ask(Evidence(record=tmp_path), "q \ud800", lambda: {"text": "a\ud800b\x00"})
    assert ask(Evidence(replay=Recording(tmp_path)), "q \ud800", never).rows == 1


def test_recorded_addresses() -> None:
    assert Recording.at(None) is None
    assert Recording.at("http://prometheus:9090") is None


def test_a_recorded_address_without_a_recording_fails_when_asked(tmp_path: Path) -> None:
    metrics = Metrics(f"recorded:{tmp_path}/none", evidence := Evidence())
    with pytest.raises(NotRecorded, match=r"manifest\.json is missing"):
        metrics.rules()
    assert evidence.state("metrics").status == "unknown"


def test_a_source_that_was_away_is_asked_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = Evidence()

    def down() -> None:
        raise SourceUnavailable("database cannot be used: connection refused")

    def ask(fetch: Callable[[], Any]) -> Any:
        return evidence.ask("database", "SELECT 1", {}, "psql", fetch).data

    with pytest.raises(SourceUnavailable):
        ask(down)
    with pytest.raises(SourceUnavailable, match="not asked again"):
        ask(lambda: [1])
    monkeypatch.setattr("runbook.sources.evidence.time.monotonic", lambda: 1e9)
    assert ask(lambda: [1]) == [1]
    assert ask(lambda: [2]) == [2]


def test_a_full_disk_ends_the_recording_and_not_the_run(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands for the disk: the kernel refuses every byte beyond it, root's too."""
    evidence = Evidence(record=tmp_path / "evidence")
    evidence.ask("database", "SELECT 1", {}, "psql", lambda: [1])
    assert evidence.incomplete == ""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, before[1]))
    try:
        assert evidence.ask("database", "SELECT 2", {}, "psql", lambda: ["x" * 5_000]).rows == 1
        evidence.ask("database", "SELECT 3", {}, "psql", lambda: [3])
        evidence.save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert evidence.incomplete.startswith("The recorded evidence ends after 1 answers: File too large where")
    recording = Recording(tmp_path / "evidence")
    assert recording.find("database", "SELECT 1", {})[0] == [1]
    with pytest.raises(NotRecorded, match="Not in the recorded"):
        recording.find("database", "SELECT 2", {})
    assert not list((tmp_path / "evidence").glob(".*"))
    assert [path.name for path in sorted((tmp_path / "evidence").iterdir())] == ["e01-database.json", "manifest.json"]


def test_what_is_missing_of_an_answer_is_recorded_and_replayed(tmp_path: Path) -> None:
    live = Evidence(record=tmp_path, secrets=("hush-hush",))
    answer = live.ask("metrics", "up", {}, "", lambda: Partial([1], "store hush-hush did not answer"))
    assert (answer.data, answer.missing) == ([1], "store [redacted] did not answer")
    again = Evidence(replay=Recording(tmp_path)).ask("metrics", "up", {}, "", lambda: None)
    assert (again.data, again.missing) == (answer.data, answer.missing)


def hang() -> None:
    time.sleep(5)


def test_what_hangs_behind_a_source_is_left_alone_by_itself() -> None:
    evidence = Evidence(limit_seconds=0.05)
    for target in ("pods/a", "pods/b"):
        with pytest.raises(SourceUnavailable, match="did not answer"):
            evidence.ask("cluster", f"GET {target}", {}, "kubectl", hang, target=target)
    with pytest.raises(SourceUnavailable, match="not asked again"):
        evidence.ask("cluster", "GET pods/a", {}, "kubectl", list, target="pods/a")
    assert evidence.ask("cluster", "GET pods/c", {}, "kubectl", list, target="pods/c").status == "ok"
    assert evidence.ask("cluster", "GET pods", {}, "kubectl", list).status == "ok"
    assert evidence.state("cluster").reason.startswith("3 of 5 questions failed")


def test_a_target_that_answered_before_is_asked_once_more() -> None:
    evidence = Evidence(limit_seconds=0.05)
    evidence.ask("cluster", "GET pods/a", {}, "kubectl", list, target="pods/a")
    for _ in range(2):
        with pytest.raises(SourceUnavailable, match=r"did not answer in 0\.05 s$"):
            evidence.ask("cluster", "GET pods/a", {}, "kubectl", hang, target="pods/a")
    with pytest.raises(SourceUnavailable, match="not asked again"):
        evidence.ask("cluster", "GET pods/a", {}, "kubectl", hang, target="pods/a")


def test_a_source_that_is_not_there_is_away_whoever_was_asked_for() -> None:
    def refuse() -> None:
        raise SourceUnavailable("nothing listens there")

    evidence = Evidence()
    with pytest.raises(SourceUnavailable):
        evidence.ask("cluster", "GET pods/a", {}, "kubectl", refuse, target="pods/a")
    with pytest.raises(SourceUnavailable, match=r"nothing listens there \(not asked again\)"):
        evidence.ask("cluster", "GET pods", {}, "kubectl", list)
