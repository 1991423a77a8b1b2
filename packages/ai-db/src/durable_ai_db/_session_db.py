"""A session's log, read into its collections, for as long as somebody wants it."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote, urlsplit

import httpx2

from durable_ai_db._cache import Cache, CacheUnusableError, Delta
from durable_ai_db._errors import (
    InvalidSession,
    SessionClosed,
    SessionError,
    SessionProtocolError,
    SessionUnreachable,
    TxidTimeout,
    error_of,
)
from durable_ai_db._headers import HeaderSource
from durable_ai_db._rows import ConnectionStatus, SessionMetaRow
from durable_ai_db._session_state import SessionCollections, SessionState, Taken
from durable_ai_db.materialize import DEFAULT_FORMATS, ChunkFormat
from durable_transport import (
    Batch,
    DurableStream,
    DurableTransportError,
    InvalidOffset,
    StreamError,
    StreamGone,
    StreamProtocolError,
    StreamUnreachable,
    Timing,
)

BEGINNING: Final = "-1"
SLICE: Final = 500
"""So many messages of what was there before are taken in at a time, then others have a turn."""

TIMING: Final = Timing(give_up_after=3.0, start_patience=3.0, backoff_limit=2.0)
"""Time settings: after three seconds without an answer a session is no longer connected."""

_LOG = logging.getLogger("durable_ai_db")


class SessionDB:
    """The collections of a session, read from its log.

    They are there at once, empty or as the cache has them after `preload`, and follow the log
    until `close`. A lost connection is made up for; while there is none, ``session_meta`` says so.

    Args:
        session_id: Of the session.
        base_url: Address of the service.
        headers: For every request, such as credentials: a mapping, or a function (``async`` too)
            that is called for every request.
        client: Sends the requests, and is yours to close. One is made when absent.
        cache: A SQLite file that remembers sessions; several of them share one.
        formats: How chunks of messages are read.
        prepare: Awaited before the log is read for the first time, such as to create the session.
        on_error: Is given what functions and subscribers of collections raise; logged when absent.
        timing: Time settings.
        save_every: Seconds after which changes are written to the cache.

    Raises:
        InvalidSession: The address or the id cannot be one.
    """

    def __init__(
        self,
        session_id: str,
        base_url: str,
        *,
        headers: HeaderSource = None,
        client: httpx2.AsyncClient | None = None,
        cache: str | Path | None = None,
        formats: Sequence[ChunkFormat] = DEFAULT_FORMATS,
        prepare: Callable[[], Awaitable[None]] | None = None,
        on_error: Callable[[Exception], object] | None = None,
        timing: Timing = TIMING,
        save_every: float = 1.0,
    ) -> None:
        self.session_id = session_id
        self.url = stream_url(base_url, session_id)
        self._headers = headers
        self._client = client
        self._stream: DurableStream | None = None
        self.state = SessionState(session_id, formats=formats, on_error=on_error or _logged)
        self._timing = timing
        self._prepare = prepare
        self._cache = None if cache is None else Cache(Path(cache), self.url)
        self._saving = asyncio.Lock()
        self._save_every = save_every
        self._delta = Delta()
        self._saver: asyncio.Task[None] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._opened = False
        self._prepared = False
        self._synced = False
        self._syncing: set[asyncio.Future[None]] = set()
        self._error: SessionError | None = None
        self._waiters: dict[str, set[asyncio.Future[None]]] = {}
        self._healed = False
        self.has_snapshot = False
        """Whether the collections show at least what was in the cache."""

    @property
    def collections(self) -> SessionCollections:
        """Everything that is known of the session, live."""
        return self.state.collections

    @property
    def offset(self) -> str:
        """Up to where the log was read."""
        return self._meta.offset

    @property
    def status(self) -> ConnectionStatus:
        """How the reading stands."""
        return self._meta.connection_status

    @property
    def error(self) -> SessionError | None:
        """What keeps the log from being read."""
        return self._error

    @property
    def _meta(self) -> SessionMetaRow:
        return self.state.meta[self.session_id]

    async def __aenter__(self) -> Self:
        await self.preload()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    # ------------------------------------------------------------------ life

    async def preload(self) -> None:
        """Begin to read, and return when the collections show the whole log.

        Raises:
            SessionUnreachable: There is no answer; reading is tried on and on all the same.
            SessionError: The log cannot be read.
        """
        await self.start()
        if self._error is not None:
            raise self._error
        if not self._synced:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._syncing.add(future)
            future.add_done_callback(self._syncing.discard)
            await future

    async def start(self) -> None:
        """Show what the cache holds, and begin to read the log."""
        if not self._opened:
            self._opened = True
            await self._open_cache()
        if self._reader is None or self._reader.done():
            self._error = None
            self._synced = False
            self._show(connection_status="connecting", error=None)
            self._reader = asyncio.create_task(self._read(), name=f"session {self.session_id}")

    async def pause(self) -> None:
        """Read no further for now; the collections stay as they are."""
        await self._halt()
        if self.status != "disconnected":
            self._show(connection_status="paused")

    async def _halt(self) -> None:
        reader, self._reader = self._reader, None
        await _cancelled(reader)
        self._settle(SessionClosed(self.session_id))

    async def close(self) -> None:
        """Stop reading; who waits for something gets `SessionClosed`. `preload` begins again."""
        await self._halt()
        self._fail_waiters(SessionClosed(self.session_id))
        await _cancelled(self._saver)
        self._saver = None
        await self._save()
        if self._cache is not None:
            await asyncio.to_thread(self._cache.close)
        self._opened = False
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.aclose()
        self._show(connection_status="disconnected")

    # ------------------------------------------------------------------ transactions

    async def await_txid(self, txid: str, timeout: float = 5.0) -> None:  # noqa: ASYNC109
        """Wait until a transaction is in the collections.

        Args:
            txid: As it was sent with a write.
            timeout: Longest time to wait, in seconds.

        Raises:
            TxidTimeout: It did not come in time.
            SessionError: The log cannot be read any more, or was closed.
        """
        if self.state.has_seen(txid):
            return
        waiter = self.waiter(txid)
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError:
            raise TxidTimeout(self.session_id, f"txid {txid}, {timeout:g} s") from None

    def waiter(self, txid: str) -> asyncio.Future[None]:
        """A future that is done when the transaction is in the collections."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.state.has_seen(txid):
            future.set_result(None)
            return future
        waiters = self._waiters.setdefault(txid, set())
        waiters.add(future)

        def forget(_: object) -> None:
            waiters.discard(future)
            if not waiters and self._waiters.get(txid) is waiters:
                del self._waiters[txid]

        future.add_done_callback(forget)
        return future

    def _resolve(self, txids: Sequence[str]) -> None:
        for txid in txids:
            for future in list(self._waiters.get(txid, ())):
                if not future.done():
                    future.set_result(None)

    def _settle(self, error: SessionError | None) -> None:
        """Tell those who wait for the whole log."""
        for future in list(self._syncing):
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

    def _fail_waiters(self, error: SessionError) -> None:
        for futures in list(self._waiters.values()):
            for future in list(futures):
                if not future.done():
                    future.set_exception(error)

    # ------------------------------------------------------------------ reading

    async def _read(self) -> None:
        """Follow the log until that is impossible; being unreachable is not."""
        while True:
            try:
                if self._prepare is not None and not self._prepared:
                    await self._prepare()
                    self._prepared = True
                await self._follow()
            except (StreamUnreachable, SessionUnreachable) as error:
                self._interrupted(error)
                await asyncio.sleep(self._timing.backoff_first)
            except (InvalidOffset, StreamGone, StreamProtocolError) as error:
                if self._healed or self.offset == BEGINNING:
                    self._failed(self._translated(error))
                    return
                # What was read before, or cached, is not of this log: begin anew, once.
                self._healed = True
                self._begin_again()
            except (DurableTransportError, SessionError) as error:
                self._failed(self._translated(error))
                return
            except Exception as error:  # noqa: BLE001  (told to whoever waits, and logged)
                _LOG.exception("reading session %r failed", self.session_id)
                self._failed(SessionProtocolError(self.session_id, repr(error)))
                return
            else:
                return

    async def _follow(self) -> None:
        if self._stream is None:
            self._stream = DurableStream(
                self.url,
                headers=self._headers,
                client=self._client,
                content_type="application/json",
                timing=self._timing,
            )
        offset: str | None = self.offset
        while offset is not None:
            async with self._stream.follow_json(offset) as reader:
                offset = None
                async for batch in reader.batches():
                    offset = await self._take(batch)
                    if offset is not None:
                        break

    async def _take(self, batch: Batch[Any]) -> str | None:
        """Take a batch in; where to read on if that is elsewhere."""
        # What arrives live is shown as it arrived. What was there before may be a lot.
        size = len(batch.items) if self._synced else SLICE
        for begin in range(0, len(batch.items), size or 1):
            offsets = batch.offsets[begin : begin + size]
            taken = self.state.take(batch.items[begin : begin + size], offsets)
            offset = taken.restart or offsets[-1]
            self._took(taken, offset)
            if taken.restart is not None:
                return taken.restart
            if not self._synced:
                await asyncio.sleep(0)
        if batch.up_to_date or batch.closed:
            self._healed = False
            self._error = None
            self._synced = True
        if not self._synced or self.status == "connected":
            self._show(offset=batch.offset)
        else:
            self._show(offset=batch.offset, connection_status="connected", error=None)
            self._settle(None)
        return None

    def _took(self, taken: Taken, offset: str) -> None:
        if self._cache is not None:
            self._delta.add(taken.rows, cleared=taken.cleared)
            self._save_soon()
        changes: dict[str, Any] = {"offset": offset, "last_synced_at": time.time()}
        if taken.txids:
            changes["last_synced_txid"] = taken.txids[-1]
        if self._error is not None and self._synced:
            self._error = None
            changes |= {"connection_status": "connected", "error": None}
        self._show(**changes)
        self._resolve(taken.txids)

    def _show(self, **changes: Any) -> None:
        meta = replace(self._meta, **changes)
        if meta != self._meta:
            self.state.meta.set(self.session_id, meta)

    def _interrupted(self, error: Exception) -> None:
        self._error = self._translated(error)
        self._show(connection_status="connecting", error=_told(self._error))
        self._settle(self._error)

    def _failed(self, error: SessionError) -> None:
        self._error = error
        self._show(connection_status="error", error=_told(error))
        self._settle(error)
        self._fail_waiters(error)

    def _begin_again(self) -> None:
        self.state.clear()
        self._delta.add({}, cleared=True)
        self._synced = False
        self._show(offset=BEGINNING, connection_status="connecting")

    def _translated(self, error: Exception) -> SessionError:
        if isinstance(error, SessionError):
            return error
        made: SessionError
        if isinstance(error, StreamUnreachable):
            made = SessionUnreachable(self.session_id, error.detail, status=error.status)
        elif isinstance(error, StreamError) and error.status is not None:
            kind = error_of(error.status)
            made = kind(self.session_id, error.detail, status=error.status)
        else:
            made = SessionProtocolError(self.session_id, str(error))
        made.__cause__ = error
        return made

    # ------------------------------------------------------------------ the cache

    async def _open_cache(self) -> None:
        if self._cache is None:
            return
        try:
            cached = await asyncio.to_thread(self._cache.open)
        except CacheUnusableError as error:
            _LOG.warning("no cache for session %r: %s", self.session_id, error)
            self._cache = None
            return
        if cached is None or self.offset != BEGINNING:
            return
        for begin in range(0, len(cached.messages), SLICE):
            self.state.take(cached.messages[begin : begin + SLICE])
            await asyncio.sleep(0)
        self.has_snapshot = True
        self._show(offset=cached.offset)

    def _save_soon(self) -> None:
        if self._saver is None or self._saver.done():
            self._saver = asyncio.create_task(self._save_later())

    async def _save_later(self) -> None:
        await asyncio.sleep(self._save_every)
        await self._save()

    async def _save(self) -> None:
        async with self._saving:
            if self._cache is None or (not self._delta.rows and not self._delta.cleared):
                return
            delta, self._delta = self._delta, Delta()
            if not await asyncio.to_thread(self._cache.save, delta, self.offset):
                _LOG.warning("session %r is cached by another client from now on", self.session_id)
                await asyncio.to_thread(self._cache.close)
                self._cache = None


def stream_url(base_url: str, session_id: str) -> str:
    """Address of a session's log.

    Raises:
        InvalidSession: The address or the id cannot be one.
    """
    if not session_id or session_id in (".", ".."):
        raise InvalidSession(session_id, "an id is a text that is not empty")
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise InvalidSession(session_id, f"{base_url!r} is no address of a service")
    return f"{base_url.rstrip('/')}/v1/stream/sessions/{quote(session_id, safe='')}"


def _told(error: SessionError) -> dict[str, Any]:
    told = {"message": str(error), "type": type(error).__name__}
    return told if error.code is None else {**told, "code": error.code}


def _logged(error: Exception) -> None:
    _LOG.error("a function or subscriber of a collection failed", exc_info=error)


async def _cancelled(task: "asyncio.Task[Any] | None") -> None:
    """Cancel a task and wait for its end."""
    if task is not None:
        task.cancel()
        await asyncio.wait([task])
