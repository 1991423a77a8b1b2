"""The proxy protocol over HTTP: ``/v1/proxy`` (PROXY_PROTOCOL), on the generations of this proxy.

| POST   | starts a generation under an id of ours; 201 with its signed address |
| GET    | reads it as any Durable Stream; for whoever has its address, or may read |
| HEAD   | what is known of it; not by a signed address |
| PATCH  | stops it; by its signed address only |
| DELETE | stops and removes it; not by a signed address |
"""

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import assert_never
from uuid import uuid4

from fastapi import APIRouter, Request
from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from durable_proxy._answers import Accepted
from durable_proxy._errors import LOG_FAILED, Refusal, RefusedError
from durable_proxy._figures import resumes
from durable_proxy._guard import Credentials, Principal, Right
from durable_proxy._guarding import Guard
from durable_proxy._messages import messages_of
from durable_proxy._refusing import ALWAYS, refusal_headers
from durable_proxy._request_body import read_start, while_there
from durable_proxy._service import Proxy
from durable_proxy._start_request import StartRequest
from durable_proxy._stop_request import StopOrder
from durable_proxy._v1_errors import V1Code, V1RefusedError, translate, v1_refusal
from durable_proxy._v1_request import V1Header, as_start, is_abort, stream_of, v1_credentials
from durable_streams_server import LogError, StreamGoneError, StreamNotFoundError
from durable_transport.protocol import (
    ControlEvent,
    ErrorCode,
    GenerationPaths,
    ProxyHeader,
    Rejected,
)

PREFIX = "/v1/proxy"
OCTETS = "application/octet-stream"
REDIRECTS = range(300, 400)
REFUSED = 400
COUNTED_AS = {
    400: ErrorCode.BAD_REQUEST,
    401: ErrorCode.UNAUTHORIZED,
    403: ErrorCode.UPSTREAM_NOT_ALLOWED,
    404: ErrorCode.NOT_FOUND,
    502: ErrorCode.UPSTREAM_UNREACHABLE,
    504: ErrorCode.UPSTREAM_TIMEOUT,
}
"""Refusals that only this surface has, by status, in the figures of all."""

ASKED_FOR = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST, PATCH, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": ", ".join(
        [
            *(V1Header.UPSTREAM_URL, V1Header.UPSTREAM_METHOD, V1Header.UPSTREAM_AUTHORIZATION),
            *("Authorization", "Content-Type", ProxyHeader.SECRET),
        ]
    ),
}
"""Which origins may is said by whoever knows: `durable_proxy._cors`."""

_NOT_FOUND = v1_refusal(V1Code.STREAM_NOT_FOUND, "there is no such stream")

Handler = Callable[[Request], Awaitable[Response]]

logger = logging.getLogger("durable_proxy")


def v1_routes(
    proxy: Proxy, guard: Guard, streams: ASGIApp, base_of: Callable[[Request], str]
) -> APIRouter:
    """The routes of the protocol.

    Args:
        proxy: Runs the generations.
        guard: Lets requests in.
        streams: Reads streams; it asks nobody for a right.
        base_of: Where clients reach the application.
    """
    surface = _Surface(proxy, guard, streams, base_of)
    router = APIRouter(prefix=PREFIX, tags=["proxy protocol"])
    one = "/{stream_id}"

    def add(path: str, method: str, handler: Handler, *, documented: bool = True) -> None:
        async def endpoint(request: Request) -> Response:
            return await surface.answer(request, handler)

        router.add_api_route(
            path,
            endpoint,
            methods=[method],
            name=handler.__name__,
            description=handler.__doc__,
            response_model=None,
            include_in_schema=documented,
        )

    add("", "POST", surface.create)
    add("/", "POST", surface.create, documented=False)
    add(one, "GET", surface.read)
    add(one, "HEAD", surface.head)
    add(one, "PATCH", surface.abort)
    add(one, "DELETE", surface.delete)
    for path in ("", "/", one):
        add(path, "OPTIONS", surface.options, documented=False)
    for path in ("", "/", "/{rest:path}"):
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
            add(path, method, surface.nowhere, documented=False)
    return router


