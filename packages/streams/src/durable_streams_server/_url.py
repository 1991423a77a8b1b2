"""From a store URL to an open store."""

from importlib.util import find_spec
from pathlib import Path

from durable_streams_server._errors import StoreDriverError, StoreUrlError
from durable_streams_server._sqlite import SqliteStore
from durable_streams_server._store import Store

POSTGRES_SCHEMES = ("postgres", "postgresql", "postgresql+psycopg")


def open_store(url: str) -> Store:
    """Open the store that a URL names (blocking).

    Raises:
        StoreUrlError: an unknown scheme, a SQLite URL with a host, or a wrong parameter.
        StoreDriverError: what the store needs is not installed.
        StorageError: the store cannot be opened.
    """
    if is_shared(url):
        return _open_postgres(url)
    if url in ("sqlite://", "sqlite:///:memory:"):
        return SqliteStore(None)
    scheme, separator, file = url.partition(":///")
    if scheme != "sqlite" or not separator or not file or "?" in file:
        raise StoreUrlError(url)
    return SqliteStore(Path(file))


def is_shared(url: str) -> bool:
    """Several processes may open this store at once."""
    return url.partition("://")[0] in POSTGRES_SCHEMES


def store_name(url: str) -> str:
    """The URL of a store without user, password and parameters: for logs and messages."""
    scheme, separator, rest = url.partition("://")
    place = rest.partition("?")[0].rpartition("@")[2]
    return f"{scheme}{separator}{place}" if is_shared(url) else url


def _open_postgres(url: str) -> Store:
    if find_spec("psycopg") is None:
        raise StoreDriverError("Postgres", "psycopg", "durable-streams-server[postgres]")
    from durable_streams_server._postgres import PostgresStore  # noqa: PLC0415 - needs the driver
    from durable_streams_server._postgres_database import parse_settings  # noqa: PLC0415

    return PostgresStore(parse_settings(url))
