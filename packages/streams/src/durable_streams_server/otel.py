"""OpenTelemetry spans of a server, for who has installed ``durable-streams-server[otel]``.

    log = await Log.open(...)
    trace_commits(log, tracer)
    app = TracedApp(create_app(log), tracer)

Nothing here is imported, and nothing is spent, unless somebody asks for it. Only the API of
OpenTelemetry is needed; where spans go is the business of whoever gives the tracer.
"""

from functools import partial
from typing import Any

from opentelemetry.propagate import extract
from opentelemetry.trace import SpanKind, StatusCode, Tracer

from durable_streams_server._exchange import Message, Receive, Scope, Send, raw_path
from durable_streams_server._log import Log
from durable_streams_server._stats import Batch

__all__ = ["TracedApp", "trace_commits"]

_SERVER_ERROR = 500


def trace_commits(log: Log, tracer: Tracer) -> None:
    """Make a span ``durable_streams.commit`` of every commit from here on.

    Its attributes are ``durable_streams.batch.requests`` and ``durable_streams.batch.bytes``; it
    lasts as long as the store took. It has no parent: a commit serves many requests.
    """
    log.on_batch(partial(_commit, tracer))


def _commit(tracer: Tracer, batch: Batch) -> None:
    end = int(batch.ended_at * 1e9)
    span = tracer.start_span(
        "durable_streams.commit",
        start_time=end - int(batch.seconds * 1e9),
        attributes={
            "durable_streams.batch.requests": batch.requests,
            "durable_streams.batch.bytes": batch.appended,
        },
    )
    if batch.error is not None:
        span.set_status(StatusCode.ERROR, type(batch.error).__name__)
    span.end(end)


class TracedApp:
    """An ASGI application with a server span for each HTTP request, under the caller's trace.

    A span ends with its answer: that of a live read lasts as long as the reader is there.
    """

    def __init__(self, app: Any, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method: str = scope["method"]
        carrier = {name.decode("latin-1"): it.decode("latin-1") for name, it in scope["headers"]}
        with self._tracer.start_as_current_span(
            method,
            context=extract(carrier),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": method, "url.path": raw_path(scope)},
        ) as span:

            async def noting(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= _SERVER_ERROR:
                        span.set_status(StatusCode.ERROR)
                await send(message)

            await self._app(scope, receive, noting)
