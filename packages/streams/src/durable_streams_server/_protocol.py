"""HTTP/1.1 for the commands: uvicorn's protocol, guarded, and with a short way for appends.

What uvicorn leaves open is closed by `GuardedProtocol`: a request head that never ends is refused
by its size, one that does not get on by its time, a connection that says nothing is closed, and
what is not HTTP gets an error in the form of all others.

An append needs no task, no scope and no messages: its request is complete when it is parsed, and
its answer is one write when the log has settled it. That is the short way of `StreamsProtocol`
(74 us of processor time per append became 50). Everything else, and every append that is not plain
(in chunks, larger than `SHORT_BODY_BYTES`, behind another request of its connection), goes
uvicorn's way to the ASGI application, which does the same in more steps.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast
from weakref import ref

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from durable_streams_server._answer import BASE_HEADERS, Answer, refusal
from durable_streams_server._exchange import DIRECT_BODY
from durable_streams_server._request import Headers, parse_headers
from durable_transport.protocol import ErrorCode

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Sequence

    from uvicorn.protocols.http.flow_control import FlowControl

    from durable_streams_server._exchange import Limits

SHORT_BODY_BYTES = 64 * 1024
"""A connection holds no more of a body than this by itself."""
_DIGITS = 9


class GuardedProtocol(HttpToolsProtocol):
    """One connection whose request heads have an end.

    Args:
        limits: `Limits.headers` bounds a head, `Limits.body_wait` the time until one has begun, and
            until it has come.
        every_answer: Header fields of the answers that are given here.
    """

    def __init__(
        self,
        limits: Limits,
        every_answer: Sequence[tuple[bytes, bytes]] = (),
        /,
        **of_uvicorn: Any,
    ) -> None:
        super().__init__(**of_uvicorn)
        self._limits = limits
        self._every_answer = _fields((*BASE_HEADERS, *every_answer))
        self._defaults: object = None  # of uvicorn, as they were when the next line was made
        self._first_fields = b""
        self._piece_bytes = 0  # of what is being parsed
        self._head_bytes: int | None = None  # of a head that is coming in, from its second piece on
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody is there, and has so long to say something."""
        super().connection_made(transport)
        self._wait_for_more()

    def data_received(self, data: bytes) -> None:
        """Parse what has come; then see whether something is incomplete."""
        self._piece_bytes = len(data)
        if self._head_bytes is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._is_incomplete():
            self._wait_for_more()
        elif self._patience is not None:
            self._be_patient_no_more()

    def _is_incomplete(self) -> bool:
        return self._head_bytes is not None or self._is_answered_early()

    def _is_answered_early(self) -> bool:
        """The request was answered before the end of its body, which is still to come."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is not None and cycle.more_body and cycle.response_complete

    def _wait_for_more(self) -> None:
        if self._head_bytes is not None and self._head_bytes > self._limits.headers:
            self._refuse(ErrorCode.HEADERS_TOO_LARGE, "the header fields are too large")
        elif self._patience is None and not self.transport.is_closing():
            self._patience = self.loop.call_later(self._limits.body_wait, self._give_up)

    def _give_up(self) -> None:
        self._patience = None
        cycle = cast("RequestResponseCycle | None", self.cycle)
        has_said_nothing = cycle is None and self._head_bytes is None
        if has_said_nothing or self._is_answered_early():
            self.transport.close()
            return
        self._refuse(ErrorCode.REQUEST_TIMEOUT, "the request did not arrive within the time limit")

    def _be_patient_no_more(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def on_message_begin(self) -> None:
        """Parser callback: the first bytes of a request."""
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Parser callback: the head is complete."""
        self._head_bytes = None
        direct = _DirectBody(self.flow)
        extensions: dict[str, Any] = {DIRECT_BODY: direct}
        self.scope["extensions"] = extensions
        super().on_headers_complete()
        direct.belongs_to(self.cycle)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there any more."""
        self._head_bytes = None
        self._be_patient_no_more()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        if self._awaits_body():
            self.cycle.disconnected = True  # nobody else answers this one any more
            self.cycle.message_event.set()
            self._answer_and_close(ErrorCode.BAD_REQUEST, msg)
        else:
            self._refuse(ErrorCode.BAD_REQUEST, msg)

    def _awaits_body(self) -> bool:
        """The one request that is open has no answer yet, and its body is still to come."""
        return (
            self._is_answering()
            and not self.pipeline
            and self.cycle.more_body
            and not self.cycle.response_started
        )

    def _refuse(self, code: ErrorCode, message: str) -> None:
        """Answer what is not a request yet, and end the connection."""
        if self.transport.is_closing():
            return
        # In the middle of another answer there is no place for this one.
        if self._is_answering():
            self.transport.close()
        else:
            self._answer_and_close(code, message)

    def _answer_and_close(self, code: ErrorCode, message: str) -> None:
        self.transport.write(self._on_the_wire(refusal(code, message), close=True))
        self.transport.close()

    def _is_answering(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is not None and not cycle.response_complete

    def _on_the_wire(self, answer: Answer, *, close: bool) -> bytes:
        if self._defaults is not self.server_state.default_headers:
            # A new list each second, with the time in it.
            self._defaults = self.server_state.default_headers
            self._first_fields = self._every_answer + _fields(self.server_state.default_headers)
        parts = [STATUS_LINE[answer.status], self._first_fields]
        parts += [b"%b: %b\r\n" % field for field in answer.own_headers()]
        parts.append(b"connection: close\r\n\r\n" if close else b"\r\n")
        parts.append(answer.body)
        return b"".join(parts)


def _fields(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join(b"%b: %b\r\n" % field for field in fields)


def _nothing() -> None:
    return None


class _DirectBody:
    """See `DirectBody`: what uvicorn's own ``send`` does with a piece, without its waiting."""

    __slots__ = ("_cycle", "_flow")

    def __init__(self, flow: FlowControl) -> None:
        self._flow = flow
        self._cycle: Callable[[], RequestResponseCycle | None] = _nothing

    def belongs_to(self, cycle: RequestResponseCycle) -> None:
        # Weakly, because the cycle's scope leads back here.
        self._cycle = ref(cycle)

    def is_behind(self, send: object) -> bool:
        cycle = self._cycle()
        return cycle is not None and getattr(send, "__self__", None) is cycle

    def write(self, data: bytes) -> bool:
        cycle = self._cycle()
        if (
            cycle is None
            or not cycle.chunked_encoding
            or cycle.response_complete
            or cycle.disconnected
            or self._flow.write_paused
        ):
            return False
        cycle.transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        return True


