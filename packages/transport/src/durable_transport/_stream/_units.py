"""What a reader hands out: bytes, text, or the messages of a JSON stream."""

import codecs
import json
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from durable_transport._stream._place import Place, format_place

T_co = TypeVar("T_co", covariant=True)


class Units(Protocol[T_co]):
    """Turns arriving bytes into units, and knows the place after each of them.

    Attributes:
        whole: Only the whole body of an answer can be turned into units.
    """

    whole: bool

    def feed(self, data: bytes, place: Place) -> Sequence[tuple[T_co, str]]:
        """What is new in these bytes, each with the place after it.

        Raises:
            ValueError: the bytes are not what the units are made of.
        """

    def arrived(self, place: Place) -> str:
        """The place after everything that was handed out, now that ``place`` is at an offset."""

    def end(self) -> None:
        """Nothing follows: raises ValueError if something is incomplete."""


class ByteUnits:
    """Pieces of the stream's bytes."""

    whole = False

    def feed(self, data: bytes, place: Place) -> Sequence[tuple[bytes, str]]:
        """See `Units.feed`."""
        new = data[place.take(len(data)) :]
        return [(new, str(place))] if new else []

    def arrived(self, place: Place) -> str:
        """See `Units.arrived`."""
        return str(place)

    def end(self) -> None:
        """Bytes are never incomplete."""


class TextUnits:
    """Pieces of the stream's text: a code point is never cut in two.

    The place after a piece is before the bytes that are held back for the rest of a code point.
    """

    whole = False

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("strict")
        self._after = ""

    def feed(self, data: bytes, place: Place) -> Sequence[tuple[str, str]]:
        """See `Units.feed`."""
        known = place.take(len(data))
        try:
            text = self._decoder.decode(data[known:])
        except UnicodeDecodeError as error:
            place.taken -= len(data) - known  # what is refused was not taken
            raise ValueError(f"no UTF-8 text ({error.reason}); follow() reads bytes") from error
        self._note(place)
        return [(text, self._after)] if text else []

    def arrived(self, place: Place) -> str:
        """See `Units.arrived`."""
        if not self._held():
            self._after = str(place)
        return self._after

    def end(self) -> None:
        """See `Units.end`."""
        if self._held():
            raise ValueError("the stream ends in the middle of a code point")

    def _held(self) -> int:
        return len(self._decoder.getstate()[0])

    def _note(self, place: Place) -> None:
        # A code point that began before the last offset: what was noted there holds.
        if self._held() <= place.taken:
            self._after = format_place(place.offset, place.taken - self._held())


class JsonUnits:
    """The messages of a JSON stream."""

    whole = True

    def feed(self, data: bytes, place: Place) -> Sequence[tuple[Any, str]]:
        """See `Units.feed`."""
        messages = parse_messages(data)
        known = place.take(len(messages))
        before = place.taken - (len(messages) - known)
        return [
            (message, format_place(place.offset, before + number))
            for number, message in enumerate(messages[known:], 1)
        ]

    def arrived(self, place: Place) -> str:
        """See `Units.arrived`."""
        return str(place)

    def end(self) -> None:
        """Messages are never incomplete."""


def parse_messages(data: bytes) -> list[Any]:
    """Read an array of messages (PROTOCOL section 9.1.5); no body is no message.

    Raises:
        ValueError: anything else.
    """
    if not data:
        return []
    try:
        messages = json.loads(data)
    except RecursionError:
        raise ValueError("JSON of too many levels") from None
    if not isinstance(messages, list):
        raise ValueError("JSON, but no array of messages")  # noqa: TRY004  (the input is wrong)
    return messages
