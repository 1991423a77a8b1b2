"""No request has more bytes than it may, whatever it says."""

import json
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from durable_transport.protocol import ErrorCode


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
        size, refused = 0, False

        async def limited() -> Message:
            nonlocal size, refused
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._limit:
                refused = True
                raise _TooLargeError
            return message

        async def unless_refused(message: Message) -> None:
            if not refused:
                await send(message)

        if _declared(scope) > self._limit:
            await self._refuse(send)
            return
        with suppress(_TooLargeError):
            await self._app(scope, limited, unless_refused)
        if refused:
            await self._refuse(send)

    async def _refuse(self, send: Send) -> None:
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


def _declared(scope: Scope) -> int:
    text = dict(scope["headers"]).get(b"content-length", b"")
    return int(text) if text.isdigit() else 0
