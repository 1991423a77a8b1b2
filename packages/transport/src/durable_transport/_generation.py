"""The driver: what a durable request does, as a generator of effects.

It starts or finds a generation (`answer`), hands out its body over as many connections as it
takes (`body`), and leaves in good order (`settle`, `leave`). It does no I/O, reads no clock of its
own and knows no HTTP library; the shells perform its effects.

How a body is read::

    reading ────── ends ─────▶ ask the control stream ── terminal, all data here ──▶ the end
       ▲  └─ breaks off ─┐               │ nothing yet
       │                 ▼               ▼
       └─ GET data?offset=have ◀── back-off, unless there was progress
"""

from functools import partial
from http import HTTPStatus

from durable_transport._answers import (
    is_compressed,
    is_success,
    is_temporary,
    live_headers,
    trouble_of,
    whole_headers,
)
from durable_transport._effects import (
    CLOSE,
    READ,
    Answer,
    Breakage,
    Broke,
    Emit,
    Opened,
    ReadAll,
    Step,
    Store,
)
from durable_transport._entries import Sessions
from durable_transport._errors import (
    GenerationError,
    GenerationNotFound,
    NotADurableProxy,
    OffsetOutOfRange,
    ProxyProtocolError,
    ProxyUnreachable,
    ended_as,
)
from durable_transport._link import Clocks, ControlRead, Failure, Link
from durable_transport._merge import Completed, Failed, Merge, MergeError, PastEndError
from durable_transport._progress import Progress
from durable_transport._request import DurableRequest, ProxyURL
from durable_transport._resume_points import ResumePoints
from durable_transport._timing import Timing
from durable_transport.protocol import (
    ErrorCode,
    InvalidOffsetError,
    ProxyHeader,
    StreamHeader,
    parse_offset,
)

REJECTION_LIMIT = 8 << 20
"""Longest body of an answer that is passed on whole."""
_SETTLE_ATTEMPTS = 3


