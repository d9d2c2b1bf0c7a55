"""A database with the service's schema, and the service's parts on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import service_kit

from runbook.service.context import Context


@pytest.fixture
def url(template_database: Callable[..., str], database: Callable[..., str]) -> str:
    """The address of a fresh database with the schema."""
    return database(template_database("service_schema", service_kit.schema))


@pytest.fixture
def made(url: str, tmp_path: Path) -> Iterator[Context]:
    """The service's parts in this process."""
    with service_kit.context(url, tmp_path) as opened:
        yield opened
