"""Reading a stream: from where the reader stands to the tail, and on from there.

One loop, and every turn of it either begins at another address or waits:

    catch-up ──up to date──► live: SSE, long-poll or raw ──connection ends──► again
        ▲                                   │
        └───────── not up to date ──────────┘

A turn that brought neither bytes nor time is a failure, and failures back off. Offsets of other
servers are opaque: what a reader holds between two of them is counted (`_place.py`).
"""

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Final, Generic, Literal, TypeVar

from durable_transport._effects import CLOSE, READ, Breakage, Broke, Emit, Opened, Sleep, Step
from durable_transport._stream._errors import (
    InvalidOffset,
    StreamError,
    StreamProtocolError,
    StreamRefused,
)
from durable_transport._stream._head import (
    Head,
    is_json,
    media_type,
    parse_control,
    parse_head,
)
from durable_transport._stream._link import Call, Failure, StreamLink
from durable_transport._stream._place import Place
from durable_transport._stream._sse import Event, EventDecoder
from durable_transport._stream._units import Units
from durable_transport.protocol import (
    BEGINNING,
    NOW,
    InvalidOffsetError,
    StreamHeader,
    format_offset,
    parse_offset,
)

T = TypeVar("T")

Live = Literal["auto", "sse", "long-poll", "raw"]
"""How to follow: ``auto`` chooses SSE, or long-poll where SSE would change or hold back bytes."""

_BODY_LIMIT = 1 << 30
_NOT_THIS_MODE = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.NOT_ACCEPTABLE,
        HTTPStatus.NOT_IMPLEMENTED,
    }
)
_OFFSET_REFUSED: Final[dict[int, type[StreamError]]] = {
    HTTPStatus.BAD_REQUEST: InvalidOffset,
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: InvalidOffset,
}
_STRIKES = 2


@dataclass(frozen=True, slots=True)
class Batch(Generic[T]):
    """What arrived together, and where that leaves the reader.

    Attributes:
        items: Pieces of bytes or text, or messages; none when only the state has changed.
        offsets: For each item, the offset after it.
        offset: The offset after the batch: a reader that begins there misses and repeats nothing.
        up_to_date: The stream had nothing after ``offset`` when the server sent this.
        closed: Nothing will ever follow ``offset``.
    """

    items: tuple[T, ...]
    offsets: tuple[str, ...]
    offset: str
    up_to_date: bool
    closed: bool


