"""A chat in Python through a real proxy: cut off anywhere, and resumed by another process."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, StreamingResponse

from ai_transport.tanstack.streams import Answer
from durable_ai_transport.tanstack import (
    ChatRefused,
    ChunkError,
    DurableConnection,
    StreamProcessor,
    encode,
)
from durable_transport import (
    AsyncDurableTransport,
    FileStorage,
    GenerationAborted,
    MemoryStorage,
    Storage,
)
from proxy.harness import served, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from durable_ai_transport.tanstack import UIMessage

USER: UIMessage = {"id": "u", "role": "user", "parts": [{"type": "text", "content": "Hello"}]}
EVENTS = [one for seed in (3, 5, 8) for one in Answer(seed).orderly()]


@dataclass
class Chat:
    """A backend behind a proxy.

    Attributes:
        asked: The bodies it was sent.
        more: Lets the answer go on, event by event.
    """

    proxy: str = ""
    api: str = ""
    asked: list[Any] = field(default_factory=list)
    more: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    def go_on(self, count: int = len(EVENTS)) -> None:
        for _ in range(count):
            self.more.release()

    @asynccontextmanager
    async def connection(
        self, storage: Storage | None = None, api: str | None = None
    ) -> AsyncIterator[DurableConnection]:
        transport = AsyncDurableTransport(self.proxy, storage=storage)
        try:
            yield DurableConnection(api or self.api, "chat-1", transport=transport)
        finally:
            await transport.aclose()


def application(chat: Chat) -> FastAPI:
    app = FastAPI()

    @app.post("/chat")
    async def answer(request: Request) -> Response:
        chat.asked.append(await request.json())
        return StreamingResponse(_events(chat), media_type="text/event-stream")

    @app.post("/html")
    async def html() -> Response:
        return HTMLResponse("<h1>Sign in</h1>")

    @app.post("/no")
    async def refuse() -> Response:
        return Response("Who are you?", 401)

    @app.post("/half")
    async def half() -> Response:
        return Response(encode(EVENTS[0])[:-1], media_type="text/event-stream")

    return app


async def _events(chat: Chat) -> AsyncIterator[bytes]:
    for event in EVENTS:
        await chat.more.acquire()
        yield encode(event)


@asynccontextmanager
async def chatting() -> AsyncIterator[Chat]:
    chat = Chat()
    async with serving(application(chat)) as backend, served() as proxy:
        chat.api, chat.proxy = f"{backend.url}/chat", proxy.url
        yield chat


def answered() -> list[UIMessage]:
    """The conversation with the whole answer."""
    return shown(StreamProcessor([USER]), EVENTS, end=True)


def shown(processor: StreamProcessor, events: list[Any], *, end: bool = False) -> list[UIMessage]:
    for event in events:
        processor.process(event)
    if end:
        processor.finish()
    return timeless(processor.messages)


def timeless(messages: list[UIMessage]) -> list[UIMessage]:
    """Without what differs from one time to the next."""
    return [
        {**one, "createdAt": "", "id": "" if one["id"].startswith("msg-") else one["id"]}
        for one in messages
    ]


async def test_an_answer_is_read_and_kept() -> None:
    storage = MemoryStorage()
    async with chatting() as chat, chat.connection(storage) as connection:
        chat.go_on()
        run = connection.connect([USER], {"tone": "kind"})
        assert [chunk async for chunk in run] == EVENTS
        assert run.complete
        assert timeless(run.messages) == answered()
        assert await connection.messages() == run.messages
        assert await connection.resume() is None
        (asked,) = chat.asked
        assert asked["messages"] == [{"id": "u", "role": "user", "content": "Hello"}]
        assert asked["data"] == {"tone": "kind"}
        assert (asked["threadId"], asked["runId"]) == ("chat-1", run.id)


@pytest.mark.parametrize("read", [1, 7, 30])
async def test_another_process_goes_on_where_this_one_was_left(read: int, tmp_path: Path) -> None:
    async with chatting() as chat:
        async with chat.connection(FileStorage(tmp_path)) as connection:
            chat.go_on(read)
            async with connection.connect([USER]) as run:
                for _ in range(read):
                    await anext(run)
            left = run.messages
        async with chat.connection(FileStorage(tmp_path)) as connection:
            assert await connection.messages() == left
            again = await connection.resume()
            assert again is not None
            assert again.messages == left
            assert again.id == run.id
            chat.go_on()
            rest = [chunk async for chunk in again]
            assert rest == EVENTS[len(EVENTS) - len(rest) :]
            assert 1 < len(rest) <= len(EVENTS) - read
            assert timeless(again.messages) == answered()
            assert again.messages[: len(left) - 1] == left[:-1]
            assert await connection.resume() is None
        assert len(chat.asked) == 1


async def test_what_was_saved_earlier_is_where_it_goes_on() -> None:
    """As after a kill: the transport is further than the messages."""
    storage = MemoryStorage()
    async with chatting() as chat:
        chat.go_on(9)
        async with chat.connection(storage) as connection:
            async with connection.connect([USER]) as run:
                for _ in range(5):
                    await anext(run)
            sessions = connection._transport.sessions
            (entry,) = sessions.messages("chat-1")
            for position, count in ((0, 0), (len(encode(EVENTS[0])), 1)):
                messages = [USER, *shown(StreamProcessor([]), EVENTS[:count])]
                earlier = {**entry, "position": position, "messages": messages}
                sessions.save_messages("chat-1", [earlier])
                again = await connection.resume()
                assert again is not None
                assert await anext(again) == EVENTS[count]
                await again.aclose()
            chat.go_on()


async def test_an_answer_that_another_has_begun_is_read_from_its_beginning() -> None:
    storage = MemoryStorage()
    async with chatting() as chat:
        chat.go_on(9)
        async with chat.connection(storage) as connection:
            async with connection.connect([USER]) as run:
                await anext(run)
            sessions = connection._transport.sessions
            (entry,) = sessions.messages("chat-1")
            others = {**entry, "requestId": "another", "messages": [USER]}
            sessions.save_messages("chat-1", [others])
            again = await connection.resume()
            assert again is not None
            chat.go_on()
            assert [chunk async for chunk in again] == EVENTS
            assert timeless(again.messages) == answered()


async def test_stop_ends_the_answer_for_its_reader() -> None:
    async with chatting() as chat, chat.connection() as connection:
        chat.go_on(2)
        run = connection.connect([USER])
        await anext(run)
        stopped = await connection.stop(reason="enough", actor="me")
        assert stopped.by_this
        with pytest.raises(GenerationAborted, match="enough"):
            async for _ in run:
                pass
        assert not run.complete
        assert timeless(await connection.messages())[0]["id"] == "u"
        assert await connection.resume() is None


async def test_clear_session_forgets() -> None:
    async with chatting() as chat, chat.connection() as connection:
        chat.go_on(1)
        async with connection.connect([USER]) as run:
            await anext(run)
        await connection.clear_session()
        assert await connection.messages() == []
        assert await connection.resume() is None
        chat.go_on()


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [("html", 200, "is it the address of the backend"), ("no", 401, "Who are you")],
)
async def test_what_is_no_chat_is_told(path: str, status: int, said: str) -> None:
    async with chatting() as chat:
        api = chat.api.replace("/chat", f"/{path}")
        async with chat.connection(api=api) as connection:
            with pytest.raises(ChatRefused, match=said) as caught:
                await anext(connection.connect([USER]))
            assert caught.value.status == status
            assert await connection.messages() == [USER]


async def test_an_answer_that_ends_inside_an_event_is_no_success() -> None:
    async with chatting() as chat:
        api = chat.api.replace("/chat", "/half")
        async with chat.connection(api=api) as connection:
            run = connection.connect([USER])
            with pytest.raises(ChunkError, match="middle of an event"):
                await anext(run)
            assert not run.complete


@pytest.mark.parametrize(
    "entries", [[], [3], [{}], [{"messages": 3}], [{"messages": [1], "requestId": None}]]
)
async def test_a_storage_of_others_counts_as_empty(entries: list[Any]) -> None:
    async with chatting() as chat, chat.connection() as connection:
        connection._transport.sessions.save_messages("chat-1", entries)
        assert await connection.messages() == []
