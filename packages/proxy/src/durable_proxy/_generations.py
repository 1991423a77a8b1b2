"""The generations that this node runs, and the answer to whoever asks for one.

The store decides who runs a generation: its streams are created in one transaction, and whoever
created them calls the upstream. Everybody, the creator included, then reads the answer from the
control stream; so two simultaneous starts on two nodes call the upstream once and say the same.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

from durable_proxy._answers import Answer, answer_from
from durable_proxy._errors import Refusal, RefusedError
from durable_proxy._figures import Figures
from durable_proxy._lifecycle import Ending, Event, may_repeat
from durable_proxy._messages import messages_of
from durable_proxy._quota import Quota
from durable_proxy._relay import Claim, FencedError, Relay
from durable_proxy._stalled import Stalled
from durable_proxy._start_request import Limits, StartRequest
from durable_proxy._status import told_of_end
from durable_proxy._upstream import Upstream
from durable_proxy._watch import UNWATCHED, Watcher
from durable_streams_server import (
    ConfigMismatch,
    Create,
    Created,
    Delete,
    Log,
    LogClosedError,
    LogError,
    Outcome,
    StreamNotFoundError,
    json_record,
)
from durable_streams_server.observing import fields
from durable_transport.protocol import (
    ControlMessage,
    ErrorCode,
    GenerationPaths,
    OptionsPayload,
)

CLAIM_ATTEMPTS = 8
"""How often a generation may be replaced while somebody waits for its answer."""
STALL_CHECK_SECONDS = 0.5
"""How soon somebody who waits for an answer learns that the store takes no writes."""
LAST_WRITE_SECONDS = 2.0
"""How long the terminal records of a shutdown may take."""

CONTROL_CONTENT_TYPE = "application/json"

SHUTTING_DOWN = Refusal(
    ErrorCode.SHUTTING_DOWN, "the proxy is shutting down and starts nothing new: try again soon"
)
SHUT_DOWN = Ending(Event.OWNER_GONE, "the proxy was shut down")
STALLED = Refusal(ErrorCode.STORAGE_UNAVAILABLE, "the log takes no writes at the moment")
TOO_MANY = Refusal(
    ErrorCode.TOO_MANY_GENERATIONS,
    "as many of your generations run on this node as may: try again when one has ended",
)
LOST = Refusal(ErrorCode.GENERATION_LOST, "the generation has no record of how it ended")

logger = logging.getLogger("durable_proxy")


class Generations:
    """Starts generations, keeps them running, and ends them when the proxy goes.

    Args:
        log: Where generations are written; nothing that has to survive is kept here.
        figures: Where they are counted.
        watcher: Looks on.
        keep_seconds: How long after its claim a generation is deleted; None: never.
        clock: Epoch seconds.
    """

    def __init__(
        self,
        log: Log,
        upstream: Upstream,
        limits: Limits,
        figures: Figures,
        watcher: Watcher | None = None,
        *,
        keep_seconds: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._log = log
        self._upstream = upstream
        self._limits = limits
        self._figures = figures
        self._watcher = watcher
        self._keep_seconds = keep_seconds
        self._clock = clock
        self.running = Quota(limits.generations_per_principal)
        """How many generations of each principal run on this node."""
        self.stalls = Stalled(log)
        """Which generations cannot be ended."""
        self._draining = False
        self._time_is_up = False
        self._relays: dict[GenerationPaths, Relay] = {}
        # Strong references: a task that only the loop knows may be collected in mid-air.
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def active(self) -> int:
        """How many generations run on this node."""
        return len(self._relays)

    def runs(self, paths: GenerationPaths) -> bool:
        """This node runs the generation."""
        return paths in self._relays

    @property
    def draining(self) -> bool:
        """Nothing new is started."""
        return self._draining

    async def start(self, request: StartRequest) -> Answer:
        """Run the request's generation unless that has been done, and wait for its answer.

        Raises:
            StorageError: the store failed.
        """
        for _ in range(CLAIM_ATTEMPTS):
            try:
                await self._claimed(request)
                return await self._answer(request.paths)
            except StreamNotFoundError:
                if self._draining:
                    return SHUTTING_DOWN
            except LogClosedError:
                return SHUTTING_DOWN
            except RefusedError as error:
                return error.refusal
        return Refusal(ErrorCode.GENERATION_LOST, "the generation was replaced again and again")

    async def drain(self, seconds: float) -> bool:
        """Start nothing new, let generations run for a while, and end the rest as orphaned.

        Returns:
            Whether any generation had to be waited for.
        """
        self._draining = True
        ran = bool(self._tasks)
        await self._wait(seconds)
        self._time_is_up = True
        for relay in self._relays.values():
            relay.interrupt(SHUT_DOWN)
        await self._wait(LAST_WRITE_SECONDS)
        for task in self._tasks:
            task.cancel()
        await self._wait(LAST_WRITE_SECONDS)
        return ran

    async def _wait(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        # In a loop, because a claim that had begun may add a relay.
        while self._tasks and (left := deadline - loop.time()) > 0:
            await asyncio.wait(self._tasks, timeout=left)

    # ------------------------------------------------------------------ starting

    async def _claimed(self, request: StartRequest) -> None:
        """Have the generation claimed, and run in the same task if it has become ours.

        A task of its own: whoever is cancelled between the creation of the streams and the start
        of the relay must not leave streams that nobody writes.

        Raises:
            RefusedError: whoever asks has too many.
        """
        give_back = self.running.take(request.principal)
        if give_back is None:
            await self._check_exists(request.paths)
            return
        claimed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task = self._spawn(self._claim_and_run(request, claimed))
        task.add_done_callback(lambda _: give_back())
        task.add_done_callback(lambda _: _give_up(claimed))
        await claimed

    async def _claim_and_run(self, request: StartRequest, claimed: asyncio.Future[None]) -> None:
        try:
            claim = await self._claim(request)
        except Exception as error:
            if not claimed.done():
                claimed.set_exception(error)
            raise
        if not claimed.done():
            claimed.set_result(None)
        if claim is None:
            self._figures.attached += not self._draining
        else:
            self._figures.started += 1
            await self._run(claim)

    async def _check_exists(self, paths: GenerationPaths) -> None:
        """Whoever has too many generations may still attach to one.

        Raises:
            RefusedError: there is none to attach to.
        """
        control = await self._log.stat(paths.control)
        if control is None or (control.closed and await self._may_repeat(control.path)):
            raise RefusedError(TOO_MANY)
        self._figures.attached += 1

    async def _claim(self, request: StartRequest) -> Claim | None:
        """Make the generation ours if it is nobody's yet."""
        if self._draining:
            return None
        creation = self._creation(request)
        outcomes = await self._log.transact(*creation)
        if claim := _claimed_by(request, outcomes):
            return claim
        # An open control stream is as it was asked for; one that is closed is not.
        if not isinstance(outcomes[0], ConfigMismatch):
            return None
        control = outcomes[0].stream
        if not control.closed or not await self._may_repeat(control.path):
            return None
        data = await self._log.stat(request.paths.data)
        if data is None:
            return None
        # The ids guard against somebody who has begun the next attempt already: then nothing is
        # deleted here, and theirs is the one to wait for.
        outcomes = await self._log.transact(
            Delete(control.path, control.id), Delete(data.path, data.id), *creation
        )
        return _claimed_by(request, outcomes[2:])

    def _creation(self, request: StartRequest) -> tuple[Create, Create]:
        paths, owner, options = request.paths, self._log.node_id, b""
        if request.cancel_after is not None:
            told = ControlMessage.options(OptionsPayload(cancel_after=request.cancel_after))
            options = json_record(told.to_json())
        kept = self._keep_seconds
        # One moment for both: what has bytes has the record of their end, and the other way round.
        expires_at = None if kept is None else self._clock() + kept
        return (
            Create(
                *(paths.control, CONTROL_CONTENT_TYPE, options), owner=owner, expires_at=expires_at
            ),
            Create(paths.data, owner=owner, expires_at=expires_at),
        )

    async def _may_repeat(self, control: str) -> bool:
        try:
            chunk = await self._log.read(control)
        except StreamNotFoundError:
            return False
        return bool(chunk.data) and may_repeat(messages_of(chunk.data)[-1])

    async def _run(self, claim: Claim) -> None:
        total = self._upstream.timeouts.total
        watch = UNWATCHED if self._watcher is None else self._watcher.watch(claim.request)
        relay = Relay(
            *(self._log, self._upstream, claim, self._limits),
            figures=self._figures,
            stalls=self.stalls,
            total_seconds=total,
            watch=watch,
        )
        self._relays[relay.paths] = relay
        if self._time_is_up:
            relay.interrupt(SHUT_DOWN)
        try:
            await relay.run()
            self._has_ended(claim.request, relay)
        except FencedError as error:
            self._figures.leases_lost += 1
            logger.warning("not ours any more: %s", error)
        except LogClosedError:
            logger.warning("%s: the log was closed before its end", relay.paths.data)
        finally:
            self.stalls.ended(relay.paths)
            watch.ended(relay.ended, relay.stored)
            if self._relays.get(relay.paths) is relay:
                del self._relays[relay.paths]

    def _has_ended(self, request: StartRequest, relay: Relay) -> None:
        account = relay.account()
        self._figures.ended[relay.state] += 1
        self._figures.durations.add(account.ended_at - account.started_at)
        if relay.ended is not None and logger.isEnabledFor(logging.INFO):
            told = told_of_end(request, relay.ended, account, relay.stored)
            logger.info("generation ended", extra=fields(**told))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        # A log that fails is told to whoever waits for the task.
        if error is not None and not isinstance(error, LogError):
            logger.error("a generation's task failed", exc_info=error)

    # ------------------------------------------------------------------ answering

    async def _answer(self, paths: GenerationPaths) -> Answer:
        """Wait for the answer on the control stream.

        Raises:
            StreamNotFoundError: there is no such generation, or another attempt replaced it.
        """
        async with self._log.reader(paths.control) as reader:
            while True:
                chunk = await reader.next(timeout=STALL_CHECK_SECONDS)
                messages = messages_of(chunk.data) if chunk.data else []
                if (answer := answer_from(messages, chunk.stream.id)) is not None:
                    return answer
                if chunk.closed:
                    return LOST
                if reader.stopped:
                    return SHUTTING_DOWN
                relay = self._relays.get(paths)
                if relay is not None and relay.stalled:
                    return STALLED


def _give_up(claimed: asyncio.Future[None]) -> None:
    """Tell who still waits for a claim: a shutdown may cancel its task before its first step."""
    if not claimed.done():
        claimed.set_exception(LogClosedError())


def _claimed_by(request: StartRequest, outcomes: tuple[Outcome, ...]) -> Claim | None:
    match outcomes:
        case (Created(control), Created(data)):
            return Claim(request, control.id, data.id)
        case _:
            return None
