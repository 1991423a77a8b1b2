"""What a session can be asked: each call of the service, without HTTP."""

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from durable_ai_db_proxy import (
    _decide_answers,
    _decide_messages,
    _decide_runs,
    _decide_session,
    _ids,
    _models,
    _presence,
)
from durable_ai_db_proxy._agent_call import check_agent
from durable_ai_db_proxy._decide_messages import Message
from durable_ai_db_proxy._decision import Decision
from durable_ai_db_proxy._errors import RefusedError, refused
from durable_ai_db_proxy._log import FencedError, LogUnavailableError, MissingError, SessionLog
from durable_ai_db_proxy._models import AgentSpec
from durable_ai_db_proxy._rows import Json, without_none
from durable_ai_db_proxy._run import Run
from durable_ai_db_proxy._runs import AgentLimits, Parts, Runs, end_run, fence
from durable_ai_db_proxy._sessions import Rules, Session, Sessions, new_id, now_text
from durable_ai_db_proxy._specs import Specs
from durable_ai_db_proxy._state import SessionState
from durable_proxy.generation import Ending, Event
from durable_proxy.targets import Allowlist
from durable_proxy.upstream import Upstream
from durable_transport.protocol import ErrorCode

logger = logging.getLogger("durable_ai_db_proxy")

STOPPED = "the run was stopped"
ORPHANED = "the service that called the agent is gone"


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """What a service is told once.

    Attributes:
        presence_seconds: Who is not heard of for so long is offline.
        drain_seconds: How long a shutdown waits for agents.
        content_bytes: Longest message, in UTF-8.
    """

    allowlist: Allowlist
    rules: Rules
    limits: AgentLimits
    presence_seconds: float = 60.0
    drain_seconds: float = 20.0
    content_bytes: int = 1024 * 1024


