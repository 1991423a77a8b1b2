"""HTTP/1.1 as a client: a request as bytes, and an answer out of bytes (RFC 9112). No sockets.

The grammar is llhttp's, strict in all framing: of an answer that two readers could take in two
ways nothing is passed on. What llhttp leaves to its user is here: which answers have no body,
whether an end of the connection is the end of the body, how large a head may be, and what follows.
"""

from dataclasses import dataclass

import httptools

MAX_OVERHEAD_BYTES = 100 * 1024
"""How large a head may be, with all interim answers before it; and how much that is no body (sizes
of chunks and their extensions, trailers) may come between two pieces of a body."""

_VERSIONS = ("1.1", "1.0")
_FIRST_FINAL_STATUS = 200


class GarbageError(Exception):
    """What came is not an answer in HTTP/1.1, or a head beyond any measure."""


class OverheadError(GarbageError):
    """More came that is no body than `MAX_OVERHEAD_BYTES`."""


class TruncatedError(Exception):
    """The connection ended before the end of the answer."""


@dataclass(frozen=True, slots=True)
class Head:
    """Status and headers of an answer, as they came."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]


def request_bytes(
    method: str, path: str, host: str, headers: tuple[tuple[bytes, bytes], ...], body: bytes
) -> bytes:
    """The head of a request.

    Args:
        method: In capitals.
        path: What stands in the request line.
        host: The ``Host`` header.
        headers: Checked before: names are tokens, values have no control characters.
        body: What will follow.
    """
    lines = [b"%b %b HTTP/1.1\r\nHost: %b" % (method.encode(), path.encode(), host.encode())]
    lines += [b"%b: %b" % header for header in headers]
    # A request whose method expects a body says so even when there is none (RFC 9110 section 8.6).
    if body or method in ("POST", "PUT", "PATCH"):
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", b""])


class ResponseParser:
    """One answer, fed with bytes as they come.

    Args:
        method: That of the request: the answers to HEAD and CONNECT have no body.
        body: Where the pieces of the body are put.

    Attributes:
        head: Of the final answer, once it is in.
        complete: The answer has ended as it had promised.
    """

    def __init__(self, method: str, body: list[bytes]) -> None:
        self.head: Head | None = None
        self.complete = False
        self._has_no_body = method in ("HEAD", "CONNECT")
        self._body = body
        self._headers: list[tuple[bytes, bytes]] = []
        self._status = 0
        self._head_size = 0
        self._overhead = 0
        self._ends_with_connection = False
        self._trailing = False
        self._keep_alive = False
        self._parser = httptools.HttpResponseParser(self)
        # Only of the values of headers: one with control characters is no reason to lose the
        # answer (it is not passed on), and one on two lines is one (RFC 9112 section 5.2).
        self._parser.set_dangerous_leniencies(lenient_headers=True)

    @property
    def reusable(self) -> bool:
        """The connection can carry another request."""
        return self.complete and self._keep_alive and not self._trailing

    def feed(self, data: bytes) -> None:
        """Read on.

        Raises:
            GarbageError: this cannot be read. What came before it is in ``body``.
        """
        if self.complete:
            self._trailing = True
        else:
            self._read(data)

    def _read(self, data: bytes) -> None:
        pieces = len(self._body)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            # What follows the end concerns the connection and not the answer.
            if not self.complete:
                if isinstance(error.__context__, OverheadError):
                    raise error.__context__ from None  # we raised it, when the parser called
                raise GarbageError(str(error)) from error
            self._trailing = True
        self._overhead = 0 if len(self._body) > pieces else self._overhead + len(data)
        if self._overhead > MAX_OVERHEAD_BYTES and not self.complete:
            raise OverheadError("too much that is no body")

    def end(self) -> None:
        """The connection has ended in good order.

        Raises:
            TruncatedError: and the answer has not.
        """
        if self.head is not None and self._ends_with_connection:
            self.complete = True
        if not self.complete:
            raise TruncatedError

    # ------------------------------------------------------------------ called by llhttp

    def on_message_begin(self) -> None:
        """Read the first byte of an answer: of this one, after interim ones, or of another."""
        self._headers = []
        self._trailing = self.complete

    def on_header(self, name: bytes, value: bytes) -> None:
        """Read a header, or a trailer."""
        if self.head is None:
            self._headers.append((name, value))
            # Counted here too: a head that comes in one piece with its body is no overhead.
            self._head_size += len(name) + len(value)
            if self._head_size > MAX_OVERHEAD_BYTES:
                raise OverheadError("the head is too large")

    def on_headers_complete(self) -> None:
        """Read the end of a head."""
        self._status = self._parser.get_status_code()
        if self.complete or self._status < _FIRST_FINAL_STATUS:
            return
        if self._parser.get_http_version() not in _VERSIONS:
            raise GarbageError("not a version that was asked for")
        self._read_framing()
        self.head = Head(self._status, tuple(self._headers))
        if self._has_no_body:
            self._complete()

    def on_body(self, piece: bytes) -> None:
        """Read a piece of the body."""
        if self.complete:
            self._trailing = True
        else:
            self._body.append(piece)

    def on_message_complete(self) -> None:
        """Read the end of an answer."""
        if self.head is not None and not self.complete:
            self._complete()

    def _read_framing(self) -> None:
        names = {name.lower(): value.lower() for name, value in self._headers}
        coding = names.get(b"transfer-encoding")
        # Any other coding was not asked for, and cannot be undone here.
        if coding is not None and coding.strip(b" \t") != b"chunked":
            raise GarbageError("a transfer coding that was not asked for")
        self._ends_with_connection = coding is None and b"content-length" not in names

    def _complete(self) -> None:
        self.complete = True
        self._keep_alive = self._parser.should_keep_alive()
