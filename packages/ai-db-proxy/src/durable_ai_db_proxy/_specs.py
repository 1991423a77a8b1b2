"""How the agents of sessions are called: kept in a stream of each session that nobody is shown.

What clients see of an agent is in the session stream; its headers may hold a key, and are here.
"""

from typing import Any

from durable_ai_db_proxy._ids import agents_path
from durable_ai_db_proxy._log import MissingError, SessionLog
from durable_ai_db_proxy._models import AgentSpec
from durable_ai_db_proxy._rows import dumps
from durable_ai_db_proxy._run import Run
from durable_transport.protocol import BEGINNING


class Specs:
    """How agents are called."""

    def __init__(self, log: SessionLog) -> None:
        self._log = log

    async def keep(self, session: str, specs: list[AgentSpec]) -> None:
        """Keep agents of a session by their ids; on disk when this returns."""
        await self._add(session, [{"agentId": one.id, "spec": _json(one)} for one in specs])

    async def keep_inline(self, session: str, message_id: str, spec: AgentSpec) -> None:
        """Keep the agent that came with a message."""
        await self._add(session, [{"messageId": message_id, "spec": _json(spec)}])

    async def _add(self, session: str, items: list[dict[str, Any]]) -> None:
        path = agents_path(session)
        records = [dumps(one).encode() for one in items]
        try:
            await self._log.add(path, records)
        except MissingError:
            await self._log.create(path)
            await self._log.add(path, records)

    async def find(self, session: str, run: Run) -> AgentSpec | None:
        """How to call the agent of a run; None when nobody knows."""
        try:
            rows = await self._log.read(agents_path(session), BEGINNING)
        except MissingError:
            return None
        for item in reversed(rows.items):
            named = item.get("agentId") == run.agent_id and not run.inline
            came = item.get("messageId") == run.trigger and run.inline
            inline = run.inline and item.get("messageId") and item["spec"]["id"] == run.agent_id
            if named or came or inline:
                return AgentSpec.model_validate(item["spec"])
        return None

    async def fork(self, session: str, source: str) -> None:
        """Let a new session have what another one knows."""
        try:
            count = len((await self._log.read(agents_path(source), BEGINNING)).items)
            await self._log.fork(agents_path(session), agents_path(source), count)
        except MissingError:
            return

    async def forget(self, session: str) -> None:
        """Delete what is kept of a session."""
        await self._log.delete(agents_path(session))


def _json(spec: AgentSpec) -> dict[str, Any]:
    return spec.model_dump(by_alias=True, mode="json")
