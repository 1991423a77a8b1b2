"""An answer as it comes: chunks to iterate, and the message that they make."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from copy import deepcopy
from dataclasses import dataclass
from inspect import isawaitable
from typing import Self

import httpx2

from durable_ai_transport.vercel._chunks import Chunk
from durable_ai_transport.vercel._errors import ResponseFailed, ResponseTruncated
from durable_ai_transport.vercel._message import UIMessage, UIMessageReader
from durable_transport import (
    GenerationAborted,
    GenerationError,
    NoDataTimeout,
    ProxyError,
    StreamUnreachable,
)

_OUT_OF_TOUCH = (ProxyError, NoDataTimeout, StreamUnreachable, ResponseTruncated)


@dataclass(frozen=True, slots=True)
class Finished:
    """How an answer ended, as the SDK's ``onFinish`` is told.

    Attributes:
        message: The answer, as far as it came.
        messages: The chat's messages, with it.
        is_abort: It was stopped, or its reader left it before the end.
        is_disconnect: It may go on, but the connection is lost: reconnect.
        is_error: It failed, or could not be read.
        finish_reason: Of its ``finish`` chunk.
        error: What was raised, None when nothing was.
    """

    message: UIMessage
    messages: list[UIMessage]
    is_abort: bool = False
    is_disconnect: bool = False
    is_error: bool = False
    finish_reason: str | None = None
    error: BaseException | None = None

    @property
    def is_over(self) -> bool:
        """There is nothing more to come, whoever asks."""
        left = self.is_abort and not isinstance(self.error, GenerationAborted | None)
        return not self.is_disconnect and not left


OnFinish = Callable[[Finished], Awaitable[None] | None]


class UIMessageStream:
    """One answer: ``async for`` gives its chunks. Works as a context manager, which leaves it.

    To leave it early stops nothing: the answer goes on, and can be reconnected to.

    Attributes:
        history: The messages before it.
    """

    def __init__(
        self,
        chunks: AsyncIterator[Chunk],
        history: list[UIMessage],
        on_finish: Callable[[Finished], Awaitable[None]],
    ) -> None:
        self._chunks = chunks
        self._on_finish = on_finish
        self._over = False
        self.history = history
        last = history[-1] if history else None
        self._reader = UIMessageReader(last, reset_on_new_id=True)

    @property
    def message(self) -> UIMessage:
        """The answer so far. It changes with every chunk: copy it to keep it."""
        return self._reader.message

    @property
    def messages(self) -> list[UIMessage]:
        """The chat's messages, with the answer so far."""
        message = self.message
        if not message["parts"]:
            return self.history
        if self.history and self.history[-1]["id"] == message["id"]:
            return [*self.history[:-1], message]
        return [*self.history, message]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        """The next chunk.

        Raises:
            ResponseFailed: the answer has an error chunk.
            UIMessageStreamError: what comes is no UI message stream, or breaks off.
            GenerationError: the generation did not come to a good end, or cannot be read.
            StreamError: the stream of the answer cannot be read.
        """
        if self._over:
            raise StopAsyncIteration
        try:
            return await self._next()
        except StopAsyncIteration:
            await self._finish(None)
            raise
        except BaseException as error:
            await self._finish(error)
            raise

    async def _next(self) -> Chunk:
        chunk = await anext(self._chunks)
        self._reader.read(chunk)
        if self._reader.errors:
            raise ResponseFailed(self._reader.errors[0])
        return chunk

    async def snapshots(self) -> AsyncIterator[UIMessage]:
        """The message after every chunk that changes it, each a copy.

        Raises:
            Exception: as for the chunks.
        """
        shown = deepcopy(self.message)
        async for _ in self:
            if self.message != shown:
                shown = deepcopy(self.message)
                yield shown

    async def read(self) -> UIMessage:
        """The whole answer, when it is complete.

        Raises:
            Exception: as for the chunks.
        """
        async for _ in self:
            pass
        return self.message

    async def aclose(self) -> None:
        """Leave the answer."""
        if not self._over:
            await self._finish(asyncio.CancelledError())

    async def _finish(self, error: BaseException | None) -> None:
        self._over = True
        aclose = getattr(self._chunks, "aclose", None)
        if aclose is not None:
            await aclose()
        await self._on_finish(self._finished(error))

    def _finished(self, error: BaseException | None) -> Finished:
        stopped = isinstance(error, GenerationAborted)
        left = isinstance(error, asyncio.CancelledError | GeneratorExit | KeyboardInterrupt)
        return Finished(
            self.message,
            self.messages,
            is_abort=stopped or left or self._reader.aborted,
            is_disconnect=is_disconnect(error),
            is_error=error is not None and not stopped and not left,
            finish_reason=self._reader.finish_reason,
            error=error,
        )


def is_disconnect(error: BaseException | None) -> bool:
    """The answer may go on, and we cannot see it."""
    if isinstance(error, GenerationError):
        return isinstance(error, _OUT_OF_TOUCH)
    return isinstance(error, (*_OUT_OF_TOUCH, httpx2.TransportError))


async def told(on_finish: OnFinish | None, finished: Finished) -> None:
    """Call the user's function, which may be ``async``."""
    waiting = None if on_finish is None else on_finish(finished)
    if isawaitable(waiting):
        await waiting
