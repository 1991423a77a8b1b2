"""The standalone server: streams under ``/v1/stream``, probes, admin, and the log's lifetime."""

import logging
from contextlib import AsyncExitStack

from durable_streams_server._access import AdminAccess
from durable_streams_server._admin import AdminApp, is_admin_path
from durable_streams_server._answer import Answer, refusal
from durable_streams_server._asgi import StreamsApp
from durable_streams_server._errors import LogClosedError, StorageError
from durable_streams_server._exchange import Exchange, Limits, Receive, Scope, Send, local_path
from durable_streams_server._log import DEFAULT_LEASE_SECONDS, Log
from durable_streams_server._model import KEEP_ALL, Retention
from durable_streams_server._probes import health, ready
from durable_streams_server._subscriptions import Subscriptions, SubscriptionSettings
from durable_transport.protocol import ErrorCode

PROBES = ("/health", "/ready")

logger = logging.getLogger("durable_streams_server")


def create_app(
    store: str | Log = "sqlite://",
    *,
    prefix: str = "/v1/stream",
    cors: bool = True,
    limits: Limits | None = None,
    lease_seconds: float = DEFAULT_LEASE_SECONDS,
    retention: Retention = KEEP_ALL,
    admin: AdminAccess | None = None,
    subscriptions: SubscriptionSettings | None = None,
) -> "StreamsServer":
    """The server as an ASGI application, to run or to mount.

    Args:
        store: A store URL (``sqlite:///FILE``), opened at ASGI startup and closed at shutdown;
            or a `Log` that is open already and stays the caller's.
        prefix: Path before the streams' own paths.
        cors: Let web pages of any origin read and write streams.
        limits: Bounds of one request.
        lease_seconds: See `Log.open`.
        retention: See `Log.open`.
        admin: Who may list the streams, use the inspector and read ``/metrics``; None switches
            all that off.
        subscriptions: Which webhooks may be called, and how. Without settings those at https URLs
            of the public internet are.
    """
    return StreamsServer(
        store,
        prefix=prefix,
        cors=cors,
        limits=limits,
        lease_seconds=lease_seconds,
        retention=retention,
        admin=admin,
        subscriptions=subscriptions,
    )


class StreamsServer:
    """What `create_app` makes. Log and subscriptions are there from startup to shutdown.

    Attributes:
        streams: The streams' own part of it.
    """

    def __init__(
        self,
        store: str | Log,
        *,
        prefix: str,
        cors: bool,
        limits: Limits | None,
        lease_seconds: float,
        retention: Retention,
        admin: AdminAccess | None,
        subscriptions: SubscriptionSettings | None,
    ) -> None:
        self._store = store
        self._lease_seconds = lease_seconds
        self._retention = retention
        self._open_log = store if isinstance(store, Log) else None
        self._limits = limits or Limits()
        self._settings = subscriptions
        self._running: Subscriptions | None = None
        self._resources = AsyncExitStack()
        self.streams = StreamsApp(
            lambda: self.log,
            prefix=prefix,
            cors=cors,
            limits=self._limits,
            subscriptions=lambda: self.subscriptions,
        )
        self._admin = (
            None if admin is None else AdminApp(lambda: self.log, self.streams, prefix, admin)
        )

    @property
    def log(self) -> Log:
        """The open log (raises `LogClosedError` before startup and after shutdown)."""
        if self._open_log is None:
            raise LogClosedError
        return self._open_log

    @property
    def subscriptions(self) -> Subscriptions:
        """The log's subscriptions (raises `LogClosedError` before startup and after shutdown)."""
        if self._running is None:
            raise LogClosedError
        return self._running

    async def startup(self) -> None:
        """Open the log and begin to deliver to its subscribers.

        A host application that runs no ASGI lifespan of what it mounts calls it, and `shutdown`.
        """
        if self._running is not None:
            return
        async with AsyncExitStack() as resources:
            if isinstance(self._store, str):
                log = await Log.open(
                    self._store, lease_seconds=self._lease_seconds, retention=self._retention
                )
                self._open_log = await resources.enter_async_context(log)
            self._running = await resources.enter_async_context(
                Subscriptions(self.log, self._settings)
            )
            self._resources = resources.pop_all()

    async def shutdown(self) -> None:
        """End the deliveries, and close the log if it was opened here."""
        self._running = None
        if isinstance(self._store, str):
            self._open_log = None
        await self._resources.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] != "http" or not self._is_own(scope):
            await self.streams(scope, receive, send)
        else:
            exchange = Exchange(scope, receive, send, self._limits)
            await exchange.send_answer(await self._answer(exchange))

    def _is_own(self, scope: Scope) -> bool:
        """Not about a stream. A stream's path is known by its prefix, without a closer look."""
        path = local_path(scope)
        return path in PROBES or (self._admin is not None and is_admin_path(path))

    async def _answer(self, exchange: Exchange) -> Answer:
        path = exchange.local_path
        if self._admin is not None and path not in PROBES:
            return await self._admin.answer(exchange)
        try:
            return health(self.log) if path == "/health" else await ready(self.log)
        except LogClosedError:
            return refusal(ErrorCode.SHUTTING_DOWN, "the log is not open")

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self.startup()
        except StorageError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.shutdown()
        await send({"type": "lifespan.shutdown.complete"})
