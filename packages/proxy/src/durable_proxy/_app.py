"""The HTTP surface of the proxy (DESIGN section 6): the control plane, and the streams mounted.

A handler parses, decides, and renders; what a generation is and does is elsewhere.
"""

import logging
import math
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, assert_never

from fastapi import APIRouter, FastAPI, Request
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route

from durable_proxy._allowlist import Allowlist
from durable_proxy._answers import Accepted
from durable_proxy._authorize import asking
from durable_proxy._cors import Cors
from durable_proxy._desk_routes import desk_routes
from durable_proxy._egress import Egress
from durable_proxy._electric import ElectricShapes
from durable_proxy._electric_url import ElectricUrl
from durable_proxy._errors import LOG_FAILED, Refusal, RefusedError
from durable_proxy._guard import Access, Right, Secrets
from durable_proxy._guarding import Guard, GuardedStreams
from durable_proxy._hot_paths import STREAMS_PREFIX, Handler, HotPaths
from durable_proxy._inspector import inspector_route
from durable_proxy._live import LiveBody
from durable_proxy._observe import observing_routes
from durable_proxy._quota import Quota
from durable_proxy._refusing import ALWAYS, refuse, refuse_method
from durable_proxy._request_body import read_start, while_there
from durable_proxy._service import Options, Proxy
from durable_proxy._shape_app import ELECTRIC_HEADERS, LogShapes, ShapeApp, Source
from durable_proxy._stalled_reads import StalledReads
from durable_proxy._start_request import METHODS, Limits, StartRequest
from durable_proxy._upstream import Timeouts
from durable_proxy._urls import check_public_url
from durable_proxy._v1_proxy import v1_routes
from durable_proxy._v1_request import V1Header
from durable_streams_server import Limits as StreamLimits
from durable_streams_server import (
    Log,
    LogError,
    StorageError,
    StreamGoneError,
    StreamNotFoundError,
    StreamsApp,
)
from durable_transport.protocol import (
    ErrorCode,
    ProxyHeader,
    Rejected,
    StartAnswer,
    StreamHeader,
)

__version__ = version("durable-proxy")

FROM_UPSTREAM = {ProxyHeader.SOURCE: "upstream"}
OCTETS = "application/octet-stream"
"""The content type of an answer whose upstream names none."""
WITHOUT_BODY = frozenset({204, 205, 304})

EXPOSED = [
    *StreamHeader,
    *ProxyHeader,
    *V1Header,
    *ELECTRIC_HEADERS,
    "ETag",
    "Location",
    "Retry-After",
    "*",
]
"""For browsers: by name for old ones, and ``*`` for whatever the upstream sends."""

URL_SECONDS = 24 * 3600.0
"""How long a signed address is good unless it is said otherwise."""
DAY_SECONDS = 24 * 3600.0

DELETED = Refusal(
    ErrorCode.NOT_FOUND, "the generation was deleted meanwhile: start it again for another answer"
)

logger = logging.getLogger("durable_proxy")


