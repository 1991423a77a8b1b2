"""Streams as rows of a store's tables, and reading them in words that every SQL database knows."""

import json
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, not_, or_, select

from durable_streams_server import _schema as schema
from durable_streams_server._errors import (
    OffsetGoneError,
    StorageError,
    StreamNotFoundError,
)
from durable_streams_server._model import (
    KEEP_ALL,
    Inspection,
    Producer,
    Retention,
    StreamInfo,
    Trim,
)

LISTED_PARTS = 1000
"""So many producers, and so many forks, of one stream are told; a stream may have any number."""

STORED_END = (
    select(func.max(schema.chunks.c.end_offset))
    .where(schema.chunks.c.stream_id == schema.streams.c.id)
    .scalar_subquery()
    .label("stored_end")
)
SELECT_STREAMS = select(schema.streams, STORED_END)
"""Rows for `stream_of_row`."""


def stream_of_row(row: Any) -> StreamInfo:
    """A stream, given a row of `SELECT_STREAMS`."""
    fields = row._asdict()
    closed_by, stored_end = fields.pop("closed_by"), fields.pop("stored_end")
    fields["tail"] = max(fields["tail"], stored_end or 0)
    return StreamInfo(
        **fields, closed_by=None if closed_by is None else Producer(*json.loads(closed_by))
    )


def whole_row(stream: StreamInfo) -> tuple[Any, ...]:
    """The values of all columns, in the order of the stream's fields."""
    return tuple(stream._replace(closed_by=closed_by_text(stream)))  # type: ignore[arg-type]


def mutable_row(stream: StreamInfo) -> tuple[Any, ...]:
    """Its id, and the values of the columns that change while it lives."""
    return (
        stream.id,
        stream.tail,
        stream.closed,
        stream.owner,
        stream.touched_at,
        stream.seq,
        closed_by_text(stream),
        stream.forks,
        stream.deleted,
        stream.start,
    )


def closed_by_text(stream: StreamInfo) -> str | None:
    """The column ``closed_by``."""
    return None if stream.closed_by is None else json.dumps(stream.closed_by)


def begins_with(prefix: str) -> ColumnElement[bool]:
    """The condition that a stream's name begins with ``prefix``: a range, so that an index serves.

    The far end sorts behind every character of a name, which is printable ASCII.
    """
    path = schema.streams.c.path
    return and_(path >= prefix, path < prefix + "\x7f")


def is_over(now: float) -> ColumnElement[bool]:
    """The condition that a stream's lifetime is over."""
    table = schema.streams.c
    return or_(
        and_(table.expires_at.is_not(None), table.expires_at <= now),
        and_(table.ttl_seconds.is_not(None), table.touched_at + table.ttl_seconds <= now),
    )


def select_start(connection: Connection, stream_id: int) -> int | None:
    """Where an incarnation begins by now; None when it is gone."""
    table = schema.streams.c
    return connection.execute(select(table.start).where(table.id == stream_id)).scalar()


def why_missing(
    stream: StreamInfo, position: int, end: int, start: int | None
) -> StreamNotFoundError | OffsetGoneError | StorageError:
    """Why bytes that should be stored are not: they may have been let go of a moment ago.

    Args:
        stream: As the reader knows it.
        position: Where bytes are missing.
        end: Up to where.
        start: Where the stream begins by now, or None when it is gone.
    """
    if start is None:
        return StreamNotFoundError(stream.path)
    if position < start:
        return OffsetGoneError(stream.path, position, start)
    return StorageError(f"bytes {position} to {end} of {stream.path!r} are missing")


def overdue_trims(connection: Connection, default: Retention, now: float) -> list[Trim]:
    """See `Store.overdue`."""
    table = schema.streams.c
    query = SELECT_STREAMS.where(not_(table.deleted), table.forks == 0)
    if default == KEEP_ALL:
        own = or_(table.retain_bytes.is_not(None), table.retain_seconds.is_not(None))
        query = query.where(own)
    trims = []
    for row in connection.execute(query).all():
        stream = stream_of_row(row)
        start = max(
            _start_by_size(connection, stream, stream.retain_bytes or default.max_bytes),
            _start_by_age(connection, stream, stream.retain_seconds or default.max_seconds, now),
        )
        if start > stream.start:
            trims.append(Trim(stream.path, stream.id, start))
    return trims


def _start_by_size(connection: Connection, stream: StreamInfo, limit: int | None) -> int:
    if limit is None or stream.tail - stream.start <= limit:
        return 0
    chunks = schema.chunks.c
    last = select(func.max(chunks.end_offset)).where(
        chunks.stream_id == stream.id, chunks.end_offset <= stream.tail - limit
    )
    return connection.execute(last).scalar() or 0


def _start_by_age(connection: Connection, stream: StreamInfo, limit: int | None, now: float) -> int:
    """Where the first row begins that is young enough; rows are in the order of their age."""
    if limit is None:
        return 0
    chunks = schema.chunks.c
    rows = connection.execute(
        select(chunks.end_offset, chunks.written_at)
        .where(chunks.stream_id == stream.id, chunks.end_offset > stream.start)
        .order_by(chunks.end_offset)
    )
    start = 0
    for end_offset, written_at in rows:
        if written_at > now - limit:
            break
        start = end_offset
    rows.close()
    return start


def select_page(
    connection: Connection, prefix: str, after: str, limit: int, now: float
) -> list[StreamInfo]:
    """See `Store.list_streams`."""
    path = schema.streams.c.path
    query = SELECT_STREAMS.where(path > after, not_(is_over(now))).order_by(path).limit(limit)
    if prefix:
        query = query.where(begins_with(prefix))
    return [stream_of_row(row) for row in connection.execute(query)]


def select_owned(connection: Connection, prefix: str) -> list[StreamInfo]:
    """See `Store.owned`."""
    query = SELECT_STREAMS.where(schema.streams.c.owner.is_not(None))
    if prefix:
        query = query.where(begins_with(prefix))
    return [stream_of_row(row) for row in connection.execute(query)]


def inspect_stream(
    connection: Connection, stream: StreamInfo, lease_expires_at: float | None
) -> Inspection:
    """See `Store.inspect`."""
    producers, chunks, streams = schema.producers.c, schema.chunks.c, schema.streams.c
    known = connection.execute(
        select(producers.producer_id, producers.epoch, producers.seq)
        .where(producers.stream_id == stream.id)
        .order_by(producers.producer_id)
        .limit(LISTED_PARTS)
    )
    forks = connection.execute(
        select(streams.path)
        .where(streams.forked_from == stream.path)
        .order_by(streams.path)
        .limit(LISTED_PARTS)
    )
    rows, size = connection.execute(
        select(func.count(), func.coalesce(func.sum(func.length(chunks.data)), 0)).where(
            chunks.stream_id == stream.id
        )
    ).one()
    return Inspection(
        stream=stream,
        producers=tuple(Producer(*row) for row in known),
        forks=tuple(forks.scalars()),
        rows=rows,
        stored_bytes=size,
        lease_expires_at=lease_expires_at,
    )
