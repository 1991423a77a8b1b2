"""The calls of DESIGN section 7. A handler parses, has it done, and renders."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Response
from starlette.types import Receive, Scope, Send

from durable_ai_db_proxy import _ids
from durable_ai_db_proxy import _models as models
from durable_ai_db_proxy._auth import Principal, Right, acting, needing
from durable_ai_db_proxy._errors import refused
from durable_ai_db_proxy._reads import add_reads
from durable_ai_db_proxy._service import SessionService
from durable_ai_db_proxy._sessions import new_id
from durable_ai_db_proxy._state import SessionState
from durable_transport.protocol import ErrorCode

STREAM_PREFIX = "/v1/stream/"

Service = Callable[[], SessionService]
ActorHeader = Annotated[str | None, Header(alias="X-Actor-Id", max_length=256)]


class Delegated(Response):
    """An answer that another ASGI application gives."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], path: str) -> None:
        super().__init__()
        self._app = app
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        path = "/" + self._path
        inner = {**scope, "path": path, "raw_path": path.encode(), "root_path": ""}
        await self._app(inner, receive, send)


def routes(service: Service, authorize: Callable[..., Any]) -> APIRouter:
    """All routes about sessions."""
    router = APIRouter(responses={"4XX": {"model": models.Error}, "5XX": {"model": models.Error}})
    needs = needing(authorize)
    _session_routes(router, service, needs)
    _message_routes(router, service, needs)
    _answer_routes(router, service, needs)
    _agent_routes(router, service, needs)
    _presence_routes(router, service, needs)
    add_reads(router, service, needs)
    return router


Needs = Callable[[Right], Callable[..., Any]]


def stream_url(session_id: str) -> str:
    """Where a session's stream is read, on this service."""
    return STREAM_PREFIX + _ids.session_path(session_id)


def _info(session_id: str, state: SessionState, service: SessionService) -> models.SessionInfo:
    return models.SessionInfo(
        session_id=session_id,
        stream_url=stream_url(session_id),
        run_policy=state.policy or service.options.rules.policy,
        created_at=state.settings.get("createdAt"),
        forked_from=state.settings.get("forkedFrom"),
    )


def _session_routes(router: APIRouter, service: Service, needs: Needs) -> None:
    @router.put("/v1/sessions/{session_id}", response_model_exclude_none=True)
    async def create_session(
        session_id: str,
        response: Response,
        _by: Annotated[Principal, Depends(needs(Right.MANAGE))],
        wanted: models.CreateSession | None = None,
    ) -> models.SessionInfo:
        """Make a session; one that is there is fine, and is set up as the body says."""
        _ids.session_id(session_id)
        new = await service().create(session_id, wanted or models.CreateSession())
        response.status_code = 201 if new else 200
        return _info(session_id, await service().state(session_id), service())

    @router.get("/v1/sessions/{session_id}", response_model_exclude_none=True)
    async def get_session(
        session_id: str, _by: Annotated[Principal, Depends(needs(Right.READ))]
    ) -> models.SessionInfo:
        """Tell where a session is read and how it is set up."""
        _ids.session_id(session_id)
        return _info(session_id, await service().state(session_id), service())

    @router.delete("/v1/sessions/{session_id}", status_code=204)
    async def delete_session(
        session_id: str, _by: Annotated[Principal, Depends(needs(Right.MANAGE))]
    ) -> None:
        """Delete a session: its stream, its agents, everything."""
        await service().delete(_ids.session_id(session_id))

    @router.post("/v1/sessions/{session_id}/fork", status_code=201)
    async def fork_session(
        session_id: str,
        wanted: models.ForkSession,
        _by: Annotated[Principal, Depends(needs(Right.MANAGE))],
    ) -> models.Forked:
        """Branch a new session off that has everything up to a message, without copying it."""
        return await service().fork(_ids.session_id(session_id), wanted)

    @router.api_route("/v1/stream/sessions/{session_id}", methods=["GET", "HEAD"])
    async def read_stream(
        session_id: str, _by: Annotated[Principal, Depends(needs(Right.READ))]
    ) -> Response:
        """Read the session's stream, as the Durable Streams protocol has it."""
        path = _ids.session_path(_ids.session_id(session_id))
        return Delegated(service().log.serve_stream, path)


def _message_routes(router: APIRouter, service: Service, needs: Needs) -> None:
    @router.post("/v1/sessions/{session_id}/messages")
    async def send_message(
        session_id: str,
        wanted: models.SendMessage,
        by: Annotated[Principal, Depends(needs(Right.WRITE))],
        x_actor_id: ActorHeader = None,
    ) -> models.Sent:
        """Send a message. It is in the session when this answers; agents answer it after that."""
        if wanted.agent is not None and Right.AGENTS not in by.rights:
            raise refused(ErrorCode.FORBIDDEN, "this needs the right to agents")
        actor = acting(by, wanted.actor_id or x_actor_id) or new_id()
        sent = await service().send(_ids.session_id(session_id), wanted, actor)
        return models.Sent(message_id=sent)

    @router.post("/v1/sessions/{session_id}/regenerate")
    async def regenerate(
        session_id: str,
        wanted: models.Regenerate,
        by: Annotated[Principal, Depends(needs(Right.WRITE))],
        x_actor_id: ActorHeader = None,
    ) -> models.Done:
        """Go back to a message, let go of what follows, and have it answered again."""
        acting(by, wanted.actor_id or x_actor_id)
        await service().regenerate(_ids.session_id(session_id), wanted)
        return models.Done()

    @router.post("/v1/sessions/{session_id}/stop", status_code=204)
    async def stop(
        session_id: str,
        _by: Annotated[Principal, Depends(needs(Right.STOP))],
        wanted: models.Stop | None = None,
    ) -> None:
        """End what agents are saying. When this answers, the end is in the session."""
        message_id = None if wanted is None else wanted.message_id
        await service().stop(_ids.session_id(session_id), message_id)


