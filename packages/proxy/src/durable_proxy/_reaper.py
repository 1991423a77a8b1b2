"""Ends the generations of nodes that are gone (DESIGN section 4).

A node that stops to renew its lease is taken for dead: its open generations get the terminal
record ``orphaned`` and are closed, so that nobody waits for a byte that will never come. It runs
by itself, at the start before anything is served and then three times per lease. The log refuses
it when the owner turns out to be alive; and an owner that comes back finds its streams closed.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import NoReturn

from durable_proxy._lifecycle import Ending, Event
from durable_streams_server import Append, Log, LogError, Operation, StreamInfo, json_record
from durable_transport.protocol import GenerationPaths, parse_generation_path

ORPHANED = Ending(Event.OWNER_GONE, "the proxy that relayed this answer is gone")

logger = logging.getLogger("durable_proxy")


def orphaned_generations(
    orphans: Iterable[StreamInfo],
) -> dict[GenerationPaths, dict[str, StreamInfo]]:
    """Open streams without a living owner, by generation and kind (``data``, ``control``)."""
    found: dict[GenerationPaths, dict[str, StreamInfo]] = {}
    for stream in orphans:
        if parsed := parse_generation_path(stream.path):
            paths, kind = parsed
            found.setdefault(paths, {})[kind] = stream
    return found


async def reap(log: Log) -> int:
    """End every generation whose owner is gone; how many that were."""
    orphans = [stream for stream in await log.orphans() if stream.owner != log.node_id]
    ended = 0
    for paths, streams in orphaned_generations(orphans).items():
        outcomes = await log.transact(*await _last_rites(log, paths, streams))
        if all(outcome.ok for outcome in outcomes):
            ended += 1
            logger.warning("%s: its owner is gone, it ends as orphaned", paths.data)
    return ended


async def _last_rites(
    log: Log, paths: GenerationPaths, streams: dict[str, StreamInfo]
) -> list[Operation]:
    operations: list[Operation] = []
    data, control = streams.get("data"), streams.get("control")
    if data is not None:
        operations.append(Append(data.path, close=True, owner=data.owner, reaping=True))
    if control is not None:
        # Both are closed in one transaction, so an open control stream has open data beside it;
        # if it has not, what is there is all there will be.
        end = data or await log.stat(paths.data)
        record = json_record(ORPHANED.record(end.tail if end else 0).to_json())
        operations.append(
            Append(control.path, record, close=True, owner=control.owner, reaping=True)
        )
    return operations


async def reap_forever(log: Log) -> NoReturn:
    """Reap three times per lease."""
    while True:
        await asyncio.sleep(log.lease_seconds / 3)
        try:
            await reap(log)
        except LogError as error:
            # The next turn tries again; until then readers of orphans wait.
            logger.warning("looking for orphans failed: %s", error)
        except Exception:
            # A defect, but without this loop readers of orphans would wait for ever.
            logger.exception("looking for orphans failed")
