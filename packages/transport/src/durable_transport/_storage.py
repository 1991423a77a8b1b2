"""Where active generations are remembered: in memory, or in a directory."""

import hashlib
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

from durable_transport._errors import StorageError
from durable_transport._filelock import exclusive


class MemoryStorage:
    """Remembers for as long as the process lives; safe to share between threads."""

    blocking = False

    def __init__(self) -> None:
        self._entries: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def read(self, key: str) -> bytes | None:
        """See `Storage.read`."""
        return self._entries.get(key)

    def update(self, key: str, change: Callable[[bytes | None], bytes | None]) -> None:
        """See `Storage.update`."""
        with self._lock:
            new = change(self._entries.get(key))
            if new is None:
                self._entries.pop(key, None)
            else:
                self._entries[key] = new


class FileStorage:
    """A directory with one small file per entry; safe to share between processes and threads.

    Files are replaced as a whole, so a crash leaves the old one or the new one, and only the
    owner may read them.

    Args:
        path: The directory; it is made on first use.
        lock_timeout: Seconds to wait for another process that is changing the same entry.
    """

    blocking = True

    def __init__(self, path: str | os.PathLike[str], *, lock_timeout: float = 5.0) -> None:
        self.path = Path(path).expanduser()
        self._lock_timeout = lock_timeout

    def __repr__(self) -> str:
        return f"FileStorage({str(self.path)!r})"

    def read(self, key: str) -> bytes | None:
        """See `Storage.read`."""
        file = self._file(key)
        try:
            # Anything else is no entry of ours, and a pipe would be waited for without end.
            return file.read_bytes() if stat.S_ISREG(file.stat().st_mode) else None
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._error(error) from error

    def update(self, key: str, change: Callable[[bytes | None], bytes | None]) -> None:
        """See `Storage.update`."""
        file = self._file(key)
        try:
            # A handful of lock files, made once and never removed: to remove one that somebody
            # waits for would let two processes hold "the" lock.
            locks = self.path / "locks"
            locks.mkdir(mode=0o700, parents=True, exist_ok=True)
            with exclusive(locks / file.name[:1], timeout=self._lock_timeout):
                old = self.read(key)
                new = change(old)
                if new is None:
                    file.unlink(missing_ok=True)
                elif new != old:
                    _replace(file, new)
        except OSError as error:
            raise self._error(error) from error

    def _file(self, key: str) -> Path:
        return self.path / f"{hashlib.sha256(key.encode()).hexdigest()[:40]}.json"

    def _error(self, error: OSError) -> StorageError:
        return StorageError(str(self.path), error.strerror or str(error))


def _replace(file: Path, data: bytes) -> None:
    # One name per entry, under the entry's lock: what a killed process left is overwritten.
    temporary = file.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as output:
        output.write(data)
        output.flush()
        # Without it, some file systems know the new name before the new bytes.
        os.fsync(output.fileno())
    temporary.replace(file)
