"""What every test may use.

`postgres`   one embedded PostgreSQL for the whole run, shared by all xdist workers: a `runbook.embedded.Server`.
             Never stop it, and make databases of your own on it.
`database`   a function: `database(template="template1")` -> the address of a fresh database, dropped after the test.
             Make a template once with `template_database`, then every test gets a copy of it.
`template_database`  a function: `template_database(name, fill)` -> the name of a database that `fill(address)` has
             filled, once for the run whichever worker came first. `fill` must leave no connection open.
"""

from __future__ import annotations

import fcntl
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runbook import embedded


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder of this run, the same one for every xdist worker."""
    own = tmp_path_factory.getbasetemp()
    return own if worker_id == "master" else own.parent


@pytest.fixture(scope="session")
def postgres(run_folder: Path) -> Iterator[embedded.Server]:
    with embedded.start(run_folder / "postgres") as server:
        yield server


@pytest.fixture(scope="session")
def template_database(postgres: embedded.Server, run_folder: Path) -> Callable[[str, Callable[[str], object]], str]:
    def make(name: str, fill: Callable[[str], object]) -> str:
        with (run_folder / f"{name}.template").open("a+") as mark:
            fcntl.flock(mark, fcntl.LOCK_EX)
            mark.seek(0)
            if not mark.read():
                embedded.drop_database(postgres, name)
                fill(embedded.create_database(postgres, name))
                mark.write("filled")
        return name

    return make


@pytest.fixture
def database(postgres: embedded.Server) -> Iterator[Callable[..., str]]:
    made: list[str] = []

    def make(template: str = "template1") -> str:
        made.append(f"test_{secrets.token_hex(6)}")
        return embedded.create_database(postgres, made[-1], template)

    yield make
    for name in made:
        embedded.drop_database(postgres, name)


# Fixtures of one subject live in a conftest.py beside their tests, not here.
