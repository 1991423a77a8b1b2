"""What a session does about itself and its agents. Pure."""

from collections.abc import Iterable

from durable_ai_db_proxy._decision import (
    NOTHING,
    Ask,
    Decision,
    next_chunk,
)
from durable_ai_db_proxy._errors import Refusal
from durable_ai_db_proxy._policy import RunPolicy
from durable_ai_db_proxy._rows import Json, Row
from durable_ai_db_proxy._run import Status
from durable_ai_db_proxy._state import SessionState
from durable_transport.protocol import ErrorCode


def set_up(state: SessionState, ask: Ask, policy: RunPolicy | None) -> Decision:
    """Set a session up, or change how it is."""
    value = dict(state.settings)
    value.setdefault("sessionId", state.session_id)
    value.setdefault("createdAt", ask.now)
    if policy is not None:
        value["runPolicy"] = policy.value
    if value == state.settings:
        return NOTHING
    value["sessionId"] = state.session_id
    return Decision(rows=(Row("session", state.session_id, "upsert", value),))


def register(state: SessionState, _ask: Ask, agents: Iterable[Json]) -> Decision:
    """Have agents in the session; values as in ``agent`` rows."""
    changed = [one for one in agents if state.agents.get(one["agentId"]) != one]
    return Decision(rows=tuple(Row("agent", one["agentId"], "upsert", one) for one in changed))


def unregister(state: SessionState, ask: Ask, agent_id: str) -> Decision | Refusal:
    """Let an agent go; what it is saying it says to its end."""
    if agent_id not in state.agents:
        return Refusal(
            ErrorCode.AGENT_NOT_FOUND, f"there is no agent {agent_id[:80]!r} in this session"
        )
    cancelled = [
        run.cancelled(ask.now).to_row()
        for run in state.open_runs()
        if run.agent_id == agent_id and run.status is Status.QUEUED
    ]
    return Decision(rows=(Row("agent", agent_id, "delete", None), *cancelled))


def settle_fork(state: SessionState, ask: Ask) -> Decision:
    """Put an end to what was being said where a fork branched off."""
    rows_: list[Row] = []
    for generation in state.messages.active_generations.values():
        chunk = {"type": "stop", "reason": "forked"}
        rows_.append(
            next_chunk(state, ask, generation.message_id, chunk, actor=generation.actor_id)
        )
    value = dict(state.settings) | {"sessionId": state.session_id, "createdAt": ask.now}
    if "sessionId" in state.settings and state.settings["sessionId"] != state.session_id:
        value["forkedFrom"] = state.settings["sessionId"]
    return Decision(rows=(Row("session", state.session_id, "upsert", value), *rows_))