def create_app(
    store: Log | str,
    *,
    allow: Iterable[str] = (),
    allow_any_upstream: bool = False,
    cors_origins: Iterable[str] = (),
    public_url: str | None = None,
    limits: Limits | None = None,
    timeouts: Timeouts | None = None,
    lease_seconds: float = 10.0,
    drain_seconds: float = 20.0,
    stream_limits: StreamLimits | None = None,
    tls: ssl.SSLContext | None = None,
    egress_proxy: str | None = None,
    electric_url: str | None = None,
    electric_secret: str | None = None,
    secret: str | Iterable[str] | None = None,
    metrics_secret: str | Iterable[str] | None = None,
    authorize: Callable[..., Any] | None = None,
    url_seconds: float = URL_SECONDS,
    keep_days: float | None = None,
) -> FastAPI:
    """The proxy as an ASGI application; ``app.state.proxy`` is its `Proxy`.

    Args:
        store: ``sqlite:///FILE``, ``postgresql://...``, or a `Log` that the caller opened and
            will close. (Its readers are sent home when the application ends.)
        allow: Upstream patterns, ``scheme://host[:port]/path``; nothing else is called.
        allow_any_upstream: Anything is called, at any address: for development.
        cors_origins: Web pages that may use the proxy and read what it has stored, by origin,
            ``https://app.example``; ``*`` for all. By default none may.
        public_url: Where clients reach this application; by default, the address of the socket
            that a request came in on. (Never its ``Host`` header: a client writes that.)
        limits: How large a request may be, and how much is buffered.
        timeouts: How long the upstream may take.
        lease_seconds: How long after a crash of its node a generation is ended as orphaned.
            A given `Log` has a lease of its own.
        drain_seconds: How long a shutdown waits for running generations.
        stream_limits: How long a live answer may be quiet and may live, and how long a client
            may take to send its request.
        tls: For upstream calls with other certificates than those that this machine trusts.
        egress_proxy: The HTTP proxy that all upstream calls go through,
            ``http://[user:password@]host:port``. It resolves their names then, and what its
            network lets it reach can be reached.
        electric_url: A real Electric, ``http://host:3000``, that shapes are read from; the proxy
            writes its tables ``data_chunks`` and ``control_messages`` for it, so the store has to
            be Postgres. By default shapes are read from the log.
        electric_secret: Its own secret, when it has one.
        secret: Whoever sends it as ``X-Proxy-Secret`` may do everything, and nobody else anything
            but with a signed address. Of several, the first one signs addresses and all are
            accepted: that is how one is replaced.
        metrics_secret: Whoever sends it as ``Authorization: Bearer`` may read ``/metrics``, and
            nothing else; one or several. It takes a ``secret`` or ``authorize``.
        authorize: A FastAPI dependency of yours that knows who a request comes from: it gives a
            `Principal` or a name, or None for nobody, or raises ``HTTPException``. It must not read
            the request's body. Without it and without ``secret`` anybody may do everything.
        url_seconds: How long the addresses in the answer to a start are good, if they are signed:
            that takes a ``secret``.
        keep_days: An answer is deleted so many days after the latest moment at which it can have
            ended (``timeouts.total``); by default, when somebody deletes it.

    Raises:
        SecretError: a secret is too short, or cannot be in a header; or the metrics secret is
            one that keeps nobody out.
        PatternError: an entry of ``allow`` cannot be understood.
        UrlError: ``public_url`` is none that clients can call.
        ValueError: ``keep_days`` is no number of days.
        EgressError: ``egress_proxy`` cannot be understood.
        ElectricUrlError: ``electric_url`` cannot be understood.
    """
    if public_url is not None:
        check_public_url(public_url)
    options = Options(
        allowlist=Allowlist.parse(allow, any_upstream=allow_any_upstream),
        limits=limits or Limits(),
        timeouts=timeouts or Timeouts(),
        lease_seconds=lease_seconds,
        drain_seconds=drain_seconds,
        streams=stream_limits or StreamLimits(),
        tls=tls,
        egress=None if egress_proxy is None else Egress.parse(egress_proxy),
        electric=None if electric_url is None else ElectricUrl.parse(electric_url, electric_secret),
        keep_seconds=None if keep_days is None else _seconds_of(keep_days),
    )
    access = Access(
        Secrets.parse(secret), asks=authorize is not None, metrics=Secrets.parse(metrics_secret)
    )
    proxy = Proxy(store, options)
    app = FastAPI(
        title="durable-proxy",
        version=__version__,
        lifespan=_lifespan(proxy),
        # A redirect to the other spelling would be addressed to what the request says is our host.
        redirect_slashes=False,
        # The pages go with it. They know of nobody, so nobody in particular may see them.
        openapi_url="/openapi.json" if access.open else None,
    )
    guard = Guard(
        access,
        ask=None if authorize is None else asking(authorize, app.dependency_overrides),
        url_seconds=url_seconds,
        readers=Quota(options.limits.readers_per_principal),
    )
    _assemble(app, proxy, guard, public_url)
    if origins := list(cors_origins):
        app.add_middleware(
            Cors,
            allow_origins=origins,
            allow_methods=["GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"],
            allow_headers=["*"],
            expose_headers=EXPOSED,
        )
    return app


def _seconds_of(days: float) -> float:
    if not 0 < days < math.inf:
        raise ValueError(f"keep_days={days!r}: give a number above 0, or None to keep all answers")
    return DAY_SECONDS * days


def _lifespan(proxy: Proxy) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with proxy.running():
            yield

    return lifespan


def _assemble(app: FastAPI, proxy: Proxy, guard: Guard, public_url: str | None) -> None:
    # The data plane: plain ASGI, and only to read; nobody but a relay writes.
    # A start that the upstream refused is replaced by the next attempt with the same ids.
    reading = StreamsApp(
        lambda: proxy.parts.log,
        prefix="",
        read_only=True,
        replaceable=True,
        cors=False,
        limits=proxy.options.streams,
    )
    told = StalledReads(reading, lambda: proxy.parts.log, lambda: proxy.parts.generations.stalls)
    streams = GuardedStreams(told, guard, proxy.figures)
    start = partial(_start, proxy, guard, public_url)
    app.state.proxy = proxy
    app.state.guard = guard
    app.state.hot_paths = HotPaths(start, _on_log, _on_defect, streams)
    app.include_router(_routes(proxy, start))
    app.include_router(observing_routes(proxy, guard, reading.responses))
    app.include_router(desk_routes(proxy, guard))
    base_of = partial(_base, public_url)
    app.include_router(v1_routes(proxy, guard, told, base_of))
    app.mount(STREAMS_PREFIX, streams)
    app.router.routes += [_shape_route(proxy, guard), inspector_route()]
    _add_error_handlers(app)


