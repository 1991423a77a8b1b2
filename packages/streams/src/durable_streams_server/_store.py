"""The seam between the log and what keeps its bytes. Every store passes one contract suite."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from durable_streams_server._model import (
    Inspection,
    Operation,
    Outcome,
    Retention,
    StreamInfo,
    Trim,
)
from durable_streams_server._plan import Effects

if TYPE_CHECKING:
    from sqlalchemy import Connection

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Commit:
    """A batch, on disk once `Store.commit` returns it: what groups came to, and what changed."""

    outcomes: list[tuple[Outcome, ...]]
    effects: Effects


Changed = Callable[[frozenset[int] | None], None]
"""Called with ids of streams that another process has changed, or None: it might be any."""


class Peers(Protocol):
    """What a log has to know when other processes write to its store as well."""

    poll_seconds: float
    """After so long somebody who waits for news looks for them, told or not."""

    def stats(self, paths: Sequence[str]) -> dict[str, StreamInfo]:
        """The streams at these paths as they are now, by path; blocking, from any thread."""

    def watch(self, changed: Changed) -> None:
        """Call ``changed`` soon after changes, in some thread, until the store is closed.

        That is a hint and no promise: it may never come, come late, or for nothing.
        """


class Store(Protocol):
    """Blocking storage. `commit` and `control` are called from one thread, the rest from any.

    Every method raises `StorageError` when the store fails; a failed `commit` has written
    nothing.
    """

    @property
    def peers(self) -> Peers | None:
        """How to learn what others write; None when this process has the store for itself."""

    def prepare(self, groups: Sequence[Sequence[Operation]], now: float) -> Commit | None:
        """Decide a batch without asking the disk; None when that takes the disk.

        For the thread of the event loop, while no `commit` is under way: what is decided there
        need not be carried to another processor and back. The batch goes to `commit` next.
        """

    def commit(
        self, groups: Sequence[Sequence[Operation]], now: float, prepared: Commit | None = None
    ) -> Commit:
        """Decide and write a batch in one durable transaction.

        Args:
            groups: Operations; each group happens as a whole or not at all.
            now: Epoch seconds.
            prepared: What `prepare` made of them.
        """

    def control(self, work: "Callable[[Connection], T]") -> T:
        """Run ``work`` in one durable write transaction: for state beside the streams.

        What it wrote is on disk when this returns; when it raises, nothing is. It may read every
        table but writes none that `commit` writes. Between nodes it locks the rows that it decides
        on (``with_for_update``). It takes the turn of appends, so it is short.
        """

    def stat(self, path: str, now: float) -> StreamInfo | None:
        """The stream at the path, unless its lifetime is over."""

    def read(self, stream: StreamInfo, position: int, max_bytes: int) -> bytes:
        """Wire bytes from ``position``: at least one byte if the tail is further.

        Ends on an append boundary for streams in JSON mode, which may exceed ``max_bytes``;
        others are cut at ``max_bytes``.

        Raises:
            StreamNotFoundError: this incarnation is gone.
        """

    def orphans(self, now: float) -> list[StreamInfo]:
        """Open streams whose owner's lease has run out."""

    def owned(self, prefix: str) -> list[StreamInfo]:
        """Open streams that have an owner, alive or not, and whose names begin with ``prefix``."""

    def overdue(self, default: Retention, now: float) -> list[Trim]:
        """What retention lets go of: at most one trim for each stream.

        A stream without a retention of its own has the ``default``. Bytes are let go in the pieces
        in which they are stored, so somewhat more is kept than was asked for.
        """

    def tidy(self, now: float) -> bool:
        """One short step of house-keeping in one transaction; False when there is nothing to do.

        Merges small rows, removes those that nobody can read any more, gives space back. Called
        from the thread of `commit`.
        """

    def expired(self, now: float) -> list[str]:
        """Paths of streams whose lifetime is over and which are still stored."""

    def list_streams(self, prefix: str, after: str, limit: int, now: float) -> list[StreamInfo]:
        """Streams by name, in the order of its bytes; those that forks keep are among them.

        Args:
            prefix: What the names begin with; empty for all.
            after: The last name of the page before; empty for the first page.
            limit: How many at most: a shorter page is the last one.
            now: Streams whose lifetime is over at this time (epoch seconds) are left out.
        """

    def inspect(self, path: str, now: float) -> Inspection | None:
        """The stream at the path with its producers, forks and sizes, or None like `stat`."""

    def size(self) -> int:
        """Bytes that the store takes on disk (or in memory)."""

    def close(self) -> None:
        """Let go of files and locks; waits for nothing but the disk."""
