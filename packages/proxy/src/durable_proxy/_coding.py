"""Undoes the content codings of a body while it comes. Pure.

An HTTP client that unpacks by itself takes a packed body for whole when its framing is, even
where the packed stream in it breaks off. Here its end is looked for; and what a piece unpacks to
comes in steps of a bounded size, however little it was packed to.
"""

import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

STEP_BYTES = 64 * 1024
"""How much is unpacked at once."""
MAX_CODINGS = 3
"""How often a body may have been packed."""

_GZIP_BITS = 16 + zlib.MAX_WBITS
_ZLIB_BITS = zlib.MAX_WBITS
_RAW_BITS = -zlib.MAX_WBITS
_ZLIB_HEADER_BYTES = 2


class CodingError(Exception):
    """The body is not packed as its header says, or in a way that is not known here."""


class Decoder(Protocol):
    """Undoes one coding."""

    @property
    def complete(self) -> bool:
        """The body may end here."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What these bytes unpack to.

        Raises:
            CodingError: they are not packed in this way.
        """


def decoder_for(content_encoding: str) -> Decoder:
    """A decoder for a body with this ``Content-Encoding``; empty when it has none.

    Raises:
        CodingError: there is none.
    """
    names = [name.strip().lower() for name in content_encoding.split(",")]
    packed = [name for name in names if name not in ("", "identity")]
    if len(packed) > MAX_CODINGS or not set(packed) <= set(_DECODERS):
        raise CodingError("it has a coding that is not known here")
    # The one that was applied last is undone first.
    return _Chain([_DECODERS[name]() for name in reversed(packed)])


class _Gzip:
    """Any number of gzip members, one after the other, with zeros between and after them."""

    def __init__(self) -> None:
        self._member: zlib._Decompress | None = None

    @property
    def complete(self) -> bool:
        # Also before the first byte: an answer without a body has nothing packed in it.
        return self._member is None

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._member is None and not (data := data.lstrip(b"\0")):
                return
            self._member = self._member or zlib.decompressobj(_GZIP_BITS)
            yield from _inflate(self._member, data)
            data = b""
            if self._member.eof:
                data, self._member = self._member.unused_data, None


class _Deflate:
    """A zlib stream, as the standard says, or a raw deflate stream, as some servers do."""

    def __init__(self) -> None:
        self._head = b""
        self._stream: zlib._Decompress | None = None

    @property
    def complete(self) -> bool:
        return not self._head if self._stream is None else self._stream.eof

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._stream is None:
            data = self._head = self._head + data
            if len(data) < _ZLIB_HEADER_BYTES:
                return
            self._stream = zlib.decompressobj(_ZLIB_BITS if _is_zlib(data) else _RAW_BITS)
        if data and self._stream.eof:
            raise CodingError("something follows its packed stream")
        yield from _inflate(self._stream, data)
        if self._stream.unused_data:
            raise CodingError("something follows its packed stream")


class _Chain:
    """Several codings, in the order in which they are undone."""

    def __init__(self, decoders: list[Decoder]) -> None:
        self._decoders = decoders

    @property
    def complete(self) -> bool:
        return all(decoder.complete for decoder in self._decoders)

    def feed(self, data: bytes) -> Iterator[bytes]:
        pieces: Iterator[bytes] = iter((data,) if data else ())
        for decoder in self._decoders:
            pieces = _feed_all(decoder, pieces)
        return pieces


_DECODERS: dict[str, Callable[[], Decoder]] = {
    "gzip": _Gzip,
    "x-gzip": _Gzip,
    "deflate": _Deflate,
}


def _feed_all(decoder: Decoder, pieces: Iterator[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        yield from decoder.feed(piece)


def _is_zlib(head: bytes) -> bool:
    """The two bytes of a zlib header (RFC 1950): method 8, and a checksum of five bits."""
    return head[0] & 0x0F == 8 and int.from_bytes(head[:_ZLIB_HEADER_BYTES]) % 31 == 0  # noqa: PLR2004 - named above


def _inflate(stream: "zlib._Decompress", data: bytes) -> Iterator[bytes]:
    """All that the bytes unpack to, in steps."""
    more = True
    while more:
        try:
            piece = stream.decompress(data, STEP_BYTES)
        except zlib.error as error:
            raise CodingError("it is not packed in the way that it says") from error
        data = stream.unconsumed_tail
        # A full step may have left something in the stream that waits for room, and no input.
        more = not stream.eof and (bool(data) or len(piece) == STEP_BYTES)
        if piece:
            yield piece
