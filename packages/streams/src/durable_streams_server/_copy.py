"""Moving streams from one store to another: the same bytes at the same offsets.

One stream is one transaction, so the other store holds whole streams only, and a copy that was
broken off goes on where it ended. Forks stay forks; their sources go first. What retention has let
go of stays gone; the age of the rest counts from the copy on.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from durable_streams_server import _schema as schema
from durable_streams_server._errors import CopyRefusedError, StreamNotFoundError
from durable_streams_server._model import StreamInfo
from durable_streams_server._rows import SELECT_STREAMS, closed_by_text, stream_of_row
from durable_streams_server._store import Store

PIECE_BYTES = 256 * 1024
"""The bytes of a stream are stored in pieces of about this size, whatever they were before."""
_PAGE = 500

Producers = list[tuple[str, int, int]]


@dataclass(slots=True)
class Copied:
    """What a copy came to.

    Attributes:
        streams: Paths that were copied.
        present: How many were there already, byte for byte.
        size: Bytes that were copied.
    """

    streams: list[str]
    present: int = 0
    size: int = 0


def copy_streams(source: Store, target: Store, prefix: str = "") -> Copied:
    """Copy all streams whose names begin with ``prefix``, and what they were forked from.

    Args:
        source: Is not changed.
        target: Opened for this and nothing else. May hold streams already: equal ones are skipped.
        prefix: Empty for all.

    Raises:
        CopyRefusedError: there is another stream at a path; what came before it is copied.
        StorageError: one of the stores failed.
    """
    copied = Copied([])
    done: set[str] = set()
    for path in _paths(source, prefix):
        for one in reversed(list(_with_sources(source, path, done))):
            _copy_stream(source, target, one, copied)
            done.add(one)
    return copied


def _paths(store: Store, prefix: str) -> Iterator[str]:
    after = ""
    # At the beginning of time no stream's life was over: one that is over may still have forks.
    while page := store.list_streams(prefix, after, _PAGE, 0.0):
        # A deleted one goes along with the forks that need it.
        yield from (stream.path for stream in page if not stream.deleted)
        after = page[-1].path


def _with_sources(store: Store, path: str, done: set[str]) -> Iterator[str]:
    """The stream and what it was forked from, and so on, as far as it is not copied yet."""
    next_: str | None = path
    while next_ is not None and next_ not in done:
        yield next_
        stream = store.stat(next_, 0.0)
        next_ = None if stream is None else stream.forked_from


def _copy_stream(source: Store, target: Store, path: str, copied: Copied) -> None:
    found = source.control(lambda connection: _state(connection, path))
    if found is None:
        return  # deleted since it was listed
    stream, producers = found
    there = target.control(lambda connection: _state(connection, path))
    if there is not None:
        if not _equal(source, target, found, there):
            raise CopyRefusedError(path)
        copied.present += 1
        return
    target.control(lambda connection: _insert(connection, source, stream, producers))
    copied.streams.append(path)
    copied.size += stream.tail - _own_start(stream)


def _state(connection: Connection, path: str) -> tuple[StreamInfo, Producers] | None:
    """The stream and its producers, as they belong together."""
    query = SELECT_STREAMS.where(schema.streams.c.path == path)
    row = connection.execute(query.with_for_update(of=schema.streams)).first()
    if row is None:
        return None
    stream = stream_of_row(row)
    table = schema.producers.c
    rows = connection.execute(
        select(table.producer_id, table.epoch, table.seq).where(table.stream_id == stream.id)
    )
    return stream, sorted((id_, epoch, seq) for id_, epoch, seq in rows)


def _insert(
    connection: Connection, source: Store, stream: StreamInfo, producers: Producers
) -> None:
    row = stream._asdict() | {"forks": 0}  # none is there yet
    del row["id"]
    row["closed_by"] = closed_by_text(stream)
    table = schema.streams.c
    connection.execute(
        update(schema.streams).where(table.path == stream.forked_from).values(forks=table.forks + 1)
    )
    new_id = connection.execute(insert(schema.streams).values(row).returning(table.id)).scalar_one()
    _insert_all(
        connection,
        schema.producers,
        [
            {"stream_id": new_id, "producer_id": id_, "epoch": epoch, "seq": seq}
            for id_, epoch, seq in producers
        ],
    )
    end, written_at = _own_start(stream), int(time.time())
    for piece in _pieces(source, stream):
        end += len(piece)
        chunk = {"stream_id": new_id, "end_offset": end, "data": piece, "written_at": written_at}
        _insert_all(connection, schema.chunks, [chunk])


def _insert_all(connection: Connection, table: Any, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        connection.execute(insert(table).inline(), rows)


def _own_start(stream: StreamInfo) -> int:
    """Where the bytes begin that the stream itself stores."""
    return max(stream.fork_position, stream.start)


def _pieces(store: Store, stream: StreamInfo) -> Iterator[bytes]:
    """The stream's own bytes."""
    position = _own_start(stream)
    while position < stream.tail:
        piece = store.read(stream, position, PIECE_BYTES)
        if not piece:
            raise StreamNotFoundError(stream.path)
        yield piece
        position += len(piece)


def _equal(
    source: Store,
    target: Store,
    found: tuple[StreamInfo, Producers],
    there: tuple[StreamInfo, Producers],
) -> bool:
    stream, other = found[0], there[0]
    # How many forks there are, and when it was last read, is nothing of the stream's own.
    same = other._replace(id=stream.id, forks=stream.forks, touched_at=stream.touched_at) == stream
    if not same or found[1] != there[1]:
        return False
    return _same_bytes(_pieces(source, stream), _pieces(target, other))


def _same_bytes(one: Iterator[bytes], other: Iterator[bytes]) -> bool:
    """Two runs of bytes of one length are the same, however they are cut."""
    rest = b""
    for piece in one:
        while len(rest) < len(piece):
            rest += next(other)
        if not rest.startswith(piece):
            return False
        rest = rest[len(piece) :]
    return True
