"""The buffer between upstream and log: the flush rule, and its bound."""

from __future__ import annotations

import asyncio

import pytest

from durable_proxy._lifecycle import Ending, Event
from durable_proxy._pipe import Batch, Pipe
from durable_transport.protocol import StartPayload
from proxy.harness import UNIT

pytestmark = pytest.mark.anyio

DONE = Ending(Event.ENDED)


async def test_the_first_bytes_go_at_once_and_then_all_that_came_meanwhile() -> None:
    pipe = Pipe(limit=100)
    await pipe.put(b"a")
    assert await pipe.take() == Batch(None, b"a", None)
    await pipe.put(b"b")
    await pipe.put(b"c")
    assert await pipe.take() == Batch(None, b"bc", None)


async def test_start_and_end_go_with_the_bytes_beside_them() -> None:
    pipe = Pipe(limit=100)
    start = StartPayload(status=200)
    pipe.accept(start)
    await pipe.put(b"all")
    pipe.end(DONE)
    assert await pipe.take() == Batch(start, b"all", DONE)


async def test_an_empty_pipe_makes_its_reader_wait() -> None:
    pipe = Pipe(limit=100)
    taking = asyncio.create_task(pipe.take())
    await asyncio.sleep(0)
    assert not taking.done()
    await pipe.put(b"x")
    async with asyncio.timeout(UNIT):
        assert (await taking).data == b"x"


async def test_a_full_pipe_makes_its_writer_wait() -> None:
    pipe = Pipe(limit=4)
    await pipe.put(b"12345")
    putting = asyncio.create_task(pipe.put(b"6"))
    await asyncio.sleep(0)
    assert not putting.done()
    assert (await pipe.take()).data == b"12345"
    async with asyncio.timeout(UNIT):
        await putting
    assert (await pipe.take()).data == b"6"


async def test_the_first_end_holds() -> None:
    pipe = Pipe(limit=4)
    pipe.end(DONE)
    pipe.end(Ending(Event.OWNER_GONE, "late"))
    assert (await pipe.take()).ending is DONE
