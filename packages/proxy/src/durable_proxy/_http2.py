"""HTTP/2 as a client: requests as bytes, and answers out of bytes (RFC 9113). No sockets. Pure.

The grammar, the compression of headers and the windows are h2's. Two things are done in front of
it, frame by frame, because for h2 they end the whole connection, and with it every other answer
on it:

- GOAWAY. Servers send it when they want to be rid of a connection, and finish what is under way
  (section 6.8). It also says which requests they have not looked at: those may be sent again.
- A body that is longer or shorter than its ``content-length``, which concerns one stream
  (section 8.1.1).
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import DenialOfServiceError, H2Error
from h2.settings import SettingCodes, Settings

from durable_proxy._http1 import MAX_OVERHEAD_BYTES, GarbageError, Head, OverheadError
from durable_proxy._upstream_request import UpstreamRequest

CONNECTION_WINDOW_BYTES = 16 * 1024 * 1024
"""How much may be under way on one connection: enough that no slow stream holds up the others."""
SEND_STEP_BYTES = 256 * 1024
"""How much of a request's body is handed on at once, however far the windows reach."""
MOST_STREAMS = 100
"""How many requests share a connection, if the other side does not allow fewer."""

_FRAME_HEAD_BYTES = 9
_MAX_FRAME_BYTES = 16 * 1024
_DATA, _GOAWAY = 0x0, 0x7
_END_STREAM, _PADDED = 0x1, 0x8
_ID_MASK = 0x7FFFFFFF
_WITHOUT_BODY = frozenset({204, 304})


@dataclass(frozen=True, slots=True)
class HeadCame:
    """The head of a final answer."""

    stream: int
    head: Head


@dataclass(frozen=True, slots=True)
class BodyCame:
    """A piece of a body; `size` is what it takes of the windows."""

    stream: int
    data: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The promised end of an answer."""

    stream: int


@dataclass(frozen=True, slots=True)
class Shortened:
    """An end in good order, before all that had been promised."""

    stream: int


@dataclass(frozen=True, slots=True)
class Overlong:
    """More of a body than had been promised."""

    stream: int


@dataclass(frozen=True, slots=True)
class Reset:
    """The other side has broken off an answer."""

    stream: int


@dataclass(frozen=True, slots=True)
class NotTaken:
    """The other side has not looked at a request, and will not."""

    stream: int


@dataclass(frozen=True, slots=True)
class RoomToSend:
    """More of the requests' bodies may be sent."""


Happened = HeadCame | BodyCame | Ended | Shortened | Overlong | Reset | NotTaken | RoomToSend


@dataclass(slots=True)
class _Stream:
    """What the other side has promised in one answer, and kept of it."""

    method: str
    promised: int | None = None
    received: int = 0


