"""The levels of log lines: what writers call them, and what they come to."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

UNKNOWN = "unknown"
"""The level of a line that tells none, or one by a word that is not known: it may be anything."""
ERRORS = ("panic", "fatal", "error")
COMPLAINTS = (*ERRORS, "warning")
LEVELS = (*COMPLAINTS, UNKNOWN, "info", "debug", "trace")
"""The worst first."""

_WORDS = {
    "panic": "panic pnc pan pani",
    "fatal": "fatal ftl fat fata critical crit crt emerg emergency alert fatalerror",
    "error": "error err erro eror dpanic severe failure",
    "warning": "warning warn wrn war wrng attention",
    "info": "info inf information informational notice note log ok success",
    "debug": "debug dbg deb debu dbug fine config debug1 debug2 debug3 debug4 debug5",
    "trace": "trace trc tra trac finer finest verbose silly",
}
"""As zerolog (JSON and console), slog, zap, logrus, log15, hclog, klog, syslog, Python and Java write them."""
_LETTERS = {"f": "fatal", "e": "error", "w": "warning", "i": "info", "n": "info", "d": "debug", "t": "trace"}
_POSTGRESQL = {
    "panic": "PANIK PANICO PÂNICO PANİK ПАНИКА ПАНІКА პანიკა 손상 比致命错误还过分的错误 恐慌",
    "fatal": "FATALE FATALT KATASTROFALNY ÖLÜMCÜL ВАЖНО ФАТАЛЬНО ფატალური 치명적오류 致命错误 致命錯誤 嚴重錯誤",
    "error": "FEHLER ERREUR ERRORE ERRO BŁĄD FEL HATA CHYBA ОШИБКА ПОМИЛКА შეცდომა 오류 エラー 错误 錯誤",
    "warning": (
        "WARNUNG ATTENTION ATTENZIONE AVISO OSTRZEŻENIE VARNING UYARI VAROVÁNÍ ПРЕДУПРЕЖДЕНИЕ ПОПЕРЕДЖЕННЯ"
        " გაფრთხილება 경고 警告"
    ),
    "info": (
        "HINWEIS NOTIFICA NOTA UWAGA NOTIS NOT POZNÁMKA LOGG DZIENNIK INFORMACJA BİLGİ СООБЩЕНИЕ ИНФОРМАЦИЯ ЗАМЕЧАНИЕ"
        " ЗАПИСУВАННЯ ІНФОРМАЦІЯ ПОВІДОМЛЕННЯ ჟურნალი ინფორმაცია 로그 정보 알림 日志 日誌 信息 資訊 注意 ログ 情報"
    ),
    "debug": "DEPURAÇÃO ОТЛАДКА НАЛАГОДЖЕННЯ გამართვა 디버그 调试 除錯 デバッグ",
}
"""The severities of PostgreSQL's log by lc_messages, from src/backend/po of its source."""
_SYSLOG = ("fatal", "fatal", "fatal", "error", "warning", "info", "info", "debug")
_PINO = {1: "trace", 2: "debug", 3: "info", 4: "warning", 5: "error", 6: "fatal"}
_PYTHON = {1: "debug", 2: "info", 3: "warning", 4: "error", 5: "fatal"}
_OFFSET = re.compile(r"[+-]\d{1,3}$")


def _folded(word: str) -> str:
    return unicodedata.normalize("NFC", word.strip()).casefold()


_LEVEL_OF = {_folded(word): level for level, words in _WORDS.items() for word in words.split()} | _LETTERS
_LEVEL_OF |= {_folded(word): level for level, words in _POSTGRESQL.items() for word in words.split()}
_LEVEL_OF |= {word.upper(): level for word, level in _LEVEL_OF.items() if word.isascii()}


def of_word(word: str) -> str:
    """The level that a writer calls `word`, in any case and language; "unknown" for a word that is none."""
    level = _LEVEL_OF.get(word) or _LEVEL_OF.get(_folded(word[:40]))
    if level is not None:
        return level
    # slog: "ERROR+2", "DEBUG-4" (which others call trace).
    bare = _OFFSET.sub("", word[:40].strip())
    if bare == word or not bare:
        return UNKNOWN
    level = _LEVEL_OF.get(_folded(bare), UNKNOWN)
    return "trace" if level == "debug" and "-" in word else level


def of_value(value: Any, *, is_syslog: bool = False, is_python: bool = False) -> str:
    """The level of a JSON value: a word, or a number as pino and bunyan write it (10 is trace, 60 is fatal).

    `is_syslog`: the number is one of RFC 5424's severities (0 to 7); `is_python`: of Python's logging (10 is debug).
    """
    if isinstance(value, str) and not value.isdecimal():
        return of_word(value)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return UNKNOWN
    number = float(value[:6]) if isinstance(value, str) else value
    if is_syslog:
        return _SYSLOG[int(number)] if 0 <= number < len(_SYSLOG) else UNKNOWN
    if not 0 <= number < 70:
        return UNKNOWN
    return (_PYTHON if is_python else _PINO).get(int(number // 10), UNKNOWN)


def of_status(code: int) -> str:
    """The level of a request by the HTTP status that it was answered with."""
    if code >= 500:
        return "error"
    return "warning" if code >= 400 else "info"
