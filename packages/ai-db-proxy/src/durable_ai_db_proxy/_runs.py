"""The runs of this node: agents that are being called, and their chunks on the way to the log.

Two halves with a `Pipe` between them, as in the proxy: one receives, the other writes. What arrived
while the last append ran goes into the log as one append; nothing is held back.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from durable_ai_db_proxy import _decide_runs, _rows
from durable_ai_db_proxy._agent_call import AgentRequest, agent_request
from durable_ai_db_proxy._answer import AnswerError, AnswerReader
from durable_ai_db_proxy._decision import Ask, Decision
from durable_ai_db_proxy._errors import RefusedError
from durable_ai_db_proxy._log import (
    FencedError,
    LogUnavailableError,
    MissingError,
    SessionLog,
    Writer,
)
from durable_ai_db_proxy._run import Run
from durable_ai_db_proxy._sessions import Session, now_text
from durable_ai_db_proxy._specs import Specs
from durable_ai_db_proxy._state import SessionState
from durable_proxy.generation import Ending, Event
from durable_proxy.targets import Allowlist, UrlError
from durable_proxy.upstream import Batch, Pipe, Upstream, UpstreamError

FIRST_RETRY_SECONDS = 0.05
LAST_RETRY_SECONDS = 5.0
LOOK_SECONDS = 1.0
"""So often a run looks whether another node has taken it away; a writer learns it at once."""
LAST_WRITE_SECONDS = 2.0

GONE = Ending(Event.OWNER_GONE, "the service that called the agent was shut down")
NO_AGENT = "agent_not_found"

logger = logging.getLogger("durable_ai_db_proxy")


@dataclass(frozen=True, slots=True)
class AgentLimits:
    """How much an agent may send.

    Attributes:
        answer_bytes: A longer answer ends the run.
        error_bytes: So much of an agent's own error is kept.
        buffered_bytes: So much of an answer may wait for the log.
    """

    answer_bytes: int = 16 * 1024 * 1024
    error_bytes: int = 2000
    buffered_bytes: int = 512 * 1024


class Unusable(Exception):  # noqa: N818 - carries a reason up to where the run is ended
    """The run ends for a reason of its own."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(code, message)


@dataclass(slots=True)
class Parts:
    """What runs need.

    Attributes:
        pump: Starts what waits in a session, after something has ended there.
    """

    log: SessionLog
    upstream: Upstream
    allowlist: Allowlist
    specs: Specs
    limits: AgentLimits
    pump: Callable[[Session], Coroutine[Any, Any, None]]


@dataclass(slots=True)
class RunTask:
    """One run of this node.

    Attributes:
        cut: It has been taken away: nothing of it is to be written any more.
    """

    session: Session
    run: Run
    parts: Parts
    pipe: Pipe = field(init=False)
    cut: bool = False
    _reader: AnswerReader | None = None
    _seq: int = 0
    _fatal: Unusable | None = None

    def __post_init__(self) -> None:
        self.pipe = Pipe(self.parts.limits.buffered_bytes)

    def interrupt(self, ending: Ending) -> None:
        """End it with what has come so far."""
        self.pipe.end(ending)

    def take_away(self) -> None:
        """Somebody else ends it."""
        self.cut = True
        self.pipe.end(Ending(Event.STOPPED))

    async def run_to_end(self) -> None:
        """Call the agent, write what it says, and write the end."""
        ending: Ending | Unusable
        try:
            ending = await self._relay()
        except Unusable as error:
            ending = error
        except (FencedError, MissingError):
            return
        except LogUnavailableError as error:
            logger.warning("run %s: the log refused a write: %s", self.run.id, error)
            ending = Ending(Event.STORE_REFUSED, "the log could not store the whole answer")
        except Exception:
            logger.exception("run %s failed", self.run.id)
            ending = Ending(Event.OWNER_GONE, "the service failed while it relayed the answer")
        if not self.cut:
            await end_run(self.session, self.run, ending)
            await self.parts.pump(self.session)

    async def _relay(self) -> Ending:
        request = await self._request()
        feeder = asyncio.create_task(self._feed(request), name=f"agent {self.run.id}")
        looker = asyncio.create_task(self._look(), name=f"look {self.run.id}")
        try:
            name = f"run:{self.run.id}"
            async with self.parts.log.writer(self.session.path, name, self.run.epoch) as writer:
                return await self._write_all(writer)
        finally:
            feeder.cancel()
            looker.cancel()
            await asyncio.gather(feeder, looker, return_exceptions=True)

    async def _request(self) -> AgentRequest:
        spec = await self.parts.specs.find(self.session.id, self.run)
        if spec is None:
            raise Unusable(NO_AGENT, "nobody knows any more how to call the agent")
        state = await self.session.refresh()
        try:
            return agent_request(spec, state, self.run, self.parts.allowlist)
        except UrlError as error:
            raise Unusable(NO_AGENT, str(error)) from error

    # ------------------------------------------------------------------ receiving

    async def _feed(self, request: AgentRequest) -> None:
        if self.parts.allowlist.refuse(request.target) is not None:
            self.pipe.end(Ending(Event.FORBIDDEN, f"{request.target.origin} is not allowed"))
            return
        try:
            async with self.parts.upstream.send(request) as answer:
                if not answer.accepted:
                    self.pipe.end(await answer.rejection(self.parts.limits.error_bytes))
                    return
                self.pipe.accept(answer.start())
                await answer.copy_to(self.pipe.put)
                self.pipe.end(Ending(Event.ENDED))
        except UpstreamError as error:
            self.pipe.end(error.ending)
        except Exception:
            logger.exception("run %s: receiving failed", self.run.id)
            self.pipe.end(Ending(Event.BROKE, "the service failed while it read the answer"))

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                now = (await self.session.refresh()).runs.get(self.run.id)
            except RefusedError:
                now = None
            except LogUnavailableError:
                continue
            if now is None or now.epoch != self.run.epoch:
                self.take_away()
                return

    # ------------------------------------------------------------------ writing

    async def _write_all(self, writer: Writer) -> Ending:
        while True:
            batch = await self.pipe.take()
            if self.cut:
                return Ending(Event.STOPPED)
            texts = self._texts(batch)
            if texts:
                await writer.write([self._record(text) for text in texts])
            if self._fatal is not None:
                raise self._fatal
            if batch.ending is not None:
                return batch.ending

    def _texts(self, batch: Batch) -> list[str]:
        """The chunks of a batch; what was complete before an error is kept."""
        texts: list[str] = []
        try:
            if batch.start is not None:
                limit = self.parts.limits.answer_bytes
                self._reader = AnswerReader(batch.start.content_type, limit)
            if self._reader is not None:
                texts += self._reader.feed(batch.data)
                if batch.ending is not None and batch.ending.event is Event.ENDED:
                    texts += self._reader.end()
        except AnswerError as error:
            self._fatal = Unusable(error.code, error.message)
        return texts

    def _record(self, text: str) -> bytes:
        row = _rows.chunk_row(
            self.run.message_id,
            self._seq,
            actor_id=self.run.agent_id,
            role="assistant",
            text=text,
            now=now_text(),
        )
        self._seq += 1
        return _rows.record(row)


