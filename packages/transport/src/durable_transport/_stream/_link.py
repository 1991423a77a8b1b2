"""Requests to a stream: sending them, judging the answers, waiting.

Everything here is a generator of effects (`_effects.py`), as in the transports.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from durable_transport._answers import Trouble, is_compressed, is_success, is_temporary, trouble_of
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
from durable_transport._link import Clocks
from durable_transport._stream import _errors
from durable_transport._stream._head import media_type, parse_head
from durable_transport._stream._url import StreamURL
from durable_transport._timing import Timing
from durable_transport.protocol import ErrorCode, StreamHeader

REFUSAL_LIMIT = 64 << 10
_DIGITS = 16  # of 2**53-1, the largest number the protocol has
_SURELY_REFUSED = frozenset(
    {HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}
)
_USUAL: dict[int, type[_errors.StreamError]] = {
    HTTPStatus.NOT_FOUND: _errors.StreamNotFound,
    HTTPStatus.GONE: _errors.StreamGone,
}


@dataclass(frozen=True, slots=True)
class Call:
    """One request, without the headers that come from outside.

    Attributes:
        fixed: Refusals of this call that mean something else than they usually do.
    """

    method: str
    query: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    content: bytes | None = None
    fixed: Mapping[int, type[_errors.StreamError]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """An attempt that failed and may be repeated.

    Attributes:
        uncertain: The server may have done what was asked.
    """

    reason: str
    cause: Exception | None = None
    status: int | None = None
    retry_after: float | None = None
    uncertain: bool = False


class StreamLink:
    """The way to one stream, for one operation or one reader."""

    def __init__(self, url: StreamURL, *, timing: Timing, clocks: Clocks) -> None:
        self.url = url
        self.timing = timing
        self.now = clocks.monotonic
        self.random = clocks.random
        self._wall = clocks.wall
        self._denied = False
        self._backoff = Backoff(
            first=timing.backoff_first,
            limit=timing.backoff_limit,
            give_up_after=timing.start_patience,
            random=clocks.random,
        )

    # ------------------------------------------------------------------ asking

    def attempt(self, call: Call, *, silence: float | None = None) -> Step[Opened | Failure]:
        """Send a request once; a good answer is left open.

        Raises:
            StreamError: the server refuses, and would again.
        """
        own = yield ASK_HEADERS
        yield CLOSE
        headers = merged(own, call.headers)
        timeout = dict.fromkeys(("connect", "write", "pool"), self.timing.silence)
        timeout["read"] = silence or self.timing.silence
        opened: Opened | Broke = yield Open(
            call.method, self.url.with_query(call.query), headers, call.content, timeout
        )
        if isinstance(opened, Broke):
            return self.broken(opened)
        self._reached()
        if not is_success(opened.status):
            return (yield from self._refused(call, opened))
        if is_compressed(opened.headers):
            raise self.not_ours(opened, "compressed, although that was declined")
        self._denied = False
        return opened

    def ask(self, call: Call, *, repeatable: bool = True) -> Step[tuple[Opened, bool]]:
        """Send a request until it is answered; also: whether an earlier attempt may have worked.

        Args:
            call: What to send.
            repeatable: Sending it twice does no harm.

        Raises:
            AppendUncertain: an attempt that is not repeatable may have worked, or not.
            StreamError: the server refuses, or cannot be reached.
        """
        tried = False
        while True:
            answer = yield from self.attempt(call)
            if isinstance(answer, Opened):
                return answer, tried
            if answer.uncertain and not repeatable:
                raise self.error(
                    _errors.AppendUncertain, answer.reason, status=answer.status
                ) from answer.cause
            tried = tried or answer.uncertain
            yield from self.back_off(answer)

    def read_all(self, limit: int) -> Step[bytes | Failure]:
        """The rest of an answer's body."""
        body: bytes | Broke = yield ReadAll(limit)
        return self.broken(body) if isinstance(body, Broke) else body

    # ------------------------------------------------------------------ judging

    def broken(self, broke: Broke) -> Failure:
        """A connection failed: raise what no repetition can cure."""
        if broke.how is Breakage.HOPELESS:
            raise self.error(_errors.StreamProtocolError, str(broke.cause)) from broke.cause
        sent = broke.how is not Breakage.NOT_CONNECTED
        if sent:
            self._reached()
        reason = str(broke.cause) or type(broke.cause).__name__
        return Failure(reason, broke.cause, uncertain=sent)

    def _refused(self, call: Call, opened: Opened) -> Step[Failure]:
        body: bytes | Broke = yield ReadAll(REFUSAL_LIMIT)
        if isinstance(body, Broke):
            body = b""  # the status says enough
        status = opened.status
        trouble = trouble_of(opened.headers, body)
        if trouble.code is None:
            trouble = Trouble(None, plain_text(opened, body))
        kind = refusal_kind(call, opened, trouble.code)
        if kind is None:
            reason = f"{status} {trouble.message}".strip()
            if is_temporary(status):
                retry_after = parse_retry_after(opened.headers.get("retry-after"), self._wall())
                uncertain = status not in _SURELY_REFUSED
                return Failure(reason, None, status, retry_after, uncertain=uncertain)
            if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN) and not self._denied:
                # headers= is evaluated for every request: give a fresh token one chance.
                self._denied = True
                return Failure(reason, None, status)
            if status < HTTPStatus.BAD_REQUEST:
                raise self.not_ours(opened, opened.headers.get("location") or "")
            kind = _errors.StreamRefused
        raise _made(kind, self.url.bare, trouble.message or trouble.code or "", opened)

    def error(
        self,
        kind: type[_errors.StreamError],
        detail: str = "",
        *,
        status: int | None = None,
        offset: str | None = None,
    ) -> _errors.StreamError:
        """An error that says which stream."""
        return kind(self.url.bare, detail, status=status, offset=offset)

    def not_ours(self, opened: Opened, detail: str) -> _errors.StreamError:
        """The error for an answer that is none of the protocol."""
        content_type = opened.headers.get("content-type") or "no content type"
        what = f"{detail} ({content_type})" if detail else content_type
        return self.error(_errors.StreamProtocolError, what, status=opened.status)

    # ------------------------------------------------------------------ waiting

    def _reached(self) -> None:
        # Somebody is there: it is not the address that is wrong, so try for longer.
        self._backoff.give_up_after = self.timing.give_up_after

    def moved(self) -> None:
        """There was progress: the next failure is a first one."""
        self._denied = False
        self._backoff.progress()

    def back_off(self, failure: Failure) -> Step[None]:
        """Wait before the next attempt.

        Raises:
            StreamUnreachable: it has been tried for long enough.
        """
        wait = self._backoff.delay(self.now(), failure.retry_after)
        if wait is None:
            tried = self._backoff.failing_for(self.now())
            detail = f"{failure.reason} (tried for {tried:.1f} s)"
            raise self.error(
                _errors.StreamUnreachable, detail, status=failure.status
            ) from failure.cause
        yield CLOSE
        yield Sleep(wait)