class Generation:
    """One durable request from its start to its end.

    Attributes:
        live_start: The body is asked for as the answer to the start.
    """

    live_start = True

    def __init__(
        self,
        request: DurableRequest,
        *,
        proxy: ProxyURL,
        sessions: Sessions,
        timing: Timing,
        clocks: Clocks,
    ) -> None:
        self.progress = Progress(request.session_id, request.request_id)
        self._request = request
        self._sessions = sessions
        self._timing = timing
        self._link = Link(request, self.progress, proxy=proxy, timing=timing, clocks=clocks)
        self._now = clocks.monotonic
        self._merge = Merge()
        self._points = ResumePoints(None)
        self._reading = False
        self._opened_at = 0.0
        self._wire = 0  # position of the next byte of the open connection
        self._stored = 0
        self._stored_at = float("-inf")
        self._over = False
        self._denied = False

    # ------------------------------------------------------------------ the head

    def answer(self) -> Step[Answer]:
        """Start the generation, or find the active one; the live body is then there to read."""
        try:
            return (yield from self._resume() if self._request.resume else self._start())
        except MergeError as error:
            raise self._contradiction(error) from error

    def _start(self) -> Step[Answer]:
        progress = self.progress
        # Before the request: a generation that nobody can find again would be paid for nothing.
        yield Store(
            partial(
                self._sessions.begin,
                progress.session_id,
                progress.request_id,
                ttl=self._request.ttl,
            )
        )
        while True:
            opened = yield from self._link.post_start(live=self.live_start)
            if isinstance(opened, Broke):
                yield from self._retry_start(opened)
                continue
            answer = yield from self._judge_start(opened)
            if answer is not None:
                return answer

    def _retry_start(self, broke: Broke) -> Step[None]:
        if broke.how is Breakage.HOPELESS:
            yield from self._finish()
        failure = self._link.broken(broke)
        if broke.how is Breakage.SILENT:
            # The upstream may think for minutes before it answers. To ask again is how a dead
            # connection is told from that, and is no failure.
            self._link.check_patience()
            return
        try:
            yield from self._link.back_off(failure)
        except ProxyUnreachable:
            if not self._link.was_reached:
                yield from self._finish()  # nothing was ever sent
            raise

    def _judge_start(self, opened: Opened) -> Step[Answer | None]:
        """The answer to the start request; None: ask again."""
        source = opened.headers.get(ProxyHeader.SOURCE)
        if source == "upstream":
            return (yield from self._upstream_answer(opened))
        self._link.reached()
        if source == "proxy":
            return (yield from self._refusal(opened))
        yield CLOSE
        if is_temporary(opened.status):  # a load balancer whose proxy is not there yet
            failure = Failure(
                f"{opened.status} from a server in front of it",
                retry_after=self._link.retry_after(opened),
            )
            yield from self._link.back_off(failure)
            return None
        yield from self._finish()
        raise self._link.not_ours(opened)

    def _upstream_answer(self, opened: Opened) -> Step[Answer | None]:
        if is_success(opened.status):
            self._check_plain(opened)
            self._connected(0)
            content_type = opened.headers.get("content-type")
            return self._live(opened.status, list(opened.headers), content_type, position=0)
        body = yield ReadAll(REJECTION_LIMIT)
        if isinstance(body, Broke):
            yield from self._retry_start(body)
            return None
        yield from self._finish()
        return Answer(opened.status, whole_headers(opened.headers, self.progress), body)

    def _refusal(self, opened: Opened) -> Step[Answer | None]:
        body = yield ReadAll(REJECTION_LIMIT)
        if isinstance(body, Broke):
            yield from self._retry_start(body)
            return None
        trouble = trouble_of(opened.headers, body)
        if opened.status == HTTPStatus.UNAUTHORIZED and not self._denied:
            self._denied = True  # headers= is evaluated again: give a fresh token one chance
            return None
        if opened.status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
            try:
                yield from self._link.back_off(
                    Failure(trouble.message, retry_after=self._link.retry_after(opened))
                )
            except ProxyUnreachable:
                # The proxy's own words say more than ours. The pointer stays: an earlier attempt
                # may have got through.
                return Answer(opened.status, whole_headers(opened.headers, self.progress), body)
            return None
        yield from self._finish()
        if trouble.code in (
            ErrorCode.UPSTREAM_UNREACHABLE,
            ErrorCode.UPSTREAM_TIMEOUT,
            ErrorCode.GENERATION_LOST,
        ):
            raise self._link.error(ended_as(trouble.code), trouble.message, code=trouble.code)
        return Answer(opened.status, whole_headers(opened.headers, self.progress), body)

    def _resume(self) -> Step[Answer]:
        progress = self.progress
        pointer = yield Store(
            partial(self._sessions.active, progress.session_id, ttl=self._request.ttl)
        )
        if pointer is None:
            return self._nothing_active()
        position = 0 if self._request.from_start else pointer.offset
        progress.request_id = pointer.request_id
        progress.offset = progress.resume_offset = position
        self._stored = pointer.offset
        self._merge = Merge(position)
        self._link.reached()
        try:
            yield from self._await_head()
        except GenerationNotFound:
            if pointer.offset == 0:
                # The start request never got through, or is on its way at this moment: the
                # pointer is left to whoever sent it.
                return self._nothing_active()
            yield from self._finish()
            raise
        return (yield from self._found())

    def _await_head(self) -> Step[None]:
        """Read control messages until they tell how the upstream answered."""
        wait = False
        while self._merge.start is None and self._merge.outcome is None:
            asked_at = self._now()
            got = yield from self._ask_control(wait=wait)
            if isinstance(got, Failure):
                yield from self._link.back_off(got)
            elif not got.messages and wait and self._now() - asked_at < self._timing.healthy:
                yield from self._link.back_off(Failure("the proxy answers at once, with nothing"))
            elif wait:
                self._link.check_patience()
            wait = True

    def _found(self) -> Step[Answer]:
        merge, start = self._merge, self._merge.start
        outcome = merge.outcome
        if isinstance(outcome, Failed) and start is None:
            yield from self._finish()
            rejected = outcome.payload.rejected
            if rejected is not None:
                headers = whole_headers(rejected.headers, self.progress)
                return Answer(rejected.status, headers, rejected.body)
            raise self._ended(outcome)
        if isinstance(merge.verdict, Completed) and not self._request.from_start:
            # Everything was consumed before: nothing is active, only the pointer was still there.
            yield from self._finish()
            return self._nothing_active()
        status, headers, content_type = 200, list[tuple[str, str]](), None
        if start is not None:
            status, headers, content_type = start.status, start.headers, start.content_type
        return self._live(status, headers, content_type, position=merge.position)

    def _live(
        self, status: int, upstream: list[tuple[str, str]], content_type: str | None, position: int
    ) -> Answer:
        self._points = ResumePoints(content_type, position)
        headers = live_headers(
            upstream,
            content_type=content_type,
            progress=self.progress,
        )
        return Answer(status, headers, None)

    def _nothing_active(self) -> Answer:
        self._over = True
        session = (ProxyHeader.SESSION_ID.value, self.progress.session_id)
        return Answer(HTTPStatus.NO_CONTENT.value, [session, ("Cache-Control", "no-cache")], b"")

    # ------------------------------------------------------------------ the body

    def body(self) -> Step[None]:
        """Hand out the body; return at its end, raise what it ended with.

        Raises:
            GenerationError: the generation failed, or cannot be read any further.
        """
        self._link.waiting_since = self._now()
        try:
            while self._merge.verdict is None:
                failure = yield from (self._relay() if self._reading else self._reconnect())
                if failure is not None:
                    yield from self._link.back_off(failure)
        except MergeError as error:
            raise self._contradiction(error) from error
        except GenerationNotFound:
            yield from self._finish()
            raise
        yield CLOSE
        yield from self._finish()
        verdict = self._merge.verdict
        if isinstance(verdict, Failed):
            raise self._ended(verdict)

    def _relay(self) -> Step[Failure | None]:
        """Hand out what the open connection brings, until it ends."""
        progressed = False
        while True:
            got = yield READ
            if got is None or isinstance(got, Broke):
                break
            fresh = self._merge.data(self._wire, got)
            self._wire += len(got)
            if not fresh:
                continue
            progressed = True
            self._link.moved()
            self.progress.offset = self._merge.position
            safe = self._points.feed(fresh)
            yield Emit(fresh)
            self._link.waiting_since = self._now()
            yield from self._consumed(safe)
            if self._merge.verdict is not None:
                return None
        self._reading = False
        yield CLOSE
        if isinstance(got, Broke):
            return self._link.broken(got)
        self._link.check_patience()
        return (yield from self._after_end(progressed=progressed))

    def _after_end(self, *, progressed: bool) -> Step[Failure | None]:
        """The connection ended cleanly, which says nothing yet: ask the control stream."""
        lived = self._now() - self._opened_at
        if self._merge.outcome is None:
            got = yield from self._ask_control()
            if isinstance(got, Failure):
                return got
        if not progressed and self._merge.verdict is None and lived < self._timing.healthy:
            return Failure("the proxy ends its answers at once, without data")
        self._link.moved()
        return None

    def _reconnect(self) -> Step[Failure | None]:
        opened = yield from self._link.get_data(self._merge.position)
        if isinstance(opened, Broke):
            return self._link.broken(opened)
        if not is_success(opened.status):
            return (yield from self._link.trouble(opened))
        self._check_plain(opened)
        try:
            self._connected(parse_offset(opened.headers.get(StreamHeader.NEXT_OFFSET) or ""))
        except InvalidOffsetError:
            raise self._link.not_ours(opened) from None
        if (opened.headers.get(StreamHeader.CLOSED) or "").strip().lower() != "true":
            return None
        self._reading = False
        yield CLOSE
        failure = yield from self._after_end(progressed=False)
        end = self._merge.end
        if end is not None and end > self._merge.position:
            raise MergeError(f"the data ends at {self._merge.position}, its terminal says {end}")
        return failure

    def _consumed(self, safe: int) -> Step[None]:
        """The consumer has asked for more: it is done with what it had."""
        self.progress.resume_offset = safe
        if safe != self._stored and self._now() - self._stored_at >= self._timing.persist_every:
            yield from self._persist()

    # ------------------------------------------------------------------ leaving

    def settle(self) -> Step[None]:
        """The consumer closes the body by itself: see whether it had come to its end.

        SDKs stop reading at their format's own end mark, just before the end of the body.
        """
        yield CLOSE
        self._reading = False
        if self._over or self._merge.position == 0 or self._points.safe != self._merge.position:
            return
        deadline = self._now() + self._timing.settle
        try:
            for _ in range(_SETTLE_ATTEMPTS):
                left = deadline - self._now()
                if self._merge.outcome is not None or left <= 0:
                    break
                if isinstance((yield from self._ask_control(wait=True, within=left)), Failure):
                    break
        except (MergeError, GenerationError):
            return  # nobody is there any more to hear of it
        if self._merge.verdict is not None:
            yield from self._finish()

    def leave(self) -> Step[None]:
        """Close everything and store how far the consumer came."""
        yield CLOSE
        self._reading = False
        if not self._over and self.progress.resume_offset != self._stored:
            yield from self._persist()

    # ------------------------------------------------------------------ helpers

    def _ask_control(
        self, *, wait: bool = False, within: float | None = None
    ) -> Step[ControlRead | Failure]:
        got = yield from self._link.get_control(wait=wait, within=within)
        if isinstance(got, ControlRead):
            for message in got.messages:
                self._merge.control(message)
        return got

    def _connected(self, position: int) -> None:
        self._link.reached()
        self._reading = True
        self._wire = position
        self._opened_at = self._now()

    def _check_plain(self, opened: Opened) -> None:
        if is_compressed(opened.headers):
            raise self._link.error(
                NotADurableProxy,
                "the body arrived compressed: switch compression off for the proxy's addresses "
                "in whatever is in front of it",
            )

    def _ended(self, end: Failed) -> GenerationError:
        kind = ended_as(end.code)
        return self._link.error(kind, end.message, code=end.code, terminal=end.payload)

    def _contradiction(self, error: MergeError) -> GenerationError:
        kind = OffsetOutOfRange if isinstance(error, PastEndError) else ProxyProtocolError
        return self._link.error(kind, str(error))

    def _persist(self) -> Step[None]:
        progress, offset = self.progress, self.progress.resume_offset
        self._stored_at = self._now()
        advance = self._sessions.advance
        yield Store(partial(advance, progress.session_id, progress.request_id, offset))
        self._stored = offset  # only now: a cancelled attempt is made again by `leave`

    def _finish(self) -> Step[None]:
        """The generation has ended, or was never there: nothing is left to resume."""
        self._over = True
        self.progress.completed = isinstance(self._merge.verdict, Completed)
        progress = self.progress
        yield Store(partial(self._sessions.finish, progress.session_id, progress.request_id))
