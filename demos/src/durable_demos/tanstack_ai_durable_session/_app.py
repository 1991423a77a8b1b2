"""The whole demo as one application: the session service, the agents that it calls, the page.

In production these are three services: ``durable-sessions serve``, the agents, and the page.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import httpx2
from fastapi import Body, FastAPI, HTTPException

from durable_ai_db_proxy import create_app as create_sessions
from durable_demos.tanstack_ai_durable_session._agents import agent_routes, known_agents

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from durable_demos._serve import Demo

Json = dict[str, Any]

AGENT_TURNS = 6
"""So often agents may answer agents before a person has to speak."""
PRESENCE_SECONDS = 30
DRAIN_SECONDS = 2


def create_app(demo: Demo) -> FastAPI:
    """The session service at ``/durable``, agents at ``/agents``, the page at ``/``."""
    sessions = create_sessions(
        demo.store(),
        allow=[f"{demo.origin}/agents/*"],
        agent_turns=AGENT_TURNS,
        presence_seconds=PRESENCE_SECONDS,
        drain_seconds=DRAIN_SECONDS,
    )
    inside = httpx2.AsyncClient(
        transport=httpx2.ASGITransport(sessions), base_url="http://sessions/v1/sessions"
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with sessions.router.lifespan_context(sessions), inside:
            yield

    app = FastAPI(title=demo.name, lifespan=lifespan)
    app.state.drain = sessions.state.sessions.drain
    app.mount("/durable", sessions)
    known = known_agents(demo)
    app.include_router(agent_routes(known))
    specs = {one.id: one.spec(demo.origin) for one in known}
    desk = Desk(inside, specs)

    @app.post("/api/sessions/{session_id}")
    async def open_session(
        session_id: str, *, create: Annotated[bool, Body(embed=True)] = False
    ) -> Json:
        """Have a session ready for the page: made, if wanted, with its first agent in it."""
        return await desk.open(session_id, create=create)

    demo.add_page(app, agents=[specs[one.id] | {"about": one.about} for one in known])
    return app


class Desk:
    """Makes sessions, and keeps their agents callable.

    Args:
        service: A client of the session service, at its sessions.
        specs: How the agents of this demo are called now, by id; the first is in every session.
    """

    def __init__(self, service: httpx2.AsyncClient, specs: dict[str, Json]) -> None:
        self._service = service
        self._specs = specs

    async def open(self, session_id: str, *, create: bool) -> Json:
        """The session, whose agents are where they are now: the port may have changed."""
        path = f"/{quote(session_id, safe='')}"  # whatever the page's address names
        if create:
            answer = await self._service.put(path)
        else:
            answer = await self._service.get(path)
        session = _json(answer)
        agents = _json(await self._service.get(f"{path}/agents"))["agents"]
        moved = [
            self._specs[one["id"]] | {"triggers": one.get("triggers")}
            for one in agents
            if one["id"] in self._specs and one["endpoint"] != self._specs[one["id"]]["endpoint"]
        ]
        first = [next(iter(self._specs.values()))] if answer.status_code == NEW else []
        if wanted := [*moved, *first]:
            _json(await self._service.post(f"{path}/agents", json={"agents": wanted}))
        return session


NEW = 201


def _json(answer: httpx2.Response) -> Json:
    body: Json = answer.json()
    if answer.is_error:
        raise HTTPException(answer.status_code, body["error"])
    return body
