"""The one seam that every source call passes: time-limited, redacted, recorded, and replayable.

A recording is a folder: manifest.json (the run's context and one entry an answer) and one JSON file
an answer. Replaying looks an answer up by what was asked: source, question and parameters.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from runbook import errors
from runbook.errors import NotRecorded, SourceError, SourceUnavailable
from runbook.outcome import SourceState
from runbook.sources.codec import decode, encode, rows_in
from runbook.sources.redaction import Redactor

_LIST_END = b"\n]}"
FORMAT = 1
_TIMEOUTS_UNTIL_AWAY = 2
_AWAY_SECONDS = 60.0
"""How long a source that is away is left alone: longer than a report takes, short enough for JupyterLab."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One question put to a source and what came back.

    `question` is the text as sent (SQL, PromQL, an API path) and `command` the same question as a
    line for the shell. `data` is a DataFrame or JSON-ready data, redacted; None where it failed.
    `missing` says what an answer that is not whole leaves out (pages, rows, pods, shards); "" where it is whole.
    """

    id: str
    source: str
    question: str
    parameters: Mapping[str, Any]
    command: str
    asked_at: datetime
    seconds: float
    rows: int
    data: Any = field(default=None, repr=False)
    status: str = "ok"
    reason: str = ""
    origin: str = "live"
    missing: str = ""

    @property
    def frame(self) -> pd.DataFrame:
        """The answer as a DataFrame; one without columns where there is none."""
        return self.data if isinstance(self.data, pd.DataFrame) else pd.DataFrame()


@dataclass(frozen=True, slots=True)
class Partial:
    """What a source gave where it did not give all: the data, and in a clause what is missing."""

    data: Any
    missing: str


_collected: ContextVar[list[Answer] | None] = ContextVar("collected", default=None)


@contextmanager
def collecting() -> Iterator[list[Answer]]:
    """Collects every answer given within the block, in this thread, failed ones included."""
    answers: list[Answer] = []
    token = _collected.set(answers)
    try:
        yield answers
    finally:
        _collected.reset(token)


def collect(answers: Iterable[Answer]) -> None:
    """Adds `answers`, given in other threads, to those that this thread collects, if it does."""
    collected = _collected.get()
    if collected is not None:
        collected.extend(answers)


class Recording:
    """A folder of recorded answers, to replay."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
            self.context: Mapping[str, Any] = manifest["context"]
            self._entries: dict[str, list[Mapping[str, Any]]] = {}
            for entry in manifest["answers"]:
                self._entries.setdefault(entry["key"], []).append(entry)
        except FileNotFoundError:
            raise NotRecorded(f"There is no recorded evidence in {folder.name}: manifest.json is missing.") from None
        except (OSError, ValueError, KeyError, TypeError):
            raise NotRecorded(
                f"The recorded evidence in {folder.name} cannot be read: manifest.json is damaged."
            ) from None
        self._lock = threading.Lock()

    @classmethod
    def at(cls, address: str | None) -> Recording | None:
        """The recording that an address `recorded:/folder` names; None for any other address.

        One that cannot be read answers every question with why, so that this source alone is unknown.
        """
        if not address or not address.startswith("recorded:"):
            return None
        folder = Path(address.removeprefix("recorded:"))
        try:
            return cls(folder)
        except NotRecorded as error:
            return _Unreadable(folder, str(error))

    def find(self, source: str, question: str, parameters: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
        """(data, entry) of the recorded answer; the n-th asking gets the n-th recording, then the last.

        Raises NotRecorded where this was never asked, or the recorded failure as it was.
        """
        with self._lock:
            entries = self._entries.get(_key(source, question, parameters))
            if not entries:
                raise NotRecorded(f"Not in the recorded evidence: it has no answer of {source} to this question.")
            entry = entries.pop(0) if len(entries) > 1 else entries[0]
        try:
            failure = None if entry["status"] == "ok" else str(entry["reason"])
            if failure is None:
                content = json.loads((self.folder / Path(entry["file"]).name).read_text(encoding="utf-8"))
                return decode(content), entry
        except (OSError, ValueError, KeyError, TypeError):
            raise NotRecorded(f"The recorded answer {entry.get('id')} of {source} is missing or damaged.") from None
        kind = getattr(errors, str(entry.get("error")), SourceUnavailable)
        raise kind(failure)


class _Unreadable(Recording):
    """A recording that cannot be read: why is the answer to every question."""

    def __init__(self, folder: Path, reason: str) -> None:
        self.folder = folder
        self.context = {}
        self._reason = reason

    def find(self, source: str, question: str, parameters: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
        raise NotRecorded(f"{source}: {self._reason}")


@dataclass(frozen=True, slots=True)
class _Away:
    """A source that does not answer: why, and until when (time.monotonic) it is not asked again."""

    reason: str
    until: float


class Evidence:
    """Asks sources on behalf of one run, and keeps what they said.

    `record` is a folder to write to (None: memory only); `replay` answers everything instead of the
    sources; `secrets` are values that must appear nowhere; `limit_seconds` bounds one question.
    Safe to use from several threads.
    """

    def __init__(
        self,
        *,
        record: Path | None = None,
        replay: Recording | None = None,
        secrets: Sequence[str] = (),
        limit_seconds: float = 5.0,
    ) -> None:
        self.replay = replay
        self.redact = Redactor(secrets)
        self.limit_seconds = limit_seconds
        self._record = record
        self._lock = threading.Lock()
        self._answers: list[Answer] = []
        self._manifest: list[str] = []
        self._end = 0
        """Where in manifest.json the list of answers ends; 0 before it is there."""
        self._timeouts: dict[str, int] = {}
        self._away: dict[str, _Away] = {}
        self.context: dict[str, Any] = {}
        self.incomplete = ""
        """Why the recording does not hold every answer; "" while it does."""
        if record is not None:
            self._attempt(lambda: record.mkdir(parents=True, exist_ok=True))

    @property
    def answers(self) -> tuple[Answer, ...]:
        return tuple(self._answers)

    def state(self, source: str) -> SourceState:
        """How `source` behaved so far: ok, recorded, not_asked, or unknown with the first failure's reason."""
        answers = [answer for answer in self._answers if answer.source == source]
        failed = [answer for answer in answers if answer.status != "ok"]
        if source in self._away:
            return SourceState(source, "unknown", self._away[source].reason)
        if failed and len(failed) == len(answers):
            return SourceState(source, "unknown", failed[0].reason)
        if failed:
            return SourceState(
                source, "unknown", f"{len(failed)} of {len(answers)} questions failed: {failed[0].reason}"
            )
        if not answers:
            return SourceState(source, "not_asked")
        return SourceState(source, "recorded" if answers[0].origin == "recorded" else "ok")

    def ask(
        self,
        source: str,
        question: str,
        parameters: Mapping[str, Any],
        command: str,
        fetch: Callable[[], Any],
        *,
        limit_seconds: float | None = None,
        replay: Recording | None = None,
    ) -> Answer:
        """The answer of `source`, from `fetch` (a DataFrame, JSON-ready data, a Partial of them) or the recording.

        Raises SourceError: what `fetch` raised, SourceUnavailable past the time limit, or at once
        for a source found away before. A failure is recorded like an answer.
        """
        recording = self.replay or replay
        asked_at, began = datetime.now(UTC), time.perf_counter()
        origin = "recorded" if recording else "live"
        found, error = Partial(None, ""), None
        try:
            if recording:
                data, entry = recording.find(source, question, parameters)
                found = Partial(data, str(entry.get("missing", "")))
                asked_at = datetime.fromisoformat(entry["asked_at"])
            else:
                fetched = self._fetch(source, fetch, limit_seconds or self.limit_seconds)
                whole = fetched if isinstance(fetched, Partial) else Partial(fetched, "")
                found = Partial(self.redact(whole.data), self.redact(whole.missing))
        except SourceError as caught:
            error = caught
        answer = self._keep(
            source, question, parameters, command, asked_at, time.perf_counter() - began, found, error, origin
        )
        collect([answer])
        if error is not None:
            raise type(error)(answer.reason) from None
        return answer

    def _fetch(self, source: str, fetch: Callable[[], Any], limit_seconds: float) -> Any:
        away = self._away.get(source)
        if away is not None and time.monotonic() < away.until:
            raise SourceUnavailable(f"{away.reason} (not asked again)")
        try:
            found = _within(fetch, limit_seconds, source)
        except _TooSlow as error:
            with self._lock:
                strikes = self._timeouts[source] = self._timeouts.get(source, 0) + 1
                known = any(answer.source == source and answer.status == "ok" for answer in self._answers)
                if strikes >= _TIMEOUTS_UNTIL_AWAY or not known:
                    self._away[source] = _Away(str(error), time.monotonic() + _AWAY_SECONDS)
            raise
        except SourceUnavailable as error:
            with self._lock:
                self._away[source] = _Away(self.redact(str(error)), time.monotonic() + _AWAY_SECONDS)
            raise
        if away is not None:
            with self._lock:
                self._away.pop(source, None)
        return found

    def _keep(
        self,
        source: str,
        question: str,
        parameters: Mapping[str, Any],
        command: str,
        asked_at: datetime,
        seconds: float,
        found: Partial,
        error: SourceError | None,
        origin: str,
    ) -> Answer:
        with self._lock:
            answer = Answer(
                id=f"e{len(self._answers) + 1:02d}",
                source=source,
                question=self.redact(question),
                parameters=self.redact(dict(parameters)),
                command=self.redact(command),
                asked_at=asked_at,
                seconds=seconds,
                rows=rows_in(found.data),
                data=found.data,
                status="failed" if error else "ok",
                reason=self.redact(str(error)) if error else "",
                origin=origin,
                missing=found.missing,
            )
            self._answers.append(answer)
            record = self._record
        if record is not None:
            self._attempt(lambda: self._write(record, answer, _key(source, question, parameters), error))
        return answer

    def _attempt(self, write: Callable[[], None]) -> None:
        """Do `write`. A disk that is full ends the recording, never the run; `incomplete` then says so."""
        try:
            write()
        except OSError as error:
            self._record = None
            self.incomplete = (
                f"The recorded evidence ends after {len(self._manifest)} answers: {error.strerror} where run folders"
                " are kept (RUNBOOK_ARTIFACTS). What is shown was asked live; it cannot be replayed."
            )

    def _write(self, folder: Path, answer: Answer, key: str, error: SourceError | None) -> None:
        name = f"{answer.id}-{answer.source}.json"
        entry = {
            "id": answer.id,
            "key": key,
            "source": answer.source,
            "question": answer.question,
            "parameters": _jsonable(answer.parameters),
            "command": answer.command,
            "asked_at": answer.asked_at.isoformat(),
            "seconds": round(answer.seconds, 4),
            "rows": answer.rows,
            "status": answer.status,
            "origin": answer.origin,
        }
        if answer.missing:
            entry["missing"] = answer.missing
        if error is not None:
            entry |= {"reason": answer.reason, "error": type(error).__name__}
        else:
            entry["file"] = name
            with _whole(folder / name) as path:
                path.write_text(json.dumps(encode(answer.data), separators=(",", ":")), encoding="ascii")
        text = json.dumps(entry)
        with self._lock:  # the manifest names a file only once it is whole
            if not self._end:
                self._save(folder)
            separator = ",\n" if self._manifest else "\n"
            self._end += _append(folder / "manifest.json", self._end, separator + text)
            self._manifest.append(text)

    def save(self) -> None:
        """Writes the manifest anew with the present context, so that a run cut short still has one."""
        record = self._record
        if record is not None:
            with self._lock:
                self._attempt(lambda: self._save(record))

    def _save(self, folder: Path) -> None:
        head = json.dumps({"format": FORMAT, "context": self.redact(_jsonable(self.context))})
        manifest = (f'{head[:-1]}, "answers": [' + ",".join(f"\n{entry}" for entry in self._manifest)).encode()
        with _whole(folder / f".manifest.json.{os.getpid()}") as temporary:
            temporary.write_bytes(manifest + _LIST_END)
            temporary.replace(folder / "manifest.json")
        self._end = len(manifest)


class _TooSlow(SourceUnavailable):
    """The source did not answer in time."""


class Call:
    """A call under way in a daemon thread of its own, to which one that hangs is left."""

    def __init__(self, call: Callable[[], Any], name: str) -> None:
        self._call = call
        self._result: list[Any] = []
        self._failure: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def has_ended(self, limit_seconds: float | None = None) -> bool:
        """Whether it has ended, well or not, waited for at most `limit_seconds` (None: however long it takes)."""
        self._thread.join(limit_seconds)
        return not self._thread.is_alive()

    def result(self, limit_seconds: float | None = None) -> Any:
        """What the call returned. Raises what it raised, and TimeoutError where it takes longer than that."""
        self._thread.join(limit_seconds)
        if self._failure:
            raise self._failure[0]
        if not self._result:
            raise TimeoutError
        return self._result[0]

    def _run(self) -> None:
        try:
            self._result.append(self._call())
        except BaseException as error:  # noqa: BLE001 - raised where the result is asked for, whatever it is
            self._failure.append(error)


def _within(fetch: Callable[[], Any], limit_seconds: float, source: str) -> Any:
    """`fetch()`, waited for at most `limit_seconds`."""
    call = Call(fetch, f"ask-{source}")
    if not call.has_ended(limit_seconds):
        raise _TooSlow(f"{source} did not answer in {limit_seconds:g} s")
    return call.result()


def _key(source: str, question: str, parameters: Mapping[str, Any]) -> str:
    canonical = json.dumps([source, question, _jsonable(parameters)], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_jsonable(item) for item in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """`path`, to write a file to that is not left there in part where the disk is full."""
    try:
        yield path
    except OSError:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise


def _append(path: Path, end: int, text: str) -> int:
    """Put `text` at the `end` of the manifest's list -> its bytes. One write: who reads meanwhile reads JSON."""
    content = text.encode() + _LIST_END
    with path.open("r+b", buffering=0) as file:
        file.seek(end)
        try:
            if file.write(content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            file.seek(end)
            file.truncate()
            file.write(_LIST_END)
            raise
    return len(content) - len(_LIST_END)
