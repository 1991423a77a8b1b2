"""The store for several nodes: one Postgres database, one truth.

Nothing is remembered between batches, because another node may have changed it. A stream's bytes
follow each other in the order of commits: whoever appends holds the lock on the stream's row.
"""

import random
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection, select

from durable_streams_server import _postgres_statements as sql
from durable_streams_server import _schema as schema
from durable_streams_server._chain import read_chain
from durable_streams_server._model import Inspection, Operation, Retention, StreamInfo, Trim
from durable_streams_server._plan import Effects, is_expired
from durable_streams_server._postgres_batch import Batch
from durable_streams_server._postgres_database import (
    BoundedConnection,
    ConflictError,
    ConnectionLostError,
    Settings,
    borrowed,
    make_engine,
    storage_errors,
    with_fresh_connection,
)
from durable_streams_server._postgres_schema import prepare
from durable_streams_server._postgres_wakeups import Wakeups
from durable_streams_server._rows import (
    SELECT_STREAMS,
    inspect_stream,
    is_over,
    overdue_trims,
    select_owned,
    select_page,
    stream_of_row,
    why_missing,
)
from durable_streams_server._store import Changed, Commit, Peers
from durable_streams_server._tidy import Tidier

T = TypeVar("T")

CONFLICT_SECONDS = 5.0
"""How long a batch is tried again that other nodes get in the way of."""
_PAUSE_SECONDS = 0.02


