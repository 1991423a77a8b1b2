"""Looking at generations, stopping and deleting them, from any node: all of it out of the store.

A stop is a record in the generation's control stream, written there in one step with the check
that it is still this generation, that it runs, and that nobody has stopped it yet. The node that
runs it follows that stream (see `_relay`). Should that node be gone, whoever ends the generation
in its place finds the record there.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from durable_proxy._lifecycle import rfc3339
from durable_proxy._messages import messages_of
from durable_proxy._status import (
    Json,
    Status,
    Streams,
    by_generation,
    describe,
    status_of,
    tails_tell,
)
from durable_proxy._stop_request import StopOrder
from durable_streams_server import (
    Append,
    Delete,
    Expected,
    Log,
    StorageError,
    StreamGoneError,
    StreamNotFoundError,
    json_record,
)
from durable_transport.protocol import (
    GENERATIONS,
    ControlMessage,
    GenerationPaths,
    StopPayload,
    session_prefix,
)

STOP_SECONDS = 5.0
"""How long a stop waits for the end that it has asked for."""
ATTEMPTS = 20
"""How often a stop looks again at a control stream that has grown meanwhile."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """What became of a stop.

    Attributes:
        status: The generation, ended or (if its node takes too long) about to be.
        by_this: This request has asked for the end; otherwise it was over, or somebody had before.
        other: The status is that of a later attempt: the one that was named is over.
    """

    status: Status
    by_this: bool
    other: bool = False

    @property
    def pending(self) -> bool:
        """The node that runs it has not said yet that it has ended."""
        return self.status.end is None and not self.other


class Desk:
    """What one can ask about generations, and tell them."""

    def __init__(self, log: Log, clock: Callable[[], float] = time.time) -> None:
        self._log = log
        self._clock = clock

    def now(self) -> float:
        """Epoch seconds."""
        return self._clock()

    # ------------------------------------------------------------------ looking

    async def running(self, prefix: str = GENERATIONS) -> list[Json]:
        """The generations that run, on all nodes, the oldest first.

        Args:
            prefix: What the names of their streams begin with.

        Raises:
            StorageError: the store failed.
        """
        owned = await self._log.owned(prefix)
        dead = frozenset(stream.owner or "" for stream in await self._log.orphans())
        found = [
            await self._status(paths, streams)
            for paths, streams in by_generation(owned).items()
            if {"data", "control"} <= streams.keys()
        ]
        running = [status for status in found if status is not None and status.end is None]
        running.sort(key=lambda status: (status.control.created_at, status.control.id))
        return [describe(status, self.now(), dead) for status in running]

    async def look(self, paths: GenerationPaths) -> Status | None:
        """One generation, running or not; None: there is none.

        Raises:
            StorageError: the store failed.
        """
        control, data = await self._log.stat(paths.control), await self._log.stat(paths.data)
        if control is None or data is None:
            return None
        return await self._read_status(paths, {"control": control, "data": data})

    async def _status(self, paths: GenerationPaths, streams: Streams) -> Status | None:
        if tails_tell(streams):
            return status_of(paths, streams)
        return await self._read_status(paths, streams)

    async def _read_status(self, paths: GenerationPaths, streams: Streams) -> Status | None:
        try:
            async with self._log.reader(paths.control) as reader:
                chunk = await reader.read()
        except (StreamNotFoundError, StreamGoneError):
            return None
        messages = messages_of(chunk.data) if chunk.data else []
        # As it is now: between the two looks it may have grown, or ended.
        return status_of(paths, {**streams, "control": chunk.stream}, messages)

    # ------------------------------------------------------------------ stopping

    async def stop(self, order: StopOrder) -> Stopped | None:
        """Have a generation end; wait a while until it has. None: there is none.

        Raises:
            StorageError: the store failed, or the generation's stream changed all the time.
        """
        for _ in range(ATTEMPTS):
            status = await self.look(order.paths)
            if status is None:
                return None
            if order.incarnation not in (None, status.control.id):
                return Stopped(status, by_this=False, other=True)
            if status.end is not None or status.stopping:
                return Stopped(await self._ended(status), by_this=False)
            if await self._ask(status, order):
                return Stopped(await self._ended(status), by_this=True)
        raise StorageError("the control stream changes all the time")

    async def _ask(self, status: Status, order: StopOrder) -> bool:
        """Write the request for an end; False: look again."""
        control = status.control
        asked = StopPayload(
            actor=order.actor, reason=order.reason, requested_at=rfc3339(self.now())
        )
        (outcome,) = await self._log.transact(
            Append(
                control.path,
                json_record(ControlMessage.stop(asked).to_json()),
                # In the owner's name: it holds for what has just been read.
                owner=control.owner,
                expected=Expected(control.id, control.tail),
            )
        )
        return outcome.ok

    async def _ended(self, status: Status) -> Status:
        """The generation after its end, or as it is after some seconds."""
        if status.end is None:
            try:
                await self._wait_for_end(status)
            except (StreamNotFoundError, StreamGoneError):
                return status
        return await self.look(status.paths) or status

    async def _wait_for_end(self, status: Status) -> None:
        deadline = time.monotonic() + STOP_SECONDS
        async with self._log.reader(status.paths.control, status.control.tail) as reader:
            while (left := deadline - time.monotonic()) > 0:
                chunk = await reader.next(timeout=left)
                if chunk.closed or reader.stopped:
                    return

    # ------------------------------------------------------------------ deleting

    async def delete(self, paths: GenerationPaths) -> bool:
        """Stop a generation and remove all that was written of it; False: there is none.

        Raises:
            StorageError: the store failed.
        """
        await self.stop(StopOrder(paths))
        return await self.remove(paths)

    async def remove(self, paths: GenerationPaths) -> bool:
        """Remove it as it is: the node that runs it sees that it is gone, and lets go.

        Raises:
            StorageError: the store failed.
        """
        outcomes = await self._log.transact(Delete(paths.control), Delete(paths.data))
        return all(outcome.ok for outcome in outcomes)

    async def delete_session(self, session_id: UUID) -> int:
        """Delete the generations that a session has now; how many it were.

        Raises:
            StorageError: the store failed.
        """
        count, after = 0, ""
        while page := await self._log.list_streams(session_prefix(session_id), after):
            for paths in by_generation(page):
                count += await self.delete(paths)
            after = page[-1].path
        return count
