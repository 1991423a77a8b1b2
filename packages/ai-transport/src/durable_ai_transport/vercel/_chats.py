"""The answers of chats: where they are written, which one is active, and how they are read.

Everything is in streams below one address, so that every process of the application, and the next
one after a restart, knows the same:

    {url}/{chat}                  the index: a message when an answer begins, and when it fails
    {url}/{chat}/{answer}         the answer's chunks, closed at its end
    {url}/{chat}/{answer}/lease   is there while a process writes the answer (`Lease`)

The active answer of a chat is the last one that was begun, if it is not closed. One that is not
closed and has no lease was left behind by a process that died: whoever notices, which is the next
one to ask for it or to read it, ends it with an error chunk. Its writer, should it only have been
slow, finds the stream closed and stops.

An answer that failed is given to whoever reconnects as if it were active, until the next one
begins: what there is of it, and the error chunk, are nowhere else.
"""

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from inspect import isawaitable
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx2
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from durable_ai_transport._errors import public_text
from durable_ai_transport._response import (
    JSON,
    Headers,
    OnError,
    StreamTarget,
    Writing,
    check_source,
    drain,
    evaluated,
    located,
    open_stream,
)
from durable_ai_transport.vercel._lease import Lease
from durable_ai_transport.vercel._passing import pass_on, refused
from durable_ai_transport.vercel._source import chunks_of, error_chunks
from durable_transport import (
    DurableStream,
    StreamClosed,
    StreamError,
    StreamGone,
    StreamInfo,
    StreamNotFound,
    Timing,
)

LEFT_BEHIND = "The server that was writing this answer is gone. Please send the message again."
LONGEST_ID = 400
"""Characters that an id may have in a URL: a server of streams takes no longer ones."""
SHOWN = 40
Authorize = Callable[[Request, str], Awaitable[None] | None]

_log = logging.getLogger("durable_ai_transport")


@dataclass(frozen=True, slots=True)
class ActiveAnswer:
    """An answer that can be read on.

    Attributes:
        id: Which one of its chat's.
        url: Where clients read it.
        failed: It is not being written any more, and its last chunk is an error.
    """

    id: str
    url: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class _Begun:
    """An entry of the index."""

    id: str
    failed: bool


