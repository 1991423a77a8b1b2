"""The two tables of the original in Postgres, for a real Electric to read.

They are a copy: the log is written as always, and what is durable there is copied as soon as it can
be. How far a generation has been copied stands in the database too and moves in the transaction
that inserts the rows, so nothing is missing or there twice, whoever copies and wherever it breaks
off: a generation is noted as expected before it begins, and what is expected and not copied to its
end is looked for from time to time, by every node.
"""

import asyncio
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from durable_proxy._shape_reading import MustRefetchError, ShapeReading
from durable_proxy._shape_request import Kind, ShapeRequest, parse_shape
from durable_proxy._shapes import Row
from durable_streams_server import Log, LogError, StoreUrlError
from durable_transport.protocol import generation_paths

if TYPE_CHECKING:
    from sqlalchemy import Connection

LOOK_SECONDS = 15.0
"""How often generations that nobody copies any more are looked for."""
WAIT_SECONDS = 5.0
"""How long one look at a generation waits for more."""
LAST_SECONDS = 2.0
"""How long a shutdown waits for what is being copied."""
FIRST_PAUSE_SECONDS = 0.5
"""Before a copy that failed goes on; each next one is twice as long, up to `LOOK_SECONDS`."""

SCHEMA = """
SELECT pg_advisory_xact_lock(5121839460127);
CREATE SCHEMA IF NOT EXISTS durable_proxy;
CREATE TABLE IF NOT EXISTS public.data_chunks (
    id BIGSERIAL PRIMARY KEY,
    session UUID NOT NULL,
    request UUID NOT NULL,
    data TEXT,
    created_at TIMESTAMP NOT NULL DEFAULT NOW()
);
CREATE TABLE IF NOT EXISTS public.control_messages (
    id BIGSERIAL PRIMARY KEY,
    session UUID NOT NULL,
    request UUID NOT NULL,
    event TEXT NOT NULL,
    data_row_id TEXT,
    payload JSONB,
    created_at TIMESTAMP NOT NULL DEFAULT NOW()
);
CREATE INDEX IF NOT EXISTS data_chunks_idx ON public.data_chunks (session, request);
CREATE INDEX IF NOT EXISTS control_messages_idx ON public.control_messages (session, request);
CREATE TABLE IF NOT EXISTS durable_proxy.shape_copies (
    session UUID NOT NULL,
    request UUID NOT NULL,
    data_handle TEXT NOT NULL DEFAULT '',
    data_position BIGINT NOT NULL DEFAULT 0,
    control_handle TEXT NOT NULL DEFAULT '',
    control_position BIGINT NOT NULL DEFAULT 0,
    last_row BIGINT NOT NULL DEFAULT 0,
    finished BOOLEAN NOT NULL DEFAULT FALSE,
    expected_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),
    PRIMARY KEY (session, request)
);
CREATE INDEX IF NOT EXISTS shape_copies_unfinished
    ON durable_proxy.shape_copies (expected_at) WHERE NOT finished;
"""

