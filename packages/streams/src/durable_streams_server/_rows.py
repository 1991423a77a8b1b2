"""Reading streams out of a store's tables, in words that every SQL database understands."""

import json
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, not_, or_, select

from durable_streams_server import _schema as schema
from durable_streams_server._model import Inspection, Producer, StreamInfo

LISTED_PARTS = 1000
"""So many producers, and so many forks, of one stream are told; a stream may have any number."""
_AFTER_ALL = "\x7f"
"""Sorts behind every character of a stream's name, which is printable ASCII."""

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


def is_over(now: float) -> ColumnElement[bool]:
    """The condition that a stream's lifetime is over."""
    table = schema.streams.c
    return or_(
        and_(table.expires_at.is_not(None), table.expires_at <= now),
        and_(table.ttl_seconds.is_not(None), table.touched_at + table.ttl_seconds <= now),
    )


def select_page(
    connection: Connection, prefix: str, after: str, limit: int, now: float
) -> list[StreamInfo]:
    """See `Store.list_streams`."""
    path = schema.streams.c.path
    query = SELECT_STREAMS.where(path > after, not_(is_over(now))).order_by(path).limit(limit)
    if prefix:
        query = query.where(path >= prefix, path < prefix + _AFTER_ALL)
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