class DurableChats:
    """The answers of an application's chats, on a server of the Durable Streams protocol.

    Args:
        url: Below which address of the server, such as ``http://localhost:3001/v1/stream/chats``.
        api: The path of your chat endpoint, such as ``/api/chat``: clients read answers through
            `routes` below it. None: they read them at ``url`` themselves.
        headers: For the server, such as credentials: a mapping, or a function (``async`` too) that
            is called for every request. Clients do not get them.
        authorize: Called by `routes` with the request and the chat; raises ``HTTPException`` for
            who may not see the chat.
        ttl: Seconds that an answer is kept without being read or written.
        lease: Seconds after which a process that gives no sign of life counts as dead.
        client: Sends the requests, and is yours to close.
        timing: Time settings of the requests.
    """

    def __init__(
        self,
        url: str,
        *,
        api: str | None = None,
        headers: Headers = None,
        authorize: Authorize | None = None,
        ttl: float | timedelta = 24 * 3600,
        lease: float = 15.0,
        client: httpx2.AsyncClient | None = None,
        timing: Timing | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._api = None if api is None else api.rstrip("/")
        self._headers = headers
        self._authorize = authorize
        self._ttl = ttl
        self._lease = lease
        self._owns_client = client is None
        # A live answer holds its connection for minutes: a limit would be one on readers.
        self._client = client or httpx2.AsyncClient(
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=20)
        )
        self._timing = timing or Timing()
        self._here: dict[tuple[str, str], Writing] = {}

    # ------------------------------------------------------------------ answering

    async def respond(
        self,
        chat_id: str,
        source: AsyncIterable[Any],
        *,
        on_error: OnError = public_text,
    ) -> Response:
        """Begin an answer, and tell the client where it is: 201, ``Location``, ``{"streamUrl"}``.

        Args:
            chat_id: The chat; from now on this is its active answer.
            source: Chunks, in any form that `chunks_of` takes.
            on_error: What readers are told when the source fails.

        Raises:
            ValueError: the chat id cannot be one.
            TypeError: the source is no asynchronous iterable.
            StreamError: the streams cannot be made.
        """
        check_source(source)
        answer_id = uuid4().hex
        lease = self._lease_of(chat_id, answer_id)
        stream = await open_stream(self._target(chat_id, answer_id))
        try:
            await lease.take()
            await self._note(chat_id, {"begun": answer_id})
        except BaseException:
            await stream.aclose()
            raise
        writing = Writing(
            stream,
            chunks_of(source),
            error_chunks=error_chunks,
            on_error=on_error,
            during=lease,
            after_failure=lambda: self._note_failure(chat_id, answer_id),
        )
        self._here[chat_id, answer_id] = writing
        writing.on_end(lambda: self._here.pop((chat_id, answer_id), None))
        return located(self._read_url(chat_id, answer_id), status=201)

    async def active(self, chat_id: str) -> ActiveAnswer | None:
        """The answer of the chat to read on with, None when there is none.

        That is the one being written, or the last one if it failed.

        Raises:
            ValueError: the chat id cannot be one.
            StreamError: the server does not say.
        """
        begun = await self._last(chat_id)
        if begun is None:
            return None
        found = ActiveAnswer(begun.id, self._read_url(chat_id, begun.id), failed=begun.failed)
        if begun.failed:
            return found
        info = await self._look(chat_id, begun.id)
        if info is None or info.closed:
            return None
        over = await self._end_if_left(chat_id, begun.id)
        return replace(found, failed=True) if over else found

    async def reconnect(self, chat_id: str) -> Response:
        """The answer to ``GET {api}/{chat}/stream``: 204 when nothing is active, else where it is.

        Raises:
            StreamError: the server does not say.
        """
        found = await self.active(chat_id)
        if found is None:
            return Response(status_code=204, headers={"Cache-Control": "no-store"})
        return located(found.url)

    async def stop(self, chat_id: str, *, reason: str | None = None) -> bool:
        """End the chat's active answer, whichever process writes it; what there is of it is kept.

        Its readers get an ``abort`` chunk. The writer notices at the next chunk, or at once when
        it is in this process.

        Returns:
            Whether there was one.

        Raises:
            StreamError: the server refuses, or cannot be reached.
        """
        found = await self.active(chat_id)
        if found is None or found.failed:
            return False
        chunk = {"type": "abort"} | ({} if reason is None else {"reason": reason})
        async with self._stream(chat_id, found.id) as stream:
            try:
                await stream.close(chunk)
            except StreamClosed:
                return False
        writing = self._here.get((chat_id, found.id))
        if writing is not None:
            writing.interrupt()
        return True

    async def read(self, request: Request, chat_id: str, answer_id: str) -> Response:
        """The answer to ``GET {api}/{chat}/stream/{answer}``: the stream, with all that it takes.

        While somebody reads, it is made sure that a process is still writing.

        Raises:
            StreamError: the server does not say whether one is.
        """
        await self._end_if_left(chat_id, answer_id)
        return await pass_on(
            request,
            self._client,
            self._stream_url(chat_id, answer_id),
            headers=await evaluated(self._headers),
            silence=self._timing.silence,
            meanwhile=lambda: self._watch(chat_id, answer_id),
        )

    def routes(self) -> Sequence[Route]:
        """The routes below ``api`` that clients need beside your own: reconnect, read, stop.

        Raises:
            ValueError: no ``api`` was given.
        """
        if self._api is None:
            raise ValueError("give api=, the path of your chat endpoint: routes() are below it")
        chat = (
            f"{self._api}/{{chat_id:path}}"  # an id may have a slash, which not all clients encode
        )
        return [
            Route(f"{chat}/stream", self._reconnect_route, methods=["GET"]),
            Route(f"{chat}/stream/{{answer_id}}", self._read_route, methods=["GET", "HEAD"]),
            Route(f"{chat}/stop", self._stop_route, methods=["POST"]),
        ]

    @asynccontextmanager
    async def lifespan(self, _app: object = None) -> AsyncIterator[None]:
        """For the application's ``lifespan``: at its end, answers have 10 seconds to complete."""
        try:
            yield
        finally:
            await drain()
            await self.aclose()

    async def aclose(self) -> None:
        """Close the connections, unless they belong to the ``client`` given."""
        if self._owns_client:
            await self._client.aclose()

    # ------------------------------------------------------------------ routes

    async def _reconnect_route(self, request: Request) -> Response:
        chat_id = await self._allowed(request)
        return await _or_refused(self.reconnect(chat_id))

    async def _read_route(self, request: Request) -> Response:
        chat_id = await self._allowed(request)
        return await _or_refused(self.read(request, chat_id, request.path_params["answer_id"]))

    async def _stop_route(self, request: Request) -> Response:
        chat_id = await self._allowed(request)
        return await _or_refused(self._stopped(chat_id))

    async def _stopped(self, chat_id: str) -> Response:
        await self.stop(chat_id)
        return Response(status_code=204)

    async def _allowed(self, request: Request) -> str:
        chat_id: str = request.path_params["chat_id"]
        if self._authorize is not None:
            refusal = self._authorize(request, chat_id)
            if isawaitable(refusal):
                await refusal
        return chat_id

    # ------------------------------------------------------------------ streams

    def _stream_url(self, *names: str) -> str:
        return "/".join([self._url, *map(_part, names)])

    def _read_url(self, chat_id: str, answer_id: str) -> str:
        if self._api is None:
            return self._stream_url(chat_id, answer_id)
        return f"{self._api}/{quote(chat_id, safe='')}/stream/{quote(answer_id, safe='')}"

    def _target(self, *names: str) -> StreamTarget:
        return StreamTarget(
            write_url=self._stream_url(*names),
            headers=self._headers,
            ttl=self._ttl,
            client=self._client,
            timing=self._timing,
        )

    def _stream(self, *names: str) -> DurableStream:
        return self._target(*names).stream()

    def _lease_of(self, chat_id: str, answer_id: str) -> Lease:
        stream = DurableStream(
            self._stream_url(chat_id, answer_id, "lease"),
            headers=self._headers,
            client=self._client,
            content_type="text/plain",
            timing=self._timing,
        )
        return Lease(stream, self._lease)

    async def _note(self, chat_id: str, what: dict[str, str]) -> None:
        entry = {**what, "at": datetime.now(UTC).isoformat()}
        async with self._stream(chat_id) as index:
            try:
                await index.append(entry)
            except (StreamNotFound, StreamGone):
                await index.create(content_type=JSON, ttl=self._ttl)
                await index.append(entry)

    async def _note_failure(self, chat_id: str, answer_id: str) -> None:
        try:
            await self._note(chat_id, {"failed": answer_id})
        except StreamError as error:
            _log.warning("who reconnects to %s will not see that it failed: %s", chat_id, error)

    async def _last(self, chat_id: str) -> _Begun | None:
        async with self._stream(chat_id) as index:
            try:
                entries = (await index.read_json()).data
            except (StreamNotFound, StreamGone):
                return None
        begun = [entry["begun"] for entry in entries if "begun" in entry]
        failed = {entry.get("failed") for entry in entries}
        return _Begun(begun[-1], begun[-1] in failed) if begun else None

    async def _look(self, chat_id: str, answer_id: str) -> StreamInfo | None:
        async with self._stream(chat_id, answer_id) as stream:
            try:
                return await stream.head()
            except (StreamNotFound, StreamGone):
                return None

    # ------------------------------------------------------------------ those left behind

    async def _end_if_left(self, chat_id: str, answer_id: str) -> bool:
        """End an answer that no process is writing any more; whether it is over."""
        if (chat_id, answer_id) in self._here:
            return False
        if await self._lease_of(chat_id, answer_id).is_held():
            return False
        info = await self._look(chat_id, answer_id)
        if info is None or info.closed:
            return True
        async with self._stream(chat_id, answer_id) as stream:
            # Somebody else may have been quicker, its writer too.
            with suppress(StreamClosed, StreamNotFound, StreamGone):
                await stream.close(error_chunks(LEFT_BEHIND)[0])
                _log.warning("the process that wrote the answer in %r is gone", stream)
                await self._note_failure(chat_id, answer_id)
        return True

    async def _watch(self, chat_id: str, answer_id: str) -> None:
        """As long as somebody reads the answer."""
        over = False
        while not over:
            await asyncio.sleep(self._lease / 3)
            try:
                over = await self._end_if_left(chat_id, answer_id)
            except StreamError as error:
                _log.warning("is the answer %s of %s still written? %s", answer_id, chat_id, error)


def _part(name: str) -> str:
    """The part of a stream's address that an id is."""
    part = quote(name, safe="")
    if name in ("", ".", "..") or "\0" in name or len(part) > LONGEST_ID:
        shown = name if len(name) <= SHOWN else f"{name[:SHOWN]}…"
        raise ValueError(
            f"{shown!r} cannot be the id of a chat: give another text, of at most {LONGEST_ID}"
            f" characters in a URL"
        )
    return part


async def _or_refused(answer: Awaitable[Response]) -> Response:
    """The answer, or what a client is told when the server of the streams gives none."""
    try:
        return await answer
    except ValueError as error:
        return refused(404, "not_found", str(error))
    except StreamError as error:
        _log.error("a route of a chat failed: %s", error)
        return refused(502, "unavailable", "the server of the streams cannot be used")
