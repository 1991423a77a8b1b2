"""Materialized reads: for clients that bring no materializer."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Response
from starlette.responses import StreamingResponse

from durable_ai_db_proxy import _ids
from durable_ai_db_proxy._auth import Principal, Right
from durable_ai_db_proxy._errors import RefusedError
from durable_ai_db_proxy._log import LogUnavailableError, MissingError
from durable_ai_db_proxy._phase import Phases
from durable_ai_db_proxy._rows import Json, dumps
from durable_ai_db_proxy._service import SessionService
from durable_ai_db_proxy._sessions import Session
from durable_ai_db_proxy._view import RESET, View, snapshot
from durable_transport.protocol import BEGINNING, NOW, StreamHeader

LONG_POLL_SECONDS = 20.0
HEARTBEAT_SECONDS = 10.0
ROTATE_SECONDS = 60.0

Service = Callable[[], SessionService]
Needs = Callable[[Right], Callable[..., Any]]
Live = Literal["long-poll", "sse"]


def add_reads(router: APIRouter, service: Service, needs: Needs) -> None:
    """Add the routes of materialized reads."""

    async def session_of(session_id: str) -> Session:
        session = service().sessions.get(_ids.session_id(session_id))
        await session.watch()
        return session

    @router.get("/v1/sessions/{session_id}/messages")
    async def get_messages(
        session_id: str, _by: Annotated[Principal, Depends(needs(Right.READ))]
    ) -> Response:
        """All messages, and the offset at which that is so."""
        session = await session_of(session_id)
        rows = [one.to_json() for one in session.state.messages.timeline()]
        return _json({"messages": rows}, session)

    @router.get("/v1/sessions/{session_id}/tool-calls")
    async def get_tool_calls(
        session_id: str, _by: Annotated[Principal, Depends(needs(Right.READ))]
    ) -> Response:
        """All tool calls and results; ``phase`` says how far a call is."""
        session = await session_of(session_id)
        state = session.state
        calls = list(map(Phases(state).row, state.messages.tool_calls.values()))
        results = [one.to_json() for one in state.messages.tool_results.values()]
        return _json({"toolCalls": calls, "toolResults": results}, session)

    @router.get("/v1/sessions/{session_id}/approvals")
    async def get_approvals(
        session_id: str, _by: Annotated[Principal, Depends(needs(Right.READ))]
    ) -> Response:
        """All approvals; ``phase`` says how far one is."""
        session = await session_of(session_id)
        state = session.state
        rows = list(map(Phases(state).row, state.messages.approvals.values()))
        return _json({"approvals": rows}, session)

    @router.get("/v1/sessions/{session_id}/stats")
    async def get_stats(
        session_id: str, _by: Annotated[Principal, Depends(needs(Right.READ))]
    ) -> Response:
        """Counts of the session."""
        session = await session_of(session_id)
        return _json({"stats": session.state.messages.stats.to_json()}, session)

    @router.get("/v1/sessions/{session_id}/view")
    async def follow_view(
        session_id: str,
        _by: Annotated[Principal, Depends(needs(Right.READ))],
        offset: Annotated[str, Query(max_length=200)] = BEGINNING,
        live: Live | None = None,
    ) -> Response:
        """The materialized rows as a stream: State Protocol rows, read like any stream."""
        return await _follow(service(), await session_of(session_id), offset, live)


async def _follow(
    service: SessionService, session: Session, offset: str, live: Live | None
) -> Response:
    at = session.offset if offset == NOW else offset
    if live == "sse":
        return StreamingResponse(
            _events(service, session, at),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-cache"},
        )
    records = _records(session, at)
    if live == "long-poll" and not records:
        await _wait(service, session, LONG_POLL_SECONDS)
        records = _records(session, at)
    return _batch(records, session, empty_is_204=live is not None)


def _json(body: Json, session: Session) -> Response:
    text = dumps(body | {"offset": session.offset})
    return Response(text, media_type="application/json", headers=_headers(session))


def _headers(session: Session) -> dict[str, str]:
    return {
        StreamHeader.NEXT_OFFSET: session.offset,
        StreamHeader.UP_TO_DATE: "true",
        "Cache-Control": "no-store",
    }


def _batch(records: list[bytes], session: Session, *, empty_is_204: bool) -> Response:
    headers = _headers(session)
    if not records and empty_is_204:
        return Response(status_code=204, headers=headers)
    body = b"[" + b",".join(records) + b"]"
    return Response(body, media_type="application/json", headers=headers)


def _records(session: Session, offset: str) -> list[bytes]:
    """Rows from an offset to where the session stands."""
    if offset == session.offset:
        return []
    if offset == BEGINNING:
        return snapshot(session.state)
    view: View | None = session.view
    found = None if view is None else view.since(offset)
    return [RESET, *snapshot(session.state)] if found is None else found


async def _wait(service: SessionService, session: Session, seconds: float) -> None:
    """Wait for something new in the session, and take it in."""
    with suppress(MissingError):
        await service.log.wait(session.path, session.offset, seconds)
    await session.refresh()


async def _events(service: SessionService, session: Session, offset: str) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    # Readers that came together need not come back together.
    end = loop.time() + ROTATE_SECONDS * random.uniform(0.8, 1.2)  # noqa: S311
    session.users += 1
    try:
        while True:
            records, at = _records(session, offset), session.offset
            if records or offset != at:
                yield _event(records, at)
            else:
                yield b":\n\n"
            offset = at
            if loop.time() > end or service.leaving:
                return
            await _wait(service, session, HEARTBEAT_SECONDS)
    except (RefusedError, LogUnavailableError):
        return
    finally:
        session.users -= 1


def _event(records: list[bytes], offset: str) -> bytes:
    control = dumps({"streamNextOffset": offset, "upToDate": True}).encode()
    data = b"event: data\ndata:[" + b",".join(records) + b"]\n\n" if records else b""
    return data + b"event: control\ndata:" + control + b"\n\n"