class Follower(Generic[T]):
    """The reading of one stream. `run` emits batches; after a failure it can be called again.

    Attributes:
        offset: After everything that was emitted.
        up_to_date: As of the last answer.
        closed: The end was reached.
        content_type: The stream's, once known.
    """

    def __init__(
        self, link: StreamLink, units: Units[T], offset: str, *, live: Live | None, json: bool
    ) -> None:
        self._link = link
        self._units = units
        self._place = Place(offset)
        self._live = live
        self._json = json
        self._cursor: str | None = None
        self._usable = {"sse", "raw"}
        self._strikes = 0
        self._heard = False
        self._distrust = False
        self.offset = offset
        self.up_to_date = False
        self.closed = False
        self.content_type: str | None = None

    def run(self) -> Step[None]:
        """Read until the stream is closed (without ``live``: until there is no more).

        Raises:
            StreamError: it cannot be read (on).
        """
        while not self.closed:
            if not self.up_to_date:
                failure = yield from self._catch_up()
            elif self._live is None:
                return
            else:
                failure = yield from self._live_turn(self._live_mode(self._live))
            if failure is not None:
                yield from self._link.back_off(failure)

    def _live_mode(self, wanted: Live) -> str:
        if wanted == "raw" and not self._json and "raw" in self._usable:
            return "raw"
        # The lines of an SSE event would turn every line end of a text into LF.
        is_text = media_type(self.content_type).startswith("text/") and not self._json
        if wanted == "long-poll" or "sse" not in self._usable or (wanted != "sse" and is_text):
            return "long-poll"
        return "sse"

    def _live_turn(self, mode: str) -> Step[Failure | None]:
        match mode:
            case "sse":
                return (yield from self._sse())
            case "raw":
                return (yield from self._raw())
            case _:
                return (yield from self._long_poll())

    # ------------------------------------------------------------------ one request

    def _get(self, live: str | None = None, *, patience: float = 1.0) -> Step[Opened | Failure]:
        query = [("offset", self._place.offset)]
        if live is not None:
            query.append(("live", live))
            if self._cursor is not None:
                query.append(("cursor", self._cursor))
        self._place.restart()
        # A cached answer that led nowhere would lead there again.
        headers = (("Cache-Control", "no-cache"),) if self._distrust else ()
        call = Call("GET", tuple(query), headers, fixed=_OFFSET_REFUSED)
        opened = yield from self._link.attempt(call, silence=self._link.timing.silence * patience)
        return opened

    def _catch_up(self) -> Step[Failure | None]:
        opened = yield from self._get()
        if isinstance(opened, Failure):
            return opened
        head = self._head_of(opened)
        if head.offset is None:
            raise self._link.not_ours(opened, "an answer without Stream-Next-Offset")
        before = self._place.offset
        failure = yield from self._read_body(head)
        if failure is None and head.offset == before and not head.up_to_date:
            self._distrust = True
            return Failure(f"the server has no more after {before}, and no tail there either")
        return failure

    def _long_poll(self) -> Step[Failure | None]:
        began = self._link.now()
        # A long-poll is silent by nature, for as long as the server likes.
        opened = yield from self._get("long-poll", patience=2.0)
        if isinstance(opened, Failure):
            return self._forgiven(opened, began)
        head = self._head_of(opened)
        if head.offset is None and opened.status != HTTPStatus.NO_CONTENT:
            raise self._link.not_ours(opened, "an answer without Stream-Next-Offset")
        before = self._place.offset
        failure = yield from self._read_body(replace(head, offset=head.offset or before))
        if failure is None and self._place.offset == before and not self.closed:
            yield from self._pace(began)
        return failure

    def _pace(self, began: float) -> Step[None]:
        """An empty answer that came at once must not be asked for again at once."""
        lasted = self._link.now() - began
        if lasted >= self._link.timing.healthy:
            self._link.moved()
            return
        yield CLOSE
        yield Sleep((self._link.timing.healthy - lasted) * (0.5 + 0.5 * self._link.random()))

    def _head_of(self, opened: Opened) -> Head:
        head = parse_head(opened.headers)
        if opened.status != HTTPStatus.NO_CONTENT:
            self.content_type = opened.headers.get("content-type")
            if head.offset is not None and self._json and not is_json(self.content_type):
                raise self._link.error(
                    StreamProtocolError,
                    f"the stream holds {self.content_type}, no JSON messages: use follow() or "
                    f"follow_text()",
                    status=opened.status,
                )
        self._cursor = head.cursor or self._cursor
        return head

    # ------------------------------------------------------------------ bodies

    def _read_body(self, head: Head) -> Step[Failure | None]:
        stale = self._stale(head)
        if stale is not None:
            return stale
        if self._units.whole or head.offset == self._place.offset:
            body = yield from self._link.read_all(_BODY_LIMIT)
        else:
            body = yield from self._read_parts()
        if isinstance(body, Failure):
            return body
        yield from self._deliver([body] if body else [], head)
        return None

    def _read_parts(self) -> Step[bytes | Failure]:
        """Emit the parts of a body as they come, all but the last: that one belongs to its end."""
        held = b""
        while True:
            part: bytes | Broke | None = yield READ
            if part is None:
                return held
            if held:
                yield from self._emit([held])
            if isinstance(part, Broke):
                return self._link.broken(part)
            held = part

    def _sse(self) -> Step[Failure | None]:
        began = self._link.now()
        try:
            opened = yield from self._get("sse")
        except (InvalidOffset, StreamRefused) as error:
            if error.status not in _NOT_THIS_MODE:
                raise
            self._give_up_on("sse")
            return None
        if isinstance(opened, Failure):
            return opened
        if media_type(opened.headers.get("content-type")) != "text/event-stream":
            self._give_up_on("sse")
            return None
        encoding = (opened.headers.get(StreamHeader.SSE_DATA_ENCODING) or "").strip().lower()
        before = self._place.offset
        self._heard = False
        ended = yield from self._read_events(is_base64=encoding == "base64")
        if ended is None and self._heard and not self.closed and self._place.offset == before:
            yield from self._pace(began)
            return None
        return self._after_live(ended, began, before)

    def _read_events(self, *, is_base64: bool) -> Step[Broke | Failure | None]:
        decoder, data = EventDecoder(), list[bytes]()
        while not self.closed:
            part: bytes | Broke | None = yield READ
            if part is None or isinstance(part, Broke):
                return part
            for event in self._valid(decoder.feed, part):
                if event.type == "data":
                    data.append(self._valid(_decoded, event, is_base64))
                elif event.type == "control":
                    self._strikes, self._heard = 0, True
                    head: Head = self._valid(parse_control, event.data)
                    stale = self._stale(head)
                    if stale is not None:
                        return stale
                    self._cursor = head.cursor or self._cursor
                    yield from self._deliver(data, head)
                    data = []
        return None

    def _raw(self) -> Step[Failure | None]:
        """Our own extension: bytes without framing, and offsets that count them.

        A server that does not know it answers a catch-up read, which says that it is up to date.
        """
        began, before = self._link.now(), self._place.offset
        try:
            opened = yield from self._get("raw")
        except (InvalidOffset, StreamRefused) as error:
            if error.status not in _NOT_THIS_MODE:
                raise
            self._give_up_on("raw")
            return None
        if isinstance(opened, Failure):
            return opened
        head = self._head_of(opened)
        position = _position(before)
        if position is None or head.offset != before or (head.up_to_date and not head.closed):
            self._give_up_on("raw")
            return None
        if head.closed:
            yield from self._deliver([], head)
            return None
        ended = yield from self._read_raw(position)
        if self._place.offset != before:
            self.up_to_date = False
        return self._after_live(ended, began, before)

    def _read_raw(self, position: int) -> Step[Broke | None]:
        while True:
            part: bytes | Broke | None = yield READ
            if part is None or isinstance(part, Broke):
                return part
            position += len(part)
            head = Head(format_offset(position), up_to_date=False, closed=False, cursor=None)
            yield from self._deliver([part], head)

    # ------------------------------------------------------------------ what came of it

    def _after_live(
        self, ended: Broke | Failure | None, began: float, before: str
    ) -> Failure | None:
        """A live connection is over: go on at once only if it was good for something."""
        if self.closed:
            return None
        good = self._place.offset != before or self._link.now() - began >= self._link.timing.healthy
        if good:
            self._link.moved()
        if isinstance(ended, Broke):
            self._strike(silent=ended.how is Breakage.SILENT)
            return self._link.broken(ended)
        if isinstance(ended, Failure):
            return ended
        if good:
            return None
        self._strike(silent=False)
        return Failure("a live answer ended at once, and with nothing")

    def _forgiven(self, failure: Failure, began: float) -> Failure:
        if self._link.now() - began >= self._link.timing.healthy:
            self._link.moved()
        return failure

    def _strike(self, *, silent: bool) -> None:
        """Something in between may hold server-sent events back: a control event clears it."""
        self._strikes += _STRIKES if silent else 1
        if self._strikes > _STRIKES and self._live == "auto":
            self._usable.discard("sse")

    def _give_up_on(self, mode: str) -> None:
        """The server does not have this mode; the next turn uses another one."""
        self._usable.discard(mode)

    def _stale(self, head: Head) -> Failure | None:
        """An answer that leads backwards is an old one, of a cache for instance."""
        now_at = self._place.offset
        if now_at not in (BEGINNING, NOW) and head.offset is not None and head.offset < now_at:
            self._distrust = True
            return Failure(f"an answer that leads from {now_at} back to {head.offset}")
        return None

    def _deliver(self, parts: Iterable[bytes], head: Head) -> Step[None]:
        """All of an answer or event is there: emit it, and stand at its offset."""
        assert head.offset is not None  # checked where heads are read
        moved = head.offset != self._place.offset
        new = self._taken(parts)
        if new and not moved:
            raise self._link.error(
                StreamProtocolError, f"data after {head.offset} that leads to the same offset"
            )
        self._place.arrive(head.offset)
        changed = (self.up_to_date, self.closed) != (head.up_to_date, head.closed)
        self.up_to_date, self.closed = head.up_to_date, head.closed
        if moved:
            self._distrust = False
            self._link.moved()
        self.offset = self._units.arrived(self._place)
        if new or changed:
            yield Emit(self._batch(new))
        if self.closed:
            self._valid(self._units.end)

    def _emit(self, parts: Iterable[bytes]) -> Step[None]:
        """Part of an answer is there: emit it, and stand behind it."""
        new = self._taken(parts)
        if new:
            self._link.moved()
            self.up_to_date = False
            self.offset = new[-1][1]
            yield Emit(self._batch(new))

    def _taken(self, parts: Iterable[bytes]) -> list[tuple[T, str]]:
        new: list[tuple[T, str]] = []
        for part in parts:
            new += self._valid(self._units.feed, part, self._place)
        return new

    def _batch(self, new: list[tuple[T, str]]) -> Batch[T]:
        return Batch(
            items=tuple(item for item, _ in new),
            offsets=(*(offset for _, offset in new[:-1]), *([self.offset] if new else [])),
            offset=self.offset,
            up_to_date=self.up_to_date,
            closed=self.closed,
        )

    def _valid(self, function: Any, *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except ValueError as error:
            raise self._link.error(StreamProtocolError, str(error), offset=self.offset) from error


def _decoded(event: Event, is_base64: bool) -> bytes:  # noqa: FBT001
    """The bytes of a data event (PROTOCOL section 5.8)."""
    if not is_base64:
        return event.data
    try:
        return base64.b64decode(event.data.replace(b"\n", b""), validate=True)
    except binascii.Error as error:
        raise ValueError(f"an event that is no base64: {error}") from error


def _position(offset: str) -> int | None:
    try:
        return parse_offset(offset)
    except InvalidOffsetError:
        return None
