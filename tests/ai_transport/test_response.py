"""Writing an answer into a stream, however it ends."""

from __future__ import annotations

import asyncio
import gc
import json
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from ai_transport.answers import IMPATIENT, Source, streams, until
from durable_ai_transport import AnswerInterrupted, StreamTarget, drain
from durable_ai_transport._response import Writing, open_stream, stream_response
from durable_transport import (
    DurableStream,
    StreamClosed,
    StreamExists,
    StreamRefused,
    StreamUnreachable,
    Timing,
)
from streams.gate import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.responses import Response


def said(text: str) -> list[Any]:
    return [{"failed": text}]


async def respond(source: Any, target: StreamTarget, **options: Any) -> Response:
    return await stream_response(source, target, error_chunks=said, **options)


async def test_the_answer_says_where_before_there_is_anything() -> None:
    source = Source({"n": 1}, {"n": 2})
    async with streams() as server:
        answer = await respond(source, server.target(read_url="/chat/read/a"))
        assert answer.status_code == 201
        assert answer.headers["location"] == "/chat/read/a"
        assert json.loads(bytes(answer.body)) == {"streamUrl": "/chat/read/a"}
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["access-control-expose-headers"] == "Location"
        assert not source.left
        source.more.set()
        assert await server.read_to_its_end() == [{"n": 1}, {"n": 2}]


async def test_an_answer_that_is_waited_for_says_where_it_ends() -> None:
    async with streams() as server:
        answer = await respond(
            Source({"n": 1}).now(), server.target(), mode="await", expose_location=False
        )
        assert answer.status_code == 200
        assert "access-control-expose-headers" not in answer.headers
        body = json.loads(bytes(answer.body))
        async with DurableStream(body["streamUrl"]) as stream:
            assert (await stream.head()).offset == body["finalOffset"]
        assert await server.read() == ([{"n": 1}], True)


async def test_chunks_are_stored_as_they_come() -> None:
    source = Source({"n": 1}, {"n": 2})
    async with streams() as server:
        await respond(source, server.target())
        async with (
            asyncio.timeout(PATIENCE),
            DurableStream(f"{server.url}/a") as stream,
            stream.follow_json() as reader,
        ):
            assert await anext(reader) == {"n": 1}
            source.more.set()
            assert await anext(reader) == {"n": 2}
        await drain()


async def test_writing_goes_on_when_nobody_holds_it() -> None:
    source = Source({"n": 1}, {"n": 2})
    async with streams() as server:
        await respond(source, server.target())
        await asyncio.sleep(0)
        gc.collect()
        source.more.set()
        assert await server.read_to_its_end() == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize("mode", ["immediate", "await"])
async def test_a_source_that_fails_ends_with_an_error(
    mode: Any, caplog: pytest.LogCaptureFixture
) -> None:
    source = Source({"n": 1}, {"n": 2}, fails=RuntimeError("password is hunter2")).now()
    async with streams() as server:
        if mode == "await":
            with pytest.raises(RuntimeError, match="hunter2"):
                await respond(source, server.target(), mode=mode)
        else:
            await respond(source, server.target(), mode=mode)
        end = await server.read_to_its_end()
        assert end == [{"n": 1}, {"n": 2}, {"failed": "An error occurred."}]
    assert "hunter2" in caplog.text


async def test_the_application_words_the_error() -> None:
    source = Source({"n": 1}, fails=RuntimeError("model overloaded")).now()
    async with streams() as server:
        await respond(source, server.target(), on_error=lambda failure: f"sorry: {failure}")
        assert (await server.read_to_its_end())[-1] == {"failed": "sorry: model overloaded"}


async def test_words_that_fail_are_replaced(caplog: pytest.LogCaptureFixture) -> None:
    def worse(failure: Exception) -> str:
        raise KeyError(str(failure))

    async with streams() as server:
        await respond(Source(fails=RuntimeError()).now(), server.target(), on_error=worse)
        assert await server.read_to_its_end() == [{"failed": "An error occurred."}]
    assert "on_error= failed" in caplog.text


@pytest.mark.parametrize("chunk", [float("nan"), {"a": object()}], ids=["NaN", "object"])
async def test_what_is_no_json_fails_the_answer(chunk: Any) -> None:
    source = Source({"n": 1}, chunk, {"n": 2}).now()
    async with streams() as server:
        await respond(source, server.target())
        assert await server.read_to_its_end() == [{"n": 1}, {"failed": "An error occurred."}]
    assert source.left


async def test_half_of_a_surrogate_pair_costs_a_letter_and_not_the_answer() -> None:
    async with streams() as server:
        await respond(Source({"delta": "a\ud83d"}, {"delta": "ü"}).now(), server.target())
        assert await server.read_to_its_end() == [{"delta": "a\ufffd"}, {"delta": "ü"}]


async def test_shutdown_waits_and_then_ends_with_an_error() -> None:
    quick, slow = Source({"n": 1}), Source({"n": 2}, {"n": 3})
    async with streams() as server:
        await respond(quick, server.target("quick"))
        await respond(slow, server.target("slow"))
        await until(lambda: slow.taken == 1)
        draining = asyncio.create_task(drain(0.05))
        quick.more.set()
        await draining
        assert await server.read("quick") == ([{"n": 1}], True)
        told = {"failed": "The server was stopped before the answer was complete."}
        assert await server.read("slow") == ([{"n": 2}, told], True)
        assert slow.left
        await drain()  # nothing is left


