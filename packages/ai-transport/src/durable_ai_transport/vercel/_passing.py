"""Passing the read of a stream on to the server that has it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any

import httpx2
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from durable_transport.protocol import HOP_BY_HOP_HEADERS

QUERY = ("offset", "live", "cursor")
"""What a read may ask for; the rest of a query is your application's own."""
ASKED = ("accept", "if-none-match")
KEPT_BACK = frozenset(
    {*HOP_BY_HOP_HEADERS, "set-cookie", "server", "date", "location", "access-control-allow-origin"}
)

Meanwhile = Callable[[], Coroutine[Any, Any, None]]


async def pass_on(
    request: Request,
    client: httpx2.AsyncClient,
    url: str,
    *,
    headers: Mapping[str, str],
    silence: float,
    meanwhile: Meanwhile,
) -> Response:
    """Read a stream for somebody else, with credentials of our own.

    Args:
        request: The read, ``GET`` or ``HEAD``.
        client: Sends it.
        url: The stream.
        headers: For the server.
        silence: Seconds without a byte after which the server counts as dead.
        meanwhile: What to do as long as the answer is being sent.

    Returns:
        The server's answer as it comes, or 502 when there is none.
    """
    asked = {name: request.headers[name] for name in ASKED if name in request.headers}
    query = {name: request.query_params[name] for name in QUERY if name in request.query_params}
    onwards = client.build_request(
        request.method,
        url,
        params=query,
        headers={"accept-encoding": "identity", **asked, **headers},
        timeout=silence,
    )
    try:
        answer = await client.send(onwards, stream=True)
    except httpx2.TransportError:
        return refused(502, "unavailable", "the server of the stream cannot be reached")
    return _Passed(answer, meanwhile, live="live" in query)


def refused(status: int, code: str, message: str) -> Response:
    """An answer that says why there is none."""
    error = {"code": code, "message": message}
    return JSONResponse({"error": error}, status, {"Cache-Control": "no-store"})


class _Passed(StreamingResponse):
    def __init__(self, answer: httpx2.Response, meanwhile: Meanwhile, *, live: bool) -> None:
        super().__init__(self._parts(), answer.status_code)
        kept = [
            (name, value)
            for name, value in answer.headers.multi_items()
            if name.lower() not in KEPT_BACK
        ]
        self.raw_headers = [(name.lower().encode(), value.encode()) for name, value in kept]
        self._answer = answer
        self._meanwhile = meanwhile
        self._live = live

    async def _parts(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._answer.aiter_raw():
                yield part
        except httpx2.TransportError:
            # The end of a live answer says nothing, so the reader goes on from where it is.
            if not self._live:
                raise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        meanwhile = asyncio.create_task(self._meanwhile())
        try:
            await super().__call__(scope, receive, send)
        finally:
            meanwhile.cancel()
            await asyncio.wait({meanwhile})
            await self._answer.aclose()
