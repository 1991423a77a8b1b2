"""The embedded store: one SQLite file, one owning process, nothing to install.

WAL with ``synchronous=FULL``: a commit that has returned survives a power cut. All writes go
through one connection, used by one thread; readers have connections of their own. Because nobody
else writes, the write side may remember streams between batches and need not read them again.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar

from sqlalchemy import Connection, pool, select

from durable_streams_server import _schema as schema
from durable_streams_server import _sqlite_statements as sql
from durable_streams_server._chain import read_chain
from durable_streams_server._errors import StorageError, StoreBrokenError
from durable_streams_server._journal import DIRECT_BYTES, Journal, Row, entries_of
from durable_streams_server._model import (
    Append,
    Inspection,
    Operation,
    Retention,
    StreamInfo,
    Trim,
)
from durable_streams_server._plan import (
    Effects,
    Planner,
    ProducerKey,
    ProducerState,
    State,
    is_expired,
    paths_of,
)
from durable_streams_server._rows import (
    SELECT_STREAMS,
    inspect_stream,
    is_over,
    overdue_trims,
    select_owned,
    select_page,
    select_start,
    stream_of_row,
    why_missing,
)
from durable_streams_server._sqlite_file import (
    Places,
    Shrinking,
    is_fatal,
    left_in_journal,
    lock_file,
    log_size,
    make_engine,
    note_closing,
    note_opened,
    opening_errors,
    places_of,
    prepare,
    storage_errors,
    unlocked_if_refused,
)
from durable_streams_server._store import Commit
from durable_streams_server._tidy import Tidier

T = TypeVar("T")
Groups = Sequence[Sequence[Operation]]

MINIMUM_SQLITE = (3, 35, 0)  # UPDATE ... FROM, RETURNING
REMEMBERED = 20_000
"""Streams, and producers, of which so many are remembered that the next batch forgets them all."""
READ_CONNECTIONS = 4


class SqliteStore:
    """A store in one file, or in memory (``file=None``) for as long as the object lives.

    Raises:
        StoreLockedError: another process has the file.
        StoreFormatError: the file is read-only, is not a store of ours, or of a newer version.
    """

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self.peers = None
        if sqlite3.sqlite_version_info < MINIMUM_SQLITE:
            wanted = ".".join(map(str, MINIMUM_SQLITE))
            raise StorageError(f"SQLite {wanted} or newer is needed, not {sqlite3.sqlite_version}")
        self._failed: StorageError | None = None
        self._known: dict[str, StreamInfo] = {}
        self._known_producers: dict[ProducerKey, ProducerState] = {}
        self._leases: dict[str, float] = {}
        self._journal = Journal()
        self._journal_is_known = False
        self._tidier = Tidier()
        self._shrinking = Shrinking(file)
        self._places: Places | None = None
        with ExitStack() as resources:
            if file is None:
                self._open(resources)
            else:
                lock = resources.enter_context(lock_file(file))
                resources.callback(note_closing, lock)  # an opening that fails closes as well
                with unlocked_if_refused(file, lock):
                    self._open(resources)
                self._places = places_of(file)
                note_opened(lock)
                resources.callback(note_closing, lock)
            self._resources = resources.pop_all()

    def _open(self, resources: ExitStack) -> None:
        if self.file is None:
            # One connection is the whole database, so readers and the writer take turns.
            self._read_turn: AbstractContextManager[Any] = RLock()
            self._write_engine = make_engine(None, pool.StaticPool)
            self._read_engine = self._write_engine
        else:
            self._read_turn = nullcontext()
            self._write_engine = make_engine(self.file, pool.NullPool)
            self._read_engine = make_engine(
                self.file,
                pool.QueuePool,
                there=True,
                pool_size=READ_CONNECTIONS,
                max_overflow=0,
            )
        resources.callback(self._write_engine.dispose)
        resources.callback(self._read_engine.dispose)
        with opening_errors(self.file):
            self._writer = resources.enter_context(self._write_engine.connect())
            self._driver = prepare(self._writer, self.file)
            # Whoever wrote a lease here before is gone: the file has one owner at a time.
            self._writer.exec_driver_sql("DELETE FROM nodes")
            self._load_journal()
            last_id = self._writer.exec_driver_sql(
                "SELECT seq FROM sqlite_sequence WHERE name = 'streams'"
            ).scalar()
        self._last_id: int = last_id or 0

    def close(self) -> None:
        """Close the connections and give the file up."""
        with self._read_turn, storage_errors():
            try:
                self._empty_journal()
            finally:
                self._resources.close()

    def _empty_journal(self) -> None:
        """A store that was closed has all its bytes in rows, as far as there is room for them."""
        if self._failed is None and self._journal_is_known:
            # What stays in the journal is as safe there, and is taken over by the next opening.
            with suppress(sqlite3.Error), self._transaction():
                self._execute(sql.moving(self._journal.everything()))

    # ------------------------------------------------------------------ writing

    def prepare(self, groups: Groups, now: float) -> Commit | None:
        """See `Store.prepare`: appends to streams and by producers that are remembered."""
        state = State(leases=self._leases)
        for group in groups:
            for operation in group:
                if type(operation) is not Append:
                    return None
                stream = self._known.get(operation.path)
                if stream is None or stream.forked_from is not None:
                    return None
                state.streams[stream.path] = stream
                if operation.producer is not None:
                    key = (stream.id, operation.producer.id)
                    if key not in self._known_producers:
                        return None
                    state.producers[key] = self._known_producers[key]
        return self._plan(groups, state, now)

    def commit(self, groups: Groups, now: float, prepared: Commit | None = None) -> Commit:
        """See `Store.commit`."""
        self._check_writable()
        with self._read_turn, self._fail_stop(), storage_errors():
            self._load_journal()
            commit = prepared
            if commit is None or not self._remembers(commit.effects):
                commit = self._plan(groups, self._load_state(groups), now)
            self._write(commit.effects, int(now))
        self._remember(commit.effects)
        self._tidier.note(commit.effects, now)
        return commit

    def _remembers(self, effects: Effects) -> bool:
        """Whether it knows what was prepared from: something may have failed in between."""
        return all(stream.path in self._known for stream in effects.streams.values())

    def _plan(self, groups: Groups, state: State, now: float) -> Commit:
        planner = Planner(state, now, self._new_id)
        return Commit([planner.run(group) for group in groups], planner.effects)

    def control(self, work: Callable[[Connection], T]) -> T:
        """See `Store.control`."""
        self._check_writable()
        with self._read_turn, self._fail_stop(), storage_errors():
            self._load_journal()
            part = self._journal.everything()
            with self._transaction():
                self._execute(sql.moving(part))
                result = work(self._writer)
            self._journal.settle(part)
        return result

    def tidy(self, now: float) -> bool:
        """See `Store.tidy`."""
        if self.control(partial(self._tidier.step, now=now)):
            return True
        with self._read_turn, self._fail_stop(), storage_errors():
            return self._shrinking.step(self._writer)

    def _check_writable(self) -> None:
        """What is written into a file that no path leads to any more would be lost."""
        if self.file is not None and places_of(self.file) != self._places:
            self._failed = StoreBrokenError(
                f"{self.file} or its log was removed or replaced under the running server"
            )
        if self._failed is not None:
            raise self._failed

    def _load_journal(self) -> None:
        """Know what is in the journal: from the disk after a start, and after a failure."""
        if not self._journal_is_known:
            journal = Journal(self._journal.moves + 1)
            journal.load(*left_in_journal(self._writer))
            self._journal, self._journal_is_known = journal, True

    def _new_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _load_state(self, groups: Groups) -> State:
        paths = paths_of(groups)
        streams: dict[str, StreamInfo] = {}
        while paths:
            self._load_streams(paths)
            found = {path: self._known[path] for path in paths if path in self._known}
            streams.update(found)
            # Deleting a fork may end its source's life, and the source's source's.
            sources = {stream.forked_from for stream in found.values() if stream.forked_from}
            paths = sources - streams.keys()
        return State(streams, self._load_producers(groups, streams), dict(self._leases))

    def _load_streams(self, paths: set[str]) -> None:
        missing = [path for path in paths if path not in self._known]
        for start in range(0, len(missing), sql.ROWS_PER_STATEMENT):
            part = missing[start : start + sql.ROWS_PER_STATEMENT]
            known = sql.with_placeholders(sql.ANY_STREAM, len(part), 1)
            if self._driver.execute(known, part).fetchone() is None:
                continue  # to be created, which costs a fraction of the query below
            query = SELECT_STREAMS.where(schema.streams.c.path.in_(part))
            for row in self._writer.execute(query):
                self._known[row.path] = self._stream_of_row(row)

    def _load_producers(
        self, groups: Groups, streams: dict[str, StreamInfo]
    ) -> dict[ProducerKey, ProducerState]:
        loaded: dict[ProducerKey, ProducerState] = {}
        for group in groups:
            for operation in group:
                if not isinstance(operation, Append) or operation.producer is None:
                    continue
                stream = streams.get(operation.path)
                if stream is None:
                    continue
                key = (stream.id, operation.producer.id)
                state = self._known_producers.get(key) or self._load_producer(key)
                if state is not None:
                    loaded[key] = state
        return loaded

    def _load_producer(self, key: ProducerKey) -> ProducerState | None:
        row = self._writer.exec_driver_sql(
            "SELECT epoch, seq FROM producers WHERE stream_id = ? AND producer_id = ?", key
        ).first()
        return None if row is None else (row.epoch, row.seq)

    def _write(self, effects: Effects, now: int) -> None:
        rows = [
            Row(id_, effects.streams[id_].tail, b"".join(pieces), now)
            for id_, pieces in effects.chunks.items()
        ]
        direct = [row for row in rows if len(row.data) >= DIRECT_BYTES]
        small = [row for row in rows if len(row.data) < DIRECT_BYTES] if direct else rows
        part = self._journal.next_part(row.stream_id for row in direct)
        statements = [
            *sql.of_effects(effects, self._known),
            *sql.moving(part._replace(rows=part.rows + direct)),
        ]
        if small:
            row = (self._journal.last_id + 1, now, entries_of(small))
            statements += sql.with_rows(sql.INSERT_JOURNAL, [row])
        # One statement alone is a transaction by itself.
        with self._transaction() if len(statements) > 1 else nullcontext():
            self._execute(statements)
        self._journal.settle(part, small, effects.deleted)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._driver.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._driver.execute("COMMIT")
        except BaseException:
            if self._driver.in_transaction:
                self._driver.rollback()
            raise

    def _execute(self, statements: Iterable[sql.Statement]) -> None:
        # The driver itself: SQLAlchemy's way to it takes 50 us for a statement.
        for statement, values in statements:
            self._driver.execute(statement, values)

    def _remember(self, effects: Effects) -> None:
        if max(len(self._known), len(self._known_producers)) > REMEMBERED:
            self._known.clear()
            self._known_producers.clear()
        for stream in effects.deleted.values():
            self._known.pop(stream.path, None)
        for stream in effects.streams.values():
            if stream.closed:  # hardly anybody writes to it again: it is looked up for those
                self._known.pop(stream.path, None)
            else:
                self._known[stream.path] = stream
            if stream.start:
                self._journal.let_go(stream.id, stream.start)
        if effects.deleted:
            self._known_producers.clear()
        self._known_producers.update(effects.producers)
        self._leases.update(effects.leases)

    def _forget(self) -> None:
        self._known.clear()
        self._known_producers.clear()
        self._journal_is_known = False

    @contextmanager
    def _fail_stop(self) -> Iterator[None]:
        """Nothing is remembered past a failure, and after a failed sync nothing is written.

        A sync that failed may have lost pages of the operating system's cache; trying again could
        succeed and acknowledge bytes that are gone.
        """
        try:
            yield
        except StorageError as error:
            self._forget()
            if is_fatal(error.__cause__):
                self._failed = StoreBrokenError(str(error))
            raise
        except BaseException:
            self._forget()
            raise

    # ------------------------------------------------------------------ reading

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._read_turn, storage_errors(), self._read_engine.connect() as connection:
            yield connection

    def _look(self, work: Callable[[Connection], T]) -> T:
        """Look for streams, once more if bytes were moved out of the journal meanwhile."""
        while True:
            moves = self._journal.moves
            with self._reading() as connection:
                found = work(connection)
            if self._journal.moves == moves:
                return found

    def _find(self, connection: Connection, path: str) -> StreamInfo | None:
        row = connection.execute(SELECT_STREAMS.where(schema.streams.c.path == path)).first()
        return None if row is None else self._stream_of_row(row)

    def _stream_of_row(self, row: Any) -> StreamInfo:
        return self._with_tail(stream_of_row(row))

    def _with_tail(self, stream: StreamInfo) -> StreamInfo:
        tail = self._journal.tail(stream.id)
        return stream.grown_to(tail) if tail > stream.tail else stream

    def stat(self, path: str, now: float) -> StreamInfo | None:
        """See `Store.stat`."""
        stream = self._look(lambda connection: self._find(connection, path))
        return None if stream is None or is_expired(stream, now) else stream

    def read(self, stream: StreamInfo, position: int, max_bytes: int) -> bytes:
        """See `Store.read`."""
        with self._reading() as connection:
            return read_chain(
                stream,
                position,
                max_bytes,
                find=partial(self._find, connection),
                read_own=partial(self._read_rows, connection),
            )

    def _read_rows(
        self, connection: Connection, stream: StreamInfo, position: int, limit: int, max_bytes: int
    ) -> bytes:
        """Bytes of one stream's own rows from ``position``: whole rows, but none past ``limit``."""
        pieces: list[bytes] = []
        reached = position
        held = self._journal.rows(stream.id)  # before the statement: see `Journal`
        rows = connection.exec_driver_sql(
            "SELECT end_offset, data FROM chunks WHERE stream_id = ? AND end_offset > ?"
            " AND EXISTS (SELECT 1 FROM streams WHERE id = ?) ORDER BY end_offset",
            (stream.id, position, stream.id),
        )
        for end, data in chain(rows, ((row.end_offset, row.data) for row in held)):
            if end <= reached:
                continue  # before the position, or moved between the two looks
            begin = end - len(data)
            if begin > reached or (pieces and begin < reached):
                start = select_start(connection, stream.id)
                raise why_missing(stream, reached, begin, start)
            pieces.append(data[reached - begin : limit - begin])
            reached = min(end, limit)
            if reached == limit or reached - position >= max_bytes:
                break
        rows.close()
        if reached == position:
            raise why_missing(stream, position, limit, select_start(connection, stream.id))
        return b"".join(pieces)

    def orphans(self, now: float) -> list[StreamInfo]:
        """See `Store.orphans`."""
        leases = dict(self._leases)
        return [stream for stream in self.owned("") if leases.get(stream.owner or "", 0.0) <= now]

    def owned(self, prefix: str) -> list[StreamInfo]:
        """See `Store.owned`."""
        return self._look(
            lambda connection: [
                self._with_tail(stream) for stream in select_owned(connection, prefix)
            ]
        )

    def overdue(self, default: Retention, now: float) -> list[Trim]:
        """See `Store.overdue`."""
        with self._reading() as connection:
            return overdue_trims(connection, default, now)

    def expired(self, now: float) -> list[str]:
        """See `Store.expired`."""
        table = schema.streams.c
        query = select(table.path).where(~table.deleted, is_over(now))
        with self._reading() as connection:
            return list(connection.execute(query).scalars())

    def list_streams(self, prefix: str, after: str, limit: int, now: float) -> list[StreamInfo]:
        """See `Store.list_streams`."""
        return self._look(
            lambda connection: [
                self._with_tail(stream)
                for stream in select_page(connection, prefix, after, limit, now)
            ]
        )

    def inspect(self, path: str, now: float) -> Inspection | None:
        """See `Store.inspect`."""
        stream = self.stat(path, now)
        if stream is None:
            return None
        lease = self._leases.get(stream.owner or "")

        def inspect(connection: Connection) -> Inspection:
            there = inspect_stream(connection, stream, lease)
            held = self._journal.rows(stream.id)
            return replace(
                there,
                rows=there.rows + len(held),
                stored_bytes=there.stored_bytes + sum(len(row.data) for row in held),
            )

        return self._look(inspect)

    def size(self) -> int:
        """See `Store.size`."""
        with self._reading() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            page_size = connection.exec_driver_sql("PRAGMA page_size").scalar_one()
        return int(pages) * int(page_size) + log_size(self.file)
