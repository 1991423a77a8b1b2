"""A chat in Python, over the durable transport: send, be cut off, resume, and nothing is lost.

What is kept of a session are its messages, what they were before the answer, and how far into the
answer they reach, all together. A resume reads the answer's log from its beginning, so that a tool
call that was cut in half is whole again, and hands out what comes behind the place that was kept:
exactly the rest, whenever the process ended.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from itertools import count
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from uuid import uuid4

import httpx2

from durable_ai_transport.tanstack._chunks import TERMINAL, Chunk, ChunkDecoder, Received
from durable_ai_transport.tanstack._errors import ChatRefused, ChunkError
from durable_ai_transport.tanstack._messages import UIMessage, mapping
from durable_ai_transport.tanstack._processor import StreamProcessor
from durable_ai_transport.tanstack._wire import run_input
from durable_transport import AsyncDurableTransport, Stopped, resume, session

T = TypeVar("T")

MESSAGES_TTL: Final = 7 * 24 * 3600.0
"""Seconds a session's messages are kept."""
_SAVE_EVERY: Final = 1.0
"""Seconds between two saves while an answer comes; a resume is exact whenever the last one was."""
_EXCERPT: Final = 500


@dataclass(frozen=True, slots=True)
class _Saved:
    """What is kept of a session.

    Attributes:
        messages: As they are shown.
        before: As they were before the answer.
        request_id: Names the answer.
        position: The place in its body that ``messages`` reach.
        began: When it was asked for, epoch seconds.
    """

    messages: list[UIMessage]
    before: list[UIMessage]
    request_id: str | None = None
    position: int = 0
    began: float = 0.0

    @classmethod
    def read(cls, entries: list[Any]) -> "_Saved":
        """Out of the storage; what is no entry of ours counts as nothing."""
        match entries:
            case [
                {
                    "messages": list(messages),
                    "before": list(before),
                    "requestId": str() as request_id,
                    "position": int(position),
                    "began": int() | float() as began,
                }
            ] if all(_is_message(one) for one in (*messages, *before)) and position >= 0:
                return cls(messages, before, request_id, position, began)
        return cls([], [])

    def entries(self) -> list[Any]:
        """For the storage."""
        shown = {"messages": self.messages, "before": self.before}
        place = {"requestId": self.request_id, "position": self.position, "began": self.began}
        return [{**shown, **place}]


def _is_message(value: Any) -> bool:
    message = mapping(value)
    return isinstance(message.get("parts"), list) and isinstance(message.get("id"), str)


class DurableConnection:
    """The connection of one chat session to its backend, through a durable proxy.

    Args:
        api: The chat's address: what ``fetchServerSentEvents`` would be given.
        session_id: Names the session, here and at the proxy.
        transport: Reaches the proxy; it is yours to close. Its storage keeps the messages: with
            `FileStorage` another process can go on.
        headers: For the backend, such as credentials.
        messages_ttl: Seconds for which messages are kept.
        active_ttl: Seconds for which an answer can be resumed after its last sign of life.
    """

    def __init__(
        self,
        api: str,
        session_id: str,
        *,
        transport: AsyncDurableTransport,
        headers: Mapping[str, str] | None = None,
        messages_ttl: float = MESSAGES_TTL,
        active_ttl: float | None = None,
    ) -> None:
        self.api = api
        self.session_id = session_id
        self._transport = transport
        self._client = httpx2.AsyncClient(transport=_Borrowed(transport), timeout=None)
        self._headers = dict(headers or {})
        self._messages_ttl = messages_ttl
        self._active_ttl = active_ttl

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.api!r}, {self.session_id!r})"

    async def messages(self) -> list[UIMessage]:
        """The session's messages, as they were last saved; none when that is too long ago.

        Raises:
            StorageError: the storage cannot be read.
        """
        return (await self._load()).messages

    def connect(
        self, messages: Iterable[UIMessage], data: Mapping[str, Any] | None = None
    ) -> "Run":
        """Send the conversation, and read the answer.

        Nothing is sent before the first chunk is asked for.

        Args:
            messages: The conversation, the user's new message last.
            data: What the application wants to tell its backend.

        Returns:
            The answer's chunks, for ``async for``; see `Run`.
        """
        known = list(messages)
        return Run(self, _Saved(known, known, str(uuid4()), 0, time.time()), data)

    async def resume(self) -> "Run | None":
        """Go on with the answer that was being read when this session was last left.

        Returns:
            The chunks that are not in the saved messages yet, None when there is no such answer.

        Raises:
            StorageError: the storage cannot be read.
        """
        sessions = self._transport.sessions
        active = await self._in_storage(
            partial(sessions.active, self.session_id, ttl=self._active_ttl)
        )
        if active is None:
            return None
        saved = await self._load()
        if saved.request_id != active.request_id:
            # Begun by somebody else: all of it is new here.
            saved = _Saved(saved.messages, saved.messages, active.request_id, 0, time.time())
        return Run(self, saved, resumed=True)

    async def stop(self, *, reason: str | None = None, actor: str | None = None) -> Stopped:
        """End the answer that is being made, whoever reads it; what is written is kept.

        Its readers get `durable_transport.GenerationAborted`. To leave a `Run` stops nothing.

        Args:
            reason: Told to whoever reads it, like ``actor``.
            actor: Who stops it.

        Raises:
            ProxyError: the proxy could not be told.
        """
        return await self._transport.stop(self.session_id, reason=reason, actor=actor)

    async def clear_session(self) -> None:
        """Forget the messages and what could be resumed; a running answer goes on.

        Raises:
            StorageError: the storage cannot be changed.
        """
        await self._in_storage(partial(self._transport.sessions.clear, self.session_id))

    async def _load(self) -> _Saved:
        read = partial(self._transport.sessions.messages, self.session_id, ttl=self._messages_ttl)
        return _Saved.read(await self._in_storage(read))

    async def _save(self, saved: _Saved) -> None:
        save = self._transport.sessions.save_messages
        await self._in_storage(partial(save, self.session_id, saved.entries()))

    async def _in_storage(self, call: Callable[[], T]) -> T:
        return await asyncio.to_thread(call)

    def _request(self, run: "Run") -> httpx2.Request:
        if run.resumed:
            ours = resume(self.session_id, from_start=True, ttl=self._active_ttl)
            headers = {**self._headers, **ours}
            return self._client.build_request("POST", self.api, headers=headers)
        ours = session(self.session_id, request_id=run.id, ttl=self._active_ttl)
        body = run_input(run.messages, thread_id=self.session_id, run_id=run.id, data=run.data)
        headers = {**self._headers, "X-Run-Id": run.id, **ours}
        return self._client.build_request("POST", self.api, headers=headers, json=body)


