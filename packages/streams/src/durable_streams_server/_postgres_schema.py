"""The tables of a store in Postgres, and how they came to be: numbered migrations.

A new database gets all migrations in turn. A test holds that they come to what `metadata` says.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
)

from durable_streams_server import _schema as schema
from durable_streams_server._errors import StoreFormatError
from durable_streams_server._postgres_database import SCHEMA, BoundedConnection
from durable_streams_server._postgres_migrations import MIGRATIONS

MINIMUM_POSTGRES = 130000
_LOCK = 0x44535452  # "DSTR"

metadata = MetaData()
for _table in schema.metadata.sorted_tables:
    if _table not in (schema.chunks, schema.journal):
        _table.to_metadata(metadata)
_streams = metadata.tables["streams"]
# What a read or an append changes is in no index, so that neither has to touch one.
_streams.indexes = {index for index in _streams.indexes if index.name != "streams_ttl"}
Index("streams_sliding", _streams.c.id, postgresql_where=_streams.c.ttl_seconds.is_not(None))
Index(
    "streams_forked_from",
    _streams.c.forked_from,
    postgresql_where=_streams.c.forked_from.is_not(None),
)
# A row of bytes is found by its place in the stream and by nothing else.
Table(
    "chunks",
    metadata,
    Column("stream_id", BigInteger, primary_key=True),
    Column("end_offset", BigInteger, primary_key=True),
    Column("data", LargeBinary, nullable=False),
    Column("written_at", BigInteger, nullable=False),
)
Table("schema_version", metadata, Column("version", Integer, nullable=False))


def prepare(connection: BoundedConnection, name: str) -> None:
    """Bring the tables to the newest version; several nodes may open a database at once.

    Raises:
        StoreFormatError: the database is not fit for a store, or holds one of a newer version.
    """
    _check_server(connection, name)
    if _version(connection, name) == len(MIGRATIONS):
        return
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        version = _version(connection, name)
        connection.execute(f"SET LOCAL search_path TO {SCHEMA}")
        for migration in MIGRATIONS[version:]:
            connection.execute(migration)
        connection.execute("UPDATE schema_version SET version = %s", (len(MIGRATIONS),))


def _check_server(connection: BoundedConnection, name: str) -> None:
    row = connection.execute(
        "SELECT current_setting('server_version_num')::int, current_setting('server_encoding'),"
        " current_setting('server_version'), pg_is_in_recovery()"
    ).fetchone()
    number, encoding, version, standby = row or (0, "", "", False)
    if number < MINIMUM_POSTGRES:
        wanted = MINIMUM_POSTGRES // 10000
        raise StoreFormatError(name, f"Postgres {wanted} or newer is needed, not {version}")
    if encoding != "UTF8":
        raise StoreFormatError(
            name, f"its encoding is {encoding}; create the database with ENCODING 'UTF8'"
        )
    if standby:
        raise StoreFormatError(name, "it is a standby; use the URL of the primary server")


def _version(connection: BoundedConnection, name: str) -> int:
    """How many migrations the database has had."""
    # Out of the catalog's tables: `to_regclass` answers from a cache that may be older than the
    # lock we waited for.
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = %(schema)s"
        "  AND tablename = 'schema_version'),"
        " EXISTS (SELECT FROM pg_namespace WHERE nspname = %(schema)s)",
        {"schema": SCHEMA},
    ).fetchone()
    ours, taken = row or (False, False)
    if not ours:
        if taken:
            raise StoreFormatError(
                name,
                f"its schema {SCHEMA!r} belongs to another program; choose another database",
            )
        return 0
    found = connection.execute("SELECT version FROM durable_streams.schema_version").fetchone()
    version: int = found[0] if found else 0
    if version > len(MIGRATIONS):
        raise StoreFormatError(
            name,
            f"it was written by a newer version (schema {version}, this one knows"
            f" {len(MIGRATIONS)}); upgrade durable-streams-server",
        )
    return version