class PostgresStore:
    """A store in a Postgres database, for one of any number of nodes on it.

    Raises:
        StoreFormatError: the database is not fit for a store, or holds one of a newer version.
        StorageError: the database cannot be reached, or refuses.
    """

    def __init__(self, settings: Settings) -> None:
        self.poll_seconds = settings.poll
        # How far the database's clock is ahead of ours: leases are kept in its time, so that
        # nodes whose clocks differ agree on who is alive.
        self._skew = 0.0
        self._tidier = Tidier()
        with ExitStack() as resources:
            self._write_engine = make_engine(settings, 1)
            resources.callback(self._write_engine.dispose)
            self._read_engine = make_engine(settings, settings.pool_size)
            resources.callback(self._read_engine.dispose)
            with borrowed(self._write_engine) as connection:
                prepare(connection, settings.name)
                connection.execute(sql.FORGET_NODES)
                for (clock,) in connection.execute(sql.SELECT_CLOCK):
                    self._skew = clock - time.time()
            self._wakeups = Wakeups(settings) if settings.notify else None
            if self._wakeups is not None:
                resources.callback(self._wakeups.close)
            self._resources = resources.pop_all()

    @property
    def peers(self) -> Peers:
        """See `Store.peers`."""
        return self

    def watch(self, changed: Changed) -> None:
        """See `Peers.watch`."""
        if self._wakeups is not None:
            self._wakeups.listen(changed)

    def close(self) -> None:
        """Close the connections."""
        self._resources.close()

    # ------------------------------------------------------------------ writing

    def prepare(self, _groups: Sequence[Sequence[Operation]], _now: float) -> None:
        """See `Store.prepare`: what other nodes write only the database knows."""

    def commit(
        self,
        groups: Sequence[Sequence[Operation]],
        now: float,
        prepared: Commit | None = None,  # noqa: ARG002 - there is none
    ) -> Commit:
        """See `Store.commit`."""
        if not any(groups):
            return Commit([() for _ in groups], Effects())
        commit = self._commit(groups, now)
        if self._wakeups is not None:
            self._wakeups.tell({*commit.effects.streams, *commit.effects.deleted})
        return commit

    def _commit(self, groups: Sequence[Sequence[Operation]], now: float) -> Commit:
        attempt, give_up_at = 1, time.monotonic() + CONFLICT_SECONDS
        while True:
            batch = Batch(groups, now, self._skew)
            try:
                with borrowed(self._write_engine) as connection:
                    commit = batch.run(connection)
            except ConflictError:
                if time.monotonic() > give_up_at:
                    raise
                time.sleep(random.uniform(0, _PAUSE_SECONDS * min(attempt, 10)))  # noqa: S311
            except ConnectionLostError:
                # Before the commit was sent nothing has happened; after that nobody knows.
                if batch.sent or attempt > 1:
                    raise
                self._write_engine.dispose()
            else:
                self._skew = batch.skew
                self._tidier.note(commit.effects, now)
                return commit
            attempt += 1

    def control(self, work: Callable[[Connection], T]) -> T:
        """See `Store.control`."""
        with_fresh_connection(self._write_engine, self._probe)
        with storage_errors(), self._write_engine.connect() as connection:
            connection.execution_options(isolation_level="READ COMMITTED")
            with connection.begin():
                return work(connection)

    def tidy(self, now: float) -> bool:
        """See `Store.tidy`."""

        def step(connection: Connection) -> bool:
            mine = connection.exec_driver_sql(sql.TRY_TIDY_LOCK).scalar()
            return bool(mine) and self._tidier.step(connection, now)

        return self.control(step)

    def _probe(self) -> None:
        with borrowed(self._write_engine) as connection:
            connection.execute("SELECT 1")

    # ------------------------------------------------------------------ reading

    def _query(self, work: Callable[[Connection], T]) -> T:
        """The result of queries of SQLAlchemy."""

        def attempt() -> T:
            with storage_errors(), self._read_engine.connect() as connection:
                return work(connection)

        return with_fresh_connection(self._read_engine, attempt)

    def _ask(self, work: Callable[[BoundedConnection], T]) -> T:
        """The result of statements of the hot path."""

        def attempt() -> T:
            with borrowed(self._read_engine) as connection:
                return work(connection)

        return with_fresh_connection(self._read_engine, attempt)

    def stat(self, path: str, now: float) -> StreamInfo | None:
        """See `Store.stat`."""
        stream = self.stats([path]).get(path)
        return None if stream is None or is_expired(stream, now) else stream

    def stats(self, paths: Sequence[str]) -> dict[str, StreamInfo]:
        """See `Peers.stats`."""
        rows = self._ask(
            lambda connection: connection.execute(sql.SELECT_STREAMS, (list(paths),)).fetchall()
        )
        return {stream.path: stream for stream in map(sql.stream_of, rows)}

    def read(self, stream: StreamInfo, position: int, max_bytes: int) -> bytes:
        """See `Store.read`."""
        return self._ask(
            lambda connection: read_chain(
                stream,
                position,
                max_bytes,
                find=partial(_find, connection),
                read_own=partial(_read_rows, connection),
            )
        )

    def owned(self, prefix: str) -> list[StreamInfo]:
        """See `Store.owned`."""
        return self._query(lambda run: select_owned(run, prefix))

    def orphans(self, now: float) -> list[StreamInfo]:
        """See `Store.orphans`."""
        streams, nodes = schema.streams.c, schema.nodes.c
        living = select(nodes.node_id).where(nodes.expires_at > now + self._skew)
        query = SELECT_STREAMS.where(streams.owner.is_not(None), streams.owner.not_in(living))
        return self._query(lambda run: [stream_of_row(row) for row in run.execute(query)])

    def expired(self, now: float) -> list[str]:
        """See `Store.expired`."""
        table = schema.streams.c
        query = select(table.path).where(~table.deleted, is_over(now))
        return self._query(lambda run: list(run.execute(query).scalars()))

    def overdue(self, default: Retention, now: float) -> list[Trim]:
        """See `Store.overdue`."""
        return self._query(lambda run: overdue_trims(run, default, now))

    def list_streams(self, prefix: str, after: str, limit: int, now: float) -> list[StreamInfo]:
        """See `Store.list_streams`."""
        return self._query(lambda run: select_page(run, prefix, after, limit, now))

    def inspect(self, path: str, now: float) -> Inspection | None:
        """See `Store.inspect`."""
        stream = self.stat(path, now)
        if stream is None:
            return None
        nodes = schema.nodes.c
        query = select(nodes.expires_at).where(nodes.node_id == stream.owner)

        def look(run: Connection) -> Inspection:
            lease = run.execute(query).scalar()
            return inspect_stream(run, stream, None if lease is None else lease - self._skew)

        return self._query(look)

    def size(self) -> int:
        """See `Store.size`."""
        return self._ask(_size)


def _find(connection: BoundedConnection, path: str) -> StreamInfo | None:
    row = connection.execute(sql.SELECT_STREAMS, ([path],)).fetchone()
    return None if row is None else sql.stream_of(row)


def _read_rows(
    connection: BoundedConnection, stream: StreamInfo, position: int, limit: int, max_bytes: int
) -> bytes:
    """Bytes of one stream's own rows from ``position``: whole rows, but none past ``limit``."""
    wanted = min(limit, position + max_bytes)
    row = connection.execute(
        sql.SELECT_BYTES,
        {"id": stream.id, "from": position, "to": wanted},
        binary=True,
    ).fetchone()
    begin, end, size, data = row or (None, None, None, None)
    if begin is None or begin > position or end < wanted or size != end - begin:
        found = connection.execute(sql.SELECT_START, (stream.id,)).fetchone()
        raise why_missing(stream, position, wanted, None if found is None else found[0])
    wire: bytes = data[position - begin : limit - begin]
    return wire


def _size(connection: BoundedConnection) -> int:
    row = connection.execute(sql.SELECT_SIZE).fetchone()
    size: int = row[0] if row else 0
    return size
