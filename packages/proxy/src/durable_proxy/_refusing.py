"""The proxy's own no, as an answer: one form on all surfaces but that of the proxy protocol."""

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from durable_proxy._errors import RETRY_AFTER, Refusal
from durable_transport.protocol import ErrorCode, ProxyHeader

ALWAYS = {
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}
"""On every answer of ours: nothing in between may keep it, change it, or guess what it is."""


class _Refused(JSONResponse):
    """Counts itself when it is sent: by then it is certain whose answer it is."""

    code: ErrorCode

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        scope["app"].state.proxy.figures.refused[self.code] += 1
        await super().__call__(scope, receive, send)


def refuse(refusal: Refusal) -> Response:
    """Render a refusal."""
    headers = ALWAYS | {ProxyHeader.SOURCE: "proxy", ProxyHeader.ERROR: refusal.code}
    if refusal.code in RETRY_AFTER:
        headers["Retry-After"] = str(RETRY_AFTER[refusal.code])
    if refusal.status == STATUS_UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="durable-proxy"'
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


STATUS_UNAUTHORIZED = 401
