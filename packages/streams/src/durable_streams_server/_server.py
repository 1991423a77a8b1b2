"""The standalone server: streams under ``/v1/stream``, a health check, and the log's lifetime."""

import json
import logging
from importlib.metadata import version

from durable_streams_server._answer import Answer, refusal
from durable_streams_server._asgi import StreamsApp
from durable_streams_server._errors import LogClosedError, StorageError
from durable_streams_server._exchange import Exchange, Limits, Receive, Scope, Send
from durable_streams_server._log import DEFAULT_LEASE_SECONDS, Log
from durable_transport.protocol import ErrorCode

logger = logging.getLogger("durable_streams_server")


def create_app(
    store: str | Log = "sqlite://",
    *,
    prefix: str = "/v1/stream",
    cors: bool = True,
    limits: Limits | None = None,
    lease_seconds: float = DEFAULT_LEASE_SECONDS,
) -> "StreamsServer":
    """The server as an ASGI application, to run or to mount.

    Args:
        store: A store URL (``sqlite:///FILE``), opened at ASGI startup and closed at shutdown;
            or a `Log` that is open already and stays the caller's.
        prefix: Path before the streams' own paths.
        cors: Let web pages of any origin read and write streams.
        limits: Bounds of one request.
        lease_seconds: See `Log.open`.
    """
    return StreamsServer(
        store, prefix=prefix, cors=cors, limits=limits, lease_seconds=lease_seconds
    )


class StreamsServer:
    """What `create_app` makes. `log` is there from startup to shutdown."""

    def __init__(
        self,
        store: str | Log,
        *,
        prefix: str,
        cors: bool,
        limits: Limits | None,
        lease_seconds: float,
    ) -> None:
        self._store = store
        self._lease_seconds = lease_seconds
        self._open_log = store if isinstance(store, Log) else None
        self._limits = limits or Limits()
        self._streams = StreamsApp(lambda: self.log, prefix=prefix, cors=cors, limits=self._limits)

    @property
    def log(self) -> Log:
        """The open log (raises `LogClosedError` before startup and after shutdown)."""
        if self._open_log is None:
            raise LogClosedError
        return self._open_log

    async def startup(self) -> None:
        """Open the log: for a host application that runs no ASGI lifespan of what it mounts."""
        if self._open_log is None and isinstance(self._store, str):
            self._open_log = await Log.open(self._store, lease_seconds=self._lease_seconds)

    async def shutdown(self) -> None:
        """Close the log, if it was opened here."""
        if self._open_log is not None and isinstance(self._store, str):
            log, self._open_log = self._open_log, None
            await log.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http" and scope["path"] == scope.get("root_path", "") + "/health":
            await Exchange(scope, receive, send, self._limits).send_answer(self._health())
        else:
            await self._streams(scope, receive, send)

    def _health(self) -> Answer:
        try:
            self.log.check()
        except StorageError:
            return refusal(ErrorCode.STORAGE_UNAVAILABLE, "the last write to the store failed")
        except LogClosedError:
            return refusal(ErrorCode.SHUTTING_DOWN, "the log is not open")
        body = {"status": "ok", "version": version("durable-streams-server")}
        headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
        return Answer(200, headers, json.dumps(body).encode())

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
