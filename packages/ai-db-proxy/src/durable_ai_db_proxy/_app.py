"""The session service as an ASGI application."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response

from durable_ai_db_proxy._auth import anybody, with_secret
from durable_ai_db_proxy._body_limit import BodyLimit
from durable_ai_db_proxy._embedded import EmbeddedLog
from durable_ai_db_proxy._errors import RETRY_AFTER, STATUS, Refusal, RefusedError
from durable_ai_db_proxy._log import LogUnavailableError, SessionLog
from durable_ai_db_proxy._policy import DEFAULT_POLICY, RunPolicy
from durable_ai_db_proxy._remote import RemoteLog
from durable_ai_db_proxy._routes import routes
from durable_ai_db_proxy._runs import AgentLimits
from durable_ai_db_proxy._service import ServiceOptions, SessionService
from durable_ai_db_proxy._sessions import Rules
from durable_proxy.targets import Allowlist
from durable_proxy.upstream import Timeouts, open_upstream
from durable_streams_server import Limits as StreamLimits
from durable_streams_server import Log
from durable_transport.protocol import ErrorCode, StreamHeader

__version__ = version("durable-ai-db-proxy")

ALWAYS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
FAREWELL_SECONDS = 0.5

logger = logging.getLogger("durable_ai_db_proxy")


class SessionServer:
    """The service behind an application (``app.state.sessions``).

    Args:
        store: A store URL, a log that the caller opened and will close, or any `SessionLog`.
    """

    def __init__(
        self,
        store: Log | SessionLog | str,
        options: ServiceOptions,
        *,
        timeouts: Timeouts,
        tls: ssl.SSLContext | None,
        lease_seconds: float,
        stream_limits: StreamLimits | None,
    ) -> None:
        self.options = options
        self._store = store
        self._timeouts = timeouts
        self._tls = tls
        self._lease = lease_seconds
        self._stream_limits = stream_limits
        self._service: SessionService | None = None
        self._leaving = False

    @property
    def service(self) -> SessionService:
        """The running service.

        Raises:
            RuntimeError: the application's lifespan has not been entered.
        """
        if self._service is None:
            raise RuntimeError(
                "the session service is not running: a server enters the application's lifespan by"
                " itself; where it is mounted in another application, enter"
                " app.router.lifespan_context(app) in that one's lifespan"
            )
        return self._service

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve requests in this context."""
        async with AsyncExitStack() as stack:
            log = await self._open(stack)
            upstream = await stack.enter_async_context(open_upstream(self._timeouts, tls=self._tls))
            service = self._service = SessionService(log, upstream, self.options)
            self._leaving = False
            await service.look_after()
            keeper = asyncio.create_task(service.look_after_forever(), name="look after sessions")
            try:
                yield
            finally:
                await self.drain()
                keeper.cancel()
                await asyncio.gather(keeper, return_exceptions=True)
                self._service = None

    async def _open(self, stack: AsyncExitStack) -> SessionLog:
        if isinstance(self._store, Log):
            return EmbeddedLog(self._store, self._stream_limits)
        if isinstance(self._store, str) and self._store.startswith(("http://", "https://")):
            remote = RemoteLog(self._store, lease_seconds=self._lease)
            return await stack.enter_async_context(remote)
        if isinstance(self._store, str):
            log = await Log.open(self._store, lease_seconds=self._lease)
            await stack.enter_async_context(log)
            return EmbeddedLog(log, self._stream_limits)
        return self._store

    async def drain(self) -> None:
        """Take leave: let agents speak to their end for a while, then send readers home."""
        service, first = self.service, not self._leaving
        self._leaving = True
        ran = service.runs.active > 0
        await service.runs.drain(self.options.drain_seconds if first else 0.0)
        if ran and first:
            await asyncio.sleep(FAREWELL_SECONDS)
        service.leaving = True
        await service.log.leave()


