"""The floor of an append: a POST that does nothing, bare ASGI on the same HTTP server."""

from __future__ import annotations

import sys
from typing import Any

from bench.bare import serve


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Take the whole body and answer 204."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


if __name__ == "__main__":
    serve(app, int(sys.argv[1]))
