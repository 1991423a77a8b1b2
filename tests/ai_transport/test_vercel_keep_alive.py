"""An answer that is silent, behind gateways that end silent connections."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from ai_transport.answers import Source, streams, until
from durable_ai_transport.vercel import (
    ChatTransport,
    encode_event,
    text_of,
    to_ui_message_stream_response,
    user_message,
)
from streams.gate import PATIENCE
from streams.serving import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.responses import Response

CHUNKS: list[Any] = [
    {"type": "start", "messageId": "m1"},
    {"type": "text-start", "id": "t"},
    {"type": "text-delta", "id": "t", "delta": "late"},
    {"type": "finish"},
]
COMMENT = b": keep-alive\n\n"


async def test_a_silent_answer_says_that_it_is_alive_and_its_source_notices_nothing() -> None:
    sources: list[Source] = []
    tasks: set[Any] = set()

    async def in_one_task(source: Source) -> AsyncIterator[Any]:
        # As agents do: a cancel scope around their chunks, which another task could not leave.
        async with asyncio.timeout(PATIENCE):
            async for chunk in source:
                tasks.add(asyncio.current_task())
                yield chunk

    async def answer(_: Request) -> Response:
        sources.append(Source(*CHUNKS))
        return to_ui_message_stream_response(in_one_task(sources[-1]), keep_alive=0.02)

    app = Starlette(routes=[Route("/api/chat", answer, methods=["POST"])])
    async with (
        asyncio.timeout(PATIENCE),
        streams() as server,
        serving(app, server.server.log) as served,
        httpx2.AsyncClient() as http,
    ):
        api = f"http://127.0.0.1:{served.port}/api/chat"
        body = b""
        async with http.stream("POST", api) as reading:
            async for part in reading.aiter_raw():
                body += part
                if body.count(COMMENT) == 3:
                    sources[0].more.set()
        events = [*map(encode_event, CHUNKS), b"data: [DONE]\n\n"]
        assert body.startswith(events[0] + COMMENT)
        assert body.replace(COMMENT, b"") == b"".join(events)
        assert len(tasks) == 1

        async with ChatTransport(api) as chat:
            reply = await chat.send_messages("c1", [user_message("Hello")])
            await anext(reply)
            sources[1].more.set()
            assert text_of(await reply.read()) == "late"

        # Whoever leaves while there are only comments is noticed: the source is left.
        async with http.stream("POST", api) as reading:
            async for part in reading.aiter_raw():
                if COMMENT in part:
                    break
        await until(lambda: sources[2].left)


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_what_is_no_time_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        to_ui_message_stream_response(Source(), keep_alive=seconds)
