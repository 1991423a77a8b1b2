"""No request has more bytes than it may, whatever it says."""

import asyncio
import json
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from durable_transport.protocol import ErrorCode

DRAINED_FACTOR = 4
DRAIN_SECONDS = 5.0


class _TooLargeError(Exception):
    pass


class BodyLimit:
    """Middleware that refuses bodies over a limit.

    Args:
        limit: In bytes.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        size, refused, more = 0, False, True

        async def limited() -> Message:
            nonlocal size, refused, more
            message = await receive()
            size += len(message.get("body", b""))
            more = bool(message.get("more_body"))
            if size > self._limit:
                refused = True
                raise _TooLargeError
            return message

        async def unless_refused(message: Message) -> None:
            if not refused:
                await send(message)

        if _declared(scope) > self._limit:
            await self._refuse(receive, send, more=True)
            return
        with suppress(_TooLargeError):
            await self._app(scope, limited, unless_refused)
        if refused:
            await self._refuse(receive, send, more=more)

    async def _refuse(self, receive: Receive, send: Send, *, more: bool) -> None:
        if more:
            await self._drain(receive)
        message = f"the body is larger than {self._limit} bytes"
        error = {"error": {"code": ErrorCode.BODY_TOO_LARGE.value, "message": message}}
        body = json.dumps(error).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _drain(self, receive: Receive) -> None:
        """Let a client that is still sending finish: one that is cut off reads no answer."""
        left, more = DRAINED_FACTOR * self._limit, True
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                while more and left > 0:
                    message = await receive()
                    more = bool(message.get("more_body"))
                    left -= len(message.get("body", b""))


def _declared(scope: Scope) -> int:
    text = dict(scope["headers"]).get(b"content-length", b"")
    return int(text) if text.isdigit() else 0
