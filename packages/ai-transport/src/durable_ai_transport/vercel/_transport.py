"""The asking half: what a page's ``ChatTransport`` is, for Python."""

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, Self, TypeVar
from urllib.parse import quote, urljoin, urlsplit
from uuid import uuid4

import httpx2

from durable_ai_transport._response import Headers, evaluated
from durable_ai_transport.vercel._chunks import Chunk, parse_chunk
from durable_ai_transport.vercel._errors import (
    SHOWN,
    BackendUnreachable,
    NotAUIMessageStream,
    RequestRefused,
    ResponseTruncated,
)
from durable_ai_transport.vercel._message import ENDS, UIMessage
from durable_ai_transport.vercel._sse import UIMessageStreamDecoder
from durable_ai_transport.vercel._stream import Finished, OnFinish, UIMessageStream, told
from durable_transport import (
    AsyncDurableTransport,
    DurableStream,
    GenerationError,
    MemoryStorage,
    Sessions,
    Storage,
    Timing,
    resume,
    session,
)

T = TypeVar("T")
Trigger = Literal["submit-message", "regenerate-message"]

MESSAGES_TTL = 7 * 24 * 3600.0
"""Seconds a chat's messages are remembered."""
_ANSWER_LIMIT = 1 << 20
"""Bytes of an answer that is no stream, such as one that names a stream."""


def user_message(text: str, *, message_id: str | None = None) -> UIMessage:
    """What a user says, as a message. Its id is made up when absent."""
    parts = [{"type": "text", "text": text}]
    return {"id": message_id or uuid4().hex, "role": "user", "parts": parts}


