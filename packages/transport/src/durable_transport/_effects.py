"""What a driver asks of the world, and what the world answers.

A driver (`_generation.py`, `_stream/_follow.py`) is a generator of these; a shell performs each
one and sends the answer back. A shell decides nothing.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, TypeVar

from durable_transport._fields import Fields

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AskHeaders:
    """Evaluate ``headers=``; the answer is a mapping."""


@dataclass(frozen=True, slots=True)
class Open:
    """Send a request and wait for the answer's head: `Opened` or `Broke`."""

    method: str
    url: str
    headers: list[tuple[str, str]]
    content: bytes | None
    timeout: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Read:
    """Next bytes of the open answer: bytes (never empty), None at its end, or `Broke`."""


@dataclass(frozen=True, slots=True)
class ReadAll:
    """The rest of the open answer, which is closed: bytes, or `Broke` (also when too long)."""

    limit: int


@dataclass(frozen=True, slots=True)
class Close:
    """Close the open answer, if any."""


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Store:
    """Call a function of the storage, off the event loop if it may block; the answer is its."""

    function: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Emit:
    """Hand something to the consumer; goes on when the consumer asks for more."""

    data: Any


Effect = AskHeaders | Open | Read | ReadAll | Close | Sleep | Store | Emit

Step = Generator[Effect, Any, T]


@dataclass(frozen=True, slots=True)
class Opened:
    """The head of an answer."""

    status: int
    headers: Fields


class Breakage(Enum):
    """How a connection failed."""

    NOT_CONNECTED = auto()
    """Nothing was sent: no connection was made."""
    SILENT = auto()
    """Not a byte for as long as was allowed."""
    DROPPED = auto()
    """It broke off, or what came is no HTTP."""
    HOPELESS = auto()
    """Trying again cannot help: the request is at fault."""


@dataclass(frozen=True, slots=True)
class Broke:
    """A connection failed."""

    how: Breakage
    cause: Exception


@dataclass(frozen=True, slots=True)
class Answer:
    """The response to give to the client: its whole ``body``, or None for the live one."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes | None


READ = Read()
CLOSE = Close()
ASK_HEADERS = AskHeaders()
