"""Ends the generations of nodes that are gone (DESIGN section 4).

A node that stops to renew its lease is taken for dead: its open generations get the terminal
record ``orphaned`` and are closed, so that nobody waits for a byte that will never come. It runs
by itself, at the start before anything is served and then three times per lease. The log refuses
it when the owner turns out to be alive; and an owner that comes back finds its streams closed.
"""

import asyncio
import logging
import time
from typing import NoReturn

from durable_proxy._figures import Figures
from durable_proxy._lifecycle import TERMINAL_STATES, Account, Ending, Event, State, stopped_by
from durable_proxy._messages import find_stop
from durable_proxy._stalled import Stalled
from durable_proxy._status import Streams, by_generation
from durable_streams_server import (
    Append,
    Expected,
    Log,
    LogError,
    Operation,
    Outdated,
    StorageError,
    StreamInfo,
    StreamNotFoundError,
    json_record,
)
from durable_transport.protocol import GenerationPaths

ORPHANED = Ending(Event.OWNER_GONE, "the proxy that relayed this answer is gone")

ATTEMPTS = 5
"""How often a generation is looked at that goes on while it is ended."""

logger = logging.getLogger("durable_proxy")


async def reap(log: Log, figures: Figures, stalls: Stalled) -> int:
    """End every generation whose owner is gone; how many that were.

    Raises:
        StorageError: the store failed; ``stalls`` knows what could not be ended.
    """
    orphans = [stream for stream in await log.orphans() if stream.owner != log.node_id]
    ended, failed = 0, False
    for paths, streams in by_generation(orphans).items():
        try:
            state = await _end(log, paths, streams)
        except StorageError:
            stalls.refused(paths)
            failed = True
            continue
        stalls.ended(paths)
        if state is not None:
            ended += 1
            figures.orphans_ended += 1
            figures.ended[state] += 1
            logger.warning("%s: its owner is gone, it is ended in its place", paths.data)
    if failed:
        raise StorageError("the log does not take the end of every orphan")
    return ended


async def _end(log: Log, paths: GenerationPaths, streams: Streams) -> State | None:
    """Write the last record of a generation; None when that is not to be done, or not yet."""
    for _ in range(ATTEMPTS):
        control = streams.get("control")
        ending = ORPHANED if control is None else await _ending(log, control)
        outcomes = await log.transact(*await _last_rites(log, paths, streams, ending))
        if all(outcome.ok for outcome in outcomes):
            return TERMINAL_STATES[ending.event]
        # An owner that is late rather than dead may have written meanwhile: look again, so that
        # the record says where the data really ends.
        changed = [outcome.stream for outcome in outcomes if isinstance(outcome, Outdated)]
        if not changed:
            return None
        streams = {kind: _newest(stream, changed) for kind, stream in streams.items()}
    return None


def _newest(stream: StreamInfo, changed: list[StreamInfo]) -> StreamInfo:
    newer = [other for other in changed if other.id == stream.id]
    return newer[0] if newer else stream


async def _last_rites(
    log: Log, paths: GenerationPaths, streams: Streams, ending: Ending
) -> list[Operation]:
    operations: list[Operation] = []
    data, control = streams.get("data"), streams.get("control")
    if data is not None:
        operations.append(_closing(data, b""))
    if control is not None:
        # Both are closed in one transaction, so an open control stream has open data beside it;
        # if it has not, what is there is all there will be.
        end = data or await log.stat(paths.data)
        account = Account(started_at=control.created_at, ended_at=time.time())
        record = ending.record(end.tail if end else 0, account)
        operations.append(_closing(control, json_record(record.to_json())))
    return operations


def _closing(stream: StreamInfo, record: bytes) -> Append:
    known = Expected(stream.id, stream.tail)
    return Append(stream.path, record, close=True, owner=stream.owner, reaping=True, expected=known)


async def _ending(log: Log, control: StreamInfo) -> Ending:
    """Orphaned, unless somebody had asked for the end before."""
    if control.tail == 0:
        return ORPHANED
    try:
        stop = find_stop((await log.read(control.path)).data)
    except StreamNotFoundError:
        return ORPHANED
    return ORPHANED if stop is None else stopped_by(stop)


async def reap_forever(log: Log, figures: Figures, stalls: Stalled) -> NoReturn:
    """Reap three times per lease."""
    while True:
        await asyncio.sleep(log.lease_seconds / 3)
        try:
            await reap(log, figures, stalls)
        except LogError as error:
            # The next turn tries again; until then readers of orphans wait.
            logger.warning("looking for orphans failed: %s", error)
        except Exception:
            # A defect, but without this loop readers of orphans would wait for ever.
            logger.exception("looking for orphans failed")
