"""Streams as the commands see them, wherever they are."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, assert_never

from durable_streams_server._cli._piece import Piece
from durable_streams_server._cli._served import ServedStreams, client
from durable_streams_server._cli._stored import StoredStreams, stored
from durable_streams_server._cli._where import Place, Served, Stored

Json = dict[str, Any]


class Streams(Protocol):
    """What commands do with streams. All of it raises `CommandError`."""

    def every(self, prefix: str) -> Iterator[Json]:
        """Describe the streams whose names begin with ``prefix``, in order."""

    def inspect(self, path: str) -> Json:
        """Tell everything about one stream."""

    def delete(self, path: str) -> None:
        """Delete one stream."""

    def read(self, path: str, offset: str, *, follow: bool) -> Iterator[Piece]:
        """Give the bodies of reads from ``offset`` on: to the tail, or on as it grows."""


@contextmanager
def open_streams(place: Place, headers: Sequence[tuple[str, str]]) -> Iterator[Streams]:
    """The streams of a place, for as long as the block lasts."""
    match place:
        case Served():
            with client(headers) as http:
                yield ServedStreams(place, http)
        case Stored():
            with stored(place.url) as store:
                yield StoredStreams(store)
        case _:
            assert_never(place)
