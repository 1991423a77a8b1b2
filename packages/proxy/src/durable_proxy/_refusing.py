"""The proxy's own no, as an answer: one form on all surfaces but that of the proxy protocol."""

from http import HTTPStatus

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from durable_proxy._errors import RETRY_AFTER, Refusal
from durable_transport.protocol import ErrorCode, ProxyHeader

UNTOUCHED = {"X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff"}
"""On every answer of ours: nothing in between may hold it up, or guess what it is."""
ALWAYS = {"Cache-Control": "no-cache, no-transform", **UNTOUCHED}
"""On those that nothing in between may keep or change either: all but shapes."""


class _Refused(JSONResponse):
    """Counts itself when it is sent: by then it is certain whose answer it is."""

    code: ErrorCode

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        scope["app"].state.proxy.figures.refused[self.code] += 1
        await super().__call__(scope, receive, send)


def refusal_headers(status: int, retry_after: int | None) -> dict[str, str]:
    """What comes with a refusal on any surface; ``retry_after``: seconds."""
    headers = dict(ALWAYS)
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="durable-proxy"'
    return headers


def refuse(refusal: Refusal) -> Response:
    """Render a refusal."""
    headers = refusal_headers(refusal.status, RETRY_AFTER.get(refusal.code))
    headers |= {ProxyHeader.SOURCE: "proxy", ProxyHeader.ERROR: refusal.code}
    body = {"error": {"code": refusal.code, "message": refusal.message}}
    response = _Refused(body, status_code=refusal.status, headers=headers)
    response.code = refusal.code
    return response


def refuse_method(allow: str) -> Response:
    """Refuse a method; ``allow``: those that the path has."""
    allowed = ", ".join(sorted(allow.split(", ")))
    refusal = Refusal(ErrorCode.METHOD_NOT_ALLOWED, f"this path has other methods: {allowed}")
    response = refuse(refusal)
    response.headers["Allow"] = allowed
    return response