# --------------------------------------------------------------------------- the short way


class AppendSurface(Protocol):
    """What takes appends the short way.

    Attributes:
        limits: Bounds of one request.
        every_answer: Header fields to add to whatever is answered.
    """

    limits: Limits

    @property
    def every_answer(self) -> Sequence[tuple[bytes, bytes]]:
        """See above."""

    @property
    def append_path(self) -> Callable[[bytes], str | None]:
        """Gives the path of the stream that a POST to a request target appends to.

        None is for what is no append, or none that goes the short way.
        """

    def append(
        self, path: str, headers: Headers, body: bytes, reply: Callable[[Answer], None]
    ) -> None:
        """Carry out a POST; ``reply`` is called once, in the loop's thread, at once or later."""


class _NobodyWaits:
    def set(self) -> None:
        """Take uvicorn's word that something happened."""


class _AppendCycle:
    """An append in uvicorn's eyes: what it looks at to keep the requests of a connection apart."""

    __slots__ = ("body", "disconnected", "headers", "keep_alive", "path", "response_complete")
    message_event = _NobodyWaits()
    more_body = False  # what is here is no body that uvicorn waits for

    def __init__(self, path: str, headers: Headers) -> None:
        self.path = path
        self.headers = headers
        self.body: list[bytes] = []
        self.keep_alive = True
        self.disconnected = False
        self.response_complete = False


