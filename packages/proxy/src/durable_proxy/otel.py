"""OpenTelemetry spans of a proxy, for who has installed ``durable-proxy[otel]``.

    app = create_app(...)
    trace(app, tracer)

Each request has a server span under the caller's ``traceparent``; the generation that it starts has
a span ``durable_proxy.generation`` below that, which lasts until its end is on disk, however long
the caller stays; and the call upstream has a client span below that one, whose ``traceparent`` goes
upstream. So the trace of an SDK that calls a model through the proxy reaches the model.

No span has more of an upstream's URL than its origin, and none has a header, a body or a signature.
Only the API of OpenTelemetry is needed; where spans go is the business of whoever gives the tracer.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from fastapi import FastAPI
from opentelemetry.propagate import inject
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context

from durable_proxy._lifecycle import TERMINAL_CODES, TERMINAL_STATES, Ending
from durable_proxy._start_request import StartRequest
from durable_streams_server import Log
from durable_streams_server.otel import TracedApp, trace_commits

if TYPE_CHECKING:
    from durable_proxy._service import Proxy

__all__ = ["trace"]

_ERROR = 400


def trace(app: FastAPI, tracer: Tracer) -> None:
    """Make spans of all that an application of `create_app` does from its start on."""
    proxy: Proxy = app.state.proxy
    proxy.watcher = _Watcher(tracer)
    app.add_middleware(TracedApp, tracer=tracer)


class _Watcher:
    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def opened(self, log: Log) -> None:
        trace_commits(log, self._tracer)

    def watch(self, request: StartRequest) -> "_Watch":
        return _Watch(self._tracer, request)


class _Watch:
    """The spans of one generation."""

    def __init__(self, tracer: Tracer, request: StartRequest) -> None:
        self._tracer = tracer
        # Its parent is the request's: a task has the context of whoever made it.
        self._generation = tracer.start_span(
            "durable_proxy.generation",
            attributes={
                "durable_proxy.session": str(request.session_id),
                "durable_proxy.request": str(request.request_id),
            },
        )
        self._call: Span | None = None

    def sending(self, request: StartRequest) -> StartRequest:
        target = request.target
        self._call = self._tracer.start_span(
            request.method,
            context=set_span_in_context(self._generation),
            kind=SpanKind.CLIENT,
            attributes={
                "http.request.method": request.method,
                "server.address": target.host,
                "server.port": target.port,
                "url.scheme": target.scheme,
            },
        )
        carrier: dict[str, str] = {}
        inject(carrier, set_span_in_context(self._call))
        ours = {name.lower().encode(): value.encode() for name, value in carrier.items()}
        kept = [one for one in request.headers if one[0].lower() not in ours]
        return replace(request, headers=(*kept, *ours.items()))

    def answered(self, status: int) -> None:
        if self._call is not None:
            self._call.set_attribute("http.response.status_code", status)
            if status >= _ERROR:
                self._call.set_status(StatusCode.ERROR)

    def first_byte(self) -> None:
        self._generation.add_event("durable_proxy.first_byte")

    def let_go(self) -> None:
        if self._call is not None:
            self._call.end()
            self._call = None

    def ended(self, ending: Ending | None, stored: int) -> None:
        self.let_go()
        span = self._generation
        span.set_attribute("durable_proxy.bytes", stored)
        if ending is None:
            span.set_status(StatusCode.ERROR, "not ours any more")
        else:
            span.set_attribute("durable_proxy.state", TERMINAL_STATES[ending.event].value)
            code = TERMINAL_CODES[ending.event]
            if code is not None:
                span.set_status(StatusCode.ERROR, code.value)
        span.end()
