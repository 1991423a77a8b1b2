"""What the readers of the relay check: every record once, in order, and how old it was."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field


class LossError(Exception):
    """A record is missing, doubled or damaged."""


@dataclass
class Records:
    """The records of one generation as one reader received them."""

    expected: int
    latencies_ms: list[float] = field(default_factory=list)
    size: int = 0
    first_at: float | None = None
    _rest: bytes = b""

    def feed(self, data: bytes) -> None:
        """Take a piece of the body, cut anywhere."""
        now = time.monotonic_ns()
        self.first_at = self.first_at or now / 1e9
        self.size += len(data)
        *complete, self._rest = (self._rest + data).split(b"\n\n")
        for record in complete:
            value = json.loads(record.removeprefix(b"data: "))
            if value["n"] != len(self.latencies_ms):
                raise LossError(f"record {value['n']} instead of {len(self.latencies_ms)}")
            self.latencies_ms.append((now - value["t"]) / 1e6)

    @property
    def complete(self) -> bool:
        """Tell whether all records came."""
        return len(self.latencies_ms) == self.expected and not self._rest

    def finish(self) -> None:
        """Check the end of the body."""
        if not self.complete:
            raise LossError(f"{len(self.latencies_ms)} of {self.expected} records came")
