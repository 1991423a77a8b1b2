"""What a client knows of sessions, in one SQLite file, so that the next start needs no network.

A cache is a hint: whatever is wrong with the file, it counts as absent, and a file that is not
ours is left alone. The functions here block; they are called in a thread.
"""

import json
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

APPLICATION_ID: Final = 0x44414442
VERSION: Final = 1

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS session (
    url TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    read_offset TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entry (
    id INTEGER PRIMARY KEY,
    url TEXT NOT NULL,
    type TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    UNIQUE (url, type, key)
);
"""


@dataclass(slots=True)
class Delta:
    """What has changed since the last time the cache was written.

    Attributes:
        rows: By type and key; None for a row that is gone.
        cleared: Nothing from before counts.
    """

    rows: dict[tuple[str, str], Any] = field(default_factory=dict)
    cleared: bool = False

    def add(self, rows: Mapping[tuple[str, str], Any], *, cleared: bool) -> None:
        """Take in what changed later."""
        if cleared:
            self.rows.clear()
            self.cleared = True
        for key, value in rows.items():
            self.rows.pop(key, None)
            self.rows[key] = value


@dataclass(frozen=True, slots=True)
class Cached:
    """What the cache holds of a session: its rows as messages of the log, and their offset."""

    messages: list[dict[str, Any]]
    offset: str


class Cache:
    """One session in a cache file. Whoever opened it last writes to it; the others stop.

    Args:
        path: The file; it is made when it is not there.
        url: Address of the session's log.
    """

    def __init__(self, path: Path, url: str) -> None:
        self._path = path
        self._url = url
        self._owner = uuid4().hex
        self._database: sqlite3.Connection | None = None

    def open(self) -> Cached | None:
        """Read what is there, and become its owner.

        Returns:
            None when nothing usable is there.

        Raises:
            CacheUnusableError: This file cannot be a cache, and is left as it is.
        """
        try:
            return self._open()
        except sqlite3.Error as error:
            self.close()
            if not _is_ours(self._path):
                raise CacheUnusableError(f"{self._path}: {error}") from error
        # Ours, and damaged: it is only a cache.
        for suffix in ("", "-wal", "-shm", "-journal"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        try:
            return self._open()
        except sqlite3.Error as error:
            self.close()
            raise CacheUnusableError(f"{self._path}: {error}") from error

    def _open(self) -> Cached | None:
        database = sqlite3.connect(
            self._path, timeout=2.0, isolation_level=None, check_same_thread=False
        )
        self._database = database
        _prepare(database, self._path)
        database.execute("BEGIN IMMEDIATE")
        found = database.execute(
            "SELECT read_offset FROM session WHERE url = ?", (self._url,)
        ).fetchone()
        rows = database.execute(
            "SELECT type, key, value FROM entry WHERE url = ? ORDER BY id", (self._url,)
        ).fetchall()
        database.execute(
            "INSERT INTO session VALUES (?, ?, '-1') "
            "ON CONFLICT (url) DO UPDATE SET owner = excluded.owner",
            (self._url, self._owner),
        )
        database.execute("COMMIT")
        if found is None or found[0] == "-1":
            return None
        return Cached([_message(*row) for row in rows], found[0])

    def save(self, delta: Delta, offset: str) -> bool:
        """Write what changed, and the offset it leads to.

        Returns:
            False when the cache is somebody else's by now, or cannot be written.
        """
        if self._database is None:
            return False
        try:
            return self._save(self._database, delta, offset)
        except sqlite3.Error:
            with suppress(sqlite3.Error):
                self._database.rollback()
            return False

    def _save(self, database: sqlite3.Connection, delta: Delta, offset: str) -> bool:
        database.execute("BEGIN IMMEDIATE")
        mine = database.execute(
            "UPDATE session SET read_offset = ? WHERE url = ? AND owner = ?",
            (offset, self._url, self._owner),
        ).rowcount
        if not mine:
            database.execute("ROLLBACK")
            return False
        if delta.cleared:
            database.execute("DELETE FROM entry WHERE url = ?", (self._url,))
        database.executemany(
            "DELETE FROM entry WHERE url = ? AND type = ? AND key = ?",
            [(self._url, *key) for key in delta.rows],
        )
        database.executemany(
            "INSERT INTO entry (url, type, key, value) VALUES (?, ?, ?, ?)",
            [
                (self._url, *key, json.dumps(value))
                for key, value in delta.rows.items()
                if value is not None
            ],
        )
        database.execute("COMMIT")
        return True

    def close(self) -> None:
        """Let go of the file."""
        database, self._database = self._database, None
        if database is not None:
            database.close()


class CacheUnusableError(Exception):
    """The file is not a cache, or cannot be used as one now."""


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (tables,) = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application != APPLICATION_ID and (application or tables):
        raise sqlite3.DatabaseError(f"{path.name} belongs to another application")
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version not in (0, VERSION):
        raise sqlite3.DatabaseError(f"a cache of version {version}")
    database.execute("PRAGMA journal_mode = WAL")
    # Losing the last second to a crash costs reading it again.
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    database.execute(f"PRAGMA user_version = {VERSION}")
    database.executescript(_SCHEMA)


def _is_ours(path: Path) -> bool:
    """Whether the file says of itself that it is a cache, even if it cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(72)
    except OSError:
        return False
    return head[:16] == b"SQLite format 3\0" and head[68:72] == APPLICATION_ID.to_bytes(4, "big")


def _message(type_: str, key: str, value: str) -> dict[str, Any]:
    return {
        "type": type_,
        "key": key,
        "value": json.loads(value),
        "headers": {"operation": "upsert"},
    }
