"""Fixtures of the tests that break things."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streams.postgres import Database, database

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def _database() -> Iterator[Database]:
    with database() as made:
        yield made


@pytest.fixture
def postgres(_database: Database) -> Database:
    """Give a database without anything in it."""
    _database.clear()
    return _database
