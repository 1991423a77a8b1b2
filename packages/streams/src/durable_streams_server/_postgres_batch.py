"""One batch in one transaction: lock and read what it names, decide, write, commit.

Two round trips; one more when a stream is new, or a fork may take its source along.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from durable_streams_server import _postgres_statements as sql
from durable_streams_server._model import (
    Append,
    Create,
    Delete,
    Heartbeat,
    Operation,
    StreamInfo,
)
from durable_streams_server._plan import Effects, Planner, State, is_expired, paths_of
from durable_streams_server._postgres_database import BoundedConnection, ConflictError
from durable_streams_server._rows import mutable_row, whole_row
from durable_streams_server._store import Commit
from durable_streams_server._tidy import garbage_of

Groups = Sequence[Sequence[Operation]]


class Batch:
    """Carries out groups of operations on one connection.

    Args:
        groups: What to do.
        now: The caller's time.
        skew: How far the database's clock is ahead of this machine's, in seconds.

    Attributes:
        skew: The same, measured anew if the batch holds a heartbeat.
        sent: The commit is on its way: from here on nobody knows unless the database says so.
    """

    def __init__(self, groups: Groups, now: float, skew: float) -> None:
        self.skew = skew
        self.sent = False
        self._groups = groups
        self._operations = [operation for group in groups for operation in group]
        self._now = now
        self._streams: dict[str, StreamInfo] = {}

    def run(self, connection: BoundedConnection) -> Commit:
        """Do it all. A transaction that is left open is for the pool to roll back.

        Raises:
            ConflictError: another node got in the way, nothing was written; try again.
        """
        state, new_ids = self._load(connection)
        self._streams = dict(state.streams)
        planner = Planner(state, self._now, new_ids.pop)
        outcomes = [planner.run(group) for group in self._groups]
        statements = list(self._statements(planner.effects))
        if statements:
            self.sent = True
            with connection.pipeline():
                for statement, values in statements:
                    connection.execute(statement, values)
                connection.execute("COMMIT")
        return Commit(outcomes, planner.effects)

    # ------------------------------------------------------------------ reading

    def _load(self, connection: BoundedConnection) -> tuple[State, list[int]]:
        operations = self._operations
        paths = sorted(paths_of(self._groups))
        producers = {
            (operation.path, operation.producer.id)
            for operation in operations
            if isinstance(operation, Append) and operation.producer is not None
        }
        creations = sum(isinstance(operation, Create) for operation in operations)
        questions: dict[str, tuple[Any, ...]] = {sql.LOCK_STREAMS: (paths,)} if paths else {}
        if producers:
            questions[sql.SELECT_PRODUCERS] = tuple(sql.columns(producers))
        if any(isinstance(operation, Append) and operation.reaping for operation in operations):
            questions[sql.SELECT_LEASES] = ()
        if any(isinstance(operation, Heartbeat) for operation in operations):
            questions[sql.SELECT_CLOCK] = ()
        if creations:
            questions[sql.SELECT_NEW_IDS] = (creations,)
        answers = _ask(connection, {sql.BEGIN: (), **questions})
        for (clock,) in answers.get(sql.SELECT_CLOCK, ()):
            self.skew = clock - time.time()
        streams = self._all_streams(connection, paths, answers.get(sql.LOCK_STREAMS, []))
        state = State(
            streams,
            {
                (id_, name): (epoch, seq)
                for id_, name, epoch, seq in answers.get(sql.SELECT_PRODUCERS, ())
            },
            {node: until - self.skew for node, until in answers.get(sql.SELECT_LEASES, ())},
        )
        return state, [id_ for (id_,) in reversed(answers.get(sql.SELECT_NEW_IDS, []))]

    def _all_streams(
        self, connection: BoundedConnection, paths: list[str], rows: list[tuple[Any, ...]]
    ) -> dict[str, StreamInfo]:
        """The streams that were locked, and the sources that may go with them."""
        streams = {stream.path: stream for stream in map(sql.stream_of, rows)}
        missing = [path for path in paths if path not in streams]
        while True:
            sources = sorted(self._sources_to_release(streams) - streams.keys())
            questions: dict[str, tuple[Any, ...]] = {}
            if sources:
                questions[sql.LOCK_STREAMS] = (sources,)
            if missing:
                questions[sql.SELECT_THERE] = (missing,)
            if not questions:
                return streams
            answers = _ask(connection, questions)
            if answers.get(sql.SELECT_THERE):
                # Somebody deleted one while we waited for its lock, and made it anew.
                raise ConflictError("a stream was replaced while its row was being locked")
            missing = []
            for row in answers.get(sql.LOCK_STREAMS, ()):
                stream = sql.stream_of(row)
                streams[stream.path] = stream

    def _sources_to_release(self, streams: dict[str, StreamInfo]) -> set[str]:
        """The sources of those forks that this batch may remove."""
        removed = {
            operation.path for operation in self._operations if isinstance(operation, Delete)
        }
        return {
            stream.forked_from
            for stream in streams.values()
            if stream.forked_from is not None
            and (stream.path in removed or stream.deleted or is_expired(stream, self._now))
        }

    # ------------------------------------------------------------------ writing

    def _statements(self, effects: Effects) -> Iterator[tuple[str, tuple[Any, ...]]]:
        if effects.deleted:
            yield sql.DELETE_STREAMS, (list(effects.deleted),)
        garbage = garbage_of(effects, lambda path: self._streams[path].start)
        yield from _rows(sql.UPSERT_GARBAGE, garbage)
        created = sorted(effects.created, key=lambda id_: effects.streams[id_].path)
        yield from _rows(sql.INSERT_STREAMS, [whole_row(effects.streams[id_]) for id_ in created])
        grown, changed = [], []
        for id_, stream in effects.streams.items():
            if id_ in effects.created:
                continue
            if stream.differs_in_tail_only(self._streams[stream.path]):
                grown.append((id_, stream.tail))
            else:
                changed.append(mutable_row(stream))
        yield from _rows(sql.UPDATE_TAILS, grown)
        yield from _rows(sql.UPDATE_STREAMS, changed)
        chunks = [
            (id_, effects.streams[id_].tail, b"".join(pieces), int(self._now))
            for id_, pieces in effects.chunks.items()
        ]
        yield from _rows(sql.INSERT_CHUNKS, chunks)
        producers = [key + state for key, state in effects.producers.items()]
        yield from _rows(sql.UPSERT_PRODUCERS, producers)
        leases = [(node, until + self.skew) for node, until in effects.leases.items()]
        yield from _rows(sql.UPSERT_LEASES, leases)


def _ask(
    connection: BoundedConnection, questions: dict[str, tuple[Any, ...]]
) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of several statements in one round trip."""
    with connection.pipeline():
        cursors = {
            statement: connection.execute(statement, values)
            for statement, values in questions.items()
        }
    return {
        statement: cursor.fetchall()
        for statement, cursor in cursors.items()
        if cursor.description is not None
    }


def _rows(statement: str, rows: list[tuple[Any, ...]]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """A statement about many rows, unless there are none."""
    if rows:
        yield statement, tuple(sql.columns(rows))
