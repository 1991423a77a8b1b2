"""Processes die without a word: the client, then the proxy."""

import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import httpx2
import openai
import pytest

import emulator
from durable_transport import GenerationOrphaned
from e2e import drivers
from e2e.drivers import TIMEOUT, UNIT, Driver, Event
from e2e.proxies import ProxyProcess, proxy_process
from e2e.reader import reader_process
from e2e.stage import Stage, same_session, tokens

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

COUNT = 60
HOLD = 40
READ = 20
PACE = 0.01
LEASE_SECONDS = 10.0


@pytest.fixture
def proxy(tmp_path: Path, upstream: emulator.Upstream) -> Iterator[ProxyProcess]:
    """The command, on a store of its own."""
    with proxy_process(tmp_path, f"{upstream.url}/**") as process:
        yield process


@pytest.mark.parametrize(
    "driver", [drivers.CHAT, drivers.RESPONSES_ASYNC, drivers.MESSAGES], ids=str
)
async def test_a_killed_client_is_resumed_by_another_process(stage: Stage, driver: Driver) -> None:
    stage.script(tokens=tokens(COUNT))
    expected = await stage.expected(driver)
    stage.script(tokens=tokens(COUNT), hold_after=HOLD, pace=PACE)
    storage, copy = stage.directory / "generations", stage.directory / "copy"
    start = partial(
        reader_process,
        driver=driver.name,
        proxy=stage.proxy_url,
        upstream=stage.upstream.url,
        model=stage.script_id,
        session="killed",
    )

    def run() -> tuple[list[Event], list[Event], list[Event]]:
        with start(storage=storage) as first:
            seen = first.read(READ)
            seen += first.kill()
        shutil.copytree(storage, copy)  # whoever finishes first clears the storage it uses
        with (
            start(storage=storage, from_start=True) as replaying,
            start(storage=copy, resume=True) as resuming,
        ):
            stage.upstream.release(stage.script_id)
            return seen, resuming.read(), replaying.read()

    seen, resumed, replayed = await anyio.to_thread.run_sync(run)
    assert seen == expected[: len(seen)]
    assert READ <= len(seen) < len(expected)
    assert replayed == expected
    repeated = len(seen) + len(resumed) - len(expected)
    assert repeated >= 0, "resuming from the offset has lost events"
    assert resumed == expected[len(expected) - len(resumed) :]
    assert len(resumed) < len(expected), "it began at the start, not at the offset"
    assert stage.calls() == 1


@pytest.mark.parametrize(
    "driver", [drivers.CHAT, drivers.RESPONSES_ASYNC, drivers.MESSAGES_ASYNC], ids=str
)
async def test_a_killed_proxy_leaves_all_its_bytes_and_a_typed_error(
    stage: Stage, proxy: ProxyProcess, driver: Driver
) -> None:
    stage.script(tokens=tokens(COUNT))
    expected = await stage.expected(driver)
    stage.script(tokens=tokens(COUNT), hold_after=HOLD)
    headers = same_session("orphan")
    target = stage.durable(proxy.url, headers=headers)
    events: list[Event] = []
    reached = anyio.Event()
    errors: list[BaseException] = []

    async def read() -> None:
        sink = drivers.notifying(driver, events, HOLD - 10, reached)
        errors.append(await _error_of(driver, target, stage.script_id, sink))

    with anyio.fail_after(TIMEOUT):
        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await reached.wait()
            await anyio.to_thread.run_sync(proxy.kill)
            await anyio.to_thread.run_sync(proxy.start)
            restarted = time.monotonic()
    assert time.monotonic() - restarted < LEASE_SECONDS * UNIT
    stage.upstream.release(stage.script_id)

    _assert_orphaned(errors[0])
    assert events == expected[: len(events)]
    assert HOLD - 10 <= len(events) < len(expected)

    later: list[Event] = []
    again = stage.durable(proxy.url, headers=headers)
    error = await _error_of(driver, again, stage.script_id, later.append)
    _assert_orphaned(error)
    assert later == events, "every reader gets every stored byte"
    assert stage.calls() == 1


@pytest.mark.parametrize("driver", [drivers.CHAT, drivers.MESSAGES_ASYNC], ids=str)
async def test_a_proxy_that_is_deployed_anew_loses_nothing(
    stage: Stage, proxy: ProxyProcess, driver: Driver
) -> None:
    """SIGTERM in mid-answer: the answer is drained into the log, and read from the next process."""
    stage.script(tokens=tokens(COUNT))
    expected = await stage.expected(driver)
    stage.script(tokens=tokens(COUNT), hold_after=HOLD)
    events: list[Event] = []
    reached = anyio.Event()
    with anyio.fail_after(TIMEOUT):
        async with anyio.create_task_group() as group:
            sink = drivers.notifying(driver, events, HOLD - 10, reached)
            group.start_soon(driver.stream, stage.durable(proxy.url), stage.script_id, sink)
            await reached.wait()
            proxy.terminate()
            stage.upstream.release(stage.script_id)
            await anyio.to_thread.run_sync(proxy.stop)
            await anyio.to_thread.run_sync(proxy.start)
    assert events == expected
    assert stage.calls() == 1


async def _error_of(
    driver: Driver, target: drivers.Target, model: str, sink: drivers.Sink
) -> BaseException:
    with pytest.raises((openai.APIConnectionError, httpx2.RemoteProtocolError)) as caught:
        await driver.stream(target, model, sink)
    return caught.value


def _assert_orphaned(error: BaseException) -> None:
    root = error if isinstance(error, GenerationOrphaned) else error.__cause__
    assert isinstance(root, GenerationOrphaned), repr(root)
    assert root.code == "orphaned"