async def test_one_that_has_not_begun_is_ended_as_well() -> None:
    async with streams() as server:
        writing = Writing(await open_stream(server.target()), Source({"n": 1}), error_chunks=said)
        writing.interrupt("Stopped by Ada.")
        with pytest.raises(AnswerInterrupted, match="Ada"):
            await writing.wait()
        assert (await server.read_to_its_end())[-1] == {"failed": "Stopped by Ada."}


async def test_waiting_can_be_given_up() -> None:
    source = Source({"n": 1}, {"n": 2})
    async with streams() as server:
        waiting = asyncio.create_task(respond(source, server.target(), mode="await"))
        await until(lambda: source.taken == 1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        source.more.set()
        assert await server.read_to_its_end() == [{"n": 1}, {"n": 2}]


async def test_who_closes_the_stream_ends_the_answer() -> None:
    source = Source({"n": 1}, {"n": 2}, {"n": 3})
    async with streams() as server:
        writing = Writing(await open_stream(server.target()), source, error_chunks=said)
        await until(lambda: source.taken == 1)
        async with DurableStream(f"{server.url}/a") as stream:
            await stream.close({"stopped": True})
        source.more.set()
        with pytest.raises(StreamClosed):
            await writing.wait()
        assert source.left
        assert (await server.read())[0][-1] == {"stopped": True}


async def test_a_chunk_that_the_log_refuses_ends_with_an_error() -> None:
    source = Source({"n": 1}, {"n": "x" * 5000}, {"n": 3})
    async with streams(body=2000) as server:
        writing = Writing(await open_stream(server.target()), source, error_chunks=said)
        await until(lambda: source.taken == 1)
        source.more.set()
        with pytest.raises(StreamRefused):
            await writing.wait()
        data, closed = await server.read()
        assert data[-1] == {"failed": "The answer could not be stored completely."}
        assert closed


async def test_a_log_that_goes_away_does_not_keep_the_writer() -> None:
    source = Source({"n": 1}, {"n": 2})
    async with streams() as server:
        opened = await open_stream(server.target(timing=IMPATIENT))
        writing = Writing(opened, source, error_chunks=said)
        await until(lambda: source.taken == 1)
    source.more.set()
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(StreamUnreachable):
            await writing.wait()
    assert source.left


class Away(httpx2.AsyncHTTPTransport):
    """The way to a log that can be away, as during a restart."""

    is_away = False
    refused = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if self.is_away:
            self.refused += 1
            raise httpx2.ConnectError("refused", request=request)
        return await super().handle_async_request(request)


async def test_a_log_that_is_restarted_costs_an_answer_nothing() -> None:
    source, way = Source({"n": 1}, {"n": 2}), Away()
    timing = Timing(start_patience=0.2, backoff_first=0.01, backoff_limit=0.05)
    async with streams() as server, httpx2.AsyncClient(transport=way) as client:
        opened = await open_stream(server.target(timing=timing, client=client))
        writing = Writing(opened, source, error_chunks=said)
        await until(lambda: source.taken == 1)
        way.is_away = True
        source.more.set()
        await until(lambda: way.refused > 0)
        await asyncio.sleep(5 * timing.start_patience)
        way.is_away = False
        async with asyncio.timeout(PATIENCE):
            await writing.wait()
        assert await server.read() == ([{"n": 1}, {"n": 2}], True)


async def test_a_slow_log_slows_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("durable_ai_transport._response.BACKLOG", 100)
    stored: list[int] = []

    async def chunks() -> AsyncIterator[Any]:
        async with DurableStream(f"{server.url}/a") as stream:
            for number in range(12):
                stored.append(len((await stream.read_json()).data))
                yield {"n": number, "x": "x" * 40}

    async with streams() as server:
        await respond(chunks(), server.target(), mode="await")
    # Of a hundred bytes there are two chunks: no more than these are ever waiting.
    assert all(number - count <= 2 for number, count in enumerate(stored))


async def test_a_stream_of_something_else_is_refused_before_the_answer() -> None:
    async with streams() as server:
        async with DurableStream(f"{server.url}/a") as stream:
            await stream.create(content_type="text/plain")
        with pytest.raises(StreamExists, match="text/plain"):
            await respond(Source(), server.target())
        async with DurableStream(f"{server.url}/b") as stream:
            await stream.create(content_type="application/json", closed=True)
        with pytest.raises(StreamClosed, match="new stream"):
            await respond(Source(), server.target("b"))


async def test_a_stream_that_is_there_already_will_do() -> None:
    async with streams() as server:
        async with DurableStream(f"{server.url}/a") as stream:
            await stream.create(content_type="application/json", ttl=99)
        for target in (server.target(), server.target(create=False)):
            opened = await open_stream(target)
            writing = Writing(opened, Source({"n": 1}).now(), error_chunks=said, close=False)
            await writing.wait()
        assert await server.read() == ([{"n": 1}, {"n": 1}], False)


async def test_a_server_that_is_not_there_is_told_at_once() -> None:
    target = StreamTarget(write_url="http://127.0.0.1:9/v1/stream/a", timing=IMPATIENT)
    with pytest.raises(StreamUnreachable):
        await respond(Source(), target)


async def test_what_is_no_source_is_refused() -> None:
    with pytest.raises(TypeError, match="called"):
        await respond([{"n": 1}], StreamTarget(write_url="http://127.0.0.1:9/a"))


async def test_credentials_are_asked_for_each_request() -> None:
    asked: list[str] = []

    async def headers() -> dict[str, str]:
        asked.append("asked")
        return {"authorization": f"Bearer {len(asked)}"}

    async with streams() as server:
        await respond(Source({"n": 1}).now(), server.target(headers=headers), mode="await")
    assert len(asked) >= 2