class Run:
    """One answer, chunk by chunk, and the conversation as it is with it.

    To leave early, `aclose` it or use it as a context manager: then what was read is saved. An
    answer that is left goes on without its reader.
    """

    def __init__(
        self,
        connection: DurableConnection,
        saved: _Saved,
        data: Mapping[str, Any] | None = None,
        *,
        resumed: bool = False,
    ) -> None:
        self._connection = connection
        self._saved = saved
        self._saved_at = time.monotonic()
        numbers = count(1)
        # What the answer leaves to us to name and to date is the same when it is read again.
        self._processor = StreamProcessor(
            saved.before,
            new_id=lambda: f"msg-{saved.request_id}-{next(numbers)}",
            clock=lambda: saved.began,
        )
        self._decoder = ChunkDecoder()
        self._waiting: deque[Received] = deque()
        self._place = 0
        self._chunks = self._read()
        self.data = data
        """What the backend is told."""
        self.id = saved.request_id or ""
        """Names this answer, at the proxy and at the backend."""
        self.resumed = resumed
        """The answer was begun before."""
        self.complete = False
        """The answer has come to its end."""

    @property
    def messages(self) -> list[UIMessage]:
        """The conversation with what has come of the answer."""
        behind = self._place < self._saved.position
        return list(self._saved.messages) if behind else self._processor.messages

    @property
    def error(self) -> str | None:
        """What the backend's ``RUN_ERROR`` said."""
        return None if self._processor.error is None else self._processor.error.message

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Leave the answer, which goes on; what was read is saved."""
        await self._chunks.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        """The next chunk, which is in `messages` then.

        Raises:
            GenerationError: the answer did not come to its end, see the classes of
                `durable_transport`.
            ChatRefused: the backend did not answer with chunks.
            ChunkError: what it sent is no chunk.
            StorageError: the messages cannot be saved.
        """
        return await anext(self._chunks)

    async def _read(self) -> AsyncGenerator[Chunk, None]:
        if not self.resumed:
            await self._connection._save(self._saved)  # noqa: SLF001
        response = await self._connection._client.send(  # noqa: SLF001
            self._connection._request(self),  # noqa: SLF001
            stream=True,
        )
        try:
            await _check(response)
            async for data in response.aiter_bytes():
                self._waiting.extend(self._decoder.feed(data))
                while self._waiting:
                    received = self._take()
                    if self._should_save(received):
                        await self._save()
                    if received.position > self._saved.position:
                        yield received.chunk
            self._end()
        finally:
            await response.aclose()
            # The transport has handed these out, and would not bring them again.
            while self._waiting:
                self._take()
            await self._save()

    def _take(self) -> Received:
        received = self._waiting.popleft()
        self._processor.process(received.chunk)
        self._place = received.position
        return received

    def _should_save(self, received: Received) -> bool:
        # With the last event, because once the body has ended nothing can be resumed any more.
        due = time.monotonic() - self._saved_at > _SAVE_EVERY
        return due or received.chunk["type"] in TERMINAL

    def _end(self) -> None:
        if self._decoder.incomplete:
            raise ChunkError("the answer ended in the middle of an event")
        self._processor.finish()
        self.complete = True

    async def _save(self) -> None:
        self._saved_at = time.monotonic()
        if self._place > self._saved.position or self.complete:
            shown = self._processor.messages
            saved = replace(self._saved, messages=shown, position=self._place)
            await self._connection._save(saved)  # noqa: SLF001


async def _check(response: httpx2.Response) -> None:
    """Refuse what is no answer of a chat."""
    if response.status_code == HTTPStatus.NO_CONTENT:
        return
    kind = response.headers.get("content-type")
    media = (kind or "").partition(";")[0].strip().lower()
    if response.is_success and media == "text/event-stream":
        return
    body = bytearray()
    async for data in response.aiter_bytes():
        body += data
        if len(body) > _EXCERPT:
            break
    raise ChatRefused(response.status_code, kind, body[:_EXCERPT].decode("utf-8", "replace"))


class _Borrowed(httpx2.AsyncBaseTransport):
    """Somebody else's transport, which is not closed with the client."""

    def __init__(self, transport: AsyncDurableTransport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return await self._transport.handle_async_request(request)
