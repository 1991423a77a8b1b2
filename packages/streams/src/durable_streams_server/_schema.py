"""The tables of a store, and what becomes of those of an older SQLite file.

Postgres adds to them in `_postgres_schema`. Statements of the hot path are in `_sqlite` and
`_postgres_statements`, all others in `_rows`, `_tidy`, `_copy` and `_subscription_rows`.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

SCHEMA_VERSION = 4

_ID = Integer().with_variant(BigInteger(), "postgresql")  # 64 bits in every database
_NAME = Text().with_variant(Text(collation="C"), "postgresql")  # sorts by its bytes

metadata = MetaData()

streams = Table(
    "streams",
    metadata,
    Column("id", _ID, primary_key=True, autoincrement=True),
    Column("path", _NAME, nullable=False, unique=True),
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
    # Of the bytes before it retention has let go.
    Column("start", BigInteger, nullable=False, server_default="0"),
    Column("retain_bytes", BigInteger),
    Column("retain_seconds", BigInteger),
    # An id is the incarnation in ETags and guards: it must never come back.
    sqlite_autoincrement=True,
    # Every append rewrites the row: with room beside it that touches no index.
    postgresql_with={"fillfactor": 50},
)
_OWNED = streams.c.owner.is_not(None)
_DATED = streams.c.expires_at.is_not(None)
Index("streams_owner", streams.c.owner, sqlite_where=_OWNED, postgresql_where=_OWNED)
Index("streams_expires_at", streams.c.expires_at, sqlite_where=_DATED, postgresql_where=_DATED)
Index("streams_ttl", streams.c.touched_at, sqlite_where=streams.c.ttl_seconds.is_not(None))

chunks = Table(
    "chunks",
    metadata,
    Column("id", Integer, primary_key=True),
    # No foreign key: the rows of a deleted stream go bit by bit, see `garbage`.
    Column("stream_id", Integer, nullable=False),
    Column("end_offset", BigInteger, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("written_at", BigInteger, nullable=False),  # epoch seconds, of its last byte
)
# Rows lie in commit order (one commit writes neighbouring pages); the index finds a stream's.
Index("chunks_stream_offset", chunks.c.stream_id, chunks.c.end_offset, unique=True)

# What was appended lately, in the order of the commits; see `_journal`. Not in Postgres, where the
# writers are many.
journal = Table(
    "journal",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("written_at", BigInteger, nullable=False),  # epoch seconds
    Column("entries", LargeBinary, nullable=False),
)

garbage = Table(
    "garbage",
    metadata,
    Column("stream_id", _ID, primary_key=True, autoincrement=False),
    # The stream's rows that end here or earlier are nobody's any more.
    Column("below", BigInteger, nullable=False),
)

producers = Table(
    "producers",
    metadata,
    Column("stream_id", _ID, ForeignKey("streams.id", ondelete="CASCADE"), primary_key=True),
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

# --------------------------------------------------------------------------- subscriptions

subscriptions = Table(
    "subscriptions",
    metadata,
    Column("id", Text, primary_key=True),
    # A subscription that is deleted and created again takes no tokens of the one before.
    Column("incarnation", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("pattern", Text),
    Column("webhook_url", Text),
    Column("wake_stream", Text),
    Column("lease_ttl_ms", Integer, nullable=False),
    Column("description", Text),
    Column("config_hash", Text, nullable=False),
    Column("root_url", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("wake_id", Text),
    Column("holder", Text),
    Column("lease_until", Float),
    Column("next_attempt_at", Float),
    Column("deliverer", Text),
    Column("retries", Integer, nullable=False),
    Column("failure", Text),
)

links = Table(
    "subscription_links",
    metadata,
    Column(
        "subscription_id",
        Text,
        ForeignKey("subscriptions.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("path", Text, primary_key=True),
    Column("explicit", Boolean, nullable=False),
    # The incarnation that `acked` belongs to: of any other one, nothing is processed.
    Column("stream_id", BigInteger),
    Column("acked", BigInteger, nullable=False),
)
Index("subscription_links_path", links.c.path)

secrets = Table(
    "secrets",
    metadata,
    Column("id", Text, primary_key=True),
    Column("purpose", Text, nullable=False),
    Column("value", LargeBinary, nullable=False),
    Column("created_at", Float, nullable=False),
)


# --------------------------------------------------------------------------- migrations


def _add_subscriptions(connection: Connection) -> None:
    metadata.create_all(connection, tables=[subscriptions, links, secrets], checkfirst=False)


def _add_retention(connection: Connection) -> None:
    run = connection.exec_driver_sql
    run("ALTER TABLE streams ADD COLUMN start BIGINT DEFAULT '0' NOT NULL")
    run("ALTER TABLE streams ADD COLUMN retain_bytes BIGINT")
    run("ALTER TABLE streams ADD COLUMN retain_seconds BIGINT")
    run("DROP INDEX chunks_stream_offset")
    run("ALTER TABLE chunks RENAME TO chunks_without_time")
    metadata.create_all(connection, tables=[chunks, garbage], checkfirst=False)
    # When they were written nobody knows: what has an age counts from now.
    run(
        "INSERT INTO chunks (id, stream_id, end_offset, data, written_at)"
        " SELECT id, stream_id, end_offset, data, CAST(strftime('%s', 'now') AS INTEGER)"
        " FROM chunks_without_time"
    )
    run("DROP TABLE chunks_without_time")


def _add_journal(connection: Connection) -> None:
    metadata.create_all(connection, tables=[journal], checkfirst=False)


_STEPS = {1: _add_subscriptions, 2: _add_retention, 3: _add_journal}
"""What turns tables of a version into those of the next."""


def migrate(connection: Connection, version: int) -> None:
    """Bring the tables of an older version to `SCHEMA_VERSION`; in the caller's transaction."""
    for step in range(version, SCHEMA_VERSION):
        _STEPS[step](connection)
