"""A session's generations as rows of the two tables of the original. Pure.

One request's shape is its stream, and a session's shape is the streams of its requests one after
the other, in the order in which the requests came: one run of bytes, in which a **position** is a
number. Everything a client is given is such a position:

* An offset is ``{position}_0``. (A client of server-sent events makes its offset of the
  ``global_last_seen_lsn`` of an ``up-to-date`` and ``_0``, so nothing else could be in it.)
* A row is the bytes between two positions, and its id is the one where it ends. Where one ends is
  up to the reader, who goes on from there: his rows have no gap and no overlap on whichever node,
  however the store cuts its own. A reader who comes late gets rows of up to `ROW_BYTES`.
* ``data_row_id`` is the position at which a generation's data ends, so it is the id of its last
  row for every reader.

A request is shown when all before it have ended, for only then is known where it begins.

A handle names the incarnations of the streams, in their order. It still holds when others follow;
when one is replaced or gone, the positions mean something else, and the client has to begin anew.
"""

import codecs
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from durable_proxy._shape_request import COLUMNS, KEY, NULLABLE, TABLES, Kind
from durable_transport.protocol import ControlEvent, ControlMessage, format_offset

if TYPE_CHECKING:
    from uuid import UUID

    from durable_streams_server import StreamInfo

ROW_BYTES = 64 * 1024
"""Rows end at multiples of it, and wherever what was there ended."""
SHOWN_EVENTS = frozenset({ControlEvent.DONE, ControlEvent.ERROR, ControlEvent.HEARTBEAT})
"""What the table of control messages knows; others are skipped."""

INTERVAL_SECONDS = 20
EPOCH_SECONDS = 1_728_432_000
"""2024-10-09T00:00:00Z: where cursors begin to count."""
MAX_CURSOR_DIGITS = 15


class NotOursError(Exception):
    """The position is inside of something: it was never given out."""


@dataclass(frozen=True, slots=True)
class Part:
    """One request's stream within a shape.

    Attributes:
        base: Where it begins in the shape.
        data_base: Where the request's data begins in the shape of the data.
        stream: The stream that it shows.
    """

    request: "UUID"
    base: int
    data_base: int
    stream: "StreamInfo"

    @property
    def end(self) -> int:
        """Where it ends, as far as is known."""
        return self.base + self.stream.tail


class Pair(NamedTuple):
    """The two streams of one generation."""

    request: "UUID"
    data: "StreamInfo"
    control: "StreamInfo"


class Shape:
    """The streams of one request, or of a session, at one moment.

    Attributes:
        parts: Those that are shown: the last one may be open.
    """

    def __init__(
        self, kind: Kind, session: "UUID", request: "UUID | None", pairs: Iterable[Pair]
    ) -> None:
        # By the control streams' ids for both kinds: two creations at once may get mixed numbers.
        self._pairs = sorted(pairs, key=lambda pair: pair.control.id)
        self._name = f"{kind} {session} {request}"
        self.parts = tuple(_parts(kind, self._pairs))

    @property
    def handle(self) -> str:
        """The shape's name as it is now."""
        return self._handle(len(self._pairs))

    def is_named(self, handle: str) -> bool:
        """The handle is of this shape, now or before it grew."""
        count, _, _ = handle.partition("-")
        return (
            count.isascii()
            and count.isdigit()
            and len(count) < MAX_CURSOR_DIGITS
            and int(count) <= len(self._pairs)
            and handle == self._handle(int(count))
        )

    def _handle(self, count: int) -> str:
        names = [self._name]
        for _, data, control in self._pairs[:count]:
            names.append(f"{control.id} {data.id} {control.created_at!r}")
        digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
        return f"{count}-{digest[:24]}"

    @property
    def end(self) -> int:
        """The position after everything that is shown."""
        return self.parts[-1].end if self.parts else 0

    def part_at(self, position: int) -> Part | None:
        """The part that goes on at a position; None at the end of the last one that has ended."""
        for part in self.parts:
            if position < part.end or not part.stream.closed:  # an open one may have grown
                return part
        return None


def _parts(kind: Kind, pairs: Sequence[Pair]) -> Iterable[Part]:
    base = data_base = 0
    for request, data, control in pairs:
        stream = data if kind is Kind.DATA else control
        yield Part(request, base, data_base, stream)
        if not stream.closed:
            return
        base += stream.tail
        data_base += data.tail


# ---------------------------------------------------------------------- rows


class Row(NamedTuple):
    """One row: where it ends, which is its id, and its columns as Postgres prints them."""

    end: int
    values: dict[str, str | None]