class ChatTransport:
    """Sends a chat's messages to a backend of the Vercel AI SDK, and reads its answers.

    The backend answers with a UI message stream, best through a durable proxy, or with the
    ``Location`` of a durable stream. Answers that were left can be reconnected to, and the chat's
    messages are remembered, by another process too if the storage is a `FileStorage`.

    Args:
        api: The chat endpoint's absolute URL, such as ``http://localhost:8000/api/chat``.
        proxy_url: The durable proxy that requests go through; None: straight to the backend.
        storage: Where messages and active answers are remembered; `MemoryStorage` when absent.
        headers: For the backend, such as credentials: a mapping, or a function (``async`` too)
            that is called for every request.
        proxy_headers: For the proxy, likewise.
        body: More fields of every request.
        on_finish: Called with a `Finished` at the end of every answer, however it ends; may be
            ``async``. Messages are saved before that.
        active_ttl: Seconds for which an answer through the proxy can be reconnected to; one hour
            when absent.
        messages_ttl: Seconds for which a chat's messages are remembered.
        timing: Time settings.

    Raises:
        InvalidProxyURL: ``proxy_url`` cannot be one.
        ValueError: ``api`` is no absolute URL.
    """

    def __init__(
        self,
        api: str,
        *,
        proxy_url: str | None = None,
        storage: Storage | None = None,
        headers: Headers = None,
        proxy_headers: Headers = None,
        body: Mapping[str, Any] | None = None,
        on_finish: OnFinish | None = None,
        active_ttl: float | None = None,
        messages_ttl: float = MESSAGES_TTL,
        timing: Timing | None = None,
    ) -> None:
        if urlsplit(api).scheme not in ("http", "https"):
            raise ValueError(f"api={api!r}: give an absolute URL, http://localhost:8000/api/chat")
        self.api = api
        self._storage = MemoryStorage() if storage is None else storage
        self._headers = headers
        self._body = dict(body or {})
        self._on_finish = on_finish
        self._active_ttl = active_ttl
        self._messages_ttl = messages_ttl
        self._timing = timing or Timing()
        self._durable = (
            AsyncDurableTransport(
                proxy_url, storage=self._storage, headers=proxy_headers, timing=timing
            )
            if proxy_url is not None
            else None
        )
        self._sessions = (
            self._durable.sessions
            if self._durable is not None
            else Sessions(self._storage, api, clock=time.time)
        )
        # The answer's own waits are the proxy's and the stream's business.
        timeout = httpx2.Timeout(self._timing.silence, read=None if self._durable else 300)
        self._client = httpx2.AsyncClient(transport=self._durable, timeout=timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections. Answers that are being read are left."""
        await self._client.aclose()
        if self._durable is not None:
            await self._durable.aclose()

    # ------------------------------------------------------------------ answers

    async def send_messages(
        self,
        chat_id: str,
        messages: Sequence[UIMessage],
        *,
        trigger: Trigger = "submit-message",
        message_id: str | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> UIMessageStream:
        """Send the chat's messages; the answer to the last one comes.

        When the last one is the assistant's (a tool's result was added), the answer goes on with
        it.

        Args:
            chat_id: The chat.
            messages: All of them, the newest last; they are remembered.
            trigger: Why.
            message_id: Which message is to be made anew.
            body: More fields of this request.
            headers: More headers of this request.

        Raises:
            ValueError: there is no message.
            UIMessageStreamError: the backend cannot be reached, refuses, or answers with something
                else.
            GenerationError: the proxy does not help.
        """
        if not messages:
            raise ValueError("there is no message to send: give user_message('...') at least")
        history = list(messages)
        await self._stored(partial(self._sessions.save_messages, chat_id, history))
        fields = {
            **self._body,
            **(body or {}),
            "id": chat_id,
            "messages": history,
            "trigger": trigger,
            **({} if message_id is None else {"messageId": message_id}),
        }
        durable = session(chat_id, ttl=self._active_ttl) if self._durable else {}
        request = self._client.build_request(
            "POST",
            self.api,
            content=json.dumps(fields).encode(),
            headers={
                "content-type": "application/json",
                **await evaluated(self._headers),
                **(headers or {}),
                **durable,
            },
        )
        chunks = await self._ask(request)
        if chunks is None:
            raise NotAUIMessageStream(self.api, 204, None)
        return self._answer(chat_id, chunks, history)

    async def reconnect_to_stream(
        self, chat_id: str, *, headers: Mapping[str, str] | None = None
    ) -> UIMessageStream | None:
        """Read the chat's active answer, from its beginning.

        Returns:
            The answer, None when nothing is active.

        Raises:
            UIMessageStreamError: the backend cannot be reached, refuses, or answers with something
                else.
            GenerationError: the answer did not come to a good end, or the proxy does not help.
        """
        given = {**await evaluated(self._headers), **(headers or {})}
        if self._durable is not None:
            wish = resume(chat_id, from_start=True, ttl=self._active_ttl)
            request = self._client.build_request("POST", self.api, headers={**given, **wish})
        else:
            request = self._client.build_request(
                "GET", self._below("stream", chat_id), headers=given
            )
        chunks = await self._ask(request)
        if chunks is None:
            return None
        return self._answer(chat_id, chunks, await self.messages(chat_id))

    async def stop(self, chat_id: str, *, reason: str | None = None) -> None:
        """End the chat's active answer for everybody; to leave it, close the stream.

        Raises:
            BackendUnreachable, RequestRefused: the backend is not there, or has no
                ``{api}/{chat}/stop`` (without a proxy).
            GenerationError: the proxy could not be told.
        """
        if self._durable is not None:
            await self._durable.stop(chat_id, reason=reason)
            return
        headers = await evaluated(self._headers)
        request = self._client.build_request("POST", self._below("stop", chat_id), headers=headers)
        answer = await self._send(request)
        if not answer.is_success:
            raise RequestRefused(str(answer.url), answer.status_code, answer.text)

    # ------------------------------------------------------------------ messages

    async def messages(self, chat_id: str) -> list[UIMessage]:
        """The chat's messages as they were last sent or completed; none when that is too old."""
        found = await self._stored(
            partial(self._sessions.messages, chat_id, ttl=self._messages_ttl)
        )
        return found if all(map(_is_message, found)) else []

    async def clear(self, chat_id: str) -> None:
        """Forget the chat here. Its answer, if one is active, goes on; see `stop`."""
        await self._stored(partial(self._sessions.clear, chat_id))

    async def _stored(self, function: Callable[[], T]) -> T:
        return await asyncio.to_thread(function) if self._storage.blocking else function()

    # ------------------------------------------------------------------ reading

    def _answer(
        self, chat_id: str, chunks: AsyncIterator[Chunk], history: list[UIMessage]
    ) -> UIMessageStream:
        async def finish(finished: Finished) -> None:
            # An answer that can be reconnected to is replayed onto what was there before it.
            if finished.is_over:
                messages: list[Any] = finished.messages
                await self._stored(partial(self._sessions.save_messages, chat_id, messages))
            await told(self._on_finish, finished)

        return UIMessageStream(chunks, history, finish)

    async def _ask(self, request: httpx2.Request) -> AsyncIterator[Chunk] | None:
        answer = await self._send(request, stream=True)
        try:
            found = await self._judge(answer)
        except BaseException:
            await answer.aclose()
            raise
        return found

    async def _send(self, request: httpx2.Request, *, stream: bool = False) -> httpx2.Response:
        try:
            return await self._client.send(request, stream=stream)
        except httpx2.TransportError as error:
            if isinstance(error, GenerationError):
                raise  # the proxy's own word
            raise BackendUnreachable(str(request.url), str(error)) from error

    async def _judge(self, answer: httpx2.Response) -> AsyncIterator[Chunk] | None:
        url, status = str(answer.url), answer.status_code
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if status == httpx2.codes.NO_CONTENT:
            await answer.aclose()
            return None
        if not answer.is_success:
            raise RequestRefused(url, status, await _text(answer))
        if kind == "text/event-stream":
            return _Events(answer)
        text = await _text(answer)
        where = answer.headers.get("location") or _stream_url(text)
        if not where:
            shown = text[:SHOWN]
            raise NotAUIMessageStream(url, status, answer.headers.get("content-type"), shown)
        return self._follow(urljoin(url, where))

    async def _follow(self, url: str) -> AsyncIterator[Chunk]:
        # Credentials are for the backend only, not for whatever server it names.
        headers = self._headers if _origin(url) == _origin(self.api) else None
        stream = DurableStream(url, headers=headers, timing=self._timing)
        async with stream, stream.follow_json() as reader:
            async for value in reader:
                yield parse_chunk(value)

    def _below(self, name: str, chat_id: str) -> str:
        """The address of ``{api}/{chat}/{name}``."""
        if chat_id in ("", ".", ".."):
            raise ValueError(f"{chat_id!r} cannot be the id of a chat: give another text")
        parts = urlsplit(self.api)
        path = f"{parts.path.rstrip('/')}/{quote(chat_id, safe='')}/{name}"
        return parts._replace(path=path).geturl()


