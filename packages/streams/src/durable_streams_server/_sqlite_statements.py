"""The statements that SQLite executes for a batch: one for all rows of a table.

Each statement gives up the interpreter's lock and has to win it back.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from durable_streams_server._journal import Part
from durable_streams_server._model import StreamInfo
from durable_streams_server._plan import Effects
from durable_streams_server._rows import mutable_row, whole_row
from durable_streams_server._tidy import garbage_of

Statement = tuple[str, tuple[Any, ...]]
"""SQL and its values."""

ROWS_PER_STATEMENT = 500

INSERT_STREAMS = (
    "INSERT INTO streams (id, path, content_type, tail, closed, created_at, owner, ttl_seconds,"
    " expires_at, touched_at, seq, closed_by, forked_from, fork_position, forks, deleted,"
    " start, retain_bytes, retain_seconds) VALUES %s"
)
UPDATE_STREAMS = (
    "UPDATE streams SET tail = v.column2, closed = v.column3, owner = v.column4,"
    " touched_at = v.column5, seq = v.column6, closed_by = v.column7, forks = v.column8,"
    " deleted = v.column9, start = v.column10"
    " FROM (VALUES %s) AS v WHERE streams.id = v.column1"
)
ANY_STREAM = "SELECT 1 FROM streams WHERE path IN %s LIMIT 1"
INSERT_CHUNKS = "INSERT INTO chunks (stream_id, end_offset, data, written_at) VALUES %s"
INSERT_JOURNAL = "INSERT INTO journal (id, written_at, entries) VALUES %s"
UPSERT_GARBAGE = "INSERT OR REPLACE INTO garbage (stream_id, below) VALUES %s"
UPSERT_PRODUCERS = "INSERT OR REPLACE INTO producers (stream_id, producer_id, epoch, seq) VALUES %s"
UPSERT_NODES = "INSERT OR REPLACE INTO nodes (node_id, expires_at) VALUES %s"


def of_effects(effects: Effects, known: Mapping[str, StreamInfo]) -> Iterator[Statement]:
    """For all that a batch changes but the bytes: a stream's tail is where its last byte is.

    Args:
        effects: Of the batch.
        known: The streams as they were before it, by path.
    """
    for stream_id in effects.deleted:
        yield "DELETE FROM streams WHERE id = ?", (stream_id,)
    garbage = garbage_of(effects, lambda path: known[path].start)
    created = [whole_row(effects.streams[id_]) for id_ in sorted(effects.created)]
    changed = [
        mutable_row(stream)
        for stream in effects.streams.values()
        if stream.id not in effects.created and not stream.differs_in_tail_only(known[stream.path])
    ]
    new_producers = [key + state for key, state in effects.producers.items()]
    yield from with_rows(UPSERT_GARBAGE, garbage)
    yield from with_rows(INSERT_STREAMS, created)
    yield from with_rows(UPDATE_STREAMS, changed)
    yield from with_rows(UPSERT_PRODUCERS, new_producers)
    yield from with_rows(UPSERT_NODES, list(effects.leases.items()))


def moving(part: Part) -> Iterator[Statement]:
    """For bytes that leave the journal."""
    yield from with_rows(INSERT_CHUNKS, part.rows)
    if part.through is not None:
        yield "DELETE FROM journal WHERE id <= ?", (part.through,)


def with_rows(statement: str, rows: Sequence[tuple[Any, ...]]) -> Iterator[Statement]:
    """A statement with its ``%s`` filled for all rows, in parts that SQLite accepts."""
    for start in range(0, len(rows), ROWS_PER_STATEMENT):
        part = rows[start : start + ROWS_PER_STATEMENT]
        yield (
            with_placeholders(statement, len(part[0]), len(part)),
            tuple(chain.from_iterable(part)),
        )


@lru_cache(maxsize=1024)
def with_placeholders(statement: str, columns: int, rows: int) -> str:
    """A statement with its ``%s`` filled with so many rows of placeholders."""
    row = f"({', '.join('?' * columns)})"
    return statement % ", ".join([row] * rows)
