"""A session as one stream, for the unmodified ``@durable-streams/tanstack-ai-transport``."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI, Request, Response

from ai_transport.answers import streams
from ai_transport.tanstack import node
from ai_transport.tanstack.backends import backend
from durable_ai_transport import StreamTarget
from durable_ai_transport.tanstack import (
    ChunkError,
    materialize_snapshot,
    message_echo,
    read_proxy,
    sanitize_chunk,
    to_durable_chat_session_response,
    to_durable_stream_response,
)
from proxy.harness import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TEXT = {"type": "TEXT_MESSAGE_CONTENT", "messageId": "a", "delta": "Hi", "content": "Hi"}
CALL = {"type": "TOOL_CALL_START", "toolCallId": "c", "toolCallName": "look"}
USER = {"id": "u", "role": "user", "parts": [{"type": "text", "content": "Hello"}]}


async def source(*chunks: Any) -> AsyncIterator[Any]:
    for chunk in chunks:
        yield chunk


async def broken() -> AsyncIterator[Any]:
    yield TEXT
    raise RuntimeError("secret")


def shown(name: str, role: str, text: str) -> dict[str, Any]:
    return {"id": name, "role": role, "text": text, "kinds": ["text"]}


async def test_the_npm_package_sends_reads_and_comes_back(unit: float) -> None:
    async with backend() as server:
        send, read = f"{server.url}/api/chat?id=1", f"{server.url}/api/chat-stream?id=1"
        seen = await node.run_beside("tanstack_session.mjs", send, read, limit=30 * unit)
        ours = (await server.client.get("/api/snapshot")).json()
    session = [
        shown("u1", "user", "Hello"),
        shown("a1", "assistant", "Grüß Gott \u2028number 1"),
        shown("u2", "user", "And now?"),
        shown("a2", "assistant", "Grüß Gott \u2028number 2"),
    ]
    later = [shown("u3", "user", "Once more"), shown("a1", "assistant", "Grüß Gott \u2028number 1")]
    by_id = lambda one: one["id"]  # noqa: E731
    # Both messages are sent at once, so the answers may come in between.
    for name in ("first", "second", "snapshot"):
        assert sorted(seen[name], key=by_id) == sorted(session, key=by_id), name
    assert seen["third"] == later
    assert seen["refused"] == "Not today."
    texts = {one["id"]: one["parts"][0]["content"] for one in ours["messages"]}
    assert texts["u3"] == "Once more"
    assert texts["a2"] == "Grüß Gott \u2028number 2"


async def test_the_answer_is_stored_without_the_text_so_far() -> None:
    async with streams() as server:
        answer = await to_durable_chat_session_response(
            source(TEXT, CALL), server.target(), new_messages=[USER], mode="await"
        )
        assert (answer.status_code, answer.body) == (200, b"")
        stored, closed = await server.read()
        assert [one["type"] for one in stored] == [
            *("TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"),
            *("TEXT_MESSAGE_CONTENT", "TOOL_CALL_START"),
        ]
        assert stored[3] == {"type": "TEXT_MESSAGE_CONTENT", "messageId": "a", "delta": "Hi"}
        assert not closed
        found = await materialize_snapshot(server.target())
        assert [one["role"] for one in found.messages] == ["user", "assistant"]
        assert found.messages[1]["parts"][1]["name"] == "look"
        again = await materialize_snapshot(server.target(), offset=found.offset)
        assert again.messages == []
        assert again.offset == found.offset


async def test_the_session_goes_on_after_an_answer_that_failed() -> None:
    async with streams() as server:
        with pytest.raises(RuntimeError):
            await to_durable_chat_session_response(
                broken(), server.target(), new_messages=[], mode="await"
            )
        at_once = await to_durable_chat_session_response(
            source(TEXT), server.target(), new_messages=[USER]
        )
        assert at_once.status_code == 202
        stored, closed = await server.read()
    assert not closed
    assert (stored[1]["type"], stored[1]["message"]) == ("RUN_ERROR", "An error occurred.")


async def test_one_answer_in_a_stream_of_its_own() -> None:
    async with streams() as server:
        answer = await to_durable_stream_response(source(TEXT), server.target(), mode="await")
        assert answer.headers["location"] == server.target().write_url
        assert await server.read() == ([TEXT], True)


@pytest.mark.parametrize(
    ("message", "role", "text"),
    [
        (USER, "user", "Hello"),
        ({"role": "user", "content": "Hi"}, "user", "Hi"),
        ({"role": "user", "content": [{"type": "text", "text": "Hi"}]}, "user", "Hi"),
        ({"role": "system", "parts": [{"type": "text", "text": "A"}]}, "system", "A"),
        ({"role": "nobody"}, "user", None),
        ({}, "user", None),
    ],
)
def test_a_message_becomes_events(message: Any, role: str, text: str | None) -> None:
    chunks = message_echo(message, now=12.5)
    assert chunks[0]["role"] == role
    assert {one["timestamp"] for one in chunks} == {12500}
    assert len({one["messageId"] for one in chunks}) == 1
    assert [one["delta"] for one in chunks[1:-1]] == ([] if text is None else [text])


@pytest.mark.parametrize("chunk", [None, 3, {}, {"type": 3}, "text"])
def test_what_is_no_chunk_is_refused(chunk: Any) -> None:
    with pytest.raises(ChunkError, match="not a chunk"):
        sanitize_chunk(chunk)


async def test_a_server_of_streams_that_is_down_is_told_in_plain_words() -> None:
    app = FastAPI()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"http://127.0.0.1:{taken.getsockname()[1]}/v1/stream/a"

    @app.get("/read")
    async def read(request: Request) -> Response:
        return await read_proxy(request, StreamTarget(write_url=place))

    async with serving(app) as served:
        answer = await served.client.get("/read?offset=-1")
    assert answer.status_code == 502
    assert answer.json() == {
        "error": "The server of streams cannot be reached. Try again in a moment."
    }


async def test_a_read_brings_what_the_server_says_and_sends_no_credentials_of_the_client() -> None:
    seen: list[dict[str, str]] = []
    app = FastAPI()

    @app.get("/stream")
    async def stream(request: Request) -> Response:
        seen.append({**request.headers, "query": str(request.query_params)})
        headers = {"Stream-Next-Offset": "7", "Set-Cookie": "a=b", "ETag": '"x"'}
        return Response("[]", headers=headers, media_type="application/json")

    @app.get("/read")
    async def read(request: Request) -> Response:
        target = StreamTarget(
            write_url=str(request.url_for("stream")), headers=lambda: {"Authorization": "ours"}
        )
        return await read_proxy(request, target)

    async with serving(app) as served:
        given = {"Authorization": "theirs", "Cookie": "c=d", "If-None-Match": '"y"'}
        answer = await served.client.get("/read?offset=3&live=sse&id=secret", headers=given)
    assert answer.content == b"[]"
    assert answer.headers["stream-next-offset"] == "7"
    assert answer.headers["etag"] == '"x"'
    assert "set-cookie" not in answer.headers
    (got,) = seen
    assert got["authorization"] == "ours"
    assert got["query"] == "offset=3&live=sse"
    assert got["if-none-match"] == '"y"'
    assert "cookie" not in got
