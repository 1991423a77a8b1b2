"""The guard in front of every surface: asks who sends a request, and whether they may.

What is decided is in `_guard`; here are the clock, the application's own dependency, and the
answers. Every route but the health check asks for a right: a handler by `Guard.admit`, a FastAPI
route by ``Depends(guard.may(Right.STOP))``, an ASGI application by being put into
`GuardedStreams`. A refusal is raised as `RefusedError`, which the application renders.
"""

import time
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import UUID

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from durable_proxy._asked_stream import asked_stream
from durable_proxy._authorize import Ask
from durable_proxy._errors import Refusal, RefusedError
from durable_proxy._figures import Figures, resumes
from durable_proxy._guard import (
    ANYBODY,
    Access,
    Credentials,
    Principal,
    Right,
    Unknown,
    by_address,
    credentials_of,
    identify,
    is_for_this_machine,
    permit,
)
from durable_proxy._headers import RawHeaders
from durable_proxy._quota import Quota
from durable_proxy._refusing import refuse
from durable_proxy._signing import Signer
from durable_streams_server import was_passed_on
from durable_transport.protocol import ErrorCode, generation_paths

TOO_MANY_READERS = Refusal(
    ErrorCode.TOO_MANY_READERS, "you have as many readers on this node as you may: try again soon"
)
NOT_LOCAL = Refusal(
    ErrorCode.FORBIDDEN,
    "without a secret the proxy answers what is addressed to localhost: set PROXY_SECRET, or start"
    " it with --insecure if whoever gets here may do everything",
)
PASSED_ON = Refusal(
    ErrorCode.FORBIDDEN,
    "a gateway has passed this on, and without a secret whoever it lets through may do everything:"
    " set PROXY_SECRET, or start the proxy with --insecure if they may",
)
NO_ADDRESSES = Refusal(
    ErrorCode.SIGNATURE_INVALID, "this proxy has no secret to sign addresses with: give it one"
)


class Guard:
    """Lets requests in.

    Args:
        ask: The application's own word on whom it knows.
        url_seconds: How long a signed address is good.
        readers: How many reads each principal has under way.
    """

    def __init__(
        self,
        access: Access,
        *,
        ask: Ask | None = None,
        url_seconds: float,
        readers: Quota,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.access = access
        self.readers = readers
        self._ask = ask
        self._signer = access.signer
        self._address_signer = access.address_signer
        self._url_seconds = url_seconds
        self.local_only = False
        """Where anybody may do everything: whoever addresses this machine may."""
        self._clock = clock

    async def admit(
        self,
        request: Request,
        right: Right,
        subject: str | None = None,
        *,
        shown: Credentials | None = None,
    ) -> Principal:
        """Tell who sends a request that takes a right.

        Args:
            request: Its head; the body is not read.
            right: What it takes.
            subject: The one generation that it is about (`GenerationPaths.subject`): a signed
                address of that generation lets in.
            shown: What it brought along, where that is not read off as everywhere else.

        Raises:
            RefusedError: they may not.
        """
        if self.access.open:
            if self.local_only:
                _check_local(request.headers.raw)
            return ANYBODY
        if shown is None:
            headers, query = request.headers.raw, request.scope.get("query_string", b"")
            shown = credentials_of(headers, query, start=right is Right.START)
        found = identify(self.access, self._signer, shown, subject, self._clock())
        if isinstance(found, Unknown):
            found = await self._ask_for(request, found)
        if (refusal := permit(found, right)) is not None:
            raise RefusedError(refusal)
        return found

    async def _ask_for(self, request: Request, unknown: Unknown) -> Principal:
        told = unknown.refusal if self._ask is None else await self._ask(request)
        if isinstance(told, Refusal):
            raise RefusedError(told)
        return told

    def may(self, right: Right) -> Callable[[Request], Coroutine[Any, Any, Principal]]:
        """Make a dependency for a route that takes a right.

        The path parameters ``session`` and ``request_id``, if the route has both, say which
        generation it is about.
        """

        async def admitted(request: Request) -> Principal:
            return await self.admit(request, right, _subject_in(request.path_params))

        return admitted

    def signed_query(self, subject: str) -> str:
        """Give the query of a new address, with its question mark; nothing without a secret."""
        return self._query(self._signer, subject)

    def address_query(self, subject: str) -> str:
        """Give the query of an address where a protocol wants one, even without a secret."""
        return self._query(self._address_signer, subject)

    def _query(self, signer: Signer | None, subject: str) -> str:
        return "" if signer is None else f"?{signer.query(subject, self.expiry())}"

    def check_address(self, signature: tuple[str, str], subject: str) -> Principal:
        """Admit whoever has a signed address of ``subject``, and nobody else.

        Raises:
            RefusedError: this is none.
        """
        if self._address_signer is None:
            raise RefusedError(NO_ADDRESSES)
        found = by_address(self._address_signer, signature, subject, self._clock())
        if isinstance(found, Unknown):
            raise RefusedError(found.refusal)
        return found

    def expiry(self) -> int:
        """When an address that is signed now expires: epoch seconds."""
        return int(self._clock() + self._url_seconds)

    def read_slot(self, principal: Principal) -> Callable[[], None]:
        """Hold a place for one reader; what is returned gives it back.

        Raises:
            RefusedError: they have too many.
        """
        give_back = self.readers.take(principal.name)
        if give_back is None:
            raise RefusedError(TOO_MANY_READERS)
        return give_back


def _check_local(headers: RawHeaders) -> None:
    if was_passed_on(name for name, _ in headers):
        raise RefusedError(PASSED_ON)
    if not is_for_this_machine(headers):
        raise RefusedError(NOT_LOCAL)


def _subject_in(path_params: dict[str, Any]) -> str | None:
    try:
        session, request = UUID(path_params["session"]), UUID(path_params["request_id"])
    except (KeyError, ValueError):
        return None
    return generation_paths(session, request).subject


class GuardedStreams:
    """The streams' application, for those who may read.

    Args:
        streams: Takes what is under the prefix where it is mounted.
        figures: Where readers that came back are counted.
    """

    def __init__(self, streams: ASGIApp, guard: Guard, figures: Figures) -> None:
        self._streams = streams
        self._guard = guard
        self._figures = figures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] == "OPTIONS":
            return await self._streams(scope, receive, send)
        request, asked = Request(scope, receive), asked_stream(scope)
        subject = None if asked is None else asked[0].subject
        try:
            principal = await self._guard.admit(request, Right.READ, subject)
            give_back = self._guard.read_slot(principal)
        except RefusedError as error:
            return await refuse(error.refusal)(scope, receive, send)
        self._figures.resumed += resumes(scope["query_string"])
        try:
            return await self._streams(scope, receive, send)
        finally:
            give_back()
