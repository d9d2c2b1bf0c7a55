"""PostgreSQL's own log: stderr in any language of lc_messages, and csvlog. Its jsonlog is JSON like others'."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence

from runbook.sources.logs import levels
from runbook.sources.logs.rows import TEXT_MAX, Row, time_of

_SEVERITY = re.compile(r"(?:^|[\s\])>=|:])([^\W\d_]{2,20})\s?:  (?=\S|$)")
_PID = re.compile(r"\[(\d{1,10})\]")
_CSV = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)? [A-Z+-][\w+-]{0,9},")
_DETAILS = {
    "detail": (
        "DETAIL DETALLE DÉTAIL DETTAGLI DETALHE SZCZEGÓŁY DETALJ AYRINTI ПОДРОБНОСТИ ВІДОМОСТІ დეტალები"
        " 詳細 상세정보 详细信息"
    ),
    "hint": "HINT TIPP ASTUCE SUGGERIMENTO SUGERENCIA DICA PODPOWIEDŹ TIPS İPUCU ПОДСКАЗКА УКАЗІВКА ヒント 힌트 提示",
    "context": "CONTEXT ZUSAMMENHANG CONTEXTO CONTEXTE CONTESTO KONTEXT KONTEKST BAĞLAM КОНТЕКСТ 文脈 내용 上下文",
    "query": "QUERY ANFRAGE CONSULTA REQUÊTE ZAPYTANIE FRÅGA SORGU ЗАПРОС ЗАПИТ 問い合わせ 쿼리 查询",
    "statement": (
        "STATEMENT ANWEISUNG SENTENCIA INSTRUCTION ISTRUZIONE COMANDO SATS КОМАНДА ОПЕРАТОР ІНСТРУКЦІЯ ოპერატორი"
        " 文 구문 语句"
    ),
    "location": "LOCATION ORT UBICACIÓN EMPLACEMENT POSIZIONE LOCAL PLATS ПОЛОЖЕНИЕ 場所 위치 位置",
    "backtrace": "BACKTRACE",
}
"""What PostgreSQL writes below a message, by lc_messages."""
_DETAIL_OF = {word: name for name, words in _DETAILS.items() for word in words.split()}
_CSV_COLUMNS = (
    "user",
    "database",
    "pid",
    "client",
    "",
    "",
    "",
    "",
    "",
    "",
    "severity",
    "sqlstate",
    "message",
    "detail",
    "hint",
    "",
    "",
    "context",
    "statement",
    "",
    "",
    "application",
)
"""Of PostgreSQL's csvlog, after the time; what has no name here is left out."""


def of_stderr(line: str) -> Row | None:
    """The row of a line of the stderr log; its kind says the process, and whether it goes on a message above."""
    if ":  " not in line:
        return None
    found = _SEVERITY.search(line[:1_000])
    if not found:
        return None
    process = _PID.search(line[: found.start(1)])
    number = process[1] if process else ""
    detail = _DETAIL_OF.get(found[1])
    if detail:
        fields = {detail: line[found.end() :][:TEXT_MAX]}
        return Row(levels.UNKNOWN, line[:TEXT_MAX], fields, kind=f"postgresql detail {number}")
    level = levels.of_word(found[1])
    if level == levels.UNKNOWN:
        return None
    return Row(level, line[:TEXT_MAX], kind=f"postgresql {number}")


def of_csv(text: str) -> Row | None:
    """The row of an entry of csvlog, of one line or more; None where `text` is none."""
    if not _CSV.match(text):
        return None
    try:
        values: Sequence[str] = next(csv.reader([text]), [])
    except csv.Error:
        return None
    if len(values) <= _CSV_COLUMNS.index("message"):
        return None
    named = {name: value[:TEXT_MAX] for name, value in zip(_CSV_COLUMNS, values[1:], strict=False) if name and value}
    severity, message = named.pop("severity", ""), named.pop("message", "")
    return Row(levels.of_word(severity), message[:TEXT_MAX], named, time_of(values[0]), "csv")
