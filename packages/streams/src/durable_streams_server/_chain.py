"""Which stream of a chain of forks stores which bytes. Pure.

A fork stores its own bytes only; those before its `fork_position` are its source's, and so on.
"""

from collections.abc import Callable

from durable_streams_server._errors import StreamNotFoundError
from durable_streams_server._json_mode import is_json
from durable_streams_server._model import StreamInfo

Find = Callable[[str], StreamInfo | None]
"""Gives the stream at a path."""
ReadOwn = Callable[[StreamInfo, int, int, int], bytes]
"""From a stream, a position in its own bytes, a limit and a size to bytes: those from the position
on in whole rows, none past the limit, and no more rows than it takes to reach the size."""


def read_chain(
    stream: StreamInfo, position: int, max_bytes: int, *, find: Find, read_own: ReadOwn
) -> bytes:
    """See `Store.read`."""
    pieces: list[bytes] = []
    reached, size = position, 0
    while reached < stream.tail and size < max_bytes:
        holder, limit = _holder(stream, reached, find)
        piece = read_own(holder, reached, limit, max_bytes - size)
        pieces.append(piece)
        reached, size = reached + len(piece), size + len(piece)
    joined = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    return joined if is_json(stream.content_type) else joined[:max_bytes]


def _holder(stream: StreamInfo, position: int, find: Find) -> tuple[StreamInfo, int]:
    """Who stores the byte at a position, and up to where."""
    path, limit = stream.path, stream.tail
    while position < stream.fork_position:
        limit = min(limit, stream.fork_position)
        source = find(stream.forked_from or "")
        if source is None:
            raise StreamNotFoundError(path)
        stream = source
    return stream, limit
