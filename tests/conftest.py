"""What every test gets: one kind of event loop, a time unit, watchers for blocking and leaks."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import os
import threading
import time
from concurrent.futures.thread import _threads_queues
from typing import TYPE_CHECKING

import pytest
from blockbuster import BlockBuster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Iterator

OWN_PACKAGES = (
    *("durable_transport", "durable_streams_server", "durable_proxy", "durable_ai_db"),
    *("durable_ai_db_proxy", "durable_ai_transport"),
)
"""Packages that must never block the event loop."""

UNIT = float(os.environ.get("DURABLE_TEST_UNIT", "1"))
"""Seconds that every time limit of the suite is a multiple of: raise it on a slow machine."""


@pytest.fixture(scope="session")
def unit() -> float:
    """Return the unit, in seconds, of which every time limit is a multiple."""
    return UNIT


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, object]]:
    """Run asynchronous tests on asyncio's own loop; DURABLE_TEST_DEBUG sets its debug mode."""
    return "asyncio", {"debug": "DURABLE_TEST_DEBUG" in os.environ}


@pytest.fixture(scope="session")
def _blocking_calls() -> BlockBuster | None:
    """Make the detector once: it resolves the paths of all packages it watches."""
    present = [name for name in OWN_PACKAGES if importlib.util.find_spec(name)]
    return BlockBuster(present) if present else None


@pytest.fixture(autouse=True)
def _no_blocking_calls(
    request: pytest.FixtureRequest, _blocking_calls: BlockBuster | None
) -> Iterator[None]:
    """Fail a blocking call that our own code makes on a running event loop."""
    if _blocking_calls is None or request.node.get_closest_marker("allow_blocking"):
        yield
        return
    _blocking_calls.activate()
    try:
        yield
    finally:
        _blocking_calls.deactivate()


@pytest.fixture(autouse=True)
def _no_thread_leak(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a thread behind."""
    before = set(threading.enumerate())
    pools = [id(work) for one in before if (work := _threads_queues.get(one)) is not None]
    yield
    if request.node.get_closest_marker("allow_leaks"):
        return
    deadline = time.monotonic() + 2 * UNIT
    while left := [
        thread
        for thread in set(threading.enumerate()) - before
        # A pool that was there before may have grown, such as that of a server for all tests.
        if thread.is_alive() and id(_threads_queues.get(thread)) not in pools
    ]:
        if time.monotonic() > deadline:
            pytest.fail(f"threads left running: {sorted(thread.name for thread in left)}")
        time.sleep(0.005)


@pytest.fixture
async def _no_task_leak(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """Fail an asynchronous test that leaves a task running on its loop."""
    if request.getfixturevalue("anyio_backend_name") != "asyncio":
        yield  # a nursery cannot be left with a task running
        return
    before = asyncio.all_tasks()
    yield
    if request.node.get_closest_marker("allow_leaks"):
        return
    deadline = time.monotonic() + UNIT
    while left := [task for task in asyncio.all_tasks() - before if not _is_of_the_runner(task)]:
        if time.monotonic() > deadline:
            pytest.fail(f"tasks left running: {sorted(repr(task) for task in left)}")
        await asyncio.sleep(0.005)


def _is_of_the_runner(task: asyncio.Task[object]) -> bool:
    """Tell whether the task is the one that pytest's plugin runs tests and fixtures in."""
    return getattr(task.get_coro(), "__qualname__", "").startswith("TestRunner.")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Watch the tasks of every asynchronous test."""
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.function):
            # Within the thread watch: the loop's own threads end with the loop.
            outer = item.fixturenames.index("_no_thread_leak")
            item.fixturenames.insert(outer + 1, "_no_task_leak")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Count a skipped test as failed on CI: there, every service it could miss is running."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"skipped on CI, where nothing may be: {report.longrepr}"
    return report
