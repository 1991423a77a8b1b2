"""From a store URL to an open store."""

from pathlib import Path

from durable_streams_server._errors import StorageError
from durable_streams_server._sqlite import SqliteStore
from durable_streams_server._store import Store


class StoreUrlError(StorageError):
    """The URL names no store that this version can open."""

    def __init__(self, url: str) -> None:
        self.url = url
        super().__init__(url)

    def __str__(self) -> str:
        # Without what comes after the scheme: there may be a password in it.
        scheme = self.url.partition(":")[0][:20]
        return (
            f"a URL that begins with {scheme!r} is not a store: use sqlite:///relative/file, sqlite:////absolute/file,"
            f" or sqlite:// for one in memory"
        )


def open_store(url: str) -> Store:
    """Open the store that a URL names (blocking).

    Raises:
        StoreUrlError: an unknown scheme, or a URL with a host.
        StorageError: the store cannot be opened.
    """
    if url in ("sqlite://", "sqlite:///:memory:"):
        return SqliteStore(None)
    scheme, separator, file = url.partition(":///")
    if scheme != "sqlite" or not separator or not file or "?" in file:
        raise StoreUrlError(url)
    return SqliteStore(Path(file))
