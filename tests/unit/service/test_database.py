"""Why the service's own database is away: said in our words, never with the address; and it heals by itself."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from runbook import history
from runbook.errors import ConfigurationError
from runbook.history import DatabaseAwayError

SECRET = "secretword"


def why(url: str) -> str:
    with history.open_database(url, size=1, wait_seconds=2.0) as opened:
        with pytest.raises(DatabaseAwayError) as away, opened.transaction():
            pass
        assert opened.trouble() == str(away.value)
        assert not opened.is_ready()
        return str(away.value)


@contextlib.contextmanager
def refusing(said: str, code: str) -> Iterator[int]:
    """A server that answers every login as PostgreSQL refuses one -> its port."""
    body = f"SFATAL\0VFATAL\0C{code}\0M{said}\0\0".encode()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    with listener.accept()[0] as client:
                        client.recv(1_000)
                        client.sendall(b"E" + (len(body) + 4).to_bytes(4, "big") + body)

        threading.Thread(target=answer, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("said", "code", "meaning"),
    [
        ('password authentication failed for user "u"', "28P01", "the login is refused"),
        ('no pg_hba.conf entry for host "1.2.3.4"', "28000", "pg_hba.conf"),
        ("sorry, too many clients already", "53300", "max_connections"),
        ("the database system is starting up", "57P03", "starting up"),
    ],
)
def test_a_refused_login_says_so(said: str, code: str, meaning: str, caplog: pytest.LogCaptureFixture) -> None:
    with refusing(said, code) as port, caplog.at_level(logging.INFO):
        told = why(f"postgresql://u:{SECRET}@127.0.0.1:{port}/x?sslmode=disable")
    assert meaning in told
    assert "\n" not in told
    assert SECRET not in told + caplog.text


def test_an_unknown_host_a_closed_port_and_what_does_not_exist_are_told_apart(database: Callable[..., str]) -> None:
    assert "the host in RUNBOOK_DATABASE_URL is unknown" in why(f"postgresql://u:{SECRET}@nowhere.invalid/x")
    assert "the connection is refused" in why(f"postgresql://u:{SECRET}@127.0.0.1:1/x")
    url = database()
    assert "the database named in RUNBOOK_DATABASE_URL does not exist" in why(make_conninfo(url, dbname="not_there"))
    assert "the login is refused" in why(make_conninfo(url, password=SECRET))


def test_a_database_that_is_made_later_is_found_and_the_old_reason_forgotten(database: Callable[..., str]) -> None:
    url = database()
    name = f"{psycopg.conninfo.conninfo_to_dict(url)['dbname']}_later"
    with psycopg.connect(url, autocommit=True) as admin:
        with history.open_database(make_conninfo(url, dbname=name), size=1, wait_seconds=5.0) as opened:
            assert "does not exist" in opened.trouble()
            admin.execute(f'CREATE DATABASE "{name}"')
            assert opened.trouble() == "The database of queue and history has no schema yet."
        admin.execute(f'DROP DATABASE "{name}"')


@pytest.mark.parametrize(
    "address",
    [
        f"mysql://u:{SECRET}@h/x",
        SECRET,
        f"postgresql://u:{SECRET}%@h/x",
        f"postgresql://u:{SECRET}/x",
        f"postgresql://u@h/x?{SECRET}=1",
    ],
)
def test_an_address_that_can_never_work_is_refused_at_once(address: str) -> None:
    with pytest.raises(ConfigurationError, match="RUNBOOK_DATABASE_URL") as refused:
        history.open_database(address)
    assert SECRET not in str(refused.value)
