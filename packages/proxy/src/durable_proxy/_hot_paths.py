"""The two hot paths of the proxy, served in front of the application that is built for comfort.

Starting a generation and reading its streams need nothing of what FastAPI and Starlette put
around a route: between them and the server it costs half a millisecond of each generation, and it
hides the server's own ``send``, which live bytes can be written to without a task.
"""

import logging
import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from durable_streams_server import LogError

STREAMS_PREFIX = "/v1/stream"

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
ErrorHandler = Callable[[Request, Exception], Coroutine[Any, Any, Response]]

_START = re.compile("/api/(?P<session>[^/]+)/(?P<request_id>[^/]+)")

logger = logging.getLogger("durable_proxy")


@dataclass(frozen=True, slots=True)
class HotPaths:
    """What answers the requests that are many.

    Attributes:
        start: Answers the start of a generation.
        on_log: The answer when the log fails.
        on_defect: The answer when we do.
        streams: Answers everything under `STREAMS_PREFIX`.
    """

    start: Handler
    on_log: ErrorHandler
    on_defect: ErrorHandler
    streams: ASGIApp


def hot_paths_first(app: FastAPI) -> ASGIApp:
    """The application of `create_app`, with its hot paths in front of it.

    Whatever was put around the application, such as an authentication, has to see every request:
    then it is returned as it is.
    """
    return app if app.user_middleware else _Front(app, app.state.hot_paths)


class _Front:
    def __init__(self, app: ASGIApp, paths: HotPaths) -> None:
        self._app = app
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        path: str = scope["path"]
        if path.startswith(f"{STREAMS_PREFIX}/"):
            root_path = scope.get("root_path", "") + STREAMS_PREFIX
            inner = {**scope, "root_path": root_path, "app": self._app}
            return await self._paths.streams(inner, receive, send)
        start = _START.fullmatch(path) if scope["method"] == "POST" else None
        if start is None:
            return await self._app(scope, receive, send)
        request = Request({**scope, "path_params": start.groupdict(), "app": self._app}, receive)
        return await self._start(request, send)

    async def _start(self, request: Request, send: Send) -> None:
        response: Response | None = None
        try:
            response = await self._paths.start(request)
            await response(request.scope, request.receive, send)
        except LogError as error:
            # Nothing has been sent: a body that has begun ends by itself when the log fails.
            response = await self._paths.on_log(request, error)
            await response(request.scope, request.receive, send)
        except Exception as error:
            if response is not None:
                raise
            logger.exception("a start request failed")
            response = await self._paths.on_defect(request, error)
            await response(request.scope, request.receive, send)
