"""Opening a SQLite file as a store: engines, the lock, the schema, and SQLite's errors as ours."""

import fcntl
import os
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TextIO, cast
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event, pool
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from durable_streams_server import _schema as schema
from durable_streams_server._errors import (
    StorageError,
    StoreFormatError,
    StoreFullError,
    StoreLockedError,
)

APPLICATION_ID = 0x44535452  # "DSTR": marks the file as ours
WRITE_CACHE_KIB = 32 * 1024
"""An append lands anywhere in the index of chunks. With SQLite's own 2 MiB its pages were read
again and again: a commit of 32 appends took 0.97 ms instead of 0.70 after 60 MB."""
CHECKPOINT_PAGES = 4000
"""Pages of 4 KiB in the write-ahead log before they are copied to the file. Four times SQLite's
own: most are written many times before they are copied (0.60 ms instead of 0.70)."""
_BUSY_MS = 10_000
_LARGE_LOG_BYTES = 3 * CHECKPOINT_PAGES * 4096
"""A log of this size was kept from being copied, by a reader or a large transaction."""
_PAGES_AT_ONCE = 256
_FREE_PAGES = 256
_LOG_SUFFIX = "-wal"
_OTHER_FILE = "choose another file"
_FREE_SHARE = 8
"""Space is given back when more pages are free than the one, and than this part of the file."""


def make_engine(
    file: Path | None, pool_class: type[pool.Pool], *, there: bool = False, **options: Any
) -> Engine:
    """Connections to a file, or to one in memory.

    Args:
        file: The store.
        pool_class: How connections are kept.
        there: Do not make the file when there is none: SQLite would remove the log beside it.
        options: Of the pool.
    """
    url = URL.create("sqlite", database=None if file is None else str(file))
    if there:
        query = {"mode": "rw", "uri": "true"}
        url = url.set(database=f"file:{quote(str(file))}").update_query_dict(query)
    engine = create_engine(
        url,
        poolclass=pool_class,
        # Transactions are begun and ended by the one place that writes.
        isolation_level="AUTOCOMMIT",
        connect_args={"check_same_thread": False, "timeout": 10, "cached_statements": 512},
        **options,
    )
    event.listen(engine, "connect", _configure)
    return engine


