"""The admin surface: what there is in the log, figures, and the inspector.

    GET /_admin                  about the server
    GET /_admin/streams          ?prefix= &after= &limit=    streams by name
    GET /_admin/streams/{path}   everything about one
    GET /metrics                 for Prometheus
    GET /_inspector              a page that shows all this

It only looks. Whoever may do that is decided in `_access`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qs

from durable_streams_server._access import AdminAccess
from durable_streams_server._answer import Answer, of_error, of_json, refusal
from durable_streams_server._asgi import StreamsApp
from durable_streams_server._describe import describe, describe_fully
from durable_streams_server._errors import LogError, StreamNotFoundError
from durable_streams_server._exchange import Exchange
from durable_streams_server._inspector import page
from durable_streams_server._log import Log
from durable_streams_server._metrics import log_metrics, render_metrics
from durable_streams_server._path import InvalidPathError, stream_path, typed_path
from durable_streams_server._probes import VERSION
from durable_streams_server._request import RequestError, header
from durable_transport.protocol import ErrorCode

ROOT = "/_admin"
STREAMS = "/_admin/streams"
METRICS = "/metrics"
INSPECTOR = "/_inspector"
PAGE_LENGTH = 100
MAX_PAGE_LENGTH = 1000


def is_admin_path(path: str) -> bool:
    """The path belongs to the admin surface."""
    return path in (ROOT, STREAMS, METRICS, INSPECTOR) or path.startswith(STREAMS + "/")


@dataclass(frozen=True, slots=True)
class ListRequest:
    """Which streams to list."""

    prefix: str
    after: str
    limit: int


def parse_list(query: bytes) -> ListRequest:
    """Read the query of a list.

    Raises:
        RequestError: a limit that is none.
    """
    fields = parse_qs(query.decode("latin-1"), max_num_fields=100)
    first = {name: values[0] for name, values in fields.items()}
    text = first.get("limit", str(PAGE_LENGTH))
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_PAGE_LENGTH):
        raise RequestError(ErrorCode.BAD_REQUEST, f"limit is a number from 1 to {MAX_PAGE_LENGTH}")
    prefix, after = (typed_path(first.get(name, "")) for name in ("prefix", "after"))
    return ListRequest(prefix, after, int(text))


class AdminApp:
    """The admin surface of one server.

    Args:
        log: Gives the open log.
        streams: The streams' surface beside it.
        prefix: Under which path the streams are.
        access: Who may come in.
    """

    def __init__(
        self, log: Callable[[], Log], streams: StreamsApp, prefix: str, access: AdminAccess
    ) -> None:
        self._log = log
        self._streams = streams
        self._prefix = prefix
        self._access = access
        self._started = time.monotonic()

    async def answer(self, exchange: Exchange) -> Answer:
        """The answer to a request for an admin path."""
        try:
            if exchange.method not in ("GET", "HEAD"):
                answer = refusal(ErrorCode.METHOD_NOT_ALLOWED, "the admin surface only looks")
                answer.add("Allow", "GET, HEAD")
                return answer
            if exchange.local_path == INSPECTOR:
                return page()  # holds no data: what it shows it has to ask for
            return self._refused(exchange) or await self._dispatch(exchange)
        except RequestError as error:
            return refusal(error.code, error.message)
        except InvalidPathError as error:
            return refusal(ErrorCode.BAD_REQUEST, str(error))
        except LogError as error:
            return of_error(error)

    def _refused(self, exchange: Exchange) -> Answer | None:
        reason = self._access.refusal(exchange.headers, exchange.peer)
        if reason is None:
            return None
        if self._access.token is None:
            return refusal(ErrorCode.FORBIDDEN, reason)
        answer = refusal(ErrorCode.UNAUTHORIZED, reason)
        answer.add("WWW-Authenticate", "Bearer")
        return answer

    async def _dispatch(self, exchange: Exchange) -> Answer:
        log = self._log()
        match exchange.local_path:
            case "/metrics":
                return await self._metrics(log, header(exchange.headers, b"accept") or "")
            case "/_admin":
                return of_json(await self._about(log))
            case "/_admin/streams":
                return of_json(await _list(log, parse_list(exchange.query)))
            case path:
                return await _one(log, stream_path(path.removeprefix(STREAMS + "/")))

    async def _about(self, log: Log) -> dict[str, object]:
        return {
            "version": VERSION,
            "prefix": self._prefix,
            "uptimeSeconds": round(time.monotonic() - self._started, 3),
            "storeBytes": await log.store_size(),
            "readers": len(log.readers()),
        }

    async def _metrics(self, log: Log, accept: str) -> Answer:
        uptime = time.monotonic() - self._started
        metrics = await log_metrics(log, self._streams.responses, uptime)
        body, content_type = await render_metrics(metrics, accept)
        answer = Answer(200, [(b"cache-control", b"no-store")], body)
        answer.add("Content-Type", content_type)
        return answer


async def _list(log: Log, request: ListRequest) -> dict[str, object]:
    streams = await log.list_streams(request.prefix, request.after, request.limit)
    more = len(streams) == request.limit
    return {
        "streams": [describe(stream) for stream in streams],
        "next": streams[-1].path if more else None,
    }


async def _one(log: Log, path: str) -> Answer:
    inspection = await log.inspect(path)
    if inspection is None:
        raise StreamNotFoundError(path)
    readers = [{"mode": one.mode, "lag": one.lag} for one in log.readers() if one.path == path]
    return of_json(describe_fully(inspection, time.time()) | {"readers": readers})
