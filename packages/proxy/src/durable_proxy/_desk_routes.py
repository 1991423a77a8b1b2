"""Looking at generations, stopping and deleting them, over HTTP. Behind it is `_desk`."""

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse, Response

from durable_proxy._desk import Desk, Stopped
from durable_proxy._errors import Refusal
from durable_proxy._guard import Right
from durable_proxy._guarding import Guard
from durable_proxy._refusing import ALWAYS, refuse
from durable_proxy._request_body import read_body
from durable_proxy._service import Proxy
from durable_proxy._start_request import parse_id
from durable_proxy._status import Json, describe
from durable_proxy._stop_request import check_stop_length, parse_stop
from durable_transport.protocol import ErrorCode, generation_paths, session_prefix

NO_GENERATION = Refusal(ErrorCode.NOT_FOUND, "there is no generation with these ids")


def desk_routes(proxy: Proxy, guard: Guard) -> APIRouter:
    """The routes: who runs, how one of them is, an end to it, and away with it."""
    router = APIRouter()

    def desk() -> Desk:
        return proxy.parts.desk

    @router.get("/api/generations", dependencies=[Depends(guard.may(Right.LIST))])
    async def generations() -> Response:
        """The generations that run, on all nodes, the oldest first."""
        return _told({"generations": await desk().running()})

    @router.get("/api/{session}/active", dependencies=[Depends(guard.may(Right.LIST))])
    async def active(session: str) -> Response:
        """Those of one session that run, on all nodes, the oldest first."""
        session_id = parse_id(session)
        running = await desk().running(session_prefix(session_id))
        return _told({"sessionId": str(session_id), "generations": running})

    @router.get("/api/{session}/{request_id}", dependencies=[Depends(guard.may(Right.READ))])
    async def status(session: str, request_id: str) -> Response:
        """One generation, running or not."""
        found = await desk().look(generation_paths(parse_id(session), parse_id(request_id)))
        return refuse(NO_GENERATION) if found is None else _told(describe(found, desk().now()))

    @router.post(
        "/api/{session}/{request_id}/stop",
        dependencies=[Depends(guard.may(Right.STOP))],
        openapi_extra=_STOP_DOCS,
    )
    async def stop(session: str, request_id: str, request: Request) -> Response:
        """End a generation, on whichever node it runs; what was written is kept."""
        seconds = proxy.options.streams.body_wait
        body = await read_body(request, check_stop_length, seconds)
        stopped = await desk().stop(parse_stop(session, request_id, body))
        return refuse(NO_GENERATION) if stopped is None else _stopped(stopped, desk().now())

    @router.delete("/api/{session}/{request_id}", dependencies=[Depends(guard.may(Right.DELETE))])
    async def delete(session: str, request_id: str) -> Response:
        """End a generation if it runs, and remove all that was written of it."""
        deleted = await desk().delete(generation_paths(parse_id(session), parse_id(request_id)))
        return Response(status_code=204, headers=ALWAYS) if deleted else refuse(NO_GENERATION)

    @router.delete("/api/{session}", dependencies=[Depends(guard.may(Right.DELETE))])
    async def delete_session(session: str) -> Response:
        """Likewise all generations that a session has."""
        session_id = parse_id(session)
        count = await desk().delete_session(session_id)
        return _told({"sessionId": str(session_id), "deleted": count})

    return router


def _stopped(stopped: Stopped, now: float) -> Response:
    """200 once it has ended, 202 while its node has not confirmed that."""
    status = HTTPStatus.ACCEPTED if stopped.pending else HTTPStatus.OK
    told: Json = {"stopped": stopped.by_this, **describe(stopped.status, now)}
    return _told(told, status)


def _told(body: Json, status: int = 200) -> Response:
    return JSONResponse(body, status_code=status, headers=ALWAYS)


_STOP_DOCS: dict[str, Any] = {
    "requestBody": {
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "actor": {"type": "string"},
                        "reason": {"type": "string"},
                        "incarnation": {"type": "string"},
                    },
                }
            }
        }
    }
}
