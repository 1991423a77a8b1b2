"""Tells workers of pending work: wakes on commits and on time, and sends what is to be sent.

The store is the truth. What is remembered here (which streams were just written to, which patterns
there are) only says where to look first: at the start and every now and then everything is looked
at, so that a hint that was lost, or one that another node had, costs time and nothing else.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import islice

from durable_streams_server import _subscription_rows as rows
from durable_streams_server import _subscription_work as work
from durable_streams_server._errors import LogClosedError, LogError
from durable_streams_server._glob import Glob
from durable_streams_server._log import Log
from durable_streams_server._plan import Effects
from durable_streams_server._subscription import Parcel
from durable_streams_server._subscription_work import Moment

POLL_SECONDS = 5.0
"""How long other nodes' changes may go unseen here."""
SURVEY_SECONDS = 30.0
"""Time between two looks at everything."""
GATHER_SECONDS = 0.01
"""After a pass so much time for more news: a busy log is not asked about each commit."""
MAX_FRESH = 1000
"""Streams that one pass looks up."""

logger = logging.getLogger("durable_streams_server")

Send = Callable[[Parcel], Awaitable[None]]


class Dispatcher:
    """The deliveries of one node.

    Args:
        log: Where streams and subscriptions are.
        send: Sends a wake and notes in the store what became of it.
        moment: Gives the time and chance of a decision.
        capacity: So many deliveries at once.
    """

    def __init__(
        self, log: Log, send: Send, moment: Callable[[], Moment], *, capacity: int
    ) -> None:
        self._log = log
        self._send = send
        self._moment = moment
        self._capacity = capacity
        self._news = asyncio.Event()
        self._known: dict[tuple[str, str], str | None] = {}
        self._globs: dict[str, Glob] = {}
        self._fresh: dict[str, None] = {}
        self._unseen: set[str] = set()
        self._sending: dict[asyncio.Task[None], str] = {}

    @property
    def fresh(self) -> tuple[str, ...]:
        """Streams that were written to and not looked at yet."""
        return tuple(self._fresh)

    async def run(self) -> None:
        """Dispatch until cancelled; what is being sent then is given up."""
        try:
            await self._run()
        finally:
            self._log.listen(None)
            for task in self._sending:
                task.cancel()
            await asyncio.gather(*self._sending, return_exceptions=True)

    async def _run(self) -> None:
        now = time.monotonic()
        poll_at = survey_at = now
        while True:
            self._news.clear()
            wait = POLL_SECONDS
            try:
                if (now := time.monotonic()) >= poll_at:
                    # Before the attempt: a store that is away is not asked without a pause.
                    poll_at = now + POLL_SECONDS
                    await self._refresh()
                if now >= survey_at:
                    self._unseen |= {subscription_id for subscription_id, _ in self._known}
                    survey_at = now + SURVEY_SECONDS
                wait = await self._pass()
            except LogClosedError:
                return
            except LogError as error:
                # Nothing is lost: what could not be looked at is looked at by the next survey.
                logger.warning("looking for pending work failed: %s", error)
                survey_at = time.monotonic() + POLL_SECONDS
            except Exception:
                # A defect, but without this task nobody would be told of anything any more.
                logger.exception("looking for pending work failed")
                survey_at = time.monotonic() + POLL_SECONDS
            await asyncio.sleep(GATHER_SECONDS)
            await self._wait(min(wait, poll_at - time.monotonic()))

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(max(seconds, 0.0)):
                await self._news.wait()
        except TimeoutError:
            return

    # ------------------------------------------------------------------ news

    def hear(self, effects: Effects) -> None:
        """A commit: note the streams that have new bytes. Called for every batch."""
        for stream_id in effects.chunks:
            self._fresh[effects.streams[stream_id].path] = None
        self._news.set()

    def poke(self) -> None:
        """Something has changed here that may be due."""
        self._news.set()

    async def _refresh(self) -> None:
        """Learn which subscriptions there are; nothing is listened to while there are none."""
        known = await self._log.control(rows.all_patterns)
        self._unseen |= {key[0] for key in known.keys() - self._known.keys()}
        self._known = known
        self._globs = {
            key[0]: Glob.parse(pattern) for key, pattern in known.items() if pattern is not None
        }
        self._log.listen(self.hear if known else None)

    async def introduce(self) -> None:
        """Heed a subscription that was just created or deleted on this node."""
        await self._refresh()
        self.poke()

    # ------------------------------------------------------------------ passes

    async def _pass(self) -> float:
        """Look at what may have work; gives the seconds until something is due."""
        fresh = list(islice(self._fresh, MAX_FRESH))
        for path in fresh:
            del self._fresh[path]
        moment, node = self._moment(), self._log.node_id
        if not self._known:
            return POLL_SECONDS
        concerned = set(await self._log.control(lambda c: rows.due(c, moment.now, node)))
        if fresh:
            globs = self._globs
            concerned |= await self._log.control(lambda c: work.link_fresh(c, globs, fresh))
        unseen, self._unseen = self._unseen, set()
        for subscription_id in sorted(concerned | unseen):
            await self._visit(subscription_id, everything=subscription_id in unseen)
        soonest = await self._log.control(lambda c: rows.next_time(c, moment.now))
        if self._fresh:
            return 0.0
        return POLL_SECONDS if soonest is None else soonest - self._moment().now

    async def _visit(self, subscription_id: str, *, everything: bool) -> None:
        visit = partial(
            work.visit,
            subscription_id=subscription_id,
            node=self._log.node_id,
            moment=self._moment(),
            everything=everything,
            sending=len(self._sending) < self._capacity,
            under_way=subscription_id in self._sending.values(),
        )
        parcel = await self._log.control(visit)
        if parcel is not None:
            task = asyncio.create_task(self._deliver(parcel), name="wake-delivery")
            self._sending[task] = subscription_id
            task.add_done_callback(self._delivered)

    async def _deliver(self, parcel: Parcel) -> None:
        try:
            await self._send(parcel)
        except LogError as error:
            # In the store it stays under way, until a survey finds that it is not.
            logger.warning("noting a delivery failed: %s", error)
        except Exception:
            logger.exception("delivering a wake failed")

    def _delivered(self, task: asyncio.Task[None]) -> None:
        del self._sending[task]
        self.poke()
