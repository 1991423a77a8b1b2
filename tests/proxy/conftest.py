"""Fixtures of the proxy's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from durable_streams_server import Log
from streams.postgres import Database, database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture
async def log() -> AsyncIterator[Log]:
    """Give a log in memory."""
    async with await Log.open("sqlite://") as opened:
        yield opened


@pytest.fixture(scope="module")
def _database() -> Iterator[Database]:
    """Give a database of these tests' own."""
    with database() as found:
        yield found


@pytest.fixture
def postgres(_database: Database) -> Database:
    """Give it as it was before any proxy wrote tables for an Electric."""
    _database.clear()
    _database.execute("DROP SCHEMA IF EXISTS durable_proxy CASCADE")
    _database.execute("DROP TABLE IF EXISTS public.data_chunks, public.control_messages")
    return _database


@pytest.fixture
async def store(postgres: Database) -> AsyncIterator[Log]:
    """Give a log in it."""
    async with await Log.open(postgres.url) as opened:
        yield opened
