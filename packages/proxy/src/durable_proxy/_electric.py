"""Shapes from a real Electric: a client's request goes through to it, and its answer back."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from durable_proxy._electric_url import ElectricUrl
from durable_proxy._errors import Refusal, RefusedError
from durable_proxy._refusing import UNTOUCHED
from durable_proxy._shape_request import Live, ShapeRequest
from durable_proxy._upstream import Upstream, UpstreamAnswer, UpstreamError
from durable_proxy._urls import Target
from durable_streams_server import ClientGoneError, Exchange
from durable_transport.protocol import ErrorCode

UNREACHABLE = Refusal(ErrorCode.UPSTREAM_UNREACHABLE, "Electric does not answer")
_REDIRECTS = frozenset({300, 301, 302, 303, 307, 308})
"""Their ``Location`` may have the secret in it."""

logger = logging.getLogger("durable_proxy")


@dataclass(frozen=True, slots=True)
class _Question:
    """A request to Electric."""

    target: Target
    headers: tuple[tuple[bytes, bytes], ...]
    method: str = "GET"
    body: bytes = b""
    any_address: bool = True  # whoever runs the proxy has named it


class _Asking:
    """A question that is taken back when its asker leaves."""

    def __init__(self, task: asyncio.Task[None]) -> None:
        self._task = task

    def stop(self) -> None:
        """Take it back."""
        self._task.cancel()


class ElectricShapes:
    """Answers requests for shapes by asking Electric.

    Args:
        url: Where it is.
        upstream: Gives what sends requests, once it is there.
    """

    def __init__(self, url: ElectricUrl, upstream: Callable[[], Upstream]) -> None:
        self._url = url
        self._upstream = upstream

    async def answer(
        self, shape: ShapeRequest, _request: Request, exchange: Exchange
    ) -> Response | None:
        """Send Electric's answer on as it comes, for as long as somebody is there.

        Raises:
            RefusedError: there is none.
            ClientGoneError: nobody is there any more.
        """
        asking = asyncio.create_task(self._ask(shape, exchange), name="question to Electric")
        try:
            async with exchange.watching(_Asking(asking)):
                await asyncio.wait([asking])
        finally:
            asking.cancel()
            await asyncio.wait([asking])
        if asking.cancelled():
            raise ClientGoneError
        asking.result()
        return None

    async def _ask(self, shape: ShapeRequest, exchange: Exchange) -> None:
        accept = b"text/event-stream" if shape.live is Live.SSE else b"application/json"
        headers = ((b"accept", accept), (b"accept-encoding", b"identity"))
        question = _Question(self._url.target(shape), headers)
        try:
            async with self._upstream().send(question) as found:
                await self._pass_on(found, shape, exchange)
        except UpstreamError as error:
            logger.warning("Electric: %s", error)
            if not exchange.status:
                raise RefusedError(UNREACHABLE) from error
            await exchange.finish()  # the client asks again from where it is

    async def _pass_on(
        self, found: UpstreamAnswer, shape: ShapeRequest, exchange: Exchange
    ) -> None:
        start = found.start()
        if start.status in _REDIRECTS:
            raise RefusedError(UNREACHABLE)
        # What a model answers is somebody's own, whatever Electric says about shared caches.
        keep = "private, no-cache" if shape.live is None and found.accepted else "no-store"
        headers = {name.lower(): value for name, value in UNTOUCHED.items()}
        headers["cache-control"] = f"{keep}, no-transform"
        if start.content_type is not None:
            headers["content-type"] = start.content_type
        raw = [*start.headers, *headers.items()]
        raw = [pair for pair in raw if pair[0] not in headers or pair[1] == headers[pair[0]]]
        await exchange.start(
            start.status, [(name.encode("latin-1"), value.encode("latin-1")) for name, value in raw]
        )
        await found.copy_to(exchange.send_part)
        await exchange.finish()
