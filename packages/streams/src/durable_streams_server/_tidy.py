"""House-keeping in a store's tables, in steps that are each one short transaction.

Nothing of it can be seen by a client: offsets are positions in a stream's bytes, however many rows
these lie in.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, delete, func, select, update

from durable_streams_server import _schema as schema
from durable_streams_server._plan import Effects
from durable_streams_server._segments import SEGMENT_BYTES, WORTH_WHILE, next_run

IDLE_SECONDS = 60.0
"""A stream that took no append for so long is idle."""
_ROWS_AT_ONCE = 2000
_DELETED_AT_ONCE = 500
_DELETED_BYTES = 8 * 1024 * 1024
_STREAMS_AT_ONCE = 200
_SPARSE = SEGMENT_BYTES // 8
"""A stream whose rows are smaller on average is looked at after a restart."""
NOBODY = 2**62
"""Above every offset: all rows of a stream are garbage."""


def garbage_of(effects: Effects, before: Callable[[str], int]) -> list[tuple[int, int]]:
    """Rows for the table of garbage: whose rows, up to where.

    Args:
        effects: Of a batch.
        before: Gives the start that the stream at a path had before the batch.
    """
    trimmed = [
        (stream.id, stream.start)
        for stream in effects.streams.values()
        if stream.start and stream.id not in effects.created and stream.start > before(stream.path)
    ]
    return [(stream_id, NOBODY) for stream_id in effects.deleted] + trimmed


@dataclass(slots=True)
class _Grown:
    """A stream that got rows: when the last, how many bytes, and up to where it is tidy.

    Attributes:
        rows: How many it can have got at most.
        is_new: `rows` and `size` are counted since its beginning.
    """

    at: float
    size: int = 0
    closed: bool = False
    tidy_to: int = 0
    rows: int = 0
    is_new: bool = False

    @property
    def is_short(self) -> bool:
        """It need not be looked at to know that its rows are left alone."""
        return self.is_new and self.rows < WORTH_WHILE and self.size <= SEGMENT_BYTES

    def is_due(self, now: float) -> bool:
        return self.closed or self.size >= 2 * SEGMENT_BYTES or self.is_idle(now)

    def is_idle(self, now: float) -> bool:
        return now - self.at >= IDLE_SECONDS


class Tidier:
    """Knows what there is to tidy: streams that got rows, and after a start all the others.

    `note` is told of every batch of this process. `step` runs in the writer's thread as well,
    within a transaction, and in one process of a database at a time.
    """

    def __init__(self) -> None:
        self._grown: dict[int, _Grown] = {}
        self._looked_to = 0  # through the ids of streams, since the start
        self._look_to: int | None = None  # what came after it was noted

    def note(self, effects: Effects, now: float) -> None:
        """Remember the streams that a batch has given rows."""
        for stream_id in effects.created:
            self._grown[stream_id] = _Grown(now, is_new=True)
        for stream_id, pieces in effects.chunks.items():
            grown = self._grown.get(stream_id)
            if grown is None:
                grown = self._grown[stream_id] = _Grown(now)
            grown.at = now
            grown.rows += 1
            grown.size += sum(map(len, pieces))
        for stream_id, stream in effects.streams.items():
            if not stream.closed:
                continue
            grown = self._grown.setdefault(stream_id, _Grown(now))
            grown.closed = True
            if grown.is_short:
                del self._grown[stream_id]

    def step(self, connection: Connection, now: float) -> bool:
        """Do one thing; False when there was nothing to do."""
        return (
            _remove_garbage(connection)
            or self._look_through(connection, now)
            or self._merge(connection, now)
        )

    def _look_through(self, connection: Connection, now: float) -> bool:
        """Find what an earlier process has left untidy, a few streams at a time."""
        table = schema.streams.c
        if self._look_to is None:
            self._look_to = connection.execute(select(func.max(table.id))).scalar() or 0
        if self._looked_to >= self._look_to:
            return False
        streams = connection.execute(
            select(table.id, table.closed)
            .where(table.id > self._looked_to, table.id <= self._look_to)
            .order_by(table.id)
            .limit(_STREAMS_AT_ONCE)
        ).all()
        for stream_id, closed in streams:
            if stream_id not in self._grown and _is_sparse(connection, stream_id):
                self._grown[stream_id] = _Grown(now - IDLE_SECONDS, closed=closed)
        self._looked_to = streams[-1].id if streams else NOBODY
        return bool(streams)

    def _merge(self, connection: Connection, now: float) -> bool:
        for stream_id, grown in list(self._grown.items()):
            if not grown.is_due(now):
                continue
            if not grown.is_short and _merge_run(connection, stream_id, grown, now):
                return True
            if grown.closed or grown.is_idle(now):
                del self._grown[stream_id]
            grown.size, grown.is_new = 0, False
        return False


def _is_sparse(connection: Connection, stream_id: int) -> bool:
    """The stream lies in small rows, as far as its last ones tell."""
    chunks = schema.chunks.c
    newest = (
        select(chunks.end_offset)
        .where(chunks.stream_id == stream_id)
        .order_by(chunks.end_offset.desc())
        .limit(_ROWS_AT_ONCE)
        .subquery()
        .c.end_offset
    )
    count, first, last = connection.execute(
        select(func.count(), func.min(newest), func.max(newest))
    ).one()
    return bool(count > 1 and (last - first) // (count - 1) < _SPARSE)


def _remove_garbage(connection: Connection) -> bool:
    garbage, chunks = schema.garbage.c, schema.chunks.c
    row = connection.execute(select(garbage.stream_id, garbage.below).limit(1)).first()
    if row is None:
        return False
    dead = and_(chunks.stream_id == row.stream_id, chunks.end_offset <= row.below)
    some = (
        select(chunks.end_offset, func.length(chunks.data))
        .where(dead)
        .order_by(chunks.end_offset)
        .limit(_DELETED_AT_ONCE)
    )
    ends, size = [], 0
    for end, length in connection.execute(some):
        ends.append(end)
        size += length
        if size >= _DELETED_BYTES:
            break
    if ends:
        connection.execute(delete(schema.chunks).where(dead, chunks.end_offset <= ends[-1]))
    if len(ends) < _DELETED_AT_ONCE and size < _DELETED_BYTES:
        # Unless more was let go of meanwhile.
        same = and_(garbage.stream_id == row.stream_id, garbage.below == row.below)
        connection.execute(delete(schema.garbage).where(same))
    return True


def _merge_run(connection: Connection, stream_id: int, grown: _Grown, now: float) -> bool:
    """Merge one run of a stream's rows, or find that there is none in many; False at the end."""
    chunks = schema.chunks.c
    rows = connection.execute(
        select(chunks.end_offset, func.length(chunks.data).label("size"))
        .where(chunks.stream_id == stream_id, chunks.end_offset > grown.tidy_to)
        .order_by(chunks.end_offset)
        .limit(_ROWS_AT_ONCE)
    ).all()
    more = len(rows) == _ROWS_AT_ONCE
    sizes = [row.size for row in rows]
    run = next_run(sizes, closed=grown.closed and not more, idle=grown.is_idle(now) and not more)
    if run is not None:
        _merge_rows(connection, stream_id, rows[run[0] : run[1]])
        grown.tidy_to = rows[run[1] - 1].end_offset
    elif more:
        grown.tidy_to = rows[-2].end_offset
    return run is not None or more


def _merge_rows(connection: Connection, stream_id: int, rows: Sequence[Any]) -> None:
    """Make consecutive rows one: the last, which ends where the run ends."""
    chunks = schema.chunks.c
    first, last = rows[0], rows[-1]
    run = and_(
        chunks.stream_id == stream_id,
        chunks.end_offset.between(first.end_offset, last.end_offset),
    )
    pieces = connection.execute(select(chunks.data).where(run).order_by(chunks.end_offset))
    data = b"".join(pieces.scalars())
    if first.end_offset - first.size + len(data) != last.end_offset:
        return  # a hole: a read has to find it
    connection.execute(delete(schema.chunks).where(run, chunks.end_offset != last.end_offset))
    connection.execute(
        update(schema.chunks)
        .where(chunks.stream_id == stream_id, chunks.end_offset == last.end_offset)
        .values(data=data)
    )
