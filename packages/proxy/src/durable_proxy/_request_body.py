"""A request as it comes in: a start, a body up to a length and within a time, and its client."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from durable_proxy._errors import Refusal, RefusedError
from durable_proxy._guard import Secrets, check_forwarded
from durable_proxy._headers import RawHeaders
from durable_proxy._start_request import (
    StartRequest,
    check_body_length,
    declared_length,
    parse_head,
)
from durable_transport.protocol import ErrorCode

if TYPE_CHECKING:
    from durable_proxy._service import Options

T = TypeVar("T")


async def read_start(
    request: Request,
    ids: tuple[str, str],
    headers: RawHeaders,
    options: "Options",
    secrets: Secrets,
) -> StartRequest:
    """Read a start request.

    Args:
        request: Whose body it has.
        ids: Of the session and the request.
        headers: Which it has.
        options: What is taken, and called.
        secrets: Those that must not go upstream.

    Raises:
        RefusedError: it is not fit to be sent.
    """
    limits = options.limits
    head = parse_head(*ids, headers, allowlist=options.allowlist, limits=limits)
    if (refusal := check_forwarded(secrets, head.headers, str(head.target))) is not None:
        raise RefusedError(refusal)
    check = partial(check_body_length, limits=limits)
    return head.with_body(await read_body(request, check, options.streams.body_wait))


async def read_body(request: Request, check: Callable[[int], None], seconds: float) -> bytes:
    """Read a body.

    Args:
        request: Whose.
        check: Raises `RefusedError` for a length, so far or declared, that is too long.
        seconds: How long the client may take for all of it.

    Raises:
        RefusedError: it is too long, too slow, or was cut off.
    """
    check(declared_length(request.headers.raw))
    try:
        async with asyncio.timeout(seconds):
            return await _read(request, check)
    except TimeoutError:
        message = f"the request body did not arrive within {seconds:g} s"
        raise RefusedError(Refusal(ErrorCode.REQUEST_TIMEOUT, message)) from None
    except ClientDisconnect:
        # Half a request does nothing; nobody reads this answer.
        raise RefusedError(Refusal(ErrorCode.BAD_REQUEST, "the body was cut off")) from None


async def _read(request: Request, check: Callable[[int], None]) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        check(len(body))
    return bytes(body)


async def while_there(request: Request, work: Coroutine[Any, Any, T]) -> T | None:
    """What comes of ``work``; None when the client goes away first, and then it is cancelled.

    The request's body has been read.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
