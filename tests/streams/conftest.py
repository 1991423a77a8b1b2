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
from durable_streams_server._url import open_store
from streams.desk import Desk
from streams.gate import PATIENCE
from streams.postgres import Database, database
from streams.serving import PROTOCOL, Served, served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from durable_streams_server._store import Store


@pytest.fixture(scope="session")
def _database() -> Iterator[Database]:
    with database() as made:
        yield made


@pytest.fixture
def postgres(_database: Database) -> Database:
    """Give a database without anything in it."""
    _database.clear()
    return _database


@pytest.fixture(params=["memory", "postgres"])
async def log(request: pytest.FixtureRequest) -> AsyncIterator[Log]:
    """Give a log that holds nothing yet."""
    url = "sqlite://"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres").url
    async with await Log.open(url) as opened:
        yield opened


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Give the URL of a store file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'store.sqlite'}"


@pytest.fixture(params=["file", "postgres"])
def lasting_url(request: pytest.FixtureRequest, url: str) -> str:
    """Give the URL of a store of each kind that can be opened again."""
    return request.getfixturevalue("postgres").url if request.param == "postgres" else url


@pytest.fixture(params=["file", "memory", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Give a store of each kind, with nothing in it."""
    opened = open_store(_url(request, tmp_path))
    yield opened
    opened.close()


@pytest.fixture(params=["file", "postgres"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """Give a function that opens one store again and again."""
    url = _url(request, tmp_path)
    return lambda: open_store(url)


def _url(request: pytest.FixtureRequest, folder: Path) -> str:
    match request.param:
        case "memory":
            return "sqlite://"
        case "file":
            return f"sqlite:///{folder / 'store'}"
        case _:
            url: str = request.getfixturevalue("postgres").url
            return url


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