class SessionService:
    """Sessions on a log, and the agents that are called for them.

    Args:
        log: The caller's to close.
        upstream: What agents are called with; likewise.

    Attributes:
        leaving: Readers are sent home.
    """

    def __init__(self, log: SessionLog, upstream: Upstream, options: ServiceOptions) -> None:
        self.log = log
        self.options = options
        self.leaving = False
        self.sessions = Sessions(log, options.rules)
        self.specs = Specs(log)
        parts = Parts(log, upstream, options.allowlist, self.specs, options.limits, self.pump)
        self.runs = Runs(parts)

    # ------------------------------------------------------------------ sessions

    async def create(self, session_id: str, wanted: _models.CreateSession) -> bool:
        """Make a session, or change how it is set up; whether it is new."""
        session = self.sessions.get(session_id)
        try:
            new = await self.log.create(session.path)
        except MissingError as error:
            raise refused(
                ErrorCode.SESSION_GONE,
                f"session {session_id!r} was deleted, and its forks need it: choose another id",
            ) from error
        await session.decide(lambda s, a: _decide_session.set_up(s, a, wanted.run_policy))
        return new

    async def state(self, session_id: str) -> SessionState:
        """The session as it is now."""
        return await self.sessions.get(session_id).refresh()

    async def delete(self, session_id: str) -> None:
        """Delete a session with everything about it, and stop its agents."""
        session = self.sessions.get(session_id)
        state = await session.refresh()
        for run in state.open_runs():
            self.runs.take_away(run.id)
        await self.log.delete(session.path)
        await self.specs.forget(session_id)
        self.sessions.drop(session_id)

    async def fork(self, session_id: str, wanted: _models.ForkSession) -> _models.Forked:
        """Branch a new session off, after a message or at the end."""
        new = _ids.session_id(wanted.new_session_id or new_id())
        source = self.sessions.get(session_id)
        state = await source.refresh()
        count = state.count
        if wanted.at_message_id is not None:
            if wanted.at_message_id not in state.ends_at:
                raise refused(
                    ErrorCode.MESSAGE_NOT_FOUND,
                    f"there is no message {wanted.at_message_id[:80]!r} to branch off at",
                )
            count = state.ends_at[wanted.at_message_id]
        forked = self.sessions.get(new)
        if not await self._fork(forked, source, count):
            raise refused(ErrorCode.SESSION_EXISTS, f"there is a session {new!r} already")
        # After the session is ours: one that is there already gets nobody's keys.
        await self.specs.fork(new, session_id)
        await forked.refresh()
        offset = forked.offset
        await forked.decide(_decide_session.settle_fork)
        return _models.Forked(session_id=new, offset=offset)

    async def _fork(self, new: Session, source: Session, count: int) -> bool:
        try:
            return await self.log.fork(new.path, source.path, count)
        except MissingError as error:
            if error.path == new.path:
                return False
            raise refused(
                ErrorCode.SESSION_NOT_FOUND, f"there is no session {source.id!r}"
            ) from error

    # ------------------------------------------------------------------ messages

    async def send(self, session_id: str, wanted: _models.SendMessage, actor_id: str) -> str:
        """Take a message in and have agents answer it; its id."""
        self._check_content(wanted.content)
        session = self.sessions.get(session_id)
        message_id = wanted.message_id or new_id()
        inline = wanted.agent
        if inline is not None:
            self._check_agents([inline])
            await session.refresh()
            await self.specs.keep_inline(session_id, message_id, inline)
        message = Message(
            id=message_id,
            content=wanted.content,
            role=wanted.role,
            actor_id=actor_id,
            by_user=wanted.actor_type == "user",
            inline=None if inline is None else inline.id,
        )
        await self.log.note(session_id)
        decision = await session.decide(
            lambda s, a: _decide_messages.send(s, a, message), wanted.txid
        )
        self._follow_up(session, decision)
        return message_id

    def _check_content(self, content: str) -> None:
        if len(content.encode("utf-8", "replace")) > self.options.content_bytes:
            raise refused(
                ErrorCode.BODY_TOO_LARGE,
                f"a message has at most {self.options.content_bytes} bytes",
            )

    async def regenerate(self, session_id: str, wanted: _models.Regenerate) -> None:
        """Go back to a message and have it answered again."""
        session = self.sessions.get(session_id)
        await self.log.note(session_id)
        decision = await session.decide(
            lambda s, a: _decide_messages.regenerate(s, a, wanted.from_message_id, wanted.content),
            wanted.txid,
        )
        self._follow_up(session, decision)

    async def stop(self, session_id: str, message_id: str | None) -> None:
        """End what is running; when this returns, its end is in the session."""
        session = self.sessions.get(session_id)
        await self.log.note(session_id)
        decision = await session.decide(lambda s, a: _decide_messages.stop(s, a, message_id))
        await self._end_claimed(session, decision.claimed)
        self.runs.spawn(self.pump(session))

    async def answer_call(self, session_id: str, wanted: _models.ToolResult, actor_id: str) -> None:
        """Take in the result of a tool call."""
        session = self.sessions.get(session_id)
        await self.log.note(session_id)
        decision = await session.decide(
            lambda s, a: _decide_answers.answer_call(
                *(s, a, wanted.tool_call_id),
                output=wanted.output,
                error=wanted.error,
                actor_id=actor_id,
                message_id=wanted.message_id or a.new_id(),
            ),
            wanted.txid,
        )
        self._follow_up(session, decision)

    async def answer_approval(
        self, session_id: str, approval_id: str, wanted: _models.ApprovalResponse, actor_id: str
    ) -> None:
        """Take in the answer to an approval."""
        session = self.sessions.get(session_id)
        await self.log.note(session_id)
        decision = await session.decide(
            lambda s, a: _decide_answers.answer_approval(
                s, a, approval_id, approved=wanted.approved, actor_id=actor_id
            ),
            wanted.txid,
        )
        self._follow_up(session, decision)

    # ------------------------------------------------------------------ agents and actors

    async def register(self, session_id: str, specs: list[AgentSpec], txid: str | None) -> None:
        """Have agents in a session."""
        self._check_agents(specs)
        session = self.sessions.get(session_id)
        await session.refresh()
        await self.specs.keep(session_id, specs)
        shown = [_shown(one) for one in specs]
        await session.decide(lambda s, a: _decide_session.register(s, a, shown), txid)

    def _check_agents(self, specs: Iterable[AgentSpec]) -> None:
        for spec in specs:
            refusal = check_agent(spec, self.options.allowlist)
            if refusal is not None:
                raise RefusedError(refusal)

    async def unregister(self, session_id: str, agent_id: str) -> None:
        """Let an agent go."""
        session = self.sessions.get(session_id)
        await session.decide(lambda s, a: _decide_session.unregister(s, a, agent_id))

    async def seen(self, session_id: str, wanted: Json) -> None:
        """Take in a sign of life."""
        session = self.sessions.get(session_id)
        if wanted["status"] != _presence.OFFLINE:
            await self.log.note(session_id)
        ttl = self.options.presence_seconds
        await session.decide(lambda s, a: _presence.seen(s, a, wanted, ttl))

    async def presence(self, session_id: str) -> tuple[list[Json], str]:
        """Who is there, and where in the stream that is so."""
        session = self.sessions.get(session_id)
        state = await session.refresh()
        who = _presence.current(state, now_text(), self.options.presence_seconds)
        return who, session.offset

    # ------------------------------------------------------------------ runs

    def _follow_up(self, session: Session, decision: Decision) -> None:
        if decision.claimed or decision.queued:
            self.runs.spawn(self._work_off(session, decision))

    async def _work_off(self, session: Session, decision: Decision) -> None:
        await self._end_claimed(session, decision.claimed)
        await self.pump(session)

    async def pump(self, session: Session) -> None:
        """Start what waits in a session and whose turn it is."""
        if self.runs.draining:
            return
        await self.log.note(session.id)
        with suppress(RefusedError):
            decision = await session.decide(_decide_runs.start)
            for run in decision.started:
                self.runs.start(session, run)

    async def _end_claimed(
        self, session: Session, claimed: Iterable[Run], message: str = STOPPED
    ) -> None:
        for run in claimed:
            self.runs.take_away(run.id)
            with suppress(FencedError):
                await fence(self.log, session, run)
                event = Event(run.ending or Event.OWNER_GONE)
                await end_run(session, run, Ending(event, message))

    # ------------------------------------------------------------------ looking after

    async def look_after(self) -> None:
        """End what nodes that are gone have left, start what they had not, note who has left."""
        for node, sessions in await self.log.lost():
            for session_id in sessions:
                try:
                    await self._inherit(session_id, node)
                except LogUnavailableError:
                    raise  # nothing is buried, and the next turn tries again
                except Exception:
                    # A defect that has to do with one session must not keep all others waiting.
                    logger.exception("session %s cannot be looked after", session_id)
            await self.log.bury(node)
            logger.warning("node %s is gone: looked after %d sessions", node, len(sessions))
        for session in self.sessions:
            if _presence.has_stale(session.state, now_text(), self.options.presence_seconds):
                await self._expire(session)

    async def _inherit(self, session_id: str, node: str) -> None:
        session = self.sessions.get(session_id)
        # First this node's own word for it: if it dies now, the next one looks here.
        await self.log.note(session_id)
        try:
            decision = await session.decide(lambda s, a: _decide_runs.claim(s, a, node))
        except RefusedError:
            return
        await self._end_claimed(session, decision.claimed, ORPHANED)
        await self.pump(session)

    async def _expire(self, session: Session) -> None:
        ttl = self.options.presence_seconds
        with suppress(RefusedError):
            await session.decide(lambda s, a: _presence.expire(s, a, ttl))

    async def look_after_forever(self) -> NoReturn:
        """Look after three times per lease."""
        while True:
            await asyncio.sleep(self.log.lease_seconds / 3)
            try:
                await self.look_after()
            except LogUnavailableError as error:
                logger.warning("looking after sessions failed: %s", error)
            except Exception:
                logger.exception("looking after sessions failed")


def _shown(spec: AgentSpec) -> Json:
    """The value of an ``agent`` row: nothing of the headers or the body."""
    return without_none(
        {
            "agentId": spec.id,
            "name": spec.name,
            "endpoint": spec.endpoint,
            "triggers": None if spec.triggers is None else spec.triggers.value,
        }
    )
