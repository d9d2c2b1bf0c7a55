"""A database with the service's schema, and the service's parts on it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import service_kit

from runbook import embedded
from runbook.service.context import Context


@pytest.fixture(scope="session")
def emptied(postgres: embedded.Server, template_database: Callable[..., str]) -> Iterator[str]:
    """One database for all tests of this process: making one a test would take longer than the tests."""
    name = f"service_{secrets.token_hex(6)}"
    yield embedded.create_database(postgres, name, template_database("service_schema", service_kit.schema))
    embedded.drop_database(postgres, name)


@pytest.fixture
def url(emptied: str) -> str:
    """The address of a database with the schema and nothing in it."""
    service_kit.empty(emptied)
    return emptied


@pytest.fixture
def made(url: str, tmp_path: Path) -> Iterator[Context]:
    """The service's parts in this process."""
    with service_kit.context(url, tmp_path) as opened:
        yield opened
