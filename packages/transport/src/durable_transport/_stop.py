"""Stopping a generation through the proxy: a generator of effects, like `_generation`.

A stop names one generation. Where the caller names none it is the one that the storage knows, or,
for who has another storage than the program that began it, the newest that the proxy says runs.
Both questions to the proxy are idempotent, so they are sent again after a drop.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar

from durable_transport._answers import is_temporary, trouble_of
from durable_transport._backoff import Backoff, parse_retry_after
from durable_transport._effects import (
    ASK_HEADERS,
    Breakage,
    Broke,
    Open,
    Opened,
    ReadAll,
    Sleep,
    Step,
    Store,
)
from durable_transport._entries import Sessions
from durable_transport._errors import (
    GenerationError,
    GenerationNotFound,
    NotADurableProxy,
    ProxyRefused,
    ProxyUnreachable,
)
from durable_transport._headers import header_text
from durable_transport._link import Clocks, Failure
from durable_transport._request import ProxyURL, wire_id
from durable_transport._timing import Timing
from durable_transport.protocol import ErrorCode, TerminalPayload

ANSWER_LIMIT = 256 << 10

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StopWish:
    """Which generation to stop, and what its readers are told."""

    session_id: str
    request_id: str | None
    reason: str | None
    actor: str | None
    incarnation: str | None


@dataclass(frozen=True, slots=True)
class Stopped:
    """What became of a stop.

    Attributes:
        by_this: This stop ended the generation. False: it was over, somebody else's stop was
            first, or nothing was active.
        state: What the generation has come to: ``aborted``, ``completed``, ...; still ``starting``
            or ``streaming`` when its node had not confirmed the stop in time; None when nothing
            was active.
        offset: Bytes that can be read.
        request_id: Which generation it was, as the caller, the storage or the proxy named it.
        terminal: Its last record, once it has ended.
    """

    by_this: bool
    state: str | None = None
    offset: int = 0
    request_id: str | None = None
    terminal: TerminalPayload | None = None


class Stop:
    """One stop, from its first attempt to its answer."""

    def __init__(
        self,
        wish: StopWish,
        *,
        proxy: ProxyURL,
        sessions: Sessions,
        timing: Timing,
        clocks: Clocks,
    ) -> None:
        self._wish = wish
        self._session_id = header_text(wish.session_id)
        self._request_id = None if wish.request_id is None else header_text(wish.request_id)
        self._proxy = proxy
        self._sessions = sessions
        self._timing = timing
        self._now = clocks.monotonic
        self._wall = clocks.wall
        self._backoff = Backoff(
            first=timing.backoff_first,
            limit=timing.backoff_limit,
            give_up_after=timing.give_up_after,
            random=clocks.random,
        )
        self._denied = False

    def run(self) -> Step[Stopped]:
        """Stop the generation.

        Raises:
            GenerationError: it could not be told to, see the classes.
        """
        session = self._session_id
        if self._request_id is None:
            self._request_id = yield from self._find_active()
            if self._request_id is None:
                return Stopped(by_this=False)
        url = self._proxy.stop(wire_id(session), wire_id(self._request_id))
        stopped = yield from self._ask("POST", url, self._wanted(), self._read_stopped)
        if stopped.terminal is not None:
            # Whoever resumes the session from now on finds nothing that runs.
            yield Store(partial(self._sessions.finish, session, self._request_id))
        return stopped

    def _find_active(self) -> Step[str | None]:
        active = yield Store(partial(self._sessions.active, self._session_id))
        if active is not None:
            return str(active.request_id)
        url = self._proxy.active(wire_id(self._session_id))
        return (yield from self._ask("GET", url, b"", _read_newest))

    def _wanted(self) -> bytes:
        told = {
            "reason": self._wish.reason,
            "actor": self._wish.actor,
            "incarnation": self._wish.incarnation,
        }
        return json.dumps({key: value for key, value in told.items() if value is not None}).encode()

    def _ask(self, method: str, url: str, body: bytes, read: Callable[[bytes], T]) -> Step[T]:
        """Ask until there is an answer; ``read`` raises what bad JSON raises."""
        while True:
            outcome = yield from self._attempt(method, url, body)
            if isinstance(outcome, Failure):
                yield from self._back_off(outcome)
                continue
            opened, answer = outcome
            try:
                return read(answer)
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                raise self._not_ours(opened) from error

    def _attempt(self, method: str, url: str, body: bytes) -> Step[tuple[Opened, bytes] | Failure]:
        for_proxy = yield ASK_HEADERS
        headers = [
            *for_proxy.items(),
            ("Content-Type", "application/json"),
            ("Accept-Encoding", "identity"),
        ]
        timeout = dict.fromkeys(("connect", "read", "write", "pool"), self._timing.silence)
        opened: Opened | Broke = yield Open(method, url, headers, body, timeout)
        if isinstance(opened, Broke):
            return _broken(opened)
        answer: bytes | Broke = yield ReadAll(ANSWER_LIMIT)
        if isinstance(answer, Broke):
            return _broken(answer)
        if opened.status in (HTTPStatus.OK, HTTPStatus.ACCEPTED):
            return opened, answer
        return self._judge(opened, answer)

    def _read_stopped(self, answer: bytes) -> Stopped:
        told: dict[str, Any] = json.loads(answer)
        end = told.get("end")
        return Stopped(
            by_this=bool(told["stopped"]),
            state=str(told["state"]),
            offset=int(told["bytes"]),
            request_id=self._request_id,
            terminal=None if end is None else TerminalPayload.model_validate(end),
        )

    def _judge(self, opened: Opened, body: bytes) -> Failure:
        """An answer that is none of the good ones.

        Raises:
            GenerationError: repeating the request cannot help.
        """
        trouble = trouble_of(opened.headers, body)
        detail = f"{opened.status} {trouble.message}".strip()
        if trouble.code == ErrorCode.NOT_FOUND:
            raise self._error(GenerationNotFound, detail)
        if is_temporary(opened.status):
            retry_after = opened.headers.get("retry-after")
            return Failure(detail, retry_after=parse_retry_after(retry_after, self._wall()))
        if opened.status == HTTPStatus.UNAUTHORIZED and not self._denied:
            self._denied = True  # headers= is evaluated again: give a fresh token one chance
            return Failure(detail)
        if trouble.code is None:
            raise self._not_ours(opened)
        raise self._error(ProxyRefused, detail, code=trouble.code)

    def _back_off(self, failure: Failure) -> Step[None]:
        now = self._now()
        wait = self._backoff.delay(now, failure.retry_after)
        if wait is None:
            tried = self._backoff.failing_for(now)
            raise self._error(
                ProxyUnreachable, f"{failure.reason} (tried for {tried:.1f} s)"
            ) from failure.cause
        yield Sleep(wait)

    def _error(
        self, kind: type[GenerationError], detail: str, *, code: str | None = None
    ) -> GenerationError:
        return kind(
            detail,
            code=code,
            session_id=self._session_id,
            request_id=self._request_id or "",
        )

    def _not_ours(self, opened: Opened) -> GenerationError:
        content_type = opened.headers.get("content-type") or "no content type"
        return self._error(
            NotADurableProxy, f"{self._proxy.text} sent {opened.status}, {content_type}"
        )


def _broken(broke: Broke) -> Failure:
    if broke.how is Breakage.HOPELESS:
        raise broke.cause
    return Failure.of(broke)


def _read_newest(answer: bytes) -> str | None:
    running = json.loads(answer)["generations"]  # the oldest first
    return str(running[-1]["requestId"]) if running else None