EXPECT = """
INSERT INTO durable_proxy.shape_copies (session, request)
VALUES (%(session)s::uuid, %(request)s::uuid)
ON CONFLICT (session, request) DO UPDATE SET finished = FALSE, expected_at = NOW()
"""
PLACE = """
SELECT data_handle, data_position, control_handle, control_position
FROM durable_proxy.shape_copies
WHERE session = %(session)s::uuid AND request = %(request)s::uuid
"""
UNFINISHED = """
SELECT session::text, request::text FROM durable_proxy.shape_copies
WHERE NOT finished ORDER BY expected_at LIMIT 10000
"""
FORGET = """
DELETE FROM durable_proxy.shape_copies
WHERE NOT finished AND data_handle = '' AND expected_at < NOW() - INTERVAL '10 minutes'
"""
_MOVE = """
UPDATE durable_proxy.shape_copies SET {kind}_handle = %(new_handle)s, {kind}_position = %(new)s
WHERE session = %(session)s::uuid AND request = %(request)s::uuid
    AND {kind}_handle = %(old_handle)s AND {kind}_position = %(old)s
"""
MOVE = {kind: _MOVE.format(kind=kind.value) for kind in Kind}
INSERT = {
    Kind.DATA: """
WITH added AS (
    INSERT INTO public.data_chunks (session, request, data)
    SELECT %(session)s::uuid, %(request)s::uuid, text
    FROM unnest(%(data)s::text[]) WITH ORDINALITY AS given (text, number) ORDER BY number
    RETURNING id
)
UPDATE durable_proxy.shape_copies SET last_row = (SELECT max(id) FROM added)
WHERE session = %(session)s::uuid AND request = %(request)s::uuid
""",
    Kind.CONTROL: """
INSERT INTO public.control_messages (session, request, event, data_row_id, payload)
SELECT session, request, event, lpad(last_row::text, 20, '0'), payload::jsonb
FROM durable_proxy.shape_copies,
    unnest(%(event)s::text[], %(payload)s::text[]) WITH ORDINALITY AS given (event, payload, number)
WHERE session = %(session)s::uuid AND request = %(request)s::uuid ORDER BY number
""",
}
FINISH = """
UPDATE durable_proxy.shape_copies SET finished = TRUE
WHERE session = %(session)s::uuid AND request = %(request)s::uuid
    AND control_handle = %(handle)s AND control_position = %(position)s
"""
RESTART = (
    """
SELECT 1 FROM durable_proxy.shape_copies
WHERE session = %(session)s::uuid AND request = %(request)s::uuid FOR UPDATE
""",
    """
DELETE FROM public.data_chunks
WHERE session = %(session)s::uuid AND request = %(request)s::uuid
""",
    """
DELETE FROM public.control_messages
WHERE session = %(session)s::uuid AND request = %(request)s::uuid
""",
    """
UPDATE durable_proxy.shape_copies
SET data_handle = '', data_position = 0, control_handle = '', control_position = 0, last_row = 0
WHERE session = %(session)s::uuid AND request = %(request)s::uuid
""",
)

logger = logging.getLogger("durable_proxy")


class Key(NamedTuple):
    """Which generation."""

    session: str
    request: str


class Place(NamedTuple):
    """How far a table has been copied: a position, and the shape that it is one in."""

    handle: str = ""
    position: int = 0


class _OvertakenError(Exception):
    """Somebody else has copied meanwhile."""


@dataclass(frozen=True, slots=True)
class _Move:
    """Rows that take a table of a generation from one place to the next."""

    kind: Kind
    key: Key
    old: Place
    new: Place
    rows: Sequence[Row]

    def write(self, connection: "Connection") -> None:
        """Insert the rows.

        Raises:
            _OvertakenError: they are there already.
        """
        run, who = connection.exec_driver_sql, self.key._asdict()
        places = {"old_handle": self.old.handle, "old": self.old.position}
        places |= {"new_handle": self.new.handle, "new": self.new.position}
        if not run(MOVE[self.kind], who | places).rowcount:
            raise _OvertakenError
        if self.rows:
            columns = ("data",) if self.kind is Kind.DATA else ("event", "payload")
            given = {
                name: [_storable(name, row.values[name]) for row in self.rows] for name in columns
            }
            run(INSERT[self.kind], who | given)


