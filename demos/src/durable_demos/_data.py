"""The folder in which a demo keeps its store."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

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


def _refusal(folder: Path, reason: str) -> str:
    return f"cannot keep data in {folder}: {reason}. Choose another folder with --data"
