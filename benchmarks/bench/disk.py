"""What the disk allows: nothing durable is acknowledged sooner than one fsync."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from bench.figures import spread

if TYPE_CHECKING:
    from pathlib import Path

SYNCS = 100


def fsync_note(folder: Path) -> str:
    """Time fsync beside the measurements and return the sentence for the report."""
    taken = []
    file = os.open(folder / "fsync", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    try:
        for _ in range(SYNCS):
            started = time.perf_counter()
            os.write(file, bytes(4096))
            os.fsync(file)
            taken.append(1000 * (time.perf_counter() - started))
    finally:
        os.close(file)
    p50, p99 = (spread(taken)[share] for share in ("p50", "p99"))
    return f"floor: one fsync of 4 KiB here takes p50 {p50:.2f}, p99 {p99:.2f} ms"