async def end_run(session: Session, run: Run, ending: Ending | Unusable) -> None:
    """Write the end of a run that this node has, as soon as the log takes it."""
    delay = FIRST_RETRY_SECONDS
    while True:
        try:
            await session.decide(partial(_end, run, ending))
        except LogUnavailableError as error:
            logger.warning("run %s: its end cannot be written yet: %s", run.id, error)
            await asyncio.sleep(delay)
            delay = min(2 * delay, LAST_RETRY_SECONDS)
        except RefusedError:
            return  # the session was deleted
        else:
            return


def _end(run: Run, ending: Ending | Unusable, state: SessionState, ask: Ask) -> Decision:
    if isinstance(ending, Unusable):
        return _decide_runs.end_with(state, ask, run, ending.code, ending.message)
    return _decide_runs.end(state, ask, run, ending)


class Runs:
    """The runs of this node, until it leaves."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._running: dict[str, RunTask] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.draining = False

    @property
    def active(self) -> int:
        """How many agents are being called by this node."""
        return len(self._running)

    def start(self, session: Session, run: Run) -> None:
        """Call the agent of a run that has been started in this node's name."""
        task = RunTask(session, run, self._parts)
        self._running[run.id] = task
        session.users += 1
        self.spawn(self._run(task))

    def take_away(self, run_id: str) -> None:
        """The run has been claimed by somebody: stop calling."""
        if task := self._running.get(run_id):
            task.take_away()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that nobody waits for."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, LogUnavailableError | RefusedError):
            logger.error("work in the background failed", exc_info=error)

    async def _run(self, task: RunTask) -> None:
        try:
            await task.run_to_end()
        finally:
            task.session.users -= 1
            self._running.pop(task.run.id, None)

    async def drain(self, seconds: float) -> None:
        """Let agents speak to their end for a while, then end what is left as orphaned."""
        self.draining = True
        await self._wait(seconds)
        for task in list(self._running.values()):
            task.interrupt(GONE)
        await self._wait(LAST_WRITE_SECONDS)
        for one in list(self._tasks):
            one.cancel()
        await self._wait(LAST_WRITE_SECONDS)

    async def _wait(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while self._tasks and (left := deadline - loop.time()) > 0:
            await asyncio.wait(self._tasks, timeout=left)


async def fence(log: SessionLog, session: Session, run: Run) -> None:
    """Shut out whoever had the run before: after this, nothing of it is written by others."""
    record = _rows.record(run.to_row())
    with suppress(MissingError):
        async with log.writer(session.path, f"run:{run.id}", run.epoch) as writer:
            await writer.write([record])
