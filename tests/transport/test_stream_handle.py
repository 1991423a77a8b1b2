"""The stream client against our own server, over sockets, in good and in bad networks."""

from __future__ import annotations

import asyncio
import gc
import random
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from durable_streams_server import Limits
from durable_transport import (
    AppendUncertain,
    DurableStream,
    FileStorage,
    IdempotentProducer,
    StreamNotFound,
    StreamUnreachable,
    Timing,
)
from e2e.relay import Fate, relaying
from streams.serving import served
from transport.stream_cases import JSON, QUICK, StreamCases

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from streams.serving import Served

STUBBORN = Timing(backoff_limit=0.5)
LIMITS = Limits(long_poll=0.3, rotate=0.4, heartbeat=0.1, raw_idle=0.3)


@pytest.fixture
async def server() -> AsyncIterator[Served]:
    async with served(LIMITS) as running:
        yield running


@pytest.fixture
def base(server: Served) -> str:
    return f"http://127.0.0.1:{server.port}/v1/stream"


class TestOurServer(StreamCases):
    pass


# ---------------------------------------------------------------- a bad network


def rough(seed: int) -> Any:
    """Every connection is cut somewhere, in the request or in the answer."""
    source = random.Random(seed)

    def fate(_: int) -> Fate:
        reset = source.random() < 0.5
        if source.random() < 0.3:
            return Fate(answer_bytes=1 << 20, request_bytes=source.randint(0, 500), reset=reset)
        return Fate(answer_bytes=source.randint(0, 2500), reset=reset)

    return fate


@pytest.mark.parametrize("live", ["auto", "sse", "long-poll"])
@pytest.mark.parametrize("seed", [1, 2])
async def test_nothing_is_lost_or_repeated_however_often_connections_break(
    server: Served, base: str, live: Any, seed: int
) -> None:
    async with DurableStream(f"{base}/rough", timing=QUICK) as direct:
        await direct.create(content_type=JSON)
        with relaying(server.port, rough(seed)) as relay:
            url = f"{relay.url}/v1/stream/rough"
            async with (
                DurableStream(url, timing=STUBBORN) as reading,
                DurableStream(url, timing=STUBBORN, content_type=JSON) as writing,
            ):

                async def write() -> None:
                    producer = IdempotentProducer(writing, "p", epoch=0)
                    for number in range(80):
                        producer.append({"n": number})
                        await asyncio.sleep(0.002)
                    await producer.close()

                task = asyncio.create_task(write())
                seen = [item["n"] async for item in reading.follow_json(live=live)]
                await task
            assert relay.cuts > 5
        assert seen == list(range(80))
        assert [item["n"] for item in (await direct.read_json()).data] == seen


@pytest.mark.parametrize("live", ["auto", "raw"])
async def test_bytes_survive_a_bad_network(server: Served, base: str, live: Any) -> None:
    body = random.Random(5).randbytes(20_000)
    async with DurableStream(f"{base}/bytes", timing=QUICK) as direct:
        await direct.create(content_type="image/png")
        for at in range(0, len(body), 1000):
            await direct.append(body[at : at + 1000])
        await direct.close()
        with relaying(server.port, rough(3)) as relay:
            async with DurableStream(f"{relay.url}/v1/stream/bytes", timing=STUBBORN) as stream:
                seen = b"".join([part async for part in stream.follow(live=live)])
        assert seen == body


async def test_an_append_that_may_have_arrived_is_not_repeated(server: Served, base: str) -> None:
    async with DurableStream(f"{base}/once", timing=QUICK) as direct:
        await direct.create(content_type=JSON)
        with relaying(server.port, lambda _: Fate(answer_bytes=1)) as relay:
            async with DurableStream(
                f"{relay.url}/v1/stream/once", timing=QUICK, content_type=JSON
            ) as stream:
                with pytest.raises(AppendUncertain, match="IdempotentProducer"):
                    await stream.append(1)
        assert (await direct.read_json()).data == [1]


async def test_nobody_there(base: str) -> None:
    del base
    with relaying(1) as relay:
        url = relay.url
    async with DurableStream(f"{url}/s", timing=Timing(start_patience=0.3)) as stream:
        with pytest.raises(StreamUnreachable):
            await stream.head()


async def test_a_silent_connection_is_given_up(server: Served, base: str, unit: float) -> None:
    """The watchdog: the other side is gone without a word, as after a laptop's sleep."""
    async with DurableStream(f"{base}/quiet", timing=QUICK) as direct:
        await direct.create(content_type=JSON)
        connections: list[asyncio.StreamWriter] = []

        async def swallow(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connections.append(writer)

        hole = await asyncio.start_server(swallow, "127.0.0.1", 0)
        ports = {"now": hole.sockets[0].getsockname()[1]}

        class Switch(httpx2.AsyncHTTPTransport):
            async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
                request.url = request.url.copy_with(port=ports["now"])
                return await super().handle_async_request(request)

        async with httpx2.AsyncClient(transport=Switch()) as client:
            timing = Timing(silence=0.2 * unit, healthy=0.1)
            stream = DurableStream(f"{base}/quiet", client=client, timing=timing)
            reader = stream.follow_json()
            waiting = asyncio.create_task(anext(reader))
            await asyncio.sleep(0.05)
            assert connections
            ports["now"] = server.port
            await direct.append("there")
            async with asyncio.timeout(10 * unit):
                assert await waiting == "there"
            await stream.aclose()
        hole.close()
        for writer in connections:
            writer.close()


# ---------------------------------------------------------------- leaving


async def test_a_cancelled_wait_loses_nothing_and_leaves_nothing(
    server: Served, base: str, unit: float
) -> None:
    async with DurableStream(f"{base}/cancel", timing=QUICK) as stream:
        await stream.create(content_type=JSON)
        reader = stream.follow_json()
        for number in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05 * unit):
                    await anext(reader)
            await server.settled(lambda: server.readers("cancel") == 0)
            await stream.append(number)
            assert await anext(reader) == number
        await reader.aclose()
        await server.settled(lambda: server.readers("cancel") == 0)
        with pytest.raises(StopAsyncIteration):
            await anext(reader)


