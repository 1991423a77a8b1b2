"""Sessions of one log, as far as this process has read them.

What is kept here is a copy that can be thrown away at any time. A decision is made on a copy that
has just been brought up to date, and the log takes it only if nobody else was faster; then it is
made again.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from durable_ai_db_proxy._decision import Ask, Decision
from durable_ai_db_proxy._errors import Refusal, RefusedError, refused
from durable_ai_db_proxy._ids import session_path
from durable_ai_db_proxy._log import LogUnavailableError, MissingError, Outpaced, SessionLog
from durable_ai_db_proxy._policy import DEFAULT_POLICY, RunPolicy
from durable_ai_db_proxy._rows import Stamp, records
from durable_ai_db_proxy._state import SessionState
from durable_ai_db_proxy._view import View
from durable_transport.protocol import BEGINNING, ErrorCode

ATTEMPTS = 100
"""So often a decision is made again because somebody else was faster."""
KEPT = 256
"""So many sessions that nobody uses are remembered."""

Decide = Callable[[SessionState, Ask], Decision | Refusal]

logger = logging.getLogger("durable_ai_db_proxy")


def new_id() -> str:
    """A new id."""
    return str(uuid4())


def now_text() -> str:
    """The time, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Rules:
    """How decisions are made where a session does not say.

    Attributes:
        policy: For sessions without one of their own.
        agent_turns: So many runs in a row may be caused by agents.
    """

    policy: RunPolicy = DEFAULT_POLICY
    agent_turns: int = 8


class Session:
    """One session. Use what is public under no lock: each method takes its own.

    Attributes:
        users: How many use it at the moment.
        view: Its changes, since somebody wanted to follow them.
    """

    def __init__(self, log: SessionLog, session_id: str, rules: Rules) -> None:
        self.id = session_id
        self.path = session_path(session_id)
        self.users = 0
        self._log = log
        self._rules = rules
        self._lock = asyncio.Lock()
        self._state = SessionState(session_id)
        self._offset = BEGINNING
        self._incarnation = ""
        self.view: View | None = None

    @property
    def state(self) -> SessionState:
        """The state as it was last read; not to be changed."""
        return self._state

    @property
    def offset(self) -> str:
        """Where `state` stands in the stream."""
        return self._offset

    async def refresh(self) -> SessionState:
        """Read what is new.

        Raises:
            RefusedError: there is no such session.
            LogUnavailableError: the log failed.
        """
        async with self._lock:
            return await self._refresh()

    async def watch(self) -> None:
        """Read what is new, and remember changes from here on.

        Raises:
            RefusedError: there is no such session.
            LogUnavailableError: the log failed.
        """
        async with self._lock:
            await self._refresh()
            if self.view is None:
                self.view = View(self._state)

    async def decide(self, decide: Decide, txid: str | None = None) -> Decision:
        """Make a decision and write it down.

        Raises:
            RefusedError: the decision is a refusal, or there is no such session.
            LogUnavailableError: the log failed.
        """
        async with self._lock:
            for attempt in range(ATTEMPTS):
                decision = decide(await self._refresh(), self._ask())
                if isinstance(decision, Refusal):
                    raise RefusedError(decision)
                if not decision.rows or await self._write(decision, txid):
                    return decision
                await asyncio.sleep(0.001 * attempt)
        raise refused(ErrorCode.SESSION_BUSY, "too many write to this session: try again")

    async def _write(self, decision: Decision, txid: str | None) -> bool:
        stamp = Stamp(self._state.decision + 1, new_id(), txid)
        try:
            outcome = await self._log.append(self.path, records(decision.rows, stamp), stamp.number)
        except MissingError as error:
            raise self._missing(error) from error
        if not isinstance(outcome, Outpaced):
            return True
        # An append whose answer was lost is asked for again, and refused because it is there.
        await self._refresh()
        if self._state.decision < stamp.number:
            raise LogUnavailableError("a number was taken, and nobody knows by what")
        return self._state.tokens.get(stamp.number) == stamp.token

    async def _refresh(self) -> SessionState:
        try:
            await self._read()
        except MissingError as error:
            if self._offset == BEGINNING:
                raise self._missing(error) from error
            self._forget()
            try:
                await self._read()
            except MissingError as again:
                raise self._missing(again) from again
        return self._state

    async def _read(self) -> None:
        rows = await self._log.read(self.path, self._offset)
        if rows.incarnation != self._incarnation and self._offset != BEGINNING:
            self._forget()
            rows = await self._log.read(self.path, BEGINNING)
        changes = self._state.apply(rows.items)
        if self.view is not None and rows.offset != self._offset:
            self.view.add(self._offset, rows.offset, changes)
        self._offset, self._incarnation = rows.offset, rows.incarnation

    def _forget(self) -> None:
        self._state, self._offset, self.view = SessionState(self.id), BEGINNING, None

    def _ask(self) -> Ask:
        return Ask(now_text(), new_id, self._log.node, self._rules.policy, self._rules.agent_turns)

    def _missing(self, error: MissingError) -> RefusedError:
        self._forget()
        if error.gone:
            return refused(ErrorCode.SESSION_GONE, f"session {self.id!r} was deleted")
        return refused(
            ErrorCode.SESSION_NOT_FOUND,
            f"there is no session {self.id!r}; PUT /v1/sessions/{self.id} makes one",
        )


class Sessions:
    """The sessions of a log that this process has to do with."""

    def __init__(self, log: SessionLog, rules: Rules) -> None:
        self._log = log
        self._rules = rules
        self._known: OrderedDict[str, Session] = OrderedDict()

    def get(self, session_id: str) -> Session:
        """The session of this name, whether it is there or not."""
        session = self._known.get(session_id)
        if session is None:
            session = self._known[session_id] = Session(self._log, session_id, self._rules)
        self._known.move_to_end(session_id)
        self._drop_idle()
        return session

    def drop(self, session_id: str) -> None:
        """Forget what was read."""
        self._known.pop(session_id, None)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._known.values()))

    def _drop_idle(self) -> None:
        for one in list(self._known.values())[: max(0, len(self._known) - KEPT)]:
            if not one.users:
                del self._known[one.id]
