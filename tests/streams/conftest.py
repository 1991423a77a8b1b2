"""Fixtures of the log's tests."""

from __future__ import annotations

import asyncio
import functools
import inspect
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from durable_streams_server import Log
from durable_streams_server._sqlite import SqliteStore
from streams.desk import Desk
from streams.gate import PATIENCE
from streams.serving import PROTOCOL, Served, served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator


@pytest.fixture
async def log() -> AsyncIterator[Log]:
    """Give a log in memory."""
    async with await Log.open("sqlite://") as opened:
        yield opened


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Give the URL of a store file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'store.sqlite'}"


@pytest.fixture(params=["commands", "uvicorn"])
def each_protocol(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run a test once with the protocol of the commands and once with uvicorn's own."""
    PROTOCOL.append(request.param)
    yield
    PROTOCOL.pop()


@pytest.fixture(params=["file", "memory"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    """Give a desk whose two nodes are alive."""
    store = SqliteStore(tmp_path / "store" if request.param == "file" else None)
    with closing(store):
        made = Desk(store)
        made.alive("a", "b")
        yield made


@pytest.fixture
async def server() -> AsyncIterator[Served]:
    """Give a server on a socket, with a log in memory."""
    async with served() as running:
        yield running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bound every asynchronous test from inside its loop.

    The time limit of the suite interrupts the loop itself, after which nothing of it can be torn
    down; a test that waits for what never comes would take all others with it.
    """
    folder = Path(__file__).parent
    for item in items:
        if not isinstance(item, pytest.Function) or folder not in item.path.parents:
            continue
        if inspect.iscoroutinefunction(item.obj):
            item.obj = _bounded(item.obj)


def _bounded(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    @functools.wraps(test)
    async def bounded(*args: Any, **kwargs: Any) -> None:
        async with asyncio.timeout(3 * PATIENCE):
            await test(*args, **kwargs)

    return bounded
