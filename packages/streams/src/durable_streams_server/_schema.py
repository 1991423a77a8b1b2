"""The tables of a store, and every statement of the hot path: SQL lives here and in `_sqlite`."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

SCHEMA_VERSION = 1

metadata = MetaData()

streams = Table(
    "streams",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("path", Text, nullable=False, unique=True),
    Column("content_type", Text, nullable=False),
    # As of the last change of anything but the tail: the true one is where the last row ends.
    Column("tail", BigInteger, nullable=False),
    Column("closed", Boolean, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("owner", Text),
    Column("ttl_seconds", BigInteger),
    Column("expires_at", Float),
    Column("touched_at", Float, nullable=False),
    Column("seq", Text),
    Column("closed_by", Text),  # JSON [id, epoch, seq]
    Column("forked_from", Text),
    Column("fork_position", BigInteger, nullable=False),
    Column("forks", Integer, nullable=False),
    Column("deleted", Boolean, nullable=False),
    # An id is the incarnation in ETags and guards: it must never come back.
    sqlite_autoincrement=True,
)
Index("streams_owner", streams.c.owner, sqlite_where=streams.c.owner.is_not(None))
Index("streams_expires_at", streams.c.expires_at, sqlite_where=streams.c.expires_at.is_not(None))
Index("streams_ttl", streams.c.touched_at, sqlite_where=streams.c.ttl_seconds.is_not(None))

chunks = Table(
    "chunks",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("stream_id", Integer, ForeignKey("streams.id", ondelete="CASCADE"), nullable=False),
    Column("end_offset", BigInteger, nullable=False),
    Column("data", LargeBinary, nullable=False),
)
# Rows lie in commit order (one commit writes neighbouring pages); the index finds a stream's.
Index("chunks_stream_offset", chunks.c.stream_id, chunks.c.end_offset, unique=True)

producers = Table(
    "producers",
    metadata,
    Column("stream_id", Integer, ForeignKey("streams.id", ondelete="CASCADE"), primary_key=True),
    Column("producer_id", Text, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

nodes = Table(
    "nodes",
    metadata,
    Column("node_id", Text, primary_key=True),
    Column("expires_at", Float, nullable=False),
)
