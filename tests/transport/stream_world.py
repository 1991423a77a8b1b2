"""A Durable Streams server without sockets, for driving the client's decisions.

It answers the effects of a driver from a list of appends, cuts its answers where it is told to,
and has a clock that only sleeping moves. Offsets are either ours or another server's.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from durable_transport._effects import (
    AskHeaders,
    Breakage,
    Broke,
    Close,
    Emit,
    Open,
    Opened,
    Read,
    ReadAll,
    Sleep,
)
from durable_transport._fields import Fields
from durable_transport._link import Clocks
from durable_transport._stream._follow import Batch, Follower
from durable_transport._stream._link import StreamLink
from durable_transport._stream._url import StreamURL
from durable_transport._timing import Timing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

URL = "http://server/v1/stream/s"


@dataclass
class World:
    """A stream of ``appends``; the first ``stored`` of them are there from the beginning.

    Every live request at the tail makes one more of them arrive, and after the last one the
    stream is closed.

    Attributes:
        cuts: For each answer in turn, after how many bytes it breaks off (None: it does not).
        piece: Bytes a read gives at a time.
        page: Appends one catch-up answer holds.
    """

    appends: list[Any]
    stored: int = 0
    content_type: str = "application/octet-stream"
    ours: bool = False
    cuts: list[int | None] = field(default_factory=list)
    piece: int = 7
    page: int = 2
    without: frozenset[str] = frozenset()
    scripted: list[Any] = field(default_factory=list)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    headers: list[list[tuple[str, str]]] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    now: float = 0.0

    def __post_init__(self) -> None:
        self._body = b""
        self._left: int | None = None
        self._cursor = 100

    # ------------------------------------------------------------------ positions

    def _wire(self, index: int) -> int:
        return sum(len(self.encoded(one)) for one in self.appends[:index])

    def encoded(self, append: Any) -> bytes:
        if self.is_json:
            return b"".join(json.dumps(one).encode() + b"," for one in append)
        assert isinstance(append, bytes)
        return append

    @property
    def is_json(self) -> bool:
        return self.content_type == "application/json"

    def offset(self, index: int) -> str:
        if self.ours:
            return f"{self._wire(index):020d}"
        return f"{index:04d}_{self._wire(index):08d}"

    def _find(self, offset: str) -> int:
        """The wire position of an offset."""
        if offset == "-1":
            return 0
        if offset == "now":
            return self._wire(self.stored)
        return int(offset) if self.ours else int(offset.partition("_")[2])

    # ------------------------------------------------------------------ effects

    def perform(self, effect: Any) -> Any:
        match effect:
            case AskHeaders():
                return {}
            case Close():
                self._body = b""
                return None
            case Sleep(seconds):
                self.slept.append(seconds)
                self.now += seconds
                return None
            case Open():
                return self._open(effect)
            case Read():
                return self._read(self.piece)
            case ReadAll():
                body = b""
                while True:
                    part = self._read(1 << 20)
                    if not isinstance(part, bytes):
                        return body if part is None else part
                    body += part
        raise AssertionError(effect)

    def _read(self, most: int) -> bytes | Broke | None:
        if self._left is not None:
            most = min(most, self._left)
            if most == 0:
                return Broke(Breakage.DROPPED, ConnectionError("cut"))
            self._left -= most
        part, self._body = self._body[:most], self._body[most:]
        return part or None

    def _open(self, effect: Open) -> Any:
        query = {name: values[0] for name, values in parse_qs(urlsplit(effect.url).query).items()}
        self.asked.append((effect.method, query))
        self.headers.append(effect.headers)
        if self.scripted:
            answer = self.scripted.pop(0)
            if isinstance(answer, tuple):
                answer, self._body = answer
                self._left = None
            return answer
        self._left = self.cuts.pop(0) if self.cuts else None
        live = query.get("live")
        if live in self.without:
            return Opened(400, Fields())
        start = self._find(query["offset"])
        if live and start >= self._wire(self.stored) and self.stored < len(self.appends):
            self.stored += 1
            self.now += 5.0
        match live:
            case "sse":
                return self._sse(start)
            case "raw" if self.ours:
                return self._raw(start, query["offset"])
        return self._page(start, query["offset"], live)

    def _ends(self, start: int) -> Iterator[int]:
        """Where the appends after a position end, as indices."""
        return (one for one in range(1, self.stored + 1) if self._wire(one) > start)

    def _page(self, start: int, asked: str, live: str | None) -> Opened:
        ends = [] if asked == "now" and not live else list(self._ends(start))[: self.page]
        last = ends[-1] if ends else self.stored
        self._body = self._between(start, self._wire(last))
        headers = {"Content-Type": self.content_type, **self._state(last)}
        return Opened(200 if ends or not live else 204, Fields(list(headers.items())))

    def _state(self, index: int) -> dict[str, str]:
        said = {"Stream-Next-Offset": self.offset(index), "Stream-Cursor": self._next_cursor()}
        if index == self.stored:
            said["Stream-Up-To-Date"] = "true"
            if self.stored == len(self.appends):
                said["Stream-Closed"] = "true"
        return said

    def _next_cursor(self) -> str:
        self._cursor += 1
        return str(self._cursor)

    def _between(self, start: int, end: int) -> bytes:
        whole = b"".join(self.encoded(one) for one in self.appends)[start:end]
        return b"[" + whole[:-1] + b"]" if self.is_json else whole

    def _sse(self, start: int) -> Opened:
        is_text = self.content_type.startswith("text/") or self.is_json
        events, at = [b": hello\r\n\r\n"], start
        for end in self._ends(start):
            data = self._between(at, self._wire(end))
            lines = data if is_text else base64.b64encode(data)
            events.append(
                b"event: data\n"
                + b"".join(b"data: " + line + b"\n" for line in lines.split(b"\n"))
                + b"\n"
                + self._control(end)
            )
            at = self._wire(end)
        if len(events) == 1:
            events.append(self._control(self.stored))
        self._body = b"".join(events)
        headers = {"Content-Type": "text/event-stream"}
        if not is_text:
            headers["Stream-SSE-Data-Encoding"] = "base64"
        return Opened(200, Fields(list(headers.items())))

    def _control(self, index: int) -> bytes:
        state = self._state(index)
        said = {
            "streamNextOffset": state["Stream-Next-Offset"],
            "streamCursor": state["Stream-Cursor"],
            "upToDate": "Stream-Up-To-Date" in state,
            "streamClosed": "Stream-Closed" in state,
        }
        return b"event:control\rdata:" + json.dumps(said).encode() + b"\r\r"

    def _raw(self, start: int, asked: str) -> Opened:
        said = {"Content-Type": self.content_type, "Stream-Next-Offset": asked}
        self._body = self._between(start, self._wire(self.stored))
        if not self._body and self.stored == len(self.appends):
            said["Stream-Closed"] = "true"
        return Opened(200, Fields(list(said.items())))

    # ------------------------------------------------------------------ driving

    def link(self, timing: Timing | None = None) -> StreamLink:
        clocks = Clocks(monotonic=lambda: self.now, wall=lambda: self.now, random=lambda: 0.5)
        return StreamLink(StreamURL.parse(URL), timing=timing or Timing(), clocks=clocks)

    def follow(
        self, units: Callable[[], Any], offset: str = "-1", *, live: Any = "auto"
    ) -> tuple[Follower[Any], Iterator[Batch[Any]]]:
        follower = Follower(self.link(), units(), offset, live=live, json=self.is_json)
        return follower, self.emitted(follower.run())

    def emitted(self, steps: Any) -> Iterator[Any]:
        answer = None
        while True:
            try:
                effect = steps.send(answer)
            except StopIteration:
                return
            answer = None
            if isinstance(effect, Emit):
                yield effect.data
            else:
                answer = self.perform(effect)

    def run(self, steps: Any) -> Any:
        """The result of a driver that emits nothing."""
        answer = None
        while True:
            try:
                answer = self.perform(steps.send(answer))
            except StopIteration as stop:
                return stop.value


def opened(status: int, headers: dict[str, str] | None = None) -> Opened:
    """The head of an answer."""
    return Opened(status, Fields(list((headers or {}).items())))