# ---------------------------------------------------------------------- routes


async def _start(proxy: Proxy, guard: Guard, public_url: str | None, request: Request) -> Response:
    ids = request.path_params["session"], request.path_params["request_id"]
    try:
        principal = await guard.admit(request, Right.START)
        headers, secrets = request.headers.raw, guard.access.not_for_upstreams
        wanted = await read_start(request, ids, headers, proxy.options, secrets)
        wanted = wanted.by(principal.name)
        if not wanted.live:
            return await _answer(proxy, guard, wanted, request, _base(public_url, request))
        give_back = guard.read_slot(principal)
    except RefusedError as error:
        return refuse(error.refusal)
    response: Response | None = None
    try:
        response = await _answer(proxy, guard, wanted, request, "")
    finally:
        # A live body keeps its place until its end.
        if isinstance(response, LiveBody):
            response.on_end = give_back
        else:
            give_back()
    return response


async def _answer(
    proxy: Proxy, guard: Guard, wanted: StartRequest, request: Request, base: str
) -> Response:
    starting = proxy.start(wanted)
    # Whoever waits for the upstream is a reader, as long as they are there.
    answer = await (starting if wanted.cancel_after is None else while_there(request, starting))
    match answer:
        case None:
            return Response(status_code=499)  # nobody reads this
        case Accepted() if wanted.live:
            return _live_body(answer, wanted, proxy)
        case Accepted():
            return _start_answer(answer, wanted, base, guard)
        case Rejected():
            return _rejection(answer)
        case Refusal():
            return refuse(answer)
        case _:
            assert_never(answer)


def _routes(proxy: Proxy, start: Handler) -> APIRouter:
    router = APIRouter()

    router.add_api_route(
        "/api/{session}/{request_id}",
        _documented_start,
        methods=["POST"],
        name="start",
        response_model=StartAnswer,
        openapi_extra=_DOCS,
        route_class_override=_answered_by(start),
    )

    @router.head("/health", include_in_schema=False)
    @router.get("/health")
    async def health() -> Response:
        """Tell whether the proxy serves and can write."""
        return _health(proxy)

    return router


def _shape_route(proxy: Proxy, guard: Guard) -> Route:
    limits, url = proxy.options.streams, proxy.options.electric
    source: Source = LogShapes(
        lambda: proxy.parts.log, lambda: proxy.parts.generations.stalls, limits
    )
    if url is not None:
        source = ElectricShapes(url, proxy.electric)
    shapes = ShapeApp(source, guard, limits)
    route = Route("/stream/{kind}", shapes, name="shape", include_in_schema=False)
    route.methods = {"GET"}
    return route


def _documented_start(session: str, request_id: str) -> None:
    """Send a request upstream once, and write its answer to the log."""
    raise AssertionError((session, request_id))  # pragma: no cover - see `_answered_by`


def _answered_by(handler: Handler) -> type[APIRoute]:
    """A route that hands requests on as they are.

    The parameters of its function are there for the OpenAPI page; to fill them in, and to look
    for a body in all ways that there are, would take a third of a millisecond of each request.
    """

    class Direct(APIRoute):
        def get_route_handler(self) -> Handler:
            return handler

    return Direct


_DOCS: dict[str, Any] = {
    "parameters": [
        {"name": name, "in": "header", "required": required, "schema": {"type": "string"}}
        for name, required in (
            (ProxyHeader.URL.value, True),
            (ProxyHeader.METHOD.value, False),
            (ProxyHeader.LIVE.value, False),
            (ProxyHeader.STRIP.value, False),
            (ProxyHeader.CANCEL_AFTER.value, False),
        )
    ],
    "requestBody": {"content": {"application/octet-stream": {"schema": {"type": "string"}}}},
}


def _base(public_url: str | None, request: Request) -> str:
    """Where clients reach the application: as it was told, or where this request came in."""
    if public_url:
        return public_url.rstrip("/")
    scope = request.scope
    host, port = scope.get("server") or ("localhost", None)
    authority = f"[{host}]" if ":" in host else host
    port_part = "" if port is None else f":{port}"
    return f"{scope['scheme']}://{authority}{port_part}{scope.get('root_path', '')}"