async def test_the_streams_block_ends_its_readers(server: Served, base: str) -> None:
    async with DurableStream(f"{base}/block", timing=QUICK) as stream:
        await stream.create(content_type=JSON)
        await stream.append(1)
        async for _ in stream.follow_json():
            break
        waiting = asyncio.create_task(anext(stream.follow_json("now"), "ended"))
        await server.settled(lambda: server.readers("block") > 0)
    assert await waiting == "ended"
    await server.settled(lambda: server.readers("block") == 0)
    gc.collect()


async def test_one_reader_is_for_one_task(base: str) -> None:
    async with DurableStream(f"{base}/one", timing=QUICK) as stream:
        await stream.create(content_type=JSON)
        async with stream.follow_json() as reader:
            waiting = asyncio.create_task(anext(reader))
            await asyncio.sleep(0.02)
            with pytest.raises(RuntimeError, match="another task"):
                await anext(reader)
            await stream.append(1)
            assert await waiting == 1


async def test_a_deleted_stream_ends_its_readers(base: str) -> None:
    async with DurableStream(f"{base}/gone", timing=QUICK) as stream:
        await stream.create(content_type=JSON)
        waiting = asyncio.create_task(anext(stream.follow_json()))
        await asyncio.sleep(0.05)
        await stream.delete()
        with pytest.raises(StreamNotFound):
            await waiting


async def test_a_cancelled_append_does_not_take_its_neighbours_along(base: str) -> None:
    async with DurableStream(f"{base}/neighbours", timing=QUICK) as stream:
        await stream.create(content_type=JSON)
        tasks = [asyncio.create_task(stream.append(number)) for number in range(5)]
        await asyncio.sleep(0)
        tasks[2].cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(one, BaseException) for one in done] == [False] * 2 + [True] + [
            False
        ] * 2
        assert (await stream.read_json()).data == [0, 1, 3, 4]


async def test_a_producer_that_is_left_in_an_error_sends_what_it_had(base: str) -> None:
    async with DurableStream(f"{base}/left", timing=QUICK) as stream:
        await stream.create(content_type=JSON)
        producer = IdempotentProducer(stream, "p")

        async def break_off() -> None:
            async with producer:
                producer.append("before")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await break_off()
        assert (await stream.read_json()).data == ["before"]
        with pytest.raises(RuntimeError, match="closed"):
            producer.append("after")


async def test_a_producer_does_not_buffer_without_end(base: str) -> None:
    async with DurableStream(f"{base}/full", timing=QUICK) as stream:
        await stream.create(content_type=JSON)
        async with IdempotentProducer(stream, "p", max_pending_bytes=100) as producer:
            producer.append("x")
            await producer.flush()
            for _ in range(11):
                producer.append("x" * 8)
            with pytest.raises(BufferError, match="flush"):
                producer.append("x")
            await producer.flush()
            producer.append("x")


async def test_a_producers_epoch_survives_in_files(base: str, tmp_path: Path) -> None:
    async with DurableStream(f"{base}/files", timing=QUICK) as stream:
        await stream.create(content_type=JSON)
        for start in range(2):
            storage = FileStorage(tmp_path)
            producer = IdempotentProducer(stream, "p", storage=storage, auto_claim=False)
            async with producer:
                producer.append(start)
            assert producer.epoch == start
        assert (await stream.read_json()).data == [0, 1]


# ---------------------------------------------------------------- what is sent


async def test_headers_and_params_are_made_for_every_request(base: str) -> None:
    seen: list[tuple[str | None, str | None, str | None]] = []
    count = iter(range(100))

    async def headers() -> dict[str, str]:
        return {"Authorization": f"token {next(count)}", "Stream-Closed": "true"}

    async def note(request: httpx2.Request) -> None:
        params = request.url.params
        seen.append((request.headers.get("authorization"), params.get("p"), params.get("offset")))

    hooks = {"request": [note]}
    async with httpx2.AsyncClient(event_hooks=hooks, headers={"X-Mine": "1"}) as client:
        stream = DurableStream(
            f"{base}/headers", headers=headers, params=lambda: {"p": "1"}, client=client
        )
        await stream.create(content_type=JSON, closed=True)
        await stream.read_json()
        await stream.aclose()
        assert not client.is_closed
    assert seen == [("token 0", "1", None), ("token 1", "1", "-1")]


@pytest.mark.parametrize(
    "options",
    [
        {"producer_id": ""},
        {"producer_id": "é"},
        {"epoch": -1},
        {"max_in_flight": 0},
        {"max_batch_bytes": 0},
        {"epoch": 1, "storage": FileStorage("nowhere")},
    ],
)
async def test_misuse_is_said_at_once(options: dict[str, Any]) -> None:
    async with DurableStream("http://localhost/s") as stream:
        with pytest.raises(ValueError, match="give"):
            IdempotentProducer(stream, **{"producer_id": "p", **options})
        with pytest.raises(ValueError, match="not an offset"):
            stream.follow_json("")
        with pytest.raises(ValueError, match="whole number"):
            await stream.create(ttl=1.5)
