"""An exclusive lock between processes (and threads), with a bound on the wait."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: BinaryIO) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _try_lock(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


_POLL = 0.002


@contextmanager
def exclusive(path: Path, *, timeout: float) -> Iterator[None]:
    """Hold the lock file at ``path``; the system lets it go when the process dies.

    Raises:
        TimeoutError: somebody else held it all the time.
        OSError: the file cannot be opened.
    """
    with path.open("ab") as file:
        deadline = time.monotonic() + timeout
        while True:
            try:
                _try_lock(file)
            except (BlockingIOError, PermissionError):
                # A blocking wait could not be bounded, and a stopped process would hang us all.
                if time.monotonic() >= deadline:
                    raise TimeoutError(f"{path} was locked for {timeout:g} s") from None
                time.sleep(_POLL)
            else:
                break
        yield  # closing the file gives the lock back
