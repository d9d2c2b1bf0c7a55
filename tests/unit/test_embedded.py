"""The handle of an embedded server."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from runbook.embedded import Server

SERVER = Server(Path("/state"), 5433, Path("/bin"), password="p@ss/word", hold=1)


def test_the_address_quotes_what_it_is_given() -> None:
    parts = urlsplit(SERVER.url("a/b?c", user="read er"))
    assert (parts.hostname, parts.port, unquote(parts.username), unquote(parts.password), unquote(parts.path)) == (
        "127.0.0.1",
        5433,
        "read er",
        "p@ss/word",
        "/a/b?c",
    )


def test_another_role_may_have_its_own_password() -> None:
    assert urlsplit(SERVER.url(user="reader", password="own")).password == "own"


def test_the_password_is_not_shown() -> None:
    assert "p@ss" not in repr(SERVER)
    assert "p@ss" not in str(SERVER)
