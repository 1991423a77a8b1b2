"""Fixtures of the log's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from durable_streams_server import Log
from streams.serving import Served, served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def log() -> AsyncIterator[Log]:
    """Give a log in memory."""
    async with await Log.open("sqlite://") as opened:
        yield opened


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Give the URL of a store file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'store.sqlite'}"


@pytest.fixture
async def server() -> AsyncIterator[Served]:
    """Give a server on a socket, with a log in memory."""
    async with served() as running:
        yield running