class _Surface:
    def __init__(
        self, proxy: Proxy, guard: Guard, streams: ASGIApp, base_of: Callable[[Request], str]
    ) -> None:
        self._proxy = proxy
        self._guard = guard
        self._streams = streams
        self._base_of = base_of

    async def answer(self, request: Request, handler: Handler) -> Response:
        """Render what a handler raises, in the form of this surface."""
        try:
            return await handler(request)
        except V1RefusedError as error:
            refusal = error.refusal
            self._proxy.figures.refused[COUNTED_AS[refusal.status]] += 1
        except RefusedError as error:
            refusal = translate(error.refusal, secret_shown=_shown(request).secret is not None)
            self._proxy.figures.refused[error.refusal.code] += 1
        except LogError as error:
            logger.error("%s: the log failed: %s", PREFIX, error)  # noqa: TRY400 - an outage, not a defect
            refusal = translate(LOG_FAILED, secret_shown=False)
            self._proxy.figures.refused[LOG_FAILED.code] += 1
        headers = refusal_headers(refusal.status, refusal.retry_after)
        body = {"error": {"code": refusal.code, "message": refusal.message}}
        return JSONResponse(body, status_code=refusal.status, headers=headers)

    # ------------------------------------------------------------------ creating

    async def create(self, request: Request) -> Response:
        """Send a request upstream, and write its answer to a stream (section 4.1)."""
        principal = await self._serve(request, Right.START)
        wanted = (await self._parse(request)).by(principal.name)
        answer = await while_there(request, self._proxy.start(wanted))
        if isinstance(answer, Accepted):
            base = self._base_of(request).rstrip("/")
            query = self._guard.address_query(wanted.paths.subject)
            headers = ALWAYS | {
                "Location": f"{base}{PREFIX}/{wanted.session_id}{query}",
                V1Header.UPSTREAM_CONTENT_TYPE: answer.start.content_type or OCTETS,
            }
            return Response(status_code=HTTPStatus.CREATED, headers=headers)
        # Nobody knows the id: nothing of this attempt is kept, and what runs lets its upstream go.
        await self._proxy.parts.desk.remove(wanted.paths)
        match answer:
            case None:
                return Response(status_code=499)  # nobody reads this
            case Rejected():
                return _rejection(answer)
            case Refusal():
                raise RefusedError(answer)
            case _:
                assert_never(answer)

    async def _parse(self, request: Request) -> StartRequest:
        stream_id, headers = str(uuid4()), as_start(request.headers.raw)
        secrets = self._guard.access.not_for_upstreams
        ids = stream_id, stream_id
        return await read_start(request, ids, headers, self._proxy.options, secrets)

    # ------------------------------------------------------------------ reading

    async def read(self, request: Request) -> Response:
        """Read a stream, as the Durable Streams protocol has it (section 4.2)."""
        paths = stream_of(request.path_params["stream_id"])
        subject = None if paths is None else paths.subject
        principal = await self._guard.admit(request, Right.READ, subject, shown=_shown(request))
        give_back = self._guard.read_slot(principal)
        try:
            reading = await self._reading(paths)
        except BaseException:
            give_back()
            raise
        self._proxy.figures.resumed += resumes(request.scope["query_string"])
        reading.on_end = give_back
        return reading

    async def head(self, request: Request) -> Response:
        """Tell what is known of a stream (section 4.4)."""
        await self._serve(request, Right.READ)
        return await self._reading(stream_of(request.path_params["stream_id"]))

    async def _reading(self, paths: GenerationPaths | None) -> "_Reading":
        """The answer of the streams' own surface, with what the upstream called its content."""
        if paths is None:
            raise V1RefusedError(_NOT_FOUND)
        try:
            async with self._proxy.parts.log.reader(paths.control) as control:
                chunk = await control.read()
        except (StreamNotFoundError, StreamGoneError):
            raise V1RefusedError(_NOT_FOUND) from None
        messages = messages_of(chunk.data) if chunk.data else []
        start = next((one for one in messages if one.event == ControlEvent.START), None)
        headers = {}
        if start is not None:
            content_type = start.start_payload().content_type or OCTETS
            headers[V1Header.UPSTREAM_CONTENT_TYPE.value] = content_type
        return _Reading(self._streams, paths.data, headers)

    # ------------------------------------------------------------------ ending

    async def abort(self, request: Request) -> Response:
        """Stop the upstream of a stream, and keep what has come (section 4.3)."""
        paths, shown = stream_of(request.path_params["stream_id"]), _shown(request)
        if shown.signature is None:
            message = "only the signed address of the stream can abort it"
            raise V1RefusedError(v1_refusal(V1Code.MISSING_SIGNATURE, message))
        subject = "" if paths is None else paths.subject
        self._guard.check_address(shown.signature, subject)
        if not is_abort(request.scope["query_string"]):
            message = "the only action is abort: ?action=abort"
            raise V1RefusedError(v1_refusal(V1Code.INVALID_ACTION, message))
        if paths is not None:
            await self._proxy.parts.desk.stop(StopOrder(paths))
        return Response(status_code=HTTPStatus.NO_CONTENT, headers=ALWAYS)

    async def delete(self, request: Request) -> Response:
        """Stop the upstream of a stream, and remove what has come (section 4.5)."""
        await self._serve(request, Right.DELETE)
        paths = stream_of(request.path_params["stream_id"])
        if paths is not None:
            await self._proxy.parts.desk.delete(paths)
        return Response(status_code=HTTPStatus.NO_CONTENT, headers=ALWAYS)

    # ------------------------------------------------------------------ the rest

    async def options(self, _request: Request) -> Response:
        """Tell pages of other origins what they may send (section 10.1)."""
        return Response(status_code=HTTPStatus.NO_CONTENT, headers=ALWAYS | ASKED_FOR)

    async def nowhere(self, request: Request) -> Response:
        """Refuse whatever is not above."""
        await self._serve(request, Right.READ)
        raise V1RefusedError(v1_refusal(V1Code.NOT_FOUND, "there is no such route"))

    async def _serve(self, request: Request, right: Right) -> Principal:
        """Admit who has more than a signed address (section 9.1)."""
        shown = Credentials(_shown(request).secret)
        return await self._guard.admit(request, right, shown=shown)