class StreamsProtocol(GuardedProtocol):
    """One connection to a server of streams.

    Args:
        surface: Takes the appends; its limits are the connection's.
    """

    def __init__(self, surface: AppendSurface, **of_uvicorn: Any) -> None:
        super().__init__(surface.limits, surface.every_answer, **of_uvicorn)
        self._surface = surface
        self._append: _AppendCycle | None = None  # its body is coming in
        self._idle_since = 0.0
        self._idle_check: asyncio.TimerHandle | None = None

    # ------------------------------------------------------------------ receiving

    def _is_incomplete(self) -> bool:
        return self._append is not None or super()._is_incomplete()

    def on_message_begin(self) -> None:
        """Parser callback: the first bytes of a request. No scope yet: an append needs none."""
        self._head_bytes = 0
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        """Parser callback: which way the request goes."""
        at_most = (self._head_bytes or 0) + self._piece_bytes
        if at_most <= self._limits.headers and self.parser.get_method() == b"POST":
            path, headers = self._surface.append_path(self.url), parse_headers(self.headers)
            if path is not None and self._goes_short(headers):
                self._head_bytes = None
                self._append = _AppendCycle(path, headers)
                self.cycle = cast("RequestResponseCycle", self._append)
                return
        url, fields, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(fields)
        super().on_headers_complete()

    def _goes_short(self, headers: Headers) -> bool:
        return (
            self._is_short(headers.get(b"content-length", b""))
            and not self._is_answering()
            and not self.flow.write_paused
            and not self.expect_100_continue
            and self.parser.get_http_version() == "1.1"
            and self.parser.should_keep_alive()
            and not self.parser.should_upgrade()
        )

    def _is_short(self, content_length: bytes) -> bool:
        return (
            content_length.isdigit()
            and len(content_length) <= _DIGITS
            and int(content_length) <= min(SHORT_BODY_BYTES, self._limits.body)
        )

    def on_body(self, body: bytes) -> None:
        """Parser callback: a piece of the body."""
        if self._append is None:
            super().on_body(body)
        else:
            self._append.body.append(body)

    def on_message_complete(self) -> None:
        """Parser callback: the end of the request."""
        append, self._append = self._append, None
        if append is None:
            super().on_message_complete()
            return
        pieces = append.body
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._surface.append(append.path, append.headers, body, partial(self._reply, append))

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there any more; an append that is under way is carried out all the same."""
        self._append = None
        if self._idle_check is not None:
            self._idle_check.cancel()
        super().connection_lost(exc)

    # ------------------------------------------------------------------ answering

    def _is_answering(self) -> bool:
        return self._append is None and super()._is_answering()

    def _reply(self, append: _AppendCycle, answer: Answer) -> None:
        append.response_complete = True
        if append.disconnected or self.transport.is_closing():
            return
        self.transport.write(self._on_the_wire(answer, close=not append.keep_alive))
        if not append.keep_alive:
            self.transport.close()
        elif self.pipeline:
            self.on_response_complete()
        else:
            self.server_state.total_requests += 1
            self._idle()

    # uvicorn makes and cancels a timer for each request to end a connection that is not used; here
    # one looks now and then.

    def _idle(self) -> None:
        self._idle_since = self.loop.time()
        if self._idle_check is None:
            self._idle_check = self.loop.call_later(self.timeout_keep_alive, self._check_idle)

    def _check_idle(self) -> None:
        self._idle_check = None
        if self._is_incomplete() or self._is_answering():
            return  # what comes after that request looks after itself
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left <= 0:
            self.timeout_keep_alive_handler()
        elif self.timeout_keep_alive_task is None:
            self._idle_check = self.loop.call_later(left, self._check_idle)
