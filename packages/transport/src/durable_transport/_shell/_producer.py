"""The idempotent producer: appends that need not be waited for, and are stored once."""

import asyncio
import logging
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, assert_never

from durable_transport._entries import Storage
from durable_transport._shell._async_stream import DurableStream
from durable_transport._shell._io_async import bounded_cleanup, run_blocking
from durable_transport._stream._calls import Appended
from durable_transport._stream._encode import encode, join
from durable_transport._stream._errors import ProducerFenced, StreamError
from durable_transport._stream._link import Failure
from durable_transport._stream._producer import (
    AfterPredecessor,
    BackOff,
    Done,
    Failed,
    ProducerBatch,
    ProducerState,
    Resend,
    bumped,
    post,
    producer_call,
    producer_key,
)

_log = logging.getLogger("durable_transport")


class IdempotentProducer:
    """Appends without waiting, in order, and each exactly once however often a connection breaks.

    What is appended while requests are under way travels together in the next one; nothing is
    held back for company. Works as a context manager, which at its end waits until everything is
    stored. For asyncio.

    Exactly once holds for as long as the producer lives. One that is started again begins a new
    epoch, which shuts out what is left of the old one, and knows nothing of it: what was appended
    and not acknowledged before a crash may be in the stream or not. Who must not repeat that
    reads the end of the stream first, or keeps `DurableStream.append`'s ``seq``.

    Args:
        stream: Where to.
        producer_id: Who is writing: the same over restarts, and no one else's meanwhile.
        epoch: To be set only by those who count starts themselves. When absent, it is one more
            than the last start's (with ``storage``), or 0.
        storage: Where the epoch is remembered, under the stream's address and the id.
        auto_claim: When somebody has this epoch or a later one already, take the next one (at the
            start only). When absent: yes, unless ``epoch`` is given.
        max_in_flight: Requests under way at a time.
        max_batch_bytes: A request takes no more appends once it has this many bytes.
        max_pending_bytes: `append` refuses more than this many bytes that are not stored yet.
    """

    def __init__(
        self,
        stream: DurableStream,
        producer_id: str,
        *,
        epoch: int | None = None,
        storage: Storage | None = None,
        auto_claim: bool | None = None,
        max_in_flight: int = 4,
        max_batch_bytes: int = 1 << 20,
        max_pending_bytes: int = 64 << 20,
    ) -> None:
        _check(producer_id, epoch, storage, max_in_flight, max_batch_bytes)
        self._stream = stream
        self.producer_id = producer_id
        self._storage = storage
        self._max_pending = max_pending_bytes
        self._state = ProducerState(
            epoch=epoch or 0,
            auto_claim=epoch is None if auto_claim is None else auto_claim,
            max_in_flight=max_in_flight,
            max_batch_bytes=max_batch_bytes,
        )
        self._early: list[tuple[Any, bool]] = []
        self._starting: asyncio.Task[None] | None = None
        self._started = False
        self._kicked = False
        self._ended = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._failure: Exception | None = None

    @property
    def epoch(self) -> int:
        """The present epoch; final once the first append is stored."""
        return self._state.epoch

    @property
    def offset(self) -> str | None:
        """The end of the stream after the last append that is known to be stored."""
        return self._state.offset

    @property
    def unacknowledged(self) -> list[Any]:
        """What was appended and is not known to be stored: encoded, or as it was given when the
        producer had no chance to learn what the stream holds.
        """
        early = [data for data, close in self._early if not close or data is not None]
        return [*self._state.unacknowledged(), *early]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_value is None:
            await self.aclose()
            return
        # What was appended before the block failed is sent, but not waited for without end.
        with bounded_cleanup(self._stream.requests.timing.close):
            try:
                await self.flush()
            except Exception as error:  # noqa: BLE001  (the block's own error is the one to see)
                _log.warning("appends of producer %s were lost: %s", self.producer_id, error)
        await self._stop()

    def append(self, data: Any) -> None:
        """Append, without waiting.

        Args:
            data: As for `DurableStream.append`.

        Raises:
            StreamError: an earlier append could not be stored, so neither can this one.
            BufferError: too much is waiting; `flush` now and then.
            TypeError: nothing that can be appended to this stream (known after the first flush).
            ValueError: likewise.
            RuntimeError: the producer was closed.
        """
        self._check_usable()
        if self._state.pending_bytes > self._max_pending:
            raise BufferError(
                f"{self._state.pending_bytes} bytes wait to be stored: await flush() now and then"
            )
        self._add(data, close=False)

    async def flush(self) -> None:
        """Wait until everything that was appended is stored.

        Raises:
            StreamError: something could not be stored; `unacknowledged` is what.
        """
        while True:
            self._check_failure()
            if not self._early and self._state.idle:
                return
            self._changed.clear()
            await self._changed.wait()

    async def close(self, data: Any = None) -> Appended:
        """Close the stream, with ``data`` as its last content, when all before it is stored.

        Once that is done, another call does nothing.

        Raises:
            StreamError: something could not be stored; `unacknowledged` is what.
        """
        if not self._state.closed:
            self._check_usable()
            self._add(data, close=True)
            self._ended = True
        await self.aclose()
        return Appended(self.offset, closed=True)

    async def aclose(self) -> None:
        """Wait until everything is stored, and end; the stream stays open.

        Raises:
            StreamError: something could not be stored; `unacknowledged` is what.
        """
        self._ended = True
        try:
            await self.flush()
        finally:
            await self._stop()

    # ------------------------------------------------------------------ starting

    def _add(self, data: Any, *, close: bool) -> None:
        if self._started:
            self._take(data, close=close)
            self._kick_soon()
            return
        self._early.append((data, close))
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())

    async def _start(self) -> None:
        try:
            await self._stream.holds()
            if self._storage is not None:
                await self._next_epoch(self._storage)
            self._started = True
            while self._early:
                data, close = self._early[0]
                self._take(data, close=close)
                del self._early[0]
            self._kick()
        except Exception as error:  # noqa: BLE001  (whoever flushes is told)
            self._fail(error)

    async def _next_epoch(self, storage: Storage) -> None:
        def seen(epoch: int) -> None:
            self._state.epoch = epoch

        key = producer_key(self._stream.requests.url.bare, self.producer_id)
        change: Callable[[bytes | None], bytes | None] = bumped(key, seen)
        if storage.blocking:
            await run_blocking(lambda: storage.update(key, change))
        else:
            storage.update(key, change)

    def _take(self, data: Any, *, close: bool) -> None:
        encoded = None if data is None and close else encode(data, self._holds())
        self._state.add(encoded, close=close)

    def _holds(self) -> str:
        assert self._stream.content_type is not None  # known since the start
        return self._stream.content_type

    # ------------------------------------------------------------------ sending

    def _kick_soon(self) -> None:
        """Appends of the same turn of the event loop travel together."""
        if not self._kicked:
            self._kicked = True
            asyncio.get_running_loop().call_soon(self._kick)

    def _kick(self) -> None:
        self._kicked = False
        while (batch := self._state.next_batch()) is not None:
            task = asyncio.create_task(self._send(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _send(self, batch: ProducerBatch) -> None:
        try:
            await self._send_until_stored(batch)
        except Exception as error:  # noqa: BLE001  (whoever flushes is told)
            self._fail(error)
        self._changed.set()
        self._kick()

    async def _send_until_stored(self, batch: ProducerBatch) -> None:
        link = self._stream.requests.link()
        content = join(batch.parts, self._holds()) if batch.parts else b""
        while self._failure is None:
            self._state.sending(batch)
            call = producer_call(
                self.producer_id,
                self._state.epoch,
                batch,
                content=content,
                content_type=self._holds(),
            )
            verdict = self._state.judge(batch, await self._stream.requests.run(post(link, call)))
            match verdict:
                case Done():
                    return
                case Resend():
                    link.moved()
                case AfterPredecessor():
                    await self._predecessors(batch)
                case BackOff(failure):
                    await self._wait(link.back_off, failure)
                case Failed(error):
                    raise error
                case _:
                    assert_never(verdict)

    async def _predecessors(self, batch: ProducerBatch) -> None:
        while self._failure is None and not self._state.may_follow(batch):
            self._changed.clear()
            await self._changed.wait()

    async def _wait(self, back_off: Callable[[Failure], Any], failure: Failure) -> None:
        try:
            await self._stream.requests.run(back_off(failure))
        except StreamError as error:
            self._state.fail(error)
            raise

    # ------------------------------------------------------------------ ending

    def _fail(self, error: Exception) -> None:
        if isinstance(error, ProducerFenced) and not error.url:
            error.url = self._stream.requests.url.bare
        self._failure = self._failure or error
        if isinstance(error, StreamError):
            self._state.fail(error)
        self._changed.set()

    def _check_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _check_usable(self) -> None:
        self._check_failure()
        if self._ended:
            raise RuntimeError("the producer was closed; make a new one")

    async def _stop(self) -> None:
        self._ended = True
        tasks = {*self._tasks, *([self._starting] if self._starting else [])}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def _check(
    producer_id: str,
    epoch: int | None,
    storage: Storage | None,
    max_in_flight: int,
    max_batch_bytes: int,
) -> None:
    if not (producer_id and producer_id.isascii() and producer_id.isprintable()):
        raise ValueError(f"producer_id {producer_id!r}: give printable ASCII text")
    if epoch is not None and storage is not None:
        raise ValueError("give epoch or storage, not both: storage counts the starts")
    if epoch is not None and epoch < 0:
        raise ValueError(f"epoch {epoch}: give 0 or more")
    for name, value in (("max_in_flight", max_in_flight), ("max_batch_bytes", max_batch_bytes)):
        if value < 1:
            raise ValueError(f"{name} {value}: give 1 or more")
