"""What Prometheus is told of a running proxy."""

import time
from collections.abc import Iterator, Sequence

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from durable_proxy._figures import Figures
from durable_proxy._guard import Right
from durable_proxy._guarding import Guard
from durable_proxy._lifecycle import State
from durable_proxy._refusing import ALWAYS
from durable_proxy._service import Proxy
from durable_streams_server.observing import Families, Metric, log_metrics, render_metrics

_OURS = Families("durable_proxy_")


def observing_routes(proxy: Proxy, guard: Guard, responses: Sequence[int]) -> APIRouter:
    """The routes.

    Args:
        proxy: What is looked at.
        guard: Lets in who may read the figures.
        responses: Answers of the streams' surface, by the first digit of their status.
    """
    router = APIRouter()
    started = time.monotonic()

    @router.get("/metrics", dependencies=[Depends(guard.may(Right.METRICS))])
    async def metrics(request: Request) -> Response:
        """Give the figures of this node, for Prometheus."""
        found = [
            *_of_proxy(proxy.figures, proxy.parts.generations.active),
            *await log_metrics(proxy.parts.log, responses, time.monotonic() - started),
        ]
        body, content_type = await render_metrics(found, request.headers.get("accept", ""))
        return Response(body, headers=ALWAYS | {"Content-Type": content_type})

    return router


def _of_proxy(figures: Figures, active: int) -> Iterator[Metric]:
    ended = {state.value: figures.ended[state] for state in State if state.is_terminal}
    refused = {code.value: count for code, count in sorted(figures.refused.items())}
    yield _OURS.gauge("generations_active", "Generations that run on this node", active)
    for name, text, value in (
        ("generations_started", "Generations that this node has begun", figures.started),
        ("starts_attached", "Starts answered by a generation that was there", figures.attached),
        ("reads_resumed", "Live reads of readers that came back", figures.resumed),
        ("orphans_ended", "Generations of nodes that were gone", figures.orphans_ended),
        ("leases_lost", "Generations that ran here and became others'", figures.leases_lost),
        ("upstream_bytes", "Bytes of bodies that came from upstreams", figures.received),
        ("stored_bytes", "Bytes of them that are on disk", figures.stored),
    ):
        yield _OURS.counter(name, text, value)
    yield _OURS.counters("generations_ended", "Generations ended by this node", "state", ended)
    yield _OURS.counters("refused", "What the proxy itself refused", "code", refused)
    first, durations = figures.first_byte, figures.durations
    yield _OURS.histogram("first_byte_seconds", "From a start to its first byte", first)
    yield _OURS.histogram("generation_seconds", "From a start to its end", durations)