def _answer_routes(router: APIRouter, service: Service, needs: Needs) -> None:
    @router.post("/v1/sessions/{session_id}/tool-results", status_code=204)
    async def add_tool_result(
        session_id: str,
        wanted: models.ToolResult,
        by: Annotated[Principal, Depends(needs(Right.WRITE))],
        x_actor_id: ActorHeader = None,
    ) -> None:
        """Answer a tool call; the agent goes on when all its calls are answered."""
        actor = acting(by, x_actor_id) or new_id()
        await service().answer_call(_ids.session_id(session_id), wanted, actor)

    @router.post("/v1/sessions/{session_id}/approvals/{approval_id}", status_code=204)
    async def answer_approval(
        session_id: str,
        approval_id: str,
        wanted: models.ApprovalResponse,
        by: Annotated[Principal, Depends(needs(Right.WRITE))],
        x_actor_id: ActorHeader = None,
    ) -> None:
        """Answer an approval; the agent goes on when all that it asked is answered."""
        actor = acting(by, x_actor_id) or new_id()
        _ids.name(approval_id, "an approval's id")
        await service().answer_approval(_ids.session_id(session_id), approval_id, wanted, actor)


def _agent_routes(router: APIRouter, service: Service, needs: Needs) -> None:
    @router.post("/v1/sessions/{session_id}/agents", response_model_exclude_none=True)
    async def register_agents(
        session_id: str,
        wanted: models.RegisterAgents,
        _by: Annotated[Principal, Depends(needs(Right.AGENTS))],
    ) -> models.Agents:
        """Have agents in the session; those of the same ids are replaced."""
        _ids.session_id(session_id)
        await service().register(session_id, wanted.agents, wanted.txid)
        return _agents(await service().state(session_id))

    @router.get("/v1/sessions/{session_id}/agents", response_model_exclude_none=True)
    async def get_agents(
        session_id: str, _by: Annotated[Principal, Depends(needs(Right.READ))]
    ) -> models.Agents:
        """List the agents of the session, without how they are called."""
        return _agents(await service().state(_ids.session_id(session_id)))

    @router.delete("/v1/sessions/{session_id}/agents/{agent_id}", status_code=204)
    async def unregister_agent(
        session_id: str, agent_id: str, _by: Annotated[Principal, Depends(needs(Right.AGENTS))]
    ) -> None:
        """Take an agent out of the session."""
        await service().unregister(_ids.session_id(session_id), agent_id)


def _agents(state: SessionState) -> models.Agents:
    return models.Agents(
        agents=[
            models.AgentInfo.model_validate({**value, "id": agent_id})
            for agent_id, value in state.agents.items()
        ]
    )


def _presence_routes(router: APIRouter, service: Service, needs: Needs) -> None:
    @router.post("/v1/sessions/{session_id}/presence", status_code=204)
    async def set_presence(
        session_id: str,
        wanted: models.Presence,
        by: Annotated[Principal, Depends(needs(Right.WRITE))],
        x_actor_id: ActorHeader = None,
    ) -> None:
        """Give a sign of life; who gives none for a while is offline."""
        actor = acting(by, wanted.actor_id or x_actor_id)
        if actor is None:
            raise refused(ErrorCode.BAD_REQUEST, "actorId is missing: who is here?")
        value = wanted.model_dump(by_alias=True) | {"actorId": actor}
        await service().seen(_ids.session_id(session_id), value)

    @router.get("/v1/sessions/{session_id}/presence")
    async def get_presence(
        session_id: str, _by: Annotated[Principal, Depends(needs(Right.READ))]
    ) -> models.PresenceList:
        """List everybody who was seen, with the status that is true now."""
        who, offset = await service().presence(_ids.session_id(session_id))
        return models.PresenceList(presence=who, offset=offset)

    @router.delete("/v1/sessions/{session_id}/presence/{actor_id}", status_code=204)
    async def leave(
        session_id: str,
        actor_id: str,
        by: Annotated[Principal, Depends(needs(Right.WRITE))],
    ) -> None:
        """Say goodbye."""
        actor = acting(by, actor_id) or actor_id
        state = await service().state(_ids.session_id(session_id))
        before = state.presence.get(actor)
        if before is None:
            raise refused(ErrorCode.ACTOR_NOT_FOUND, f"{actor[:80]!r} was never here")
        gone = {key: one for key, one in before.items() if key != "lastSeenAt"}
        await service().seen(session_id, gone | {"status": "offline"})
