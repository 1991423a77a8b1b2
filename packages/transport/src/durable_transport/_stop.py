"""Stopping a generation through the proxy: a generator of effects, like `_generation`.

A stop is idempotent, so it is sent again after a drop; whatever runs, it names one generation.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any

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
        request_id: Which generation it was, as the caller (or the storage) named it.
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
            active = yield Store(partial(self._sessions.active, session))
            if active is None:
                return Stopped(by_this=False)
            self._request_id = active.request_id
        while True:
            outcome = yield from self._attempt()
            if isinstance(outcome, Failure):
                yield from self._back_off(outcome)
                continue
            if outcome.terminal is not None:
                # Whoever resumes the session from now on finds nothing that runs.
                yield Store(partial(self._sessions.finish, session, self._request_id))
            return outcome

    def _attempt(self) -> Step[Stopped | Failure]:
        for_proxy = yield ASK_HEADERS
        opened: Opened | Broke = yield self._request(for_proxy)
        if isinstance(opened, Broke):
            return _broken(opened)
        body = yield ReadAll(ANSWER_LIMIT)
        if isinstance(body, Broke):
            return _broken(body)
        if opened.status in (HTTPStatus.OK, HTTPStatus.ACCEPTED):
            return self._read(opened, body)
        return self._judge(opened, body)

    def _request(self, for_proxy: Mapping[str, str]) -> Open:
        session, request = wire_id(self._session_id), wire_id(self._request_id or "")
        told = {
            "reason": self._wish.reason,
            "actor": self._wish.actor,
            "incarnation": self._wish.incarnation,
        }
        content = json.dumps({name: value for name, value in told.items() if value is not None})
        headers = [
            *for_proxy.items(),
            ("Content-Type", "application/json"),
            ("Accept-Encoding", "identity"),
        ]
        timeout = dict.fromkeys(("connect", "read", "write", "pool"), self._timing.silence)
        url = self._proxy.stop(session, request)
        return Open("POST", url, headers, content.encode(), timeout)

    def _read(self, opened: Opened, body: bytes) -> Stopped:
        try:
            told: dict[str, Any] = json.loads(body)
            end = told.get("end")
            return Stopped(
                by_this=bool(told["stopped"]),
                state=str(told["state"]),
                offset=int(told["bytes"]),
                request_id=self._request_id,
                terminal=None if end is None else TerminalPayload.model_validate(end),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._not_ours(opened) from error

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
