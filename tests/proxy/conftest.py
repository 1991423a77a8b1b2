"""Fixtures of the proxy's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from durable_streams_server import Log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def log() -> AsyncIterator[Log]:
    """Give a log in memory."""
    async with await Log.open("sqlite://") as opened:
        yield opened