def _configure(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    # Many builds fill what is deleted with zeros: all of it would go through the log once more.
    connection.execute("PRAGMA secure_delete = FAST")
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")


def prepare(connection: Connection, file: Path | None) -> sqlite3.Connection:
    """Create the tables in a new file, migrate those of an older one, refuse what is not ours.

    Returns:
        The driver's own connection.
    """
    name = "the in-memory database" if file is None else str(file)
    run = connection.exec_driver_sql
    application_id = run("PRAGMA application_id").scalar_one()
    version = run("PRAGMA user_version").scalar_one()
    tables = run("SELECT count(*) FROM sqlite_schema").scalar_one()
    if tables and application_id != APPLICATION_ID:
        raise StoreFormatError(name, "it is a SQLite file of another program", _OTHER_FILE)
    if version > schema.SCHEMA_VERSION:
        raise StoreFormatError(
            name,
            f"it was written by a newer version (schema {version}, this one knows"
            f" {schema.SCHEMA_VERSION}); upgrade durable-streams-server",
        )
    if file is not None and not os.access(file, os.W_OK):
        raise StoreFormatError(name, "it is read-only", f"make it writable or {_OTHER_FILE}")
    # So that space is given back bit by bit; it has to be said before there is a table.
    run("PRAGMA auto_vacuum = INCREMENTAL")
    run("PRAGMA journal_mode = WAL")
    run(f"PRAGMA cache_size = -{WRITE_CACHE_KIB}")
    run(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    if version != schema.SCHEMA_VERSION:
        _bring_up(connection, version if tables else None)
    return cast("sqlite3.Connection", connection.connection.driver_connection)


def _bring_up(connection: Connection, version: int | None) -> None:
    run = connection.exec_driver_sql
    # One transaction: a crash in the middle leaves the file as it was.
    run("BEGIN IMMEDIATE")
    if version is None:
        schema.metadata.create_all(connection)
    else:
        schema.migrate(connection, version)
    run(f"PRAGMA application_id = {APPLICATION_ID}")
    run(f"PRAGMA user_version = {schema.SCHEMA_VERSION}")
    run("COMMIT")
    if version is not None:
        run("VACUUM")  # makes `auto_vacuum` hold for the file of an older version as well


def left_in_journal(
    connection: Connection,
) -> tuple[Iterator[tuple[int, int, bytes]], Callable[[int], int | None]]:
    """What `Journal.load` takes: the journal's rows, and up to where a stream is stored."""
    run = connection.exec_driver_sql
    rows = run("SELECT id, written_at, entries FROM journal ORDER BY id").all()

    @cache
    def known_end(stream_id: int) -> int | None:
        end: int | None = run(
            "SELECT max(start, coalesce("
            "(SELECT max(end_offset) FROM chunks WHERE stream_id = streams.id), 0))"
            " FROM streams WHERE id = ?",
            (stream_id,),
        ).scalar()
        return end

    return (tuple(row) for row in rows), known_end


class Shrinking:
    """Gives the space of what was deleted back, bit by bit.

    Args:
        file: The store; None: it is in memory.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._has_cut = False

    def step(self, connection: Connection) -> bool:
        """Do a little, not within a transaction. False when there was nothing to do."""
        if _cut_pages(connection):
            self._has_cut = True
            return True
        # What was cut off is cut off in the log, until that is copied.
        if self._has_cut or log_size(self._file) > _LARGE_LOG_BYTES:
            self._has_cut = not _copy_log(connection)
        return False


def _cut_pages(connection: Connection) -> bool:
    """Cut some free pages off when many are free. Some stay: they will be needed again."""
    run = connection.exec_driver_sql
    free, pages = run("PRAGMA freelist_count").scalar_one(), run("PRAGMA page_count").scalar_one()
    if free <= _FREE_PAGES or free * _FREE_SHARE < pages:
        return False
    driver: Any = connection.connection.driver_connection
    # As a script, because it takes one page at each step of the statement, and has no rows.
    driver.executescript(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})")
    return True


def _copy_log(connection: Connection) -> bool:
    """Copy the log to the file and empty it; False: a reader was in the way."""
    run = connection.exec_driver_sql
    run("PRAGMA busy_timeout = 0")  # the reader is gone the next time
    busy, *_ = run("PRAGMA wal_checkpoint(TRUNCATE)").one()
    run(f"PRAGMA busy_timeout = {_BUSY_MS}")
    return not busy


def log_size(file: Path | None) -> int:
    """Bytes of SQLite's log of a file."""
    try:
        return 0 if file is None else log_of(file).stat().st_size
    except FileNotFoundError:
        return 0


_IN_USE = "; it has the store open"


def log_of(file: Path) -> Path:
    """SQLite's write-ahead log of a file: what was committed and has not been copied yet."""
    return file.with_name(file.name + _LOG_SUFFIX)


def lock_file(file: Path) -> TextIO:
    """Take the store for this process; the lock dies with the process.

    Raises:
        StoreLockedError: another process has it.
        StoreFormatError: the folder cannot be written; or whoever had the store last did not close
            it, and a part of what it was promised to keep is not there.
    """
    try:
        handle = _lock_of(file).open("a+")
    except OSError as error:
        raise StoreFormatError(
            str(file), f"its folder cannot be written ({error.strerror})", _OTHER_FILE
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        owner = _text_of(handle)
        _check_that_all_is_there(file, owner)
    except BlockingIOError as error:
        owner = _text_of(handle).removesuffix(_IN_USE) or "another process"
        handle.close()
        raise StoreLockedError(str(file), owner) from error
    except StoreFormatError:
        handle.close()
        raise
    # Until the log is there nothing is said of it: whoever dies before has left none.
    _write(handle, owner if owner.endswith(_IN_USE) else _this_process())
    return handle


@contextmanager
def unlocked_if_refused(file: Path, handle: TextIO) -> Iterator[None]:
    """A file that is no store of ours is left as it was, with nothing beside it."""
    try:
        yield
    except StoreFormatError:
        if not _text_of(handle).endswith(_IN_USE):  # that would be evidence: see `lock_file`
            _lock_of(file).unlink(missing_ok=True)
        raise


def note_opened(handle: TextIO) -> None:
    """Note in the lock that file and log are there, and have to be as long as nobody closes."""
    _write(handle, _this_process() + _IN_USE)


def note_closing(handle: TextIO) -> None:
    """Take back `note_opened`: SQLite removes the log with its last connection."""
    _write(handle, _this_process())


def _check_that_all_is_there(file: Path, owner: str) -> None:
    """An empty store, or an old state of it, must not pass for what was acknowledged."""
    if not owner.endswith(_IN_USE):
        return
    for one in (file, log_of(file)):
        if not one.exists() or (one is file and file.stat().st_size == 0):
            raise StoreFormatError(
                str(file),
                f"{one} is missing, and {owner.removesuffix(_IN_USE)} ended without closing it:"
                f" put it back, or remove {file}.lock to go on with what is there",
            )


def _lock_of(file: Path) -> Path:
    return file.with_name(file.name + ".lock")


def _this_process() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _text_of(handle: TextIO) -> str:
    handle.seek(0)
    return handle.read().strip()


def _write(handle: TextIO, text: str) -> None:
    handle.seek(0)
    handle.truncate()
    handle.write(text)
    handle.flush()


Places = tuple[tuple[int, int], ...]


def places_of(file: Path) -> Places | None:
    """Which files on disk the paths of store and log lead to; None when one leads nowhere."""
    name = str(file)
    try:
        found = (os.stat(name), os.stat(name + _LOG_SUFFIX))  # noqa: PTH116 - before each commit
    except FileNotFoundError:
        return None
    return tuple((one.st_dev, one.st_ino) for one in found)


# --------------------------------------------------------------------------- errors


@contextmanager
def storage_errors() -> Iterator[None]:
    """The one place where errors of SQLAlchemy and SQLite become ours."""
    try:
        yield
    except DBAPIError as error:
        raise _as_ours(error.orig) from error.orig
    except sqlite3.Error as error:
        raise _as_ours(error) from error
    except SQLAlchemyError as error:
        raise StorageError(f"the store failed: {error}") from error


@contextmanager
def opening_errors(file: Path | None) -> Iterator[None]:
    """While a file is being opened, whatever is wrong is wrong with the file."""
    try:
        with storage_errors():
            yield
    except StoreFormatError:
        raise
    except StorageError as error:
        if file is None:
            raise
        raise StoreFormatError(str(file), str(error), _OTHER_FILE) from error.__cause__


def _as_ours(error: BaseException | None) -> StorageError:
    if getattr(error, "sqlite_errorname", "") == "SQLITE_FULL":
        return StoreFullError()
    return StorageError(_explain(error))


def _explain(error: BaseException | None) -> str:
    match getattr(error, "sqlite_errorname", ""):
        case "SQLITE_NOTADB":
            return "the file is not a SQLite database"
        case "SQLITE_READONLY" | "SQLITE_CANTOPEN":
            return f"the file cannot be opened for writing ({error})"
        case _:
            return f"the store failed: {error}"


def is_fatal(error: BaseException | None) -> bool:
    name = getattr(error, "sqlite_errorname", "")
    return name.startswith(("SQLITE_IOERR", "SQLITE_CORRUPT", "SQLITE_NOTADB"))
