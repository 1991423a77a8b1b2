"""Stop if nobody reads: who counts as a reader of a generation, on its own node and on the others.

A reader is a connection that is open on one of the generation's streams at the moment somebody
looks: a live body, server-sent events, a long-poll that waits; and a start request that waits for
the upstream. Reads that are answered at once leave nothing to be seen.

On its own node a generation sees its readers. Another node that has any says so in the
generation's control stream (``heartbeat``), because the owner reads that anyway and it survives
everything: several times within the time that was asked for, however many readers it has, and only
for generations that were started with such a time.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import NoReturn

from durable_proxy._lifecycle import Ending, Event
from durable_proxy._messages import messages_of, options_among
from durable_streams_server import Append, Expected, Log, LogError, StreamInfo, json_record
from durable_transport.protocol import (
    ControlEvent,
    ControlMessage,
    GenerationPaths,
    parse_generation_path,
)

LOOKS = 5
"""How often is looked within the time without a reader after which a generation is stopped."""
ROUND_SECONDS = 0.25
"""Between two looks of a node at what is read from it."""

logger = logging.getLogger("durable_proxy")


class Unread:
    """Watches over one generation of this node, and stops it when nobody has read it for long.

    Args:
        seconds: How long.
        stop: Ends it.
    """

    def __init__(
        self, log: Log, paths: GenerationPaths, seconds: float, stop: Callable[[Ending], None]
    ) -> None:
        self._log = log
        self._paths = paths
        self._seconds = seconds
        self._stop = stop
        self._loop = asyncio.get_running_loop()
        self._read_at = self._loop.time()

    def seen(self) -> None:
        """Somebody reads it, here or on another node."""
        self._read_at = self._loop.time()

    async def mind(self) -> None:
        """Look every so often, until nobody has been there for too long."""
        while self._loop.time() - self._read_at < self._seconds:
            await asyncio.sleep(self._seconds / LOOKS)
            if self._is_read:
                self.seen()
        message = f"nobody has been reading it for {self._seconds:g} s"
        self._stop(Ending(Event.STOPPED, message, reason="unread"))

    @property
    def _is_read(self) -> bool:
        # The generation itself follows its control stream.
        data, control = self._paths.data, self._paths.control
        return self._log.count_readers(data) > 0 or self._log.count_readers(control) > 1


class Presence:
    """Tells the owners of generations that they are read from this node.

    Args:
        is_ours: A generation is run by this node, which needs not be told.
    """

    def __init__(self, log: Log, is_ours: Callable[[GenerationPaths], bool]) -> None:
        self._log = log
        self._is_ours = is_ours
        self._loop = asyncio.get_running_loop()
        # Of what is read now: how long its owner waits for a reader (None: for ever), and when it
        # was told last.
        self._waits: dict[GenerationPaths, float | None] = {}
        self._told_at: dict[GenerationPaths, float] = {}

    async def run(self) -> NoReturn:
        """Look and tell, until cancelled."""
        while True:
            await asyncio.sleep(ROUND_SECONDS)
            try:
                await self.tell()
            except LogError as error:
                logger.warning("telling who reads failed: %s", error)
            except Exception:
                logger.exception("telling who reads failed")

    async def tell(self) -> None:
        """Tell each owner that has to be told by now."""
        read = self._read_now()
        for known in (self._waits, self._told_at):
            for paths in known.keys() - read:
                del known[paths]
        for paths in read:
            if paths not in self._waits:
                self._waits[paths] = await self._wait_of(paths)
            wait = self._waits[paths]
            told_at = self._told_at.get(paths, float("-inf"))
            if wait is not None and self._loop.time() - told_at > wait / LOOKS:
                self._told_at[paths] = self._loop.time()
                await self._tell(paths)

    def _read_now(self) -> set[GenerationPaths]:
        found = {parse_generation_path(reader.path) for reader in self._log.readers()}
        return {one[0] for one in found if one is not None and not self._is_ours(one[0])}

    async def _wait_of(self, paths: GenerationPaths) -> float | None:
        control = await self._log.stat(paths.control)
        if control is None or control.closed or control.tail == 0:
            return None
        messages = messages_of((await self._log.read(paths.control)).data)
        return options_among(messages).cancel_after

    async def _tell(self, paths: GenerationPaths) -> None:
        control = await self._log.stat(paths.control)
        if control is None or control.closed:
            self._waits[paths] = None
            return
        await self._log.transact(_heartbeat(control, self._log.node_id))


def _heartbeat(control: StreamInfo, node: str) -> Append:
    record = ControlMessage(event=ControlEvent.HEARTBEAT, payload={"node": node})
    return Append(
        control.path,
        json_record(record.to_json()),
        owner=control.owner,
        expected=Expected(control.id),
    )
