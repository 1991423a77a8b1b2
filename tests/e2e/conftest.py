"""Fixtures of the end-to-end tests: everything runs on loopback and is stopped by the test."""

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import emulator
from e2e.drivers import UNIT
from e2e.proxies import proxy_in_a_thread
from e2e.stage import Stage

SHARED = "durable-log"
"""Threads of the proxy that all tests share: its pool grows as it is used."""
ANY_LOOPBACK = "http://127.0.0.1:*/**"


@pytest.fixture(scope="session")
def upstream() -> Iterator[emulator.Upstream]:
    """One emulator for all tests; scripts have ids of their own."""
    with emulator.serve() as running:
        yield running


@pytest.fixture(scope="session")
def proxy_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One proxy for the tests that do not kill it, in a thread so that its own checks are on."""
    store = tmp_path_factory.mktemp("proxy") / "log.sqlite"
    with proxy_in_a_thread(f"sqlite:///{store}", ANY_LOOPBACK) as url:
        yield url


@pytest.fixture
def stage(
    request: pytest.FixtureRequest, upstream: emulator.Upstream, proxy_url: str, tmp_path: Path
) -> Stage:
    """Emulator and proxy, with a script id that is this test's own."""
    return Stage(
        upstream,
        proxy_url,
        script_id=re.sub(r"\W+", "-", request.node.name).strip("-"),
        directory=tmp_path,
    )


@pytest.fixture(autouse=True)
def _no_thread_leak() -> Iterator[None]:
    """Fail a test that leaves a thread of its own behind."""
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 2 * UNIT
    while left := {thread.name for thread in threading.enumerate() if _is_left(thread, before)}:
        if time.monotonic() > deadline:
            pytest.fail(f"threads left running: {sorted(left)}")
        time.sleep(0.005)


def _is_left(thread: threading.Thread, before: set[threading.Thread]) -> bool:
    return thread not in before and thread.is_alive() and not thread.name.startswith(SHARED)
