"""What can go wrong with a log that is nobody's request.

LogError
├── StreamNotFoundError     no stream at the path, or it was deleted under a reader
├── StreamGoneError         deleted, but its path stays taken while forks need its bytes
├── OffsetOutOfRangeError   the position is past the tail
├── OffsetGoneError         retention has let go of the bytes at the position
├── LogClosedError          the log was shut down
└── StorageError            the store refused or failed
    ├── StoreLockedError    another process owns the store file
    ├── StoreUrlError       the URL names no store that we know
    ├── StoreDriverError    the package that talks to this kind of store is not installed
    ├── StoreFullError      there is no room for more
    ├── StoreBrokenError    it failed in a way that only a restart can look into
    ├── StoreFormatError    the file is not a store of ours, or of a newer version
    └── CopyRefusedError    the store to copy to has another stream at the path
"""


class LogError(Exception):
    """Base of every error of the log."""


class StreamNotFoundError(LogError):
    """There is no stream at the path, or it was deleted while it was being read."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(path)

    def __str__(self) -> str:
        return f"there is no stream at {self.path!r}"


class StreamGoneError(LogError):
    """The stream was deleted; only forks still read its bytes."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(path)

    def __str__(self) -> str:
        return f"the stream at {self.path!r} was deleted"


class OffsetOutOfRangeError(LogError):
    """A reader asked for a position past the tail: the stream was re-created, or restored."""

    def __init__(self, path: str, position: int, tail: int) -> None:
        self.path = path
        self.position = position
        self.tail = tail
        super().__init__(path, position, tail)

    def __str__(self) -> str:
        return (
            f"offset {self.position} of {self.path!r} is past the tail {self.tail}: "
            f"the stream is not the one the offset came from; read it again from -1"
        )


class OffsetGoneError(LogError):
    """A reader asked for bytes that retention has let go of."""

    def __init__(self, path: str, position: int, start: int) -> None:
        self.path = path
        self.position = position
        self.start = start
        super().__init__(path, position, start)

    def __str__(self) -> str:
        return (
            f"offset {self.position} of {self.path!r} is before {self.start}, the earliest that is"
            f" retained; read from there, or from -1"
        )


class LogClosedError(LogError):
    """The log is shut down and takes no more operations."""

    def __str__(self) -> str:
        return "the log is closed"


class StorageError(LogError):
    """The store could not do what it was asked; nothing of the operation was written."""


class StoreUrlError(StorageError):
    """The URL names no store that this version can open."""

    def __init__(self, url: str, reason: str | None = None) -> None:
        self.url = url
        self.reason = reason
        super().__init__(url, reason)

    def __str__(self) -> str:
        # Without what comes after the scheme: there may be a password in it.
        scheme = self.url.partition(":")[0][:20]
        if self.reason is not None:
            return f"the store's URL ({scheme}://...) cannot be used: {self.reason}"
        return (
            f"a URL that begins with {scheme!r} is not a store: use sqlite:///relative/file,"
            f" sqlite:////absolute/file, sqlite:// for one in memory,"
            f" or postgresql://user@host/database"
        )


class StoreDriverError(StorageError):
    """The package that talks to this kind of store is not installed."""

    def __init__(self, kind: str, driver: str, extra: str) -> None:
        self.kind = kind
        self.driver = driver
        self.extra = extra
        super().__init__(kind, driver, extra)

    def __str__(self) -> str:
        return (
            f"{self.kind} needs {self.driver}, which is not installed: pip install '{self.extra}'"
        )


class StoreLockedError(StorageError):
    """Another process has the store file open."""

    def __init__(self, file: str, owner: str) -> None:
        self.file = file
        self.owner = owner
        super().__init__(file, owner)

    def __str__(self) -> str:
        return (
            f"{self.file} is in use by {self.owner}: a SQLite store belongs to one process. "
            f"Stop that process, or give this one another --store"
        )


class StoreFullError(StorageError):
    """The disk that holds the store is full; what was there is safe, and reading goes on."""

    def __str__(self) -> str:
        return "the disk that holds the store is full: make room, and writing goes on"


class StoreBrokenError(StorageError):
    """The store failed in such a way that nothing is written until it has been opened anew."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)

    def __str__(self) -> str:
        return f"{self.reason}; restart to recover what is on disk"


class StoreFormatError(StorageError):
    """The file cannot be opened as a store.

    Attributes:
        file: Which one; or the database.
        reason: What is wrong with it.
        remedy: What to do, if that is not a part of the reason. A program whose user does not
            choose the file says this in its own words.
    """

    def __init__(self, file: str, reason: str, remedy: str = "") -> None:
        self.file = file
        self.reason = reason
        self.remedy = remedy
        super().__init__(file, reason, remedy)

    def __str__(self) -> str:
        told = f"{self.file} cannot be used as a store: {self.reason}"
        return f"{told}; {self.remedy}" if self.remedy else told


class CopyRefusedError(StorageError):
    """The other store has another stream at the path; it is left as it is."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(path)

    def __str__(self) -> str:
        return (
            f"the store to copy to has another stream at {self.path!r}: delete it there, or copy"
            f" to an empty store"
        )
