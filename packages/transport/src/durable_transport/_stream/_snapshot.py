"""What a stream held at one moment."""

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Snapshot(Generic[T]):
    """Everything from an offset to the end there was.

    Attributes:
        data: Bytes, text, or a list of messages.
        offset: After all of it: following from there leaves no gap and repeats nothing.
        closed: The stream is closed, and this was all.
    """

    data: T
    offset: str
    closed: bool