def read_rows(
    kind: Kind, session: "UUID", part: Part, data: bytes, start: int, *, final: bool
) -> tuple[list[Row], int]:
    """The rows that some bytes are.

    ``start`` is the position of the first byte; with ``final``, nothing follows in this part.

    Returns:
        The rows, and how many bytes they took: what is left over waits for what follows.

    Raises:
        NotOursError: the bytes do not begin where a row does.
    """
    if kind is Kind.DATA:
        found, taken = _texts(data, start - part.base, final=final)
    else:
        found, taken = _messages(part, data), len(data)
    made_at = datetime.fromtimestamp(part.stream.created_at, UTC)
    common = {
        "session": str(session),
        "request": str(part.request),
        "created_at": made_at.strftime("%Y-%m-%d %H:%M:%S.%f"),
    }
    rows = [
        Row(start + end, {KEY: str(start + end), **common, **columns}) for end, columns in found
    ]
    return rows, taken


_Found = list[tuple[int, dict[str, str | None]]]


def _texts(data: bytes, start: int, *, final: bool) -> tuple[_Found, int]:
    """Bytes as texts that, one after the other, are what a decoder makes of the whole stream."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    found: _Found = []
    at = taken = 0
    while at < len(data):
        end = min(len(data), at + ROW_BYTES - (start + at) % ROW_BYTES)
        text = decoder.decode(data[at:end], final and end == len(data))
        # The beginning of a character whose rest is not there belongs to the next row.
        taken = end - len(decoder.getstate()[0])
        if text:
            found.append((taken, {"data": text}))
        at = end
    return found, taken


def _messages(part: Part, records: bytes) -> _Found:
    found: _Found = []
    try:
        text, decoder = records.decode(), json.JSONDecoder()
        at = end = 0
        while at < len(text):
            value, after = decoder.raw_decode(text, at)
            after += 1  # the comma behind each record
            end += len(text[at:after].encode())
            at = after
            message = ControlMessage.model_validate(value)
            if message.event in SHOWN_EVENTS:
                found.append((end, _columns_of(part, message)))
    except ValueError as error:  # of UTF-8, of JSON, of pydantic
        raise NotOursError from error
    return found


def _columns_of(part: Part, message: ControlMessage) -> dict[str, str | None]:
    return {
        "event": message.event,
        "data_row_id": format_offset(part.data_base + message.data_position),
        "payload": json.dumps(message.payload, ensure_ascii=False) if message.payload else None,
    }


# ---------------------------------------------------------------------- messages


def insert(kind: Kind, row: Row, columns: Sequence[str]) -> bytes:
    """The message of a row."""
    table = TABLES[kind]
    message = {
        "key": f'"public"."{table}"/"{row.end}"',
        "value": {name: row.values[name] for name in columns},
        "headers": {
            "operation": "insert",
            "lsn": str(row.end),
            "op_position": 0,
            "relation": ["public", table],
        },
    }
    return _json(message)


def up_to_date(position: int) -> bytes:
    """The message that nothing else is there: ``position`` is where the client is."""
    return _json({"headers": {"control": "up-to-date", "global_last_seen_lsn": str(position)}})


MUST_REFETCH = b'[{"headers":{"control":"must-refetch"}}]'
"""The body of a 409: what the client has is of another shape."""
KEEP_ALIVE = b": keep-alive\n\n"


def json_body(messages: Iterable[bytes]) -> bytes:
    """Messages as the body of an answer."""
    return b"[" + b",".join(messages) + b"]"


def event_stream(messages: Iterable[bytes]) -> bytes:
    """Messages as server-sent events."""
    return b"".join(b"data: " + message + b"\n\n" for message in messages)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


# ---------------------------------------------------------------------- headers


def offset_of(position: int) -> str:
    """A position as an offset of the API."""
    return f"{position}_0"


def schema(kind: Kind, columns: Iterable[str]) -> str:
    """The ``electric-schema`` of an answer."""
    described: dict[str, Mapping[str, Any]] = {}
    for name in columns:
        column: dict[str, Any] = {"type": COLUMNS[kind][name], "dims": 0}
        if name not in NULLABLE:
            column["not_null"] = True
        if name == KEY:
            column["pk_index"] = 0
        described[name] = column
    return _json(described).decode()


def next_cursor(seen: str | None, now: float, random: float) -> str:
    """The ``electric-cursor`` of a live answer: another one than the client has.

    Args:
        seen: What the client sent, from an earlier answer; nonsense is ignored.
        now: Epoch seconds.
        random: 0 <= random < 1, spreads clients that are ahead of the clock.
    """
    interval = -int(-(now - EPOCH_SECONDS) // INTERVAL_SECONDS) * INTERVAL_SECONDS
    known = seen is not None and seen.isascii() and seen.isdigit()
    last = int(seen) if seen is not None and known and len(seen) <= MAX_CURSOR_DIGITS else 0
    return str(interval if interval > last else last + 1 + int(random * 3600))
