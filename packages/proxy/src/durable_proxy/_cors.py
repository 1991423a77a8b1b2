"""Pages of other origins.

Starlette's, with two differences that the proxy protocol asks for (PROXY_PROTOCOL section 10): a
preflight is answered with 204, and where any origin may, every answer says so, whoever asks.
"""

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

OK, NO_CONTENT = 200, 204
_OF_A_BODY = ("content-length", "content-type")


class Cors(CORSMiddleware):
    """See the module."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if (
            scope["type"] != "http"
            or not self.allow_all_origins
            or "origin" in Headers(scope=scope)
        ):
            return await super().__call__(scope, receive, send)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self.simple_headers)
            await send(message)

        return await self.app(scope, receive, sending)

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answer a preflight."""
        answer = super().preflight_response(request_headers)
        if answer.status_code != OK:
            return answer
        kept = {name: value for name, value in answer.headers.items() if name not in _OF_A_BODY}
        return Response(status_code=NO_CONTENT, headers=kept)
