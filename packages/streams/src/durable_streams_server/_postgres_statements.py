"""Every statement of the hot path in Postgres, and rows as streams."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from durable_streams_server._model import Producer, StreamInfo

_COLUMNS = (
    "id, path, content_type, tail, closed, created_at, owner, ttl_seconds, expires_at,"
    " touched_at, seq, closed_by, forked_from, fork_position, forks, deleted,"
    " start, retain_bytes, retain_seconds"
)
_CLOSED_BY = StreamInfo._fields.index("closed_by")

BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
# In the order of their names, so that two nodes never wait for each other.
LOCK_STREAMS = (
    "SELECT " + _COLUMNS + " FROM durable_streams.streams"  # noqa: S608 - constants
    " WHERE path = ANY(%s) ORDER BY path FOR UPDATE"
)
# After the lock, and with a snapshot of its own: nobody can change these rows any more.
SELECT_PRODUCERS = (
    "SELECT producers.stream_id, producers.producer_id, producers.epoch, producers.seq"
    " FROM unnest(%s::text[], %s::text[]) AS wanted(path, producer_id)"
    " JOIN durable_streams.streams ON streams.path = wanted.path"
    " JOIN durable_streams.producers ON producers.stream_id = streams.id"
    " AND producers.producer_id = wanted.producer_id"
)
SELECT_LEASES = "SELECT node_id, expires_at FROM durable_streams.nodes"
SELECT_CLOCK = "SELECT extract(epoch FROM clock_timestamp())::float8"
SELECT_NEW_IDS = "SELECT nextval('durable_streams.streams_id_seq') FROM generate_series(1, %s)"
SELECT_THERE = "SELECT 1 FROM durable_streams.streams WHERE path = ANY(%s) LIMIT 1"
SELECT_STREAMS = "SELECT " + _COLUMNS + " FROM durable_streams.streams WHERE path = ANY(%s)"  # noqa: S608
SELECT_START = "SELECT start FROM durable_streams.streams WHERE id = %s"

INSERT_STREAMS = (
    "INSERT INTO durable_streams.streams (" + _COLUMNS + ") SELECT * FROM unnest("  # noqa: S608 - constants
    "%s::bigint[], %s::text[], %s::text[], %s::bigint[], %s::boolean[], %s::float8[], %s::text[],"
    " %s::bigint[], %s::float8[], %s::float8[], %s::text[], %s::text[], %s::text[], %s::bigint[],"
    " %s::int[], %s::boolean[], %s::bigint[], %s::bigint[], %s::bigint[])"
)
UPDATE_TAILS = (
    "UPDATE durable_streams.streams SET tail = new.tail"
    " FROM unnest(%s::bigint[], %s::bigint[]) AS new(id, tail) WHERE streams.id = new.id"
)
UPDATE_STREAMS = (
    "UPDATE durable_streams.streams SET tail = new.tail, closed = new.closed, owner = new.owner,"
    " touched_at = new.touched_at, seq = new.seq, closed_by = new.closed_by, forks = new.forks,"
    " deleted = new.deleted, start = new.start"
    " FROM unnest(%s::bigint[], %s::bigint[], %s::boolean[], %s::text[], %s::float8[], %s::text[],"
    " %s::text[], %s::int[], %s::boolean[], %s::bigint[])"
    " AS new(id, tail, closed, owner, touched_at, seq, closed_by, forks, deleted, start)"
    " WHERE streams.id = new.id"
)
INSERT_CHUNKS = (
    "INSERT INTO durable_streams.chunks (stream_id, end_offset, data, written_at)"
    " SELECT * FROM unnest(%b::bigint[], %b::bigint[], %b::bytea[], %b::bigint[])"
)
UPSERT_GARBAGE = (
    "INSERT INTO durable_streams.garbage (stream_id, below)"
    " SELECT * FROM unnest(%s::bigint[], %s::bigint[])"
    " ON CONFLICT (stream_id) DO UPDATE SET below = excluded.below"
)
UPSERT_PRODUCERS = (
    "INSERT INTO durable_streams.producers (stream_id, producer_id, epoch, seq)"
    " SELECT * FROM unnest(%s::bigint[], %s::text[], %s::bigint[], %s::bigint[])"
    " ON CONFLICT (stream_id, producer_id) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq"
)
UPSERT_LEASES = (
    "INSERT INTO durable_streams.nodes (node_id, expires_at)"
    " SELECT * FROM unnest(%s::text[], %s::float8[])"
    " ON CONFLICT (node_id) DO UPDATE SET expires_at = excluded.expires_at"
)
DELETE_STREAMS = "DELETE FROM durable_streams.streams WHERE id = ANY(%s)"
TRY_TIDY_LOCK = "SELECT pg_try_advisory_xact_lock(1146312786, 1)"
"""One process of a database keeps house at a time."""
FORGET_NODES = (
    "DELETE FROM durable_streams.nodes WHERE expires_at <= extract(epoch FROM clock_timestamp())"
)

# Rows up to the first one that reaches the wanted size, put together by the database. Where they
# begin, where they end and how long they are tells whether one is missing.
SELECT_BYTES = (
    "SELECT min(end_offset - octet_length(data)), max(end_offset), sum(octet_length(data))::bigint,"
    " string_agg(data, ''::bytea ORDER BY end_offset) FROM ("
    "(SELECT end_offset, data FROM durable_streams.chunks"
    " WHERE stream_id = %(id)s AND end_offset > %(from)s AND end_offset < %(to)s"
    " AND EXISTS (SELECT FROM durable_streams.streams WHERE id = %(id)s))"
    " UNION ALL "
    "(SELECT end_offset, data FROM durable_streams.chunks"
    " WHERE stream_id = %(id)s AND end_offset >= %(to)s"
    " AND EXISTS (SELECT FROM durable_streams.streams WHERE id = %(id)s)"
    " ORDER BY end_offset LIMIT 1)"
    ") AS pieces"
)


SELECT_SIZE = (
    "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class"
    " WHERE relnamespace = to_regnamespace('durable_streams') AND relkind = 'r'"
)


def stream_of(row: Sequence[Any]) -> StreamInfo:
    """A stream, given all columns in the order of its fields."""
    stream = StreamInfo(*row)
    closed_by = row[_CLOSED_BY]
    if closed_by is None:
        return stream
    return stream._replace(closed_by=Producer(*json.loads(closed_by)))


def columns(rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    """Rows as one list of values for each column: what ``unnest`` makes rows of again."""
    return [list(values) for values in zip(*rows, strict=True)]
