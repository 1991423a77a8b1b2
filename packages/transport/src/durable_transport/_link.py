"""Requests to the proxy for one generation: sending them, judging the answers, waiting.

Everything here is a generator of effects (`_effects.py`). What can be tried again comes back as a
`Failure`; what cannot is raised.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from uuid import UUID

from durable_transport._answers import is_temporary, parse_control, trouble_of
from durable_transport._backoff import Backoff, parse_retry_after
from durable_transport._effects import (
    ASK_HEADERS,
    CLOSE,
    Breakage,
    Broke,
    Open,
    Opened,
    ReadAll,
    Sleep,
    Step,
)
from durable_transport._errors import (
    GenerationError,
    GenerationFailed,
    GenerationNotFound,
    NoDataTimeout,
    NotADurableProxy,
    OffsetOutOfRange,
    ProxyRefused,
    ProxyUnreachable,
)
from durable_transport._progress import Progress
from durable_transport._request import (
    DurableRequest,
    ProxyURL,
    read_headers,
    start_headers,
    wire_id,
)
from durable_transport._shape import ShapeCursor
from durable_transport._timing import Timing
from durable_transport.protocol import (
    BEGINNING,
    ControlMessage,
    ErrorCode,
    StreamHeader,
    TerminalPayload,
)

CONTROL_LIMIT = 16 << 20
"""Longest control answer: a rejected upstream's body is part of one."""
REFUSAL_LIMIT = 64 << 10
_SHORTEST_TIMEOUT = 0.001


@dataclass(frozen=True, slots=True)
class Clocks:
    """Time and chance, so that the driver has none of its own.

    Attributes:
        monotonic: For durations.
        wall: Epoch seconds, for HTTP dates and for what is stored.
        random: Uniform in [0, 1).
    """

    monotonic: Callable[[], float]
    wall: Callable[[], float]
    random: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Failure:
    """An attempt that failed and may be repeated."""

    reason: str
    cause: Exception | None = None
    retry_after: float | None = None

    @classmethod
    def of(cls, broke: Broke) -> "Failure":
        """A connection failed."""
        return cls(str(broke.cause) or type(broke.cause).__name__, broke.cause)


@dataclass(frozen=True, slots=True)
class ControlRead:
    """Control messages that were not read before."""

    messages: list[ControlMessage]


