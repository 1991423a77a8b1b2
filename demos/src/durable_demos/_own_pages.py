"""Only the demo's own page may use it: a demo with a key of yours listens on your machine.

Any page that you visit can send requests to an address of your machine, and a name that its owner
points there (DNS rebinding) makes them look like requests of the same site.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse

from durable_streams_server import LOOPBACK_HOSTS

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


class OwnPages:
    """An application that refuses requests of other sites' pages with 403."""

    def __init__(self, app: ASGIApp, *, local: bool) -> None:
        """Wrap an application.

        Args:
            app: What the others get.
            local: It listens to this machine only, so no other name can be meant.
        """
        self._app = app
        self._local = local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        if is_own(headers.get(b"host", ""), headers.get(b"origin"), local=self._local):
            await self._app(scope, receive, send)
        else:
            refusal = PlainTextResponse("open the demo at the address it told you\n", 403)
            await refusal(scope, receive, send)


def is_own(host: str, origin: str | None, *, local: bool) -> bool:
    """Whether a request with these headers comes from the page, or from no page at all."""
    if local and urlsplit(f"//{host}").hostname not in LOOPBACK_HOSTS:
        return False
    return origin is None or urlsplit(origin).netloc == host
