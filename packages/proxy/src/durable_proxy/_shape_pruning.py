"""Rows of generations that are gone, out of the tables for a real Electric (`_shape_tables`).

Who deletes a generation, or lets it expire, knows nothing of the tables. So the generations that
were ever copied are looked at a page at a time, round and round. Where the streams are gone, the
rows go in small transactions, because each holds up the commits of this node.

A generation may be made again with the same ids while that is under way. It is noted as expected
before it begins, which changes ``expected_at``: each transaction locks the note and goes on only if
it is still the one that was seen, and long enough ago that what it announced would be there.
Several nodes may do all this at once: a note that another one holds is passed by.
"""

import asyncio
import logging
from datetime import datetime
from itertools import compress
from typing import TYPE_CHECKING, NamedTuple, NoReturn
from uuid import UUID

from durable_proxy._shape_tables import Key
from durable_streams_server import Log, LogError
from durable_transport.protocol import generation_paths

if TYPE_CHECKING:
    from sqlalchemy import Connection

PRUNE_SECONDS = 10.0
"""Between two pages."""
PAGE = 500
ROWS = 1000
"""So many rows, which are no larger than a piece of an answer, go in one transaction."""
PAUSE_SECONDS = 0.05
"""Between two transactions, for the commits of others."""

NOTES = """
SELECT session::text, request::text, expected_at FROM durable_proxy.shape_copies
WHERE (session, request) > (%(session)s::uuid, %(request)s::uuid)
    AND expected_at < NOW() - INTERVAL '10 minutes'
ORDER BY session, request LIMIT %(page)s
"""
HOLD = """
SELECT 1 FROM durable_proxy.shape_copies
WHERE session = %(session)s::uuid AND request = %(request)s::uuid
    AND expected_at = %(expected_at)s
FOR UPDATE SKIP LOCKED
"""
_REMOVE = """
DELETE FROM public.{table} WHERE id IN (
    SELECT id FROM public.{table}
    WHERE session = %(session)s::uuid AND request = %(request)s::uuid LIMIT %(rows)s
)
"""
REMOVE = tuple(_REMOVE.format(table=table) for table in ("control_messages", "data_chunks"))
FORGET = """
DELETE FROM durable_proxy.shape_copies
WHERE session = %(session)s::uuid AND request = %(request)s::uuid
"""

_NIL = str(UUID(int=0))
_FIRST = Key(_NIL, _NIL)

logger = logging.getLogger("durable_proxy")


class Note(NamedTuple):
    """A generation that was copied, or was to be, and when it was last expected."""

    session: str
    request: str
    expected_at: datetime


class Pruning:
    """Goes through the generations that were copied.

    Args:
        log: The tables are in its database.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._after = _FIRST

    async def turn(self) -> None:
        """Look at the next page of generations, and remove the rows of those that are gone.

        Raises:
            LogError: the database failed; what was not removed is met again in the next round.
        """
        after = self._after
        notes = await self._log.control(lambda connection: _notes(connection, after))
        self._after = Key(*notes[-1][:2]) if len(notes) == PAGE else _FIRST
        # At once: they share one question to the store.
        for note in compress(notes, await asyncio.gather(*map(self._is_gone, notes))):
            await self._remove(note)

    async def _is_gone(self, note: Note) -> bool:
        paths = generation_paths(UUID(note.session), UUID(note.request))
        found = await asyncio.gather(self._log.stat(paths.data), self._log.stat(paths.control))
        return all(stream is None or stream.deleted for stream in found)

    async def _remove(self, note: Note) -> None:
        more = True
        while more:
            more = await self._log.control(lambda connection: remove_some(connection, note))
            await asyncio.sleep(PAUSE_SECONDS)


async def prune_forever(log: Log) -> NoReturn:
    """Take turns of a `Pruning`."""
    pruning = Pruning(log)
    while True:
        await asyncio.sleep(PRUNE_SECONDS)
        try:
            await pruning.turn()
        except LogError as error:
            logger.warning("looking for rows of what is gone failed: %s", error)
        except Exception:
            logger.exception("looking for rows of what is gone failed")


def _notes(connection: "Connection", after: Key) -> list[Note]:
    given = after._asdict() | {"page": PAGE}
    return [Note(*row) for row in connection.exec_driver_sql(NOTES, given)]


def remove_some(connection: "Connection", note: Note) -> bool:
    """Remove rows of a generation that is gone; whether there may be more of them."""
    run, given = connection.exec_driver_sql, note._asdict() | {"rows": ROWS}
    if run(HOLD, given).first() is None:
        return False  # expected again meanwhile, or another node is at it
    if max(run(statement, given).rowcount for statement in REMOVE) == ROWS:
        return True
    run(FORGET, given)
    return False
