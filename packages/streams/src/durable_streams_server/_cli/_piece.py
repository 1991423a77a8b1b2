"""What a read gave, and how it is printed. Pure."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from durable_streams_server._json_mode import is_json

_WHITESPACE = " \t\r\n"


@dataclass(frozen=True, slots=True)
class Piece:
    """The body of one read, which is an array when the stream holds JSON."""

    body: bytes
    content_type: str

    @property
    def is_json(self) -> bool:
        """The body is an array of messages."""
        return is_json(self.content_type)


def json_lines(array: bytes) -> Iterator[bytes]:
    """Each message of an array in its own words, on a line of its own.

    The only change is that line breaks between its parts become spaces: within a text there are
    none, and numbers keep the digits that they were written with.
    """
    text = array.decode()
    decoder = json.JSONDecoder()
    position = text.index("[") + 1
    while True:
        while text[position] in _WHITESPACE + ",":
            position += 1
        if text[position] == "]":
            return
        _, end = decoder.raw_decode(text, position)
        message = text[position:end].replace("\r", " ").replace("\n", " ")
        yield message.encode() + b"\n"
        position = end


def printable(text: str) -> str:
    """The text without anything that a terminal would obey."""
    return "".join(one if one.isprintable() else f"\\x{ord(one):02x}" for one in text)