# ---------------------------------------------------------------------- rendering


def _start_answer(answer: Accepted, wanted: StartRequest, base: str, guard: Guard) -> Response:
    query = guard.signed_query(wanted.paths.subject)
    body = StartAnswer(
        session_id=wanted.session_id,
        request_id=wanted.request_id,
        stream_url=f"{base}/stream/data{query}",
        control_url=f"{base}/stream/control{query}",
        content_type=answer.start.content_type or OCTETS,
        durable_data_url=f"{base}{STREAMS_PREFIX}/{wanted.paths.data}{query}",
        durable_control_url=f"{base}{STREAMS_PREFIX}/{wanted.paths.control}{query}",
        urls_expire_at=guard.expiry() if query else None,
        upstream_status=answer.start.status,
        upstream_headers=answer.start.headers,
        stop_url=f"{base}/api/{wanted.session_id}/{wanted.request_id}/stop{query}",
        incarnation=str(answer.incarnation),
    )
    text = body.model_dump_json(by_alias=True, exclude_none=True)
    return Response(text, headers=ALWAYS | _ids(wanted), media_type="application/json")


def _live_body(answer: Accepted, wanted: StartRequest, proxy: Proxy) -> Response:
    start = answer.start
    incarnation = {ProxyHeader.INCARNATION: str(answer.incarnation)}
    ours = ALWAYS | _ids(wanted) | incarnation | FROM_UPSTREAM
    own_names = {name.lower() for name in ours}
    headers = [(name, value) for name, value in start.headers if name.lower() not in own_names]
    if start.status in WITHOUT_BODY:
        return _with_headers(Response(status_code=start.status), [*headers, *ours.items()])
    content_type = start.content_type or OCTETS
    return LiveBody(
        proxy.parts.log,
        wanted.paths.data,
        status=start.status,
        headers=[("content-type", content_type), *headers, *ours.items()],
        limits=proxy.options.streams,
    )


def _ids(wanted: StartRequest) -> dict[str, str]:
    return {
        ProxyHeader.SESSION_ID: str(wanted.session_id),
        ProxyHeader.REQUEST_ID: str(wanted.request_id),
    }


def _rejection(answer: Rejected) -> Response:
    response = Response(answer.body, status_code=answer.status)
    return _with_headers(response, [*answer.headers, *(ALWAYS | FROM_UPSTREAM).items()])


def _with_headers(response: Response, headers: Iterable[tuple[str, str]]) -> Response:
    """Add headers of which one name may be there several times."""
    response.raw_headers += [
        (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers
    ]
    return response


def _health(proxy: Proxy) -> Response:
    generations, store = proxy.parts.generations, "ok"
    try:
        proxy.parts.log.check()
    except StorageError:
        store = "failing"
    draining = generations.draining
    healthy = store == "ok" and not draining
    body = {
        "status": "draining" if draining else "ok" if healthy else "failing",
        "store": store,
        "version": __version__,
        "activeGenerations": generations.active,
    }
    return JSONResponse(body, status_code=200 if healthy else 503, headers=ALWAYS)


# ---------------------------------------------------------------------- errors


def _add_error_handlers(app: FastAPI) -> None:
    """Everything that is refused is refused in one form."""

    async def on_http(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException) and error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            return refuse_method(_methods_of(request))
        return refuse(Refusal(ErrorCode.NOT_FOUND, "there is nothing at this path"))

    async def on_refused(_request: Request, error: Exception) -> Response:
        if not isinstance(error, RefusedError):
            raise error
        return refuse(error.refusal)

    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(RefusedError, on_refused)
    app.add_exception_handler(LogError, _on_log)
    app.add_exception_handler(Exception, _on_defect)


def _methods_of(request: Request) -> str:
    """All methods of the path: the framework knows those of the first route only."""
    found = [
        method
        for method in METHODS
        for route in request.app.routes
        if route.matches({**request.scope, "method": method})[0] is Match.FULL
    ]
    return ", ".join(found)


async def _on_log(request: Request, error: Exception) -> Response:
    if isinstance(error, (StreamNotFoundError, StreamGoneError)):
        return refuse(DELETED)  # after it was found, and before it was read
    logger.error("%s: the log failed: %s", request.url.path, error)
    return refuse(LOG_FAILED)


async def _on_defect(_request: Request, _error: Exception) -> Response:
    return refuse(Refusal(ErrorCode.INTERNAL, "the proxy failed; its log says how"))
