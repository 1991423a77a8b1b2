"""The asking half: through the proxy, to a backend that names a stream, and to what is neither."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from ai_transport.answers import IMPATIENT, streams
from ai_transport.test_vercel_server import chat_app
from durable_ai_transport.vercel import (
    BackendUnreachable,
    ChatTransport,
    Finished,
    InvalidChunk,
    NotAUIMessageStream,
    RequestRefused,
    ResponseFailed,
    ResponseTruncated,
    encode_event,
    text_of,
    to_ui_message_stream_response,
    user_message,
)
from durable_transport import FileStorage, GenerationAborted, MemoryStorage, ProxyUnreachable
from e2e.proxies import proxy_in_a_thread
from streams.gate import PATIENCE
from streams.serving import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from starlette.requests import Request


class Backend:
    """Answers with server-sent events, a word whenever the test says so.

    Attributes:
        asked: The bodies of all requests.
    """

    def __init__(self, *words: str) -> None:
        self.words = words
        self.asked: list[Any] = []
        self.more = asyncio.Semaphore(0)

    async def respond(self, request: Request) -> Response:
        self.asked.append(await request.json())
        return to_ui_message_stream_response(self._chunks())

    async def _chunks(self) -> AsyncIterator[Any]:
        yield {"type": "start", "messageId": f"m{len(self.asked)}"}
        yield {"type": "text-start", "id": "t"}
        for word in self.words:
            await self.more.acquire()
            if word == "fails":
                raise RuntimeError("the model's password is hunter2")
            yield {"type": "text-delta", "id": "t", "delta": word}
        yield {"type": "text-end", "id": "t"}
        yield {"type": "finish", "finishReason": "stop"}

    def go(self) -> None:
        for _ in self.words:
            self.more.release()


@asynccontextmanager
async def served_at(answer: Any) -> AsyncIterator[str]:
    """A backend whose chat endpoint answers so."""
    app = Starlette(
        routes=[
            Route("/api/chat", answer, methods=["POST"]),
            Route("/api/chat/{chat}/stream", answer, methods=["GET"]),
        ]
    )
    async with streams() as server, serving(app, server.server.log) as served:
        yield f"http://127.0.0.1:{served.port}/api/chat"


@asynccontextmanager
async def proxied(backend: Backend) -> AsyncIterator[tuple[str, str]]:
    """A backend and a proxy."""
    async with served_at(backend.respond) as api:
        with proxy_in_a_thread("sqlite://", api) as proxy:
            yield api, proxy


async def test_an_answer_through_the_proxy_is_left_and_read_again(tmp_path: Path) -> None:
    ends: list[Finished] = []
    backend = Backend("Good ", "morning.")
    storage = FileStorage(tmp_path)
    question = user_message("Hello", message_id="u1")
    async with asyncio.timeout(PATIENCE), proxied(backend) as (api, proxy):
        first = ChatTransport(
            api, proxy_url=proxy, storage=storage, on_finish=ends.append, body={"model": "m"}
        )
        async with first:
            assert await first.reconnect_to_stream("c1") is None
            backend.more.release()
            async with await first.send_messages("c1", [question]) as answer:
                async for chunk in answer:
                    if chunk.type == "text-delta":
                        break
                assert text_of(answer.message) == "Good "
        assert (ends[0].is_abort, ends[0].is_error, ends[0].is_over) == (True, False, False)

        # Another process, later: all of it, once, and the model was asked once.
        second = ChatTransport(api, proxy_url=proxy, storage=storage, on_finish=ends.append)
        async with second:
            assert await second.messages("c1") == [question]
            resumed = await second.reconnect_to_stream("c1")
            assert resumed is not None
            backend.more.release()
            assert text_of(await resumed.read()) == "Good morning."
            assert await second.messages("c1") == [question, resumed.message]
            assert await second.reconnect_to_stream("c1") is None
            await second.clear("c1")
            assert await second.messages("c1") == []
    assert (ends[1].finish_reason, ends[1].is_abort, ends[1].is_error) == ("stop", False, False)
    assert [message["id"] for message in ends[1].messages] == ["u1", "m1"]
    assert backend.asked == [
        {"model": "m", "id": "c1", "messages": [question], "trigger": "submit-message"}
    ]


async def test_a_stopped_answer_keeps_what_there_is() -> None:
    ends: list[Finished] = []
    backend = Backend("Good ", "morning.")
    async with (
        asyncio.timeout(PATIENCE),
        proxied(backend) as (api, proxy),
        ChatTransport(api, proxy_url=proxy, on_finish=ends.append) as chat,
    ):
        backend.more.release()
        answer = await chat.send_messages("c1", [user_message("Hello")])
        while text_of(answer.message) != "Good ":
            await anext(answer)
        await chat.stop("c1", reason="enough")
        with pytest.raises(GenerationAborted, match="enough"):
            await answer.read()
        assert text_of((await chat.messages("c1"))[-1]) == "Good "
    assert (ends[0].is_abort, ends[0].is_error, ends[0].is_over) == (True, False, True)


async def test_a_backend_that_names_a_stream() -> None:
    ends: list[Finished] = []
    async with (
        asyncio.timeout(PATIENCE),
        streams() as server,
        chat_app(server) as (app, api),
        ChatTransport(api, on_finish=ends.append) as chat,
    ):
        assert await chat.reconnect_to_stream("c1") is None
        answer = await chat.send_messages("c1", [user_message("good morning")])
        app.more["c1"].release()
        while text_of(answer.message) != "good ":
            await anext(answer)
        await answer.aclose()
        assert await answer.read() == answer.message  # it was left, and there is no more of it

        resumed = await chat.reconnect_to_stream("c1")
        assert resumed is not None
        app.more["c1"].release()
        texts = [text_of(message) async for message in resumed.snapshots()]
        assert texts[-1] == "good morning "
        assert texts == sorted(set(texts), key=len) or texts.count("good morning ") > 1
        assert app.calls == 1
        assert len(await chat.messages("c1")) == 2

        await chat.send_messages("c1", [*resumed.messages, user_message("it fails")])
        app.more["c1"].release()
        app.more["c1"].release()
        failed = await chat.reconnect_to_stream("c1")
        assert failed is not None
        with pytest.raises(ResponseFailed, match="An error occurred"):
            await failed.read()
        assert text_of(failed.message) == "it "
        assert (ends[-1].is_error, ends[-1].is_disconnect, ends[-1].is_over) == (True, False, True)

        await chat.send_messages("c2", [user_message("long")])
        await chat.stop("c2")
        assert await chat.reconnect_to_stream("c2") is None


async def test_an_answer_that_goes_on_with_the_last_message() -> None:
    call = {"type": "tool-ask", "toolCallId": "1", "state": "output-available", "output": 2}
    last: Any = {"id": "m1", "role": "assistant", "parts": [call]}
    backend = Backend("Two.")
    backend.go()
    async with served_at(backend.respond) as api, ChatTransport(api) as chat:
        answer = await chat.send_messages("c1", [user_message("1 + 1?"), last])
        await answer.read()
        assert [message["id"] for message in answer.messages][1:] == ["m1"]
        assert answer.message["parts"][0] == call
        assert text_of(answer.message) == "Two."


async def test_a_source_that_raises_reaches_the_reader_as_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = Backend("Good ", "fails")
    backend.go()
    async with served_at(backend.respond) as api, ChatTransport(api) as chat:
        answer = await chat.send_messages("c1", [user_message("Hello")])
        with pytest.raises(ResponseFailed, match="An error occurred"):
            await answer.read()
        assert text_of((await chat.messages("c1"))[-1]) == "Good "
    assert "hunter2" in caplog.text


async def reread(chat: ChatTransport) -> None:
    found = await chat.reconnect_to_stream("c1")
    assert found is not None
    await found.read()


def sse(*events: bytes) -> Any:
    async def body() -> AsyncIterator[bytes]:
        for event in events:
            yield event

    return lambda _: StreamingResponse(body(), media_type="text/event-stream")


START = encode_event({"type": "text-start", "id": "t"})


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (lambda _: HTMLResponse("<html>log in</html>"), NotAUIMessageStream, "text/html.*log in"),
        (lambda _: JSONResponse({"ok": True}), NotAUIMessageStream, "Location"),
        (lambda _: JSONResponse({"streamUrl": 7}), NotAUIMessageStream, "Location"),
        (
            lambda _: Response(status_code=302, headers={"location": "/login"}),
            RequestRefused,
            "302",
        ),
        (lambda _: JSONResponse({"detail": "no"}, 422), RequestRefused, "422.*detail"),
        (sse(b"data: oops\n\n"), InvalidChunk, "no JSON"),
        (sse(START), ResponseTruncated, "broke off"),
        (sse(b""), ResponseTruncated, "broke off"),
    ],
    ids=["html", "json", "url", "redirect", "refused", "no JSON", "truncated", "empty"],
)
async def test_what_is_no_answer(answer: Any, error: type[Exception], says: str) -> None:
    ends: list[Finished] = []
    async with served_at(answer) as api, ChatTransport(api, on_finish=ends.append) as chat:
        with pytest.raises(error, match=says):
            await (await chat.send_messages("c1", [user_message("Hello")])).read()
        assert len(await chat.messages("c1")) == 1  # what the user said is not lost
        with pytest.raises(error):
            await reread(chat)
    assert all(one.is_error for one in ends)
    assert all(one.is_disconnect == (error is ResponseTruncated) for one in ends)


async def test_a_backend_that_is_not_there() -> None:
    async with ChatTransport("http://127.0.0.1:1/chat") as chat:
        for work in (
            chat.send_messages("c", [user_message("hi")]),
            chat.reconnect_to_stream("c"),
            chat.stop("c"),
        ):
            with pytest.raises(BackendUnreachable, match=r"^http://127\.0\.0\.1:1/chat.* run\?$"):
                await work
        assert [text_of(message) for message in await chat.messages("c")] == ["hi"]


async def test_a_proxy_that_is_not_there() -> None:
    proxy = "http://127.0.0.1:9"
    async with ChatTransport("http://x/api", proxy_url=proxy, timing=IMPATIENT) as chat:
        with pytest.raises(ProxyUnreachable):
            await chat.send_messages("c1", [user_message("Hello")])
        assert len(await chat.messages("c1")) == 1


async def test_misuse_is_told() -> None:
    with pytest.raises(ValueError, match="absolute URL"):
        ChatTransport("/api/chat")
    async with ChatTransport("http://127.0.0.1:9/api") as chat:
        with pytest.raises(ValueError, match="no message"):
            await chat.send_messages("c1", [])
        with pytest.raises(ValueError, match="cannot be the id"):
            await chat.reconnect_to_stream("..")


async def test_messages_that_are_none_count_as_absent() -> None:
    storage = MemoryStorage()
    async with ChatTransport("http://127.0.0.1:9/api", storage=storage) as chat:
        chat._sessions.save_messages("c1", [{"id": "m", "role": "user", "parts": "text"}])
        assert await chat.messages("c1") == []
        chat._sessions.save_messages("c1", [user_message("Hello")])
        assert len(await chat.messages("c1")) == 1
    async with ChatTransport("http://127.0.0.1:9/api", storage=storage, messages_ttl=-1) as late:
        assert await late.messages("c1") == []


async def test_credentials_go_to_the_backend_and_not_to_whoever_it_names() -> None:
    seen: list[tuple[str, str | None]] = []

    async def elsewhere(request: Request) -> Response:
        seen.append(("elsewhere", request.headers.get("authorization")))
        return JSONResponse([], headers={"stream-closed": "true", "stream-next-offset": "0"})

    async def backend(request: Request) -> Response:
        seen.append(("backend", request.headers.get("authorization")))
        return JSONResponse({}, 201, {"location": other})

    async with served_at(elsewhere) as place, served_at(backend) as api:
        other = f"{place}/c1/stream"
        async with ChatTransport(api, headers=lambda: {"authorization": "Bearer x"}) as chat:
            answer = await chat.send_messages("c1", [user_message("Hello")])
            await answer.read()
    assert ("backend", "Bearer x") in seen
    assert ("elsewhere", None) in seen
    assert ("elsewhere", "Bearer x") not in seen
