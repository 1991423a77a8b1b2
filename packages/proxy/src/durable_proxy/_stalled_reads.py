"""Reads of generations that are over and whose end the store does not take (see `_stalled`)."""

from collections.abc import Callable
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Receive, Scope, Send

from durable_proxy._asked_stream import asked_stream
from durable_proxy._errors import Refusal
from durable_proxy._refusing import refuse
from durable_proxy._stalled import Stalled
from durable_streams_server import Log, LogError
from durable_transport.protocol import BEGINNING, NOW, ErrorCode, parse_offset

STALLED = Refusal(
    ErrorCode.GENERATION_STALLED,
    "the generation is over, and the log takes no record of how: these are all its bytes",
)


class StalledReads:
    """The streams' application, for generations that have an end or may still get one.

    Args:
        streams: Takes what is under the prefix where it is mounted.
        log: Gives the log they are read from.
        stalled: Gives what this node cannot end.
    """

    def __init__(
        self, streams: ASGIApp, log: Callable[[], Log], stalled: Callable[[], Stalled]
    ) -> None:
        self._streams = streams
        self._log = log
        self._stalled = stalled

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and self._stalled() and await self._is_all_there_is(scope):
            return await refuse(STALLED)(scope, receive, send)
        return await self._streams(scope, receive, send)

    async def _is_all_there_is(self, scope: Scope) -> bool:
        """What is asked for would come after the last byte of a generation that stalls."""
        asked = asked_stream(scope)
        if asked is None or not self._stalled().is_over(asked[0]):
            return False
        try:
            stream = await self._log().stat(asked[1])
            if stream is None or stream.closed:
                return False
            return _position(scope.get("query_string", b""), stream.tail) >= stream.tail
        except (LogError, ValueError):
            return False  # refused by those who serve it


def _position(query: bytes, tail: int) -> int:
    (offset,) = parse_qs(query.decode("latin-1"), max_num_fields=100).get("offset", [BEGINNING])
    return tail if offset == NOW else parse_offset(offset)