class Link:
    """One generation's way to the proxy."""

    def __init__(
        self,
        request: DurableRequest,
        progress: Progress,
        *,
        proxy: ProxyURL,
        timing: Timing,
        clocks: Clocks,
    ) -> None:
        self.request = request
        self.progress = progress
        self.timing = timing
        self.now = clocks.monotonic
        self._proxy = proxy
        self._wall = clocks.wall
        self._backoff = Backoff(
            first=timing.backoff_first,
            limit=timing.backoff_limit,
            give_up_after=timing.start_patience,
            random=clocks.random,
        )
        self._control_offset = BEGINNING
        self._denied = False
        self.was_reached = False
        """Something may have been sent."""
        self.waiting_since = self.now()
        """Since when the consumer has been waiting for data."""

    # ------------------------------------------------------------------ sending

    def post_start(self, *, live: bool = True) -> Step[Opened | Broke]:
        """Send the start request: idempotent, so it may be sent again after a drop.

        With ``live`` the body is asked for as its answer.
        """
        for_proxy = yield ASK_HEADERS
        url = self._proxy.start(*self._ids())
        headers = start_headers(self.request, for_proxy, live=live)
        content = self.request.body
        opened: Opened | Broke = yield Open("POST", url, headers, content, self._timeout())
        return opened

    def get_data(self, position: int) -> Step[Opened | Broke]:
        """Open the body from ``position`` on."""
        return (yield from self._get(self._proxy.data(*self._ids(), position), self._timeout()))

    def get_shape(
        self, cursor: ShapeCursor, *, wait: bool, within: float | None = None
    ) -> Step[Opened | Broke]:
        """Ask for the rows of a shape that are new; with ``wait``, wait for some."""
        url = self._proxy.shape(cursor, *self._ids(), wait=wait)
        return (yield from self._get(url, self._timeout(within)))

    def get_control(
        self, *, wait: bool = False, within: float | None = None
    ) -> Step[ControlRead | Failure]:
        """Read the control messages that are new; with ``wait``, wait for some.

        Raises:
            GenerationError: the answer is none that could be repeated to any use.
        """
        url = self._proxy.control(*self._ids(), self._control_offset, wait=wait)
        opened = yield from self._get(url, self._timeout(within))
        if isinstance(opened, Broke):
            return self.broken(opened)
        if opened.status not in (HTTPStatus.OK, HTTPStatus.NO_CONTENT):
            return (yield from self.trouble(opened))
        body = yield ReadAll(CONTROL_LIMIT)
        if isinstance(body, Broke):
            return self.broken(body)
        offset = opened.headers.get(StreamHeader.NEXT_OFFSET)
        if offset is None:
            raise self.not_ours(opened)
        try:
            messages = parse_control(body) if opened.status == HTTPStatus.OK else []
        except ValueError as error:
            raise self.not_ours(opened) from error
        self._denied = False
        self._control_offset = offset
        return ControlRead(messages)

    # ------------------------------------------------------------------ judging

    def broken(self, broke: Broke) -> Failure:
        """A connection failed: raise what no repetition can cure."""
        if broke.how is Breakage.HOPELESS:
            raise broke.cause
        if broke.how is not Breakage.NOT_CONNECTED:
            self.reached()
        return Failure.of(broke)

    def reached(self) -> None:
        """The proxy was there: from now on something may be lost, so try for longer."""
        self.was_reached = True
        self._backoff.give_up_after = self.timing.give_up_after

    def trouble(self, opened: Opened) -> Step[Failure]:
        """An answer that is none of the good ones.

        Raises:
            GenerationError: repeating the request cannot help.
        """
        body = yield ReadAll(REFUSAL_LIMIT)
        if isinstance(body, Broke):
            return self.broken(body)
        trouble = trouble_of(opened.headers, body)
        status = opened.status
        detail = f"{status} {trouble.message}".strip()
        if trouble.code == ErrorCode.OFFSET_OUT_OF_RANGE:
            raise self.error(OffsetOutOfRange, detail)
        if trouble.code == ErrorCode.GENERATION_STALLED:
            raise self.error(GenerationFailed, detail, code=trouble.code)
        if trouble.code in (ErrorCode.STREAM_NOT_FOUND, ErrorCode.NOT_FOUND):
            raise self.error(GenerationNotFound, detail)
        if is_temporary(status):
            return Failure(detail, retry_after=self.retry_after(opened))
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            # headers= is evaluated for every request: give a fresh token one chance.
            if not self._denied:
                self._denied = True
                return Failure(detail)
        elif trouble.code is None:
            raise self.not_ours(opened)
        raise self.error(ProxyRefused, detail, code=trouble.code)

    def retry_after(self, opened: Opened) -> float | None:
        """The answer's ``Retry-After``, in seconds."""
        return parse_retry_after(opened.headers.get("retry-after"), self._wall())

    def error(
        self,
        kind: type[GenerationError],
        detail: str = "",
        *,
        code: str | None = None,
        terminal: TerminalPayload | None = None,
    ) -> GenerationError:
        """An error that says which generation, and where in it."""
        return kind(
            detail,
            code=code,
            session_id=self.progress.session_id,
            request_id=self.progress.request_id,
            offset=self.progress.offset,
            terminal=terminal,
        )

    def not_ours(self, opened: Opened) -> GenerationError:
        """The error for an answer of something that is no durable proxy."""
        content_type = opened.headers.get("content-type") or "no content type"
        return self.error(
            NotADurableProxy, f"{self._proxy.text} sent {opened.status}, {content_type}"
        )

    # ------------------------------------------------------------------ waiting

    def moved(self) -> None:
        """There was progress."""
        self._denied = False
        self.reached()
        self._backoff.progress()

    def back_off(self, failure: Failure) -> Step[None]:
        """Wait before the next attempt.

        Raises:
            NoDataTimeout: the client's own limit is over.
            ProxyUnreachable: it has been tried for long enough.
        """
        self.check_patience()
        wait = self._backoff.delay(self.now(), failure.retry_after)
        if wait is None:
            tried = self._backoff.failing_for(self.now())
            raise self.error(
                ProxyUnreachable, f"{failure.reason} (tried for {tried:.1f} s)"
            ) from failure.cause
        yield Sleep(min(wait, self._patience()))
        self.check_patience()

    def check_patience(self) -> None:
        """Raise NoDataTimeout if the client's own limit is over."""
        if self._patience() <= 0:
            limit = self.request.timeout.get("read")
            raise self.error(NoDataTimeout, f"{limit:g} s")

    def _patience(self) -> float:
        limit = self.request.timeout.get("read")
        return float("inf") if limit is None else self.waiting_since + limit - self.now()

    # ------------------------------------------------------------------ private

    def _ids(self) -> tuple[UUID, UUID]:
        return wire_id(self.progress.session_id), wire_id(self.progress.request_id)

    def _get(self, url: str, timeout: Mapping[str, float | None]) -> Step[Opened | Broke]:
        for_proxy = yield ASK_HEADERS
        headers = [
            *read_headers(self.request, for_proxy),
            ("Accept-Encoding", "identity"),
            # The same address has a longer answer a moment later: no cache may answer for it.
            ("Cache-Control", "no-cache"),
        ]
        yield CLOSE
        opened: Opened | Broke = yield Open("GET", url, headers, None, timeout)
        return opened

    def _timeout(self, within: float | None = None) -> dict[str, float]:
        """Limits of one connection: the client's own, ours for silence, and ``within``."""
        longest = self.timing.silence if within is None else min(within, self.timing.silence)
        limits = {name: self.request.timeout.get(name) for name in ("connect", "write", "pool")}
        timeout = {
            name: longest if limit is None else min(limit, longest)
            for name, limit in limits.items()
        }
        timeout["read"] = max(_SHORTEST_TIMEOUT, min(longest, self._patience()))
        return timeout