class ShapeTables:
    """Copies generations into the tables.

    Args:
        log: On a Postgres store; the tables are in its database.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._copies: dict[Key, asyncio.Task[None]] = {}
        self._looking: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Make the tables where they are missing, and copy what is left from before.

        Raises:
            StoreUrlError: the log's store is not Postgres.
            StorageError: the database refuses.
        """
        await self._log.control(_create)
        self._looking = asyncio.create_task(self._look(), name="durable-proxy tables")

    async def settle(self) -> None:
        """Wait for what is being copied, a short time; somebody else copies the rest."""
        if self._copies:
            await asyncio.wait(list(self._copies.values()), timeout=LAST_SECONDS)

    async def close(self) -> None:
        """Copy nothing any more."""
        tasks = [*self._copies.values(), *([self._looking] if self._looking else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def expect(self, session: UUID, request: UUID) -> None:
        """A generation is about to begin, perhaps.

        Raises:
            StorageError: it could not be noted; it must not begin.
        """
        given = Key(str(session), str(request))._asdict()
        await self._log.control(lambda connection: connection.exec_driver_sql(EXPECT, given))

    def copy(self, session: UUID, request: UUID) -> None:
        """Copy a generation that was expected, in a task of its own."""
        self._copy_soon(Key(str(session), str(request)))

    # ------------------------------------------------------------------ which

    async def _look(self) -> None:
        while True:
            try:
                await self._log.control(lambda connection: connection.exec_driver_sql(FORGET))
                keys = await self._log.control(_unfinished)
                # At once: they share one question to the store.
                ended = await asyncio.gather(*map(self._has_ended, keys))
                for key in compress(keys, ended):
                    self._copy_soon(key)
            except LogError as error:
                logger.warning("looking for what is to be copied failed: %s", error)
            except Exception:
                logger.exception("looking for what is to be copied failed")
            await asyncio.sleep(LOOK_SECONDS)

    async def _has_ended(self, key: Key) -> bool:
        """Whoever runs a generation copies it; when it has ended, anybody may."""
        paths = generation_paths(UUID(key.session), UUID(key.request))
        stream = await self._log.stat(paths.control)
        return stream is not None and stream.closed

    def _copy_soon(self, key: Key) -> None:
        if key not in self._copies:
            task = asyncio.create_task(self._copy(key), name=f"copy of {key.request}")
            self._copies[key] = task
            task.add_done_callback(lambda _: self._copies.pop(key, None))

    # ------------------------------------------------------------------ copying

    async def _copy(self, key: Key) -> None:
        """Copy a generation until it ends, or somebody else does it; it goes on after failures."""
        pause = FIRST_PAUSE_SECONDS
        while not self._log.leaving:
            try:
                places = await self._log.control(lambda connection: _places(connection, key))
                await self._copy_both(key, *places)
            except MustRefetchError:
                pass  # begun anew
            except LogError as error:
                logger.warning("%s: copying failed, and goes on: %s", key.request, error)
            except _OvertakenError:
                return
            except Exception:
                logger.exception("%s: copying failed", key.request)
                return
            else:
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, LOOK_SECONDS)

    async def _copy_both(self, key: Key, data: Place, control: Place) -> None:
        try:
            if await self._copy_table(Kind.DATA, key, data):
                await self._copy_table(Kind.CONTROL, key, control)
        except MustRefetchError:
            await self._log.control(lambda connection: _restart(connection, key))
            raise

    async def _copy_table(self, kind: Kind, key: Key, place: Place) -> bool:
        """Copy one table of a generation; whether it has come to its end."""
        async with ShapeReading(self._log, _request(kind, key, place)) as reading:
            while not (reading.ended or reading.stopped):
                batch = await reading.next(WAIT_SECONDS)
                if not reading.begun:
                    return False
                new = Place(reading.handle, reading.position)
                if new != place:
                    await self._log.control(_Move(kind, key, place, new, batch.rows).write)
                    place = new
            if kind is Kind.CONTROL and reading.ended:
                given = key._asdict() | place._asdict()
                await self._log.control(
                    lambda connection: connection.exec_driver_sql(FINISH, given)
                )
            return reading.ended


def _create(connection: "Connection") -> None:
    if connection.dialect.name != "postgresql":
        raise StoreUrlError(
            connection.dialect.name, "ELECTRIC_URL takes a Postgres store: set DATABASE_URL"
        )
    for statement in filter(str.strip, SCHEMA.split(";")):
        connection.exec_driver_sql(statement)


def _unfinished(connection: "Connection") -> list[Key]:
    return [Key(*row) for row in connection.exec_driver_sql(UNFINISHED)]


def _places(connection: "Connection", key: Key) -> tuple[Place, Place]:
    found = connection.exec_driver_sql(PLACE, key._asdict()).one_or_none()
    if found is None:
        # `FORGET`: it is copied once its upstream has answered, and that took its time.
        connection.exec_driver_sql(EXPECT, key._asdict())
        return Place(), Place()
    return Place(*found[:2]), Place(*found[2:])


def _restart(connection: "Connection", key: Key) -> None:
    """The generation was made again with the same ids: what is there is another one's."""
    for statement in RESTART:
        connection.exec_driver_sql(statement, key._asdict())


def _request(kind: Kind, key: Key, place: Place) -> ShapeRequest:
    query = f"sessionId={key.session}&requestId={key.request}&"
    query += f"offset={place.position}_0&handle={place.handle}" if place.handle else "offset=-1"
    return parse_shape(kind, query.encode())


def _storable(name: str, text: str | None) -> str | None:
    """Postgres has no place for U+0000 in a text, nor in JSON."""
    if text is None:
        return None
    if name == "payload":
        return json.dumps(_without_nul(json.loads(text)))
    return text.replace("\0", "\ufffd")


def _without_nul(value: Any) -> Any:
    match value:
        case str():
            return value.replace("\0", "\ufffd")
        case list():
            return [_without_nul(one) for one in value]
        case dict():
            return {_without_nul(key): _without_nul(one) for key, one in value.items()}
    return value
