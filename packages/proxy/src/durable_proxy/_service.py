"""A running proxy: the log, the upstream, the generations, and the order they start and end in.

Start: open the log, end what the last process left behind, and only then serve. End: start
nothing new, let generations finish, end the rest as orphaned, end the readers, close the log.
Readers come last because what they wait for is being written until then: a generation that
finishes while the proxy drains is read to its end by whoever is connected. A reader asks for the
record of the end only when it has the last byte, and by a new request: hence the farewell.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from durable_proxy._allowlist import Allowlist
from durable_proxy._answers import Answer
from durable_proxy._desk import Desk
from durable_proxy._egress import Egress
from durable_proxy._electric_url import ElectricUrl
from durable_proxy._figures import Figures
from durable_proxy._generations import Generations
from durable_proxy._presence import Presence
from durable_proxy._reaper import reap, reap_forever
from durable_proxy._shape_pruning import prune_forever
from durable_proxy._shape_tables import ShapeTables
from durable_proxy._start_request import Limits, StartRequest
from durable_proxy._upstream import Timeouts, Upstream, open_upstream
from durable_streams_server import Limits as StreamLimits
from durable_streams_server import Log

if TYPE_CHECKING:
    from durable_proxy._watch import Watcher

ELECTRIC_TIMEOUTS = Timeouts(connect=5.0, answer=60.0, idle=60.0)
"""It answers a live request after 20 seconds, and keeps events alive as often."""

FAREWELL_SECONDS = 1.0
"""How long readers are served after the last generation of a drain has ended."""

logger = logging.getLogger("durable_proxy")


@dataclass(frozen=True, slots=True)
class Options:
    """What a proxy is told once, at its start."""

    allowlist: Allowlist
    limits: Limits
    timeouts: Timeouts
    lease_seconds: float
    drain_seconds: float
    streams: StreamLimits
    tls: ssl.SSLContext | None
    egress: Egress | None
    electric: ElectricUrl | None = None
    keep_seconds: float | None = None

    @property
    def life_seconds(self) -> float | None:
        """How long after its start a generation is deleted: none that still runs."""
        return None if self.keep_seconds is None else self.timeouts.total + self.keep_seconds


@dataclass(frozen=True, slots=True)
class Electric:
    """What exists while shapes come from a real Electric.

    Attributes:
        tables: What it reads.
        upstream: Sends requests to it.
    """

    tables: ShapeTables
    upstream: Upstream


@dataclass(slots=True)
class Parts:
    """What exists while a proxy runs."""

    log: Log
    generations: Generations
    desk: Desk
    electric: Electric | None = None


class Proxy:
    """The proxy behind an application (``app.state.proxy``).

    Args:
        store: A store URL, or a log that the caller opened and will close.

    Attributes:
        figures: Counts of this node.
        watcher: Looks on, if it was set before the start.
    """

    def __init__(self, store: Log | str, options: Options) -> None:
        self.options = options
        self.figures = Figures()
        self.watcher: Watcher | None = None
        self._store = store
        self._parts: Parts | None = None
        self._leaving = False

    @property
    def parts(self) -> Parts:
        """The running parts.

        Raises:
            RuntimeError: the application's lifespan has not been entered.
        """
        if self._parts is None:
            raise RuntimeError(
                "the proxy is not running: a server enters the application's lifespan by itself; "
                "where the application is mounted in another one, enter "
                "app.router.lifespan_context(app) in that one's lifespan"
            )
        return self._parts

    def electric(self) -> Upstream:
        """What sends requests to a real Electric.

        Raises:
            RuntimeError: there is none, or the proxy is not running.
        """
        if self.parts.electric is None:
            raise RuntimeError("the proxy does not ask a real Electric")
        return self.parts.electric.upstream

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve requests in this context."""
        if isinstance(self._store, Log):
            async with self._running(self._store):
                yield
            return
        log = await Log.open(self._store, lease_seconds=self.options.lease_seconds)
        async with log, self._running(log):
            yield

    @asynccontextmanager
    async def _running(self, log: Log) -> AsyncIterator[None]:
        if self.watcher is not None:
            self.watcher.opened(log)
        options = self.options
        async with open_upstream(
            options.timeouts, tls=options.tls, egress=options.egress
        ) as upstream:
            self._leaving = False
            generations = Generations(
                *(log, upstream, options.limits, self.figures, self.watcher),
                keep_seconds=options.life_seconds,
            )
            if ended := await reap(log, self.figures, generations.stalls):
                logger.warning("ended %d generations that the last process left behind", ended)
            self._parts = Parts(log, generations, Desk(log))
            reaping = reap_forever(log, self.figures, generations.stalls)
            chores = [asyncio.create_task(reaping, name="durable-proxy reaper")]
            if log.is_shared:
                presence = Presence(log, generations.runs)
                chores.append(asyncio.create_task(presence.run(), name="durable-proxy presence"))
            try:
                async with self._electric(log):
                    yield
                    await self.drain()
            finally:
                await self.drain()
                for chore in chores:
                    chore.cancel()
                await asyncio.gather(*chores, return_exceptions=True)
                self._parts = None

    @asynccontextmanager
    async def _electric(self, log: Log) -> AsyncIterator[None]:
        """Copy generations for a real Electric in this context, if there is one."""
        if self.options.electric is None:
            yield
            return
        tables = ShapeTables(log)
        # Not by way of `egress`, which is the way out: it is beside the database.
        async with open_upstream(ELECTRIC_TIMEOUTS, tls=self.options.tls) as upstream:
            await tables.open()
            self.parts.electric = Electric(tables, upstream)
            pruning = asyncio.create_task(prune_forever(log), name="durable-proxy pruning")
            try:
                yield
            finally:
                self.parts.electric = None
                pruning.cancel()
                await asyncio.gather(pruning, return_exceptions=True)
                await tables.close()

    async def start(self, request: StartRequest) -> Answer:
        """Run a generation unless that has been done, and wait for its answer.

        Raises:
            LogError: the store failed.
        """
        electric = self.parts.electric
        if electric is None:
            return await self.parts.generations.start(request)
        await electric.tables.expect(request.session_id, request.request_id)
        try:
            return await self.parts.generations.start(request)
        finally:
            electric.tables.copy(request.session_id, request.request_id)

    async def drain(self) -> None:
        """Take leave: see the module. A second call waits for nothing, even if the first was cut
        short: what still runs then is ended as orphaned at once.

        The lifespan does it too, but most servers leave the lifespan only after their last
        connection; a server that can call this at the signal keeps readers connected to what
        still comes, and is not held up by them.
        """
        patience = 0.0 if self._leaving else self.options.drain_seconds
        first, self._leaving = not self._leaving, True
        if await self.parts.generations.drain(patience) and first:
            await asyncio.sleep(FAREWELL_SECONDS)
        if self.parts.electric is not None:
            await self.parts.electric.tables.settle()
        self.parts.log.release_readers()