def refusal_kind(call: Call, opened: Opened, code: str | None) -> type[_errors.StreamError] | None:
    """The class of a refusal that this protocol has a name for."""
    status, headers = opened.status, opened.headers
    if status == HTTPStatus.CONFLICT:
        return _conflict_kind(call, opened, code)
    if status == HTTPStatus.FORBIDDEN and headers.get(StreamHeader.PRODUCER_EPOCH) is not None:
        return _errors.ProducerFenced
    if status in call.fixed:
        return call.fixed[status]
    if status in _USUAL:
        return _USUAL[status]
    if code in (ErrorCode.INVALID_OFFSET, ErrorCode.OFFSET_OUT_OF_RANGE):
        return _errors.InvalidOffset
    return None


def _conflict_kind(call: Call, opened: Opened, code: str | None) -> type[_errors.StreamError]:
    # Other servers send no code: then the fields of the answer and of the request have to tell.
    if call.method == "PUT":
        return _errors.StreamExists
    if parse_head(opened.headers).closed:
        return _errors.StreamClosed
    if opened.headers.get(StreamHeader.PRODUCER_EXPECTED_SEQ) is not None:
        return _errors.ProducerGap
    if code == ErrorCode.CONTENT_TYPE_MISMATCH:
        return _errors.ContentTypeMismatch
    if any(name == StreamHeader.SEQ for name, _ in call.headers):
        return _errors.SequenceConflict
    return _errors.StreamConflict


def _made(
    kind: type[_errors.StreamError], url: str, detail: str, opened: Opened
) -> _errors.StreamError:
    head = parse_head(opened.headers)
    if issubclass(kind, _errors.ProducerFenced):
        epoch = number(opened, StreamHeader.PRODUCER_EPOCH)
        return kind(url, detail, status=opened.status, epoch=epoch)
    if issubclass(kind, _errors.ProducerGap):
        return kind(
            url,
            detail,
            status=opened.status,
            expected=number(opened, StreamHeader.PRODUCER_EXPECTED_SEQ),
            received=number(opened, StreamHeader.PRODUCER_RECEIVED_SEQ),
        )
    return kind(url, detail, status=opened.status, offset=head.offset)


def number(opened: Opened, name: str) -> int | None:
    """A header field that is a whole number."""
    text = (opened.headers.get(name) or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None


def plain_text(opened: Opened, body: bytes) -> str:
    """What another server says about a refusal, if a person can read it."""
    if media_type(opened.headers.get("content-type")) not in ("text/plain", "application/json"):
        return ""
    text = body[:500].decode("utf-8", "replace")
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())[:200]


def merged(own: Mapping[str, str], ours: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The caller's headers and ours, which win: they are what the protocol is made of."""
    ours = [
        *ours,
        ("Accept-Encoding", "identity"),  # bytes are counted
    ]
    names = {name.lower() for name, _ in ours}
    return [*((name, own[name]) for name in own if name.lower() not in names), *ours]
