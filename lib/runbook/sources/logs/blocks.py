"""Lines that belong to one above: stacks of Go and Python, what gin dumps, keys, PostgreSQL's details."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from runbook.sources.logs import levels, postgresql
from runbook.sources.logs.rows import Row

_LINES_MAX = 200
_BACK_MAX = 10
"""How many rows back the message is looked for that a detail of PostgreSQL belongs to."""
_SAME_ENTRY = timedelta(seconds=1)
_RECORD = re.compile(
    r"^(?:\{|\[(?!signal |recovered)|\d{4}[-/]\d\d|\d{1,2}:\d\d|[IWEF]\d{4} |\d+:[XCSM] |(?:ts|time|level)=)"
)
"""How a line begins that is an entry of its own."""
GOROUTINE = re.compile(r"^goroutine (?:\d+|running) ?\[?")
_IN_STACK = re.compile(
    r"^(?:\s|goroutine |created by |exit status \d|\[signal |\[recovered\]|panic\(|runtime stack:"
    r"|\.\.\.additional frames|r[a-z0-9]{1,5}\s+0x|[c-g]s\s+0x)"
)
_GIN_FRAME = re.compile(r"^\S{1,300}:\d+ \(0x[0-9a-f]+\)$")
_REQUEST = re.compile(r"^[A-Z]{3,10} \S+ HTTP/\d")
TRACEBACK = re.compile(r"^\s*(?:[+|] )?(?:Exception Group )?Traceback \(most recent call last\):")
_CHAINED = re.compile(
    r"^(?:During handling of the above exception, another|The above exception was the direct cause of the following)"
)
_EXCEPTION = re.compile(r"^[A-Za-z_][\w.]{0,200}(?:: |:?$)")
_PEM_BEGIN, _PEM_END = re.compile(r"-----BEGIN [A-Z0-9 ]{1,40}-----"), re.compile(r"-----END [A-Z0-9 ]{1,40}-----")
_BASE64 = re.compile(r"^[A-Za-z0-9+/=]{1,76}$")
_GIN_ERROR = re.compile(r"^Error #\d+: (.*)$")
_GO_NAME = re.compile(r"^[\w./-]{1,200}\.(?:\(\*?[\w.\[\]]+\)\.)?[\w.\[\]·]+$")


class Block(Protocol):
    """A row that is not whole yet."""

    def takes(self, line: str) -> bool:
        """Adds `line` to the row where it belongs to it; false where it does not: then the row is whole."""
        ...


def opened_by(row: Row, line: str) -> Block | None:
    """The block that `line` begins, where its row may go on."""
    if row.kind == "go panic":
        return GoPanic(row)
    if row.kind == "gin panic":
        return _GinPanic(row)
    if row.kind == "csv" and line.count('"') % 2:
        return _Csv(row, line)
    if TRACEBACK.match(line):
        return Traceback(row)
    if _PEM_BEGIN.search(line) and not _PEM_END.search(line):
        return _Pem(row)
    return None


class GoPanic:
    """The rest of a panic: its message's other lines, then the goroutines."""

    def __init__(self, row: Row) -> None:
        self._row = row
        self._lines = 0
        self._has_stack = False

    def takes(self, line: str) -> bool:
        self._lines += 1
        if GOROUTINE.match(line):
            self._has_stack = True
        elif not self._may_be_part(line):
            return False
        if line.strip():
            self._row.add_to("stack", line)
        return True

    def _may_be_part(self, line: str) -> bool:
        if self._has_stack:
            return not line.strip() or bool(_IN_STACK.match(line)) or _is_frame(line)
        return self._lines <= _LINES_MAX and not _RECORD.match(line)


def _is_frame(line: str) -> bool:
    """Whether `line` is a frame of a Go stack: a qualified function and its arguments."""
    function, opening, arguments = line.partition("(")
    is_qualified = "." in function and function.isprintable() and " " not in function
    return is_qualified and bool(opening) and (arguments.rstrip().endswith(")") or arguments.startswith("0x"))


class _GinPanic:
    """What gin's recovery dumps: the request (in debug mode), the reason, the stack."""

    def __init__(self, row: Row) -> None:
        self._row = row
        self._lines = 0
        self._is_in_request = False
        self._has_stack = False

    def takes(self, line: str) -> bool:
        text = line.strip()
        self._lines += 1
        if self._lines > _LINES_MAX:
            return False
        if not text:
            self._is_in_request = False
            return True
        if _GIN_FRAME.match(text) or (self._has_stack and line[:1] in " \t"):
            self._has_stack = True
            self._row.add_to("stack", line)
            return True
        if self._has_stack or _RECORD.match(line):
            return False
        if _REQUEST.match(text):
            self._is_in_request = True
            self._row.fields["request"] = text
        elif not self._is_in_request:  # its headers are not kept
            self._row.add(text)
        return True