def create_app(
    store: Log | SessionLog | str,
    *,
    allow: Iterable[str] = (),
    allow_any_agent: bool = False,
    authorize: Callable[..., Any] | None = None,
    secret: str | None = None,
    run_policy: RunPolicy | str = DEFAULT_POLICY,
    agent_turns: int = 8,
    cors_origins: Iterable[str] = (),
    timeouts: Timeouts | None = None,
    agent_limits: AgentLimits | None = None,
    presence_seconds: float = 60.0,
    lease_seconds: float = 10.0,
    drain_seconds: float = 20.0,
    max_body_bytes: int = 4 * 1024 * 1024,
    stream_limits: StreamLimits | None = None,
    tls: ssl.SSLContext | None = None,
) -> FastAPI:
    """The session service as an ASGI application; ``app.state.sessions`` is its `SessionServer`.

    Args:
        store: ``sqlite:///FILE`` or ``postgresql://...``; a `Log` that the caller opened and will
            close; the URL of a server of the Durable Streams protocol, or a `RemoteLog` on one.
        allow: Agents that may be called, ``scheme://host[:port]/path``; no others are.
        allow_any_agent: Anything may be called, at any address: for development.
        authorize: A FastAPI dependency of yours that knows who a request comes from. It may take
            the ``session_id`` that is asked about, headers, anything; it gives a `Principal`, a
            name, or None for nobody, or raises ``HTTPException``.
        secret: Without ``authorize``: what every request has to carry, as a bearer token.
        run_policy: What a message does that asks an agent which is already speaking, in sessions
            that do not say: ``reject``, ``enqueue``, ``interrupt`` or ``parallel``.
        agent_turns: So many runs in a row may be caused by agents that answer agents.
        cors_origins: Web pages that may use the service, by origin; ``*`` for all.
        timeouts: How long agents may take.
        agent_limits: How much they may send.
        presence_seconds: Who is not heard of for so long is offline.
        lease_seconds: How long after a crash of its node a run is ended as orphaned. A given log
            has a lease of its own.
        drain_seconds: How long a shutdown waits for agents.
        max_body_bytes: A larger request is refused.
        stream_limits: Of live reads of session streams.
        tls: For calls of agents with other certificates than those that this machine trusts.

    Raises:
        PatternError: an entry of ``allow`` cannot be understood.
        SecretError: ``secret`` is too short.
        ValueError: ``run_policy`` is none.
    """
    options = ServiceOptions(
        allowlist=Allowlist.parse(allow, any_upstream=allow_any_agent),
        rules=Rules(RunPolicy(run_policy), agent_turns),
        limits=agent_limits or AgentLimits(),
        presence_seconds=presence_seconds,
        drain_seconds=drain_seconds,
    )
    server = SessionServer(
        *(store, options),
        timeouts=timeouts or Timeouts(),
        tls=tls,
        lease_seconds=lease_seconds,
        stream_limits=stream_limits,
    )
    app = _assemble(server, authorize or (with_secret(secret) if secret else anybody))
    app.add_middleware(BodyLimit, limit=max_body_bytes)
    if origins := list(cors_origins):
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"],
            allow_headers=["*"],
            expose_headers=[*StreamHeader, "ETag", "Location", "Retry-After"],
        )
    return app


def _assemble(server: SessionServer, authorize: Callable[..., Any]) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with server.running():
            yield

    app = FastAPI(title="durable-ai-db-proxy", version=__version__, lifespan=lifespan)
    app.state.sessions = server
    app.include_router(routes(lambda: server.service, authorize))
    _add_health(app, server)
    _add_error_handlers(app)
    return app


def _add_health(app: FastAPI, server: SessionServer) -> None:
    @app.get("/")
    async def about() -> dict[str, str]:
        """Tell what this is."""
        return {"name": "durable-ai-db-proxy", "version": __version__, "openapi": "/openapi.json"}

    @app.get("/health")
    async def health() -> Response:
        """Tell whether the service serves and can write."""
        return _health(server)

    @app.get("/health/ready")
    async def ready() -> Response:
        """Tell whether requests should come here."""
        return _health(server)

    @app.get("/health/live")
    async def live() -> dict[str, str]:
        """Tell that the process runs."""
        return {"status": "live", "timestamp": _now()}


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _health(server: SessionServer) -> Response:
    service, store = server.service, "ok"
    try:
        service.log.check()
    except LogUnavailableError:
        store = "failing"
    healthy = store == "ok" and not service.runs.draining
    status = "draining" if service.runs.draining else store
    body = {
        "status": status,
        "store": store,
        "version": __version__,
        "activeRuns": service.runs.active,
        "timestamp": _now(),
    }
    return JSONResponse(body, status_code=200 if healthy else 503, headers=ALWAYS)


# ---------------------------------------------------------------------- errors


def refusal_response(refusal: Refusal) -> Response:
    """The answer for a refusal."""
    headers = dict(ALWAYS)
    if refusal.code in RETRY_AFTER:
        headers["Retry-After"] = str(RETRY_AFTER[refusal.code])
    body = {"error": {"code": refusal.code.value, "message": refusal.message}}
    return JSONResponse(body, status_code=refusal.status, headers=headers)


_HTTP_CODES = {
    401: ErrorCode.UNAUTHORIZED,
    403: ErrorCode.FORBIDDEN,
    404: ErrorCode.NOT_FOUND,
    405: ErrorCode.METHOD_NOT_ALLOWED,
    413: ErrorCode.BODY_TOO_LARGE,
}


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(RefusedError)
    async def on_refused(_request: Request, error: RefusedError) -> Response:
        return refusal_response(error.refusal)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(_request: Request, error: RequestValidationError) -> Response:
        return refusal_response(_invalid(error))

    @app.exception_handler(LogUnavailableError)
    async def on_log(request: Request, error: LogUnavailableError) -> Response:
        logger.error("%s %s: %s", request.method, request.url.path, error)
        message = "the log takes no writes or reads at the moment"
        return refusal_response(Refusal(ErrorCode.STORAGE_UNAVAILABLE, message))

    @app.exception_handler(HTTPException)
    async def on_http(_request: Request, error: HTTPException) -> Response:
        code = _HTTP_CODES.get(error.status_code, ErrorCode.BAD_REQUEST)
        response = refusal_response(Refusal(code, str(error.detail)))
        if STATUS[code] != error.status_code:
            response.status_code = error.status_code
        for name, value in (error.headers or {}).items():
            response.headers[name] = value
        return response

    @app.exception_handler(Exception)
    async def on_defect(_request: Request, _error: Exception) -> Response:
        message = "the service has failed; its log says how"
        return refusal_response(Refusal(ErrorCode.INTERNAL, message))


def _invalid(error: RequestValidationError) -> Refusal:
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return Refusal(ErrorCode.INVALID_JSON, "the body is not JSON")
    where = ".".join(str(one) for one in first["loc"] if one != "body")
    return Refusal(ErrorCode.BAD_REQUEST, f"{where or 'the body'}: {first['msg']}")
