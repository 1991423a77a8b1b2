"""The folder in which a demo keeps its store, and what is said when it cannot be used."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from durable_streams_server import LogError, StoreFormatError, StoreLockedError

if TYPE_CHECKING:
    from pathlib import Path


class DataError(Exception):
    """The folder cannot be used; the text says why and names the option."""


def ensure_folder(folder: Path) -> Path:
    """Make the folder if it is not there, and return its absolute path.

    Raises:
        DataError: it cannot be made, or nothing can be written into it.
    """
    folder = folder.resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(_refusal(folder, error.strerror or str(error))) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DataError(_refusal(folder, "it is not writable"))
    return folder


def store_refusal(error: LogError) -> str:
    """Why the store cannot be opened, and what to do with the options that a demo has."""
    match error:
        case StoreLockedError():
            return (
                f"{error.file} is in use by {error.owner}: a demo has its store for itself. Stop"
                f" that one, or give this one another folder with --data"
            )
        case StoreFormatError():
            return (
                f"{error.file} cannot be used as the demo's store: {error.reason}. Choose another"
                f" folder with --data"
            )
        case _:
            return str(error)


def _refusal(folder: Path, reason: str) -> str:
    return f"cannot keep data in {folder}: {reason}. Choose another folder with --data"