class _Events:
    """The chunks of a UI message stream in the body of an answer."""

    def __init__(self, answer: httpx2.Response) -> None:
        self._answer = answer
        self._body = answer.aiter_bytes()
        self._decoder = UIMessageStreamDecoder()
        self._waiting: deque[Chunk] = deque()
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        while not self._waiting:
            try:
                self._waiting.extend(self._decoder.feed(await anext(self._body)))
            except StopAsyncIteration:
                await self.aclose()
                if self._ended or self._decoder.done:
                    raise
                raise ResponseTruncated from None
        chunk = self._waiting.popleft()
        self._ended = self._ended or chunk.type in ENDS
        return chunk

    async def aclose(self) -> None:
        """Leave the answer; a generation goes on."""
        await self._answer.aclose()


async def _text(answer: httpx2.Response) -> str:
    """The body of an answer that is no stream, or how it begins."""
    text = bytearray()
    async for data in answer.aiter_bytes():
        text += data
        if len(text) > _ANSWER_LIMIT:
            break
    await answer.aclose()
    return text.decode("utf-8", "replace")


def _stream_url(text: str) -> str | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    url = found.get("streamUrl") if isinstance(found, dict) else None
    return url if isinstance(url, str) else None


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _is_message(value: Any) -> bool:
    match value:
        case {"id": str(), "role": str(), "parts": [*parts]}:
            return all(isinstance(part, dict) and "type" in part for part in parts)
    return False
