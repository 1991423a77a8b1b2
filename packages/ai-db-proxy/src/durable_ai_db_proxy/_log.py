"""The seam between the session service and what keeps its streams.

Two things are behind it: a log in this process (`_embedded`), and a server of the Durable Streams
protocol (`_remote`). The service relies on what both have: appends that are taken or refused as a
whole, numbered ones (``Stream-Seq``) that are taken once for each number, and writers of which
only the newest epoch may write. One contract suite runs on both.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

DECISION_WIDTH = 20


class LogUnavailableError(Exception):
    """The log could not do it; nobody knows whether it was done."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)

    def __str__(self) -> str:
        return f"the log is not available: {self.reason}"


class MissingError(Exception):
    """There is no such stream.

    Attributes:
        gone: It was deleted, and others still need its bytes: the name stays taken.
    """

    def __init__(self, path: str, *, gone: bool = False) -> None:
        self.path = path
        self.gone = gone
        super().__init__(path)

    def __str__(self) -> str:
        return f"there is no stream at {self.path!r}"


class FencedError(Exception):
    """Somebody else writes in this writer's place now."""

    def __init__(self, writer: str) -> None:
        self.writer = writer
        super().__init__(writer)

    def __str__(self) -> str:
        return f"writer {self.writer!r} has been replaced"


@dataclass(frozen=True, slots=True)
class Stored:
    """It is on disk."""


@dataclass(frozen=True, slots=True)
class Outpaced:
    """The number was taken already; nothing was written."""


class Rows(NamedTuple):
    """What a read brought.

    Attributes:
        items: Parsed rows.
        offset: Where the next read begins.
        incarnation: Another one each time that the stream is made anew; empty when unknown.
    """

    items: Sequence[Any]
    offset: str
    incarnation: str = ""


class Lost(NamedTuple):
    """A node that is gone, and the sessions that it had to do with."""

    node: str
    sessions: Sequence[str]


class Writer(Protocol):
    """Appends in order, each exactly once, until somebody takes over."""

    async def write(self, records: Sequence[bytes]) -> None:
        """Append JSON texts together; they are on disk when this returns.

        Raises:
            FencedError: another epoch writes.
            MissingError: the stream was deleted.
            LogUnavailableError: the log failed.
        """


class SessionLog(Protocol):
    """Streams of JSON rows. Every method may raise `LogUnavailableError`.

    Attributes:
        node: This process's name, new each time.
        lease_seconds: How long after its end a node is taken for gone.
    """

    node: str
    lease_seconds: float

    async def create(self, path: str) -> bool:
        """Make a stream unless it is there; whether it is new.

        Raises:
            MissingError: its name is taken by a deleted one.
        """

    async def fork(self, path: str, source: str, count: int) -> bool:
        """Make a stream that begins with the first ``count`` rows of another; False: it is there.

        Raises:
            MissingError: the source is not there, or the name is taken by a deleted one.
        """

    async def delete(self, path: str) -> bool:
        """Delete a stream; whether it was there."""

    async def append(self, path: str, records: Sequence[bytes], number: int) -> Stored | Outpaced:
        """Append JSON texts together, if no append had this number or a later one.

        Raises:
            MissingError: the stream is not there.
        """

    async def add(self, path: str, records: Sequence[bytes]) -> None:
        """Append JSON texts together.

        Raises:
            MissingError: the stream is not there.
        """

    def writer(self, path: str, name: str, epoch: int) -> AbstractAsyncContextManager[Writer]:
        """A writer that shuts out all earlier epochs of its name with its first write."""

    async def read(self, path: str, offset: str) -> Rows:
        """Everything from an offset (``-1`` is the beginning) to the end there is now.

        Raises:
            MissingError: the stream is not there, or is another one than the offset is from.
        """

    async def wait(self, path: str, offset: str, seconds: float) -> None:
        """Return when there is something after the offset, or after some seconds.

        Raises:
            MissingError: the stream is not there.
        """

    async def note(self, session: str) -> None:
        """Have it on disk that this node has to do with a session; cheap when it has been said."""

    async def lost(self) -> list[Lost]:
        """Nodes that are gone and have not been buried."""

    async def bury(self, node: str) -> None:
        """A lost node's sessions are looked after."""

    async def serve_stream(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a read of a stream as the Durable Streams protocol has it.

        The scope's path is the stream's, behind a slash.
        """

    def check(self) -> None:
        """Raise `LogUnavailableError` when writing failed last: for health checks."""

    async def leave(self) -> None:
        """Send readers home; nothing new begins."""


def number_text(number: int) -> str:
    """A decision's number as ``Stream-Seq``: these are compared as text."""
    return f"{number:0{DECISION_WIDTH}d}"