def _shown(request: Request) -> Credentials:
    return v1_credentials(request.headers.raw, request.scope["query_string"])


def _rejection(answer: Rejected) -> Response:
    """What the upstream said when it did not accept (section 4.1)."""
    if answer.status in REDIRECTS:
        message = "the upstream redirects, and redirects are not followed"
        raise V1RefusedError(v1_refusal(V1Code.REDIRECT_NOT_ALLOWED, message))
    theirs = dict(answer.headers)
    content_type = theirs.get("content-type", OCTETS)
    headers = ALWAYS | {
        V1Header.UPSTREAM_STATUS.value: str(answer.status),
        V1Header.UPSTREAM_CONTENT_TYPE.value: content_type,
        "Content-Type": content_type,
    }
    if "retry-after" in theirs:
        headers["Retry-After"] = theirs["retry-after"]
    return Response(answer.body, status_code=HTTPStatus.BAD_GATEWAY, headers=headers)


class _Reading(Response):
    """The streams' answer about another path than the one that was asked for.

    Args:
        streams: Answers.
        path: Of the stream.
        more: Headers for an answer that is none of an error.
    """

    def __init__(self, streams: ASGIApp, path: str, more: dict[str, str]) -> None:
        super().__init__()
        self._streams = streams
        self._path = f"/{path}"
        self._more = more
        self.on_end: Callable[[], None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < REFUSED:
                MutableHeaders(scope=message).update(self._more)
            await send(message)

        there = {"path": self._path, "raw_path": self._path.encode(), "root_path": ""}
        try:
            await self._streams({**scope, **there}, receive, sending)
        finally:
            if self.on_end is not None:
                self.on_end()
