"""Who runs a generation, who waits for it, and what happens to the ones that are left behind."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from durable_proxy._answers import Accepted
from durable_proxy._errors import Refusal
from durable_proxy._figures import Figures
from durable_proxy._generations import LOST, SHUTTING_DOWN
from durable_proxy._lifecycle import Account, Ending, Event
from durable_proxy._reaper import reap
from durable_proxy._stalled import Stalled
from durable_proxy._status import by_generation
from durable_streams_server import Append, Create, Created, Log
from durable_transport.protocol import ErrorCode, Rejected, TerminalCode
from proxy.harness import UNIT, control, data, eventually, generations, start_request, terminal
from proxy.wire import Wire, pieces, upstream, whole

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from durable_proxy._start_request import StartRequest

pytestmark = pytest.mark.anyio

ACCOUNT = Account(started_at=1.0, ended_at=2.0)


def _held(
    go_on: asyncio.Event, script: Callable[[Wire], Awaitable[None]]
) -> Callable[[Wire], Awaitable[None]]:
    async def held(wire: Wire) -> None:
        await go_on.wait()
        await script(wire)

    return held


async def test_twenty_starts_at_once_call_the_upstream_once(log: Log) -> None:
    async with upstream(pieces(b"one", b"two")) as up, generations(log) as running:
        request = start_request(up.url)
        answers = await asyncio.gather(*[running.start(request) for _ in range(20)])
        assert all(answer == answers[0] for answer in answers)
        assert isinstance(answers[0], Accepted)
        assert await data(log, request.paths) == b"onetwo"
        assert len(up.calls) == 1


async def test_starts_on_two_nodes_call_the_upstream_once(log: Log) -> None:
    # Two cores on one log: what they share is the store, as two nodes do.
    async with (
        upstream(pieces(b"one")) as up,
        generations(log) as here,
        generations(log) as there,
    ):
        request = start_request(up.url)
        starts = [core.start(request) for core in (here, there) for _ in range(5)]
        answers = await asyncio.gather(*starts)
        assert all(answer == answers[0] for answer in answers)
        assert len(up.calls) == 1


async def test_a_start_after_the_end_attaches_to_what_is_stored(log: Log) -> None:
    async with upstream(pieces(b"one")) as up, generations(log) as running:
        request = start_request(up.url)
        first = await running.start(request)
        await terminal(log, request.paths)
        assert await running.start(request) == first
        assert len(up.calls) == 1


async def test_requests_with_different_ids_are_different_generations(log: Log) -> None:
    async with upstream(pieces(b"one")) as up, generations(log) as running:
        await asyncio.gather(*[running.start(start_request(up.url)) for _ in range(5)])
        assert len(up.calls) == 5


async def test_all_who_waited_get_the_same_no_and_a_later_start_tries_again(log: Log) -> None:
    go_on, scripts = asyncio.Event(), [whole(429, b"slow down"), pieces(b"welcome")]

    async def script(wire: Wire) -> None:
        await _held(go_on, scripts.pop(0))(wire)

    async with upstream(script) as up, generations(log) as running:
        request = start_request(up.url)
        waiting = [asyncio.create_task(running.start(request)) for _ in range(10)]
        await eventually(lambda: len(up.calls) == 1)
        go_on.set()
        answers = await asyncio.gather(*waiting)
        assert all(answer == Rejected(429, (), b"slow down") for answer in answers)
        assert len(up.calls) == 1

        # Ten at once again: one of them makes the next attempt, the others join it.
        answers = await asyncio.gather(*[running.start(request) for _ in range(10)])
        assert all(isinstance(answer, Accepted) for answer in answers)
        assert await data(log, request.paths) == b"welcome"
        assert len(up.calls) == 2


async def test_a_start_after_an_unreachable_upstream_tries_again(log: Log) -> None:
    async def closes(wire: Wire) -> None:
        wire.close()

    async with upstream(closes) as up, generations(log) as running:
        request = start_request(up.url)
        first = await running.start(request)
        assert isinstance(first, Refusal)
        assert first.code is ErrorCode.UPSTREAM_UNREACHABLE
        up.script = pieces(b"welcome")
        assert isinstance(await running.start(request), Accepted)
        assert await data(log, request.paths) == b"welcome"


@pytest.mark.parametrize("event", [Event.SILENT, Event.OWNER_GONE, Event.STOPPED])
async def test_a_request_that_may_have_been_paid_for_is_not_repeated(
    log: Log, event: Event
) -> None:
    async with upstream(pieces(b"one")) as up, generations(log) as running:
        request = start_request(up.url)
        await _write_generation(log, request, ending=Ending(event, "it ended"))
        answer = await running.start(request)
        assert isinstance(answer, Refusal)
        assert answer.message == "it ended"
        assert up.calls == []


async def test_a_control_stream_without_a_record_is_told_from_one_that_goes_on(log: Log) -> None:
    async with upstream(pieces(b"one")) as up, generations(log) as running:
        request = start_request(up.url)
        paths = request.paths
        await log.transact(Create(paths.control, "application/json"), Create(paths.data))
        await log.transact(Append(paths.control, close=True), Append(paths.data, close=True))
        assert await running.start(request) == LOST
        assert up.calls == []


async def test_a_cancelled_start_leaves_a_generation_that_runs(log: Log) -> None:
    async with upstream(pieces(b"one")) as up, generations(log) as running:
        requests = [start_request(up.url) for _ in range(30)]
        for turns, request in enumerate(requests):
            start = asyncio.create_task(running.start(request))
            for _ in range(turns):
                await asyncio.sleep(0)
            start.cancel()
            await asyncio.gather(start, return_exceptions=True)
        # One that was cancelled before its first step never began; the others all finish.
        for request in requests[1:]:
            if await log.stat(request.paths.control) is not None:
                assert await data(log, request.paths) == b"one"
        await eventually(lambda: running.active == 0)


async def test_a_slow_log_slows_the_upstream_down() -> None:
    sent = 0

    class SlowLog(Log):
        go_on = asyncio.Event()

        async def transact(self, *operations: object) -> tuple[object, ...]:  # type: ignore[override]
            if any(isinstance(operation, Append) for operation in operations):
                await self.go_on.wait()
            return await super().transact(*operations)  # type: ignore[arg-type]

    async def script(wire: Wire) -> None:
        nonlocal sent
        await wire.head()
        for _ in range(400):
            await wire.chunk(b"x" * 100_000)
            sent += 1
        await wire.end()

    async with (
        await SlowLog.open("sqlite://") as log,
        upstream(script) as up,
        generations(log) as running,
    ):
        request = start_request(up.url)
        starting = asyncio.create_task(running.start(request))
        stuck = -1
        while stuck != sent:
            stuck = sent
            await asyncio.sleep(0.3 * UNIT)
        assert sent < 200, "the upstream was read without a bound"
        log.go_on.set()
        await starting
        assert await data(log, request.paths) == b"x" * 40_000_000


async def test_a_drain_waits_refuses_what_is_new_and_ends_the_rest(log: Log) -> None:
    finish = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.chunk(b"begun ")
        if wire.call.path == "/short":
            await finish.wait()
            await wire.chunk(b"and done")
            await wire.end()
        await asyncio.sleep(60 * UNIT)

    async with upstream(script) as up, generations(log) as running:
        short, endless = start_request(f"{up.url}/short"), start_request(f"{up.url}/endless")
        for request in (short, endless):
            await running.start(request)
        draining = asyncio.create_task(running.drain(0.5 * UNIT))
        await eventually(lambda: running.draining)

        assert await running.start(start_request(up.url)) == SHUTTING_DOWN
        assert isinstance(await running.start(short), Accepted), "what runs can be joined"
        finish.set()
        async with asyncio.timeout(10 * UNIT):
            await draining

        assert (await terminal(log, short.paths)).event == "done"
        assert await data(log, short.paths) == b"begun and done"
        record = await terminal(log, endless.paths)
        assert record.payload["code"] == TerminalCode.ORPHANED
        assert "shut down" in record.payload["message"]
        assert await data(log, endless.paths) == b"begun "
        async with asyncio.timeout(5 * UNIT):
            await up.left.wait()
        assert running.active == 0


async def test_a_generation_that_is_claimed_after_the_time_was_up_ends_at_once() -> None:
    class SlowLog(Log):
        asked, go_on = asyncio.Event(), asyncio.Event()

        async def transact(self, *operations: object) -> tuple[object, ...]:  # type: ignore[override]
            if isinstance(operations[0], Create):
                self.asked.set()
                await self.go_on.wait()
            return await super().transact(*operations)  # type: ignore[arg-type]

    async def script(_wire: Wire) -> None:
        await asyncio.sleep(60 * UNIT)

    async with (
        await SlowLog.open("sqlite://") as log,
        upstream(script) as up,
        generations(log) as running,
    ):
        request = start_request(up.url)
        starting = asyncio.create_task(running.start(request))
        await log.asked.wait()
        draining = asyncio.create_task(running.drain(0))
        # Long enough for the drain to have interrupted everything that it knows.
        await asyncio.sleep(0.1)
        log.go_on.set()
        await draining
        record = await terminal(log, request.paths)
        assert record.payload["code"] == TerminalCode.ORPHANED
        assert "shut down" in record.payload["message"]
        assert isinstance(await starting, Refusal)


async def test_who_waits_for_a_claim_that_never_ends_is_told_of_the_shutdown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("durable_proxy._generations.LAST_WRITE_SECONDS", 0.05)

    class StuckLog(Log):
        asked = asyncio.Event()

        async def transact(self, *operations: object) -> tuple[object, ...]:  # type: ignore[override]
            if isinstance(operations[0], Create):
                self.asked.set()
                await asyncio.sleep(60 * UNIT)
            return await super().transact(*operations)  # type: ignore[arg-type]

    async with await StuckLog.open("sqlite://") as log, generations(log) as running:
        starting = asyncio.create_task(running.start(start_request("http://127.0.0.1:9")))
        await log.asked.wait()
        await running.drain(0)
        assert await starting == SHUTTING_DOWN


async def test_whoever_comes_after_the_log_was_closed_is_told_of_the_shutdown() -> None:
    async with await Log.open("sqlite://") as log, generations(log) as running:
        await log.close()
        assert await running.start(start_request("http://127.0.0.1:9")) == SHUTTING_DOWN


async def test_who_waits_for_an_answer_is_told_of_the_shutdown(log: Log) -> None:
    async def script(_wire: Wire) -> None:
        await asyncio.sleep(60 * UNIT)

    async with upstream(script) as up, generations(log) as running:
        starting = asyncio.create_task(running.start(start_request(up.url)))
        await eventually(lambda: len(up.calls) == 1)
        await running.drain(0)
        answer = await starting
        assert isinstance(answer, Refusal)
        assert answer.code is ErrorCode.GENERATION_LOST


async def test_a_generation_that_is_taken_away_stops_and_writes_nothing_more(log: Log) -> None:
    go_on = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.chunk(b"mine")
        await go_on.wait()
        await wire.chunk(b"too late")
        await wire.end()

    async with upstream(script) as up, generations(log) as running:
        request = start_request(up.url)
        await running.start(request)
        stream = await log.stat(request.paths.data)
        assert stream is not None
        await _end_as_another_node(log, request, owner=stream.owner)
        go_on.set()
        await eventually(lambda: running.active == 0)
        assert await data(log, request.paths) == b"mine"
        assert [message.event for message in await control(log, request.paths)] == [
            "start",
            "error",
        ]


# ---------------------------------------------------------------------- the reaper


async def test_the_reaper_leaves_what_has_a_living_owner(log: Log) -> None:
    request = start_request("http://127.0.0.1:1/")
    await _write_generation(log, request, owner=log.node_id, body=b"mine")
    assert await reap(log, Figures(), Stalled(log)) == 0
    stream = await log.stat(request.paths.data)
    assert stream is not None
    assert not stream.closed


async def test_the_next_process_ends_what_the_last_one_left(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'log.sqlite'}"
    requests = [start_request("http://127.0.0.1:1/") for _ in range(3)]
    for round_ in range(3):
        async with await Log.open(store) as log:
            assert await reap(log, Figures(), Stalled(log)) == (0 if round_ == 0 else 1)
            assert await reap(log, Figures(), Stalled(log)) == 0
            await _write_generation(log, requests[round_], owner=log.node_id, body=b"kept")
            await log.transact(Create("elsewhere/stream", owner=log.node_id))
    async with await Log.open(store) as log:
        assert await reap(log, Figures(), Stalled(log)) == 1
        for request in requests:
            assert await data(log, request.paths) == b"kept"
            record = await terminal(log, request.paths)
            assert record.payload["code"] == TerminalCode.ORPHANED
            assert record.data_position == 4
        elsewhere = await log.stat("elsewhere/stream")
        assert elsewhere is not None
        assert not elsewhere.closed, "streams that are no generations are left alone"


async def test_bytes_that_came_while_an_orphan_was_looked_at_are_before_its_end() -> None:
    class LateOwner(Log):
        late = True

        async def transact(self, *operations: object) -> tuple[object, ...]:  # type: ignore[override]
            reaping = isinstance(operations[0], Append) and operations[0].reaping
            if reaping and self.late:
                self.late = False
                await super().transact(Append(operations[0].path, b" late", owner="gone"))  # type: ignore[attr-defined]
            return await super().transact(*operations)  # type: ignore[arg-type]

    async with await LateOwner.open("sqlite://") as log:
        request = start_request("http://127.0.0.1:1/")
        await _write_generation(log, request, owner="gone", body=b"kept")
        assert await reap(log, Figures(), Stalled(log)) == 1
        assert await data(log, request.paths) == b"kept late"
        record = await terminal(log, request.paths)
        assert (record.payload["code"], record.data_position) == (TerminalCode.ORPHANED, 9)


async def test_orphans_are_told_by_their_path(log: Log) -> None:
    request = start_request("http://127.0.0.1:1/")
    await _write_generation(log, request, owner="gone")
    found = by_generation(await log.owned())
    assert list(found) == [request.paths]
    (streams,) = found.values()
    assert {kind: stream.path for kind, stream in streams.items()} == {
        "data": request.paths.data,
        "control": request.paths.control,
    }


async def _write_generation(
    log: Log,
    request: StartRequest,
    *,
    owner: str | None = None,
    body: bytes = b"",
    ending: Ending | None = None,
) -> None:
    paths = request.paths
    created = await log.transact(
        Create(paths.control, "application/json", owner=owner), Create(paths.data, owner=owner)
    )
    assert all(isinstance(outcome, Created) for outcome in created)
    if body:
        await log.transact(Append(paths.data, body, owner=owner))
    if ending is not None:
        record = ending.record(len(body), ACCOUNT).to_json() + b","
        await log.transact(
            Append(paths.data, close=True, owner=owner),
            Append(paths.control, record, close=True, owner=owner),
        )


async def _end_as_another_node(log: Log, request: StartRequest, *, owner: str | None) -> None:
    record = Ending(Event.OWNER_GONE, "taken").record(4, ACCOUNT).to_json() + b","
    outcomes = await log.transact(
        Append(request.paths.data, close=True, owner=owner),
        Append(request.paths.control, record, close=True, owner=owner),
    )
    assert all(outcome.ok for outcome in outcomes)
