"""A route of the application that passes reads of a stream on: clients never see its address."""

import inspect
import logging
from collections.abc import AsyncIterator
from functools import cache
from http import HTTPStatus
from typing import Final

import httpx2
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from durable_ai_transport._response import StreamTarget
from durable_transport.protocol import StreamHeader

_QUERY: Final = ("offset", "live", "cursor")
_REQUEST: Final = ("accept", "if-none-match", "last-event-id")
_ANSWER: Final = ("content-type", "cache-control", "etag", "retry-after")
_STREAM: Final = tuple(header.lower() for header in StreamHeader)
_SILENCE: Final = 90.0
"""Seconds: a server of streams says something at least that often."""
_certificates: Final = cache(httpx2.create_ssl_context)
"""Loading them takes longer than a read."""
_log = logging.getLogger("durable_ai_transport")


async def read_proxy(request: Request, target: StreamTarget) -> Response:
    """Answer a read with what the stream's server answers, as it comes.

    Whoever may call the route may read this stream: check that first. Of the request, the query
    of the protocol (``offset``, ``live``, ``cursor``) goes on, and no credentials of the client's.

    Args:
        request: A GET or HEAD of the application's.
        target: The stream, with the credentials to read it.
    """
    client = target.client or httpx2.AsyncClient(verify=_certificates())
    own = None if target.client is client else client
    try:
        answer = await client.send(await _request(client, request, target), stream=True)
    except httpx2.TransportError as error:
        await _close(None, own)
        _log.warning("the server of streams cannot be reached: %s", error)
        return JSONResponse(
            {"error": "The server of streams cannot be reached. Try again in a moment."},
            HTTPStatus.BAD_GATEWAY,
            {"Cache-Control": "no-store"},
        )
    except BaseException:
        await _close(None, own)
        raise
    kept = {
        name: value
        for name, value in answer.headers.items()
        if name.lower() in (*_ANSWER, *_STREAM)
    }
    return StreamingResponse(_body(answer, own), answer.status_code, kept)


async def _request(
    client: httpx2.AsyncClient, request: Request, target: StreamTarget
) -> httpx2.Request:
    given = target.headers() if callable(target.headers) else target.headers
    headers = dict(await given if inspect.isawaitable(given) else given or {})
    headers |= {name: request.headers[name] for name in _REQUEST if name in request.headers}
    # Compressed, a live answer would wait for enough to compress.
    headers["Accept-Encoding"] = "identity"
    query = {name: request.query_params[name] for name in _QUERY if name in request.query_params}
    url = httpx2.URL(target.write_url).copy_merge_params(query)
    timeout = httpx2.Timeout(10.0, read=_SILENCE)
    return client.build_request(request.method, url, headers=headers, timeout=timeout)


async def _body(answer: httpx2.Response, own: httpx2.AsyncClient | None) -> AsyncIterator[bytes]:
    try:
        async for data in answer.aiter_raw():
            yield data
    finally:
        await _close(answer, own)


async def _close(answer: httpx2.Response | None, own: httpx2.AsyncClient | None) -> None:
    if answer is not None:
        await answer.aclose()
    if own is not None:
        await own.aclose()
