"""The application's own word on who may come in: ``create_app(authorize=...)``.

It is a FastAPI dependency like any other, so it takes whatever it declares: headers, cookies, the
request, other dependencies. To have FastAPI fill that in, an application of its own with nothing
but this dependency is asked; what it would answer is not sent, only read.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Message, Scope

from durable_proxy._errors import Refusal
from durable_proxy._guard import Principal
from durable_transport.protocol import ErrorCode

_PATHS = (
    "/api/{session}/{rest:path}",
    "/generations/{session}/{rest:path}",
    "/v1/stream/generations/{session}/{rest:path}",
    "/{rest:path}",
)
"""So that a dependency finds the session in the path's parameters."""
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
_STATUS_FORBIDDEN = 403

NOBODY = Refusal(ErrorCode.UNAUTHORIZED, "the request is from nobody who may use the proxy")

Ask = Callable[[Request], Coroutine[Any, Any, Principal | Refusal]]


def asking(authorize: Callable[..., Any], overrides: dict[Any, Any]) -> Ask:
    """Make a dependency into a question.

    Args:
        authorize: Gives a `Principal`, a name (who may do everything), or None for nobody; or
            raises ``HTTPException`` with 401 or 403.
        overrides: ``dependency_overrides`` of the application.
    """
    app = FastAPI(openapi_url=None)
    app.dependency_overrides = overrides

    async def endpoint(request: Request, principal: Any = Depends(authorize)) -> Response:  # noqa: B008 - FastAPI's form
        request.scope[_ANSWER].append(_principal(principal))
        return Response()

    async def on_refusal(request: Request, error: Exception) -> Response:
        request.scope[_ANSWER].append(_refusal(error))
        return Response()

    app.add_exception_handler(HTTPException, on_refusal)
    app.add_exception_handler(RequestValidationError, on_refusal)
    for path in _PATHS:
        app.add_api_route(path, endpoint, methods=_METHODS, response_model=None)

    async def ask(request: Request) -> Principal | Refusal:
        found: list[Principal | Refusal] = []
        # Its own scope: what a router notes in it is about this application only.
        scope: Scope = {**request.scope, "app": app, _ANSWER: found}
        await app(scope, request.receive, _nowhere)
        return found[0] if found else NOBODY

    return ask


_ANSWER = "durable_proxy.principal"


async def _nowhere(message: Message) -> None:
    """Send nothing: it is no answer to the client."""


def _principal(given: Any) -> Principal | Refusal:
    match given:
        case Principal():
            return given
        case str() if given:
            return Principal(given)
        case None:
            return NOBODY
        case _:
            raise TypeError(
                f"authorize= gave a {type(given).__name__}, and no durable_proxy.Principal"
            )


def _refusal(error: Exception) -> Refusal:
    if isinstance(error, HTTPException):
        forbidden = error.status_code == _STATUS_FORBIDDEN
        code = ErrorCode.FORBIDDEN if forbidden else ErrorCode.UNAUTHORIZED
        return Refusal(code, str(error.detail))
    return NOBODY