class ClientSession:
    """One connection's worth of requests and answers.

    Args:
        stream_window_bytes: How much of one body may come before it is acknowledged.

    Attributes:
        leaving: The other side takes no more requests.
    """

    def __init__(self, stream_window_bytes: int) -> None:
        self.leaving = False
        self._streams: dict[int, _Stream] = {}
        self._rest = bytearray()
        # What goes up was checked where the request was parsed.
        config = H2Configuration(header_encoding=None, validate_outbound_headers=False)
        self._h2 = H2Connection(config)
        self._h2.local_settings = Settings(
            client=True,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.INITIAL_WINDOW_SIZE: stream_window_bytes,
                SettingCodes.MAX_HEADER_LIST_SIZE: MAX_OVERHEAD_BYTES,
            },
        )
        self._h2.initiate_connection()
        unasked = CONNECTION_WINDOW_BYTES - self._h2.inbound_flow_control_window
        self._h2.increment_flow_control_window(unasked)

    @property
    def most_streams(self) -> int:
        """How many requests may be under way."""
        return min(MOST_STREAMS, self._h2.remote_settings.max_concurrent_streams)

    # ------------------------------------------------------------------ sending

    def outgoing(self) -> bytes:
        """What has to be sent by now."""
        return self._h2.data_to_send()

    def ask(self, request: UpstreamRequest) -> int:
        """Begin a request, whose body `send` will send; its stream.

        Raises:
            GarbageError: the connection takes no more.
        """
        target, size = request.target, len(request.body)
        fields = [
            (b":method", request.method.encode()),
            (b":scheme", target.scheme.encode()),
            (b":authority", target.authority.encode()),
            (b":path", (target.path + target.query).encode()),
            *((name.lower(), value.strip(b" \t")) for name, value in request.headers),
        ]
        if size or request.method in ("POST", "PUT", "PATCH"):
            fields.append((b"content-length", b"%d" % size))
        try:
            stream = self._h2.get_next_available_stream_id()
            self._h2.send_headers(stream, fields, end_stream=not size)
        except H2Error as error:
            raise GarbageError(str(error)) from error
        self._streams[stream] = _Stream(request.method)
        return stream

    def send(self, stream: int, body: bytes, start: int) -> int:
        """Send on in a body, as far as the windows reach, and a step at most; where it is then."""
        try:
            room = min(self._h2.local_flow_control_window(stream), SEND_STEP_BYTES)
            while start < len(body) and room > 0:
                step = min(room, self._h2.max_outbound_frame_size, len(body) - start)
                end = start + step
                self._h2.send_data(stream, body[start:end], end_stream=end == len(body))
                start, room = end, room - step
        except H2Error:
            return start  # the stream is over, and what happened to it has been said
        return start

    def acknowledge(self, stream: int, size: int) -> None:
        """Take so much off the windows again."""
        with suppress(H2Error):  # there was nothing on the stream yet, or the connection is over
            self._h2.acknowledge_received_data(size, stream)

    def cancel(self, stream: int) -> None:
        """Break a stream off, if it is still there."""
        self._streams.pop(stream, None)
        with suppress(H2Error):  # it is over already, or the connection is
            self._h2.reset_stream(stream, ErrorCodes.CANCEL)

    # ------------------------------------------------------------------ receiving

    def feed(self, data: bytes) -> Iterator[Happened]:
        """Read on. Everything has to be taken before anything else is fed.

        Raises:
            GarbageError: this cannot be read; the connection is of no more use.
        """
        self._rest += data
        start = 0
        try:
            while (end := self._frame_end(start)) is not None:
                yield from self._receive(bytes(self._rest[start:end]))
                start = end
        except DenialOfServiceError as error:
            raise OverheadError(str(error)) from error
        except H2Error as error:
            raise GarbageError(str(error)) from error
        finally:
            del self._rest[:start]

    def _frame_end(self, start: int) -> int | None:
        """Where the frame ends that begins here, if all of it is here."""
        if len(self._rest) - start < _FRAME_HEAD_BYTES:
            return None
        length = int.from_bytes(self._rest[start : start + 3])
        if length > _MAX_FRAME_BYTES:
            raise GarbageError("a frame that is too large")
        end = start + _FRAME_HEAD_BYTES + length
        return end if end <= len(self._rest) else None

    def _receive(self, frame: bytes) -> Iterator[Happened]:
        kind, flags = frame[3], frame[4]
        if kind == _GOAWAY:
            yield from self._receive_goaway(frame)
            return
        if kind == _DATA:
            number = int.from_bytes(frame[5:_FRAME_HEAD_BYTES]) & _ID_MASK
            stream = self._streams.get(number)
            if stream is not None and stream.promised is not None:
                left = stream.promised - stream.received - _body_size(frame, flags)
                if left < 0:
                    yield self._drop(number, frame)
                    return
                if left > 0 and flags & _END_STREAM:
                    yield from self._receive_shortened(number, frame, flags)
                    return
        yield from self._events(frame)

    def _receive_goaway(self, frame: bytes) -> Iterator[Happened]:
        self.leaving = True
        start = _FRAME_HEAD_BYTES
        last = int.from_bytes(frame[start : start + 4]) & _ID_MASK
        for stream in [one for one in self._streams if one > last]:
            self.cancel(stream)
            yield NotTaken(stream)

    def _drop(self, stream: int, frame: bytes) -> Happened:
        self.cancel(stream)
        # h2 does not see this frame, and the other side has counted it.
        if size := len(frame) - _FRAME_HEAD_BYTES:
            self._h2.increment_flow_control_window(size)
        return Overlong(stream)

    def _receive_shortened(self, stream: int, frame: bytes, flags: int) -> Iterator[Happened]:
        """Take the bytes of a last frame that is not where the end was to be."""
        open_end = frame[:4] + bytes([flags & ~_END_STREAM]) + frame[5:]
        yield from self._events(open_end)
        self.cancel(stream)
        yield Shortened(stream)

    def _events(self, frame: bytes) -> Iterator[Happened]:
        for event in self._h2.receive_data(frame):
            if (happened := self._happened(event)) is not None:
                yield happened

    def _happened(self, event: Event) -> Happened | None:
        match event:
            case DataReceived():
                return self._data(event)
            case ResponseReceived():
                return self._response(event)
            case StreamEnded(stream_id=stream):
                return self._ended(stream)
            case StreamReset(stream_id=stream, error_code=code):
                known = self._streams.pop(stream, None) is not None
                refused = code == ErrorCodes.REFUSED_STREAM
                return (NotTaken(stream) if refused else Reset(stream)) if known else None
            case WindowUpdated() | RemoteSettingsChanged():
                return RoomToSend()
            case _:
                return None

    def _response(self, event: ResponseReceived) -> Happened | None:
        stream = self._streams.get(event.stream_id)
        if stream is None:
            return None
        fields = dict(event.headers)
        status = int(fields[b":status"])
        if stream.method != "HEAD" and status not in _WITHOUT_BODY:
            length = fields.get(b"content-length")
            stream.promised = None if length is None else int(length)
        headers = tuple((name, value) for name, value in event.headers if name[:1] != b":")
        return HeadCame(event.stream_id, Head(status, headers))

    def _data(self, event: DataReceived) -> Happened | None:
        stream, size = self._streams.get(event.stream_id), event.flow_controlled_length
        if stream is None or not event.data:
            self.acknowledge(event.stream_id, size)
            return None
        stream.received += len(event.data)
        return BodyCame(event.stream_id, event.data, size)

    def _ended(self, number: int) -> Happened | None:
        stream = self._streams.pop(number, None)
        if stream is None:
            return None
        promised = stream.received if stream.promised is None else stream.promised
        return Ended(number) if promised == stream.received else Shortened(number)


def _body_size(frame: bytes, flags: int) -> int:
    """How much of a DATA frame is body: the rest is padding."""
    size = len(frame) - _FRAME_HEAD_BYTES
    if not flags & _PADDED or not size:
        return size
    return max(0, size - 1 - frame[_FRAME_HEAD_BYTES])