class Traceback:
    """The rest of a Python traceback, with those of the exceptions that led to it."""

    def __init__(self, row: Row, *, is_part: bool = False) -> None:
        self._row = row
        self._is_part = is_part
        self._lines = 0
        self._is_over = False

    def takes(self, line: str) -> bool:
        text = line.strip()
        self._lines += 1
        if self._lines > 5 * _LINES_MAX:
            return False
        if not text:
            return True
        if TRACEBACK.match(line) or _CHAINED.match(line):
            self._is_over = False
        elif line[:1] in " \t":
            pass
        elif self._is_over or _RECORD.match(line) or not _EXCEPTION.match(line):
            return False
        else:
            self._name(text)
        self._row.add_to("stack", line)
        return True

    def _name(self, exception: str) -> None:
        """Says the exception: the last one, of those that led to another."""
        self._is_over = True
        if self._is_part:
            self._row.fields["error"] = exception
        else:
            self._row.message = exception


class _Pem:
    """The rest of a key or certificate: one row, so that it is hidden as a whole."""

    def __init__(self, row: Row) -> None:
        self._row = row
        self._lines = 0
        self._is_over = False

    def takes(self, line: str) -> bool:
        self._lines += 1
        is_record = bool(_RECORD.match(line)) and not _BASE64.match(line)
        if self._is_over or self._lines > _LINES_MAX or is_record:
            return False
        self._is_over = bool(_PEM_END.search(line))
        self._row.add(line.strip(), "\n")
        return True


class _Csv:
    """The rest of an entry of PostgreSQL's csvlog whose quotes are open: a statement of several lines."""

    def __init__(self, row: Row, line: str) -> None:
        self._row = row
        self._text = line
        self._lines = 0

    def takes(self, line: str) -> bool:
        self._lines += 1
        is_whole = self._text.count('"') % 2 == 0
        if is_whole or self._lines > _LINES_MAX:
            return False
        self._text += f"\n{line}"
        row = postgresql.of_csv(self._text)
        if row is not None:
            self._row.level, self._row.message, self._row.fields = row.level, row.message, row.fields
        return True


class _Detail:
    """The rest of what PostgreSQL writes below a message: a statement of several lines."""

    def __init__(self, row: Row, name: str) -> None:
        self._row = row
        self._name = name

    def takes(self, line: str) -> bool:
        if line[:1] != "\t":
            return False
        self._row.add_to(self._name, line)
        return True


def joined(rows: Sequence[Row], row: Row, line: str) -> Block | bool:
    """Whether `line` (read as `row`) belongs to one of the `rows` above, to which it is added; the block it begins."""
    above = rows[-1]
    block: Block | None = None
    if GOROUTINE.match(line):
        block = GoPanic(above)
    elif TRACEBACK.match(line) and above.level in levels.ERRORS and _is_same_entry(above, row):
        block = Traceback(above, is_part=True)
    if block is not None:
        return block if block.takes(line) else False
    if row.kind.startswith("postgresql detail "):
        return _detail(rows, row) or False
    if found := _GIN_ERROR.match(line) if above.kind == "gin" else None:
        above.fields["error"] = found[1]
        return True
    if above.kind == "zap" and _GO_NAME.match(line):
        above.add_to("stack", line)
        return True
    if line[:1] in " \t":
        _add_indented(above, line)
        return True
    if line.startswith("Caused by: ") and above.level in levels.ERRORS:
        above.add(line.strip())
        return True
    return not any(map(str.isalnum, line[:400]))  # a rule, or a frame


def _add_indented(row: Row, line: str) -> None:
    if row.kind == "zap" and "stack" in row.fields:
        row.add_to("stack", line)
    else:
        row.add(line.strip())


def _is_same_entry(above: Row, row: Row) -> bool:
    if above.time is None or row.time is None:
        return True
    return row.time - above.time <= _SAME_ENTRY


def _detail(rows: Sequence[Row], row: Row) -> Block | None:
    """The message, of the same process, that a detail of PostgreSQL is added to, open for more; None where none is."""
    wanted = row.kind.replace(" detail", "")
    for above in rows[: -_BACK_MAX - 1 : -1]:
        if above.kind == wanted:
            above.fields |= row.fields
            return _Detail(above, next(iter(row.fields)))
    return None


def ends_key(rows: list[Row], line: str) -> bool:
    """Whether `line` ends a key whose beginning is not there; the rows that are parts of it are made one with it."""
    if "-----END" not in line or _PEM_BEGIN.search(line) or not rows or not _BASE64.match(rows[-1].message):
        return False
    first = len(rows) - 1
    while first > 0 and len(rows) - first < _LINES_MAX and _BASE64.match(rows[first - 1].message):
        first -= 1
    text = "\n".join(row.message for row in rows[first:])
    rows[first].message = f"{text[-1_900:]}\n{line.strip()}"
    del rows[first + 1 :]
    return True
