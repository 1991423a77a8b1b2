"""``POST /api/{session}/{request}``: from headers to a `StartRequest`, or a refusal. Pure.

DESIGN section 6. The head is judged before the body is read, so that a request which cannot go
anywhere is refused at once.
"""

import re
from dataclasses import dataclass, replace
from uuid import UUID

from durable_proxy._allowlist import Allowlist
from durable_proxy._errors import Refusal, RefusedError
from durable_proxy._headers import RawHeaders, upstream_headers
from durable_proxy._urls import Target, UrlError, parse_url
from durable_transport.protocol import ErrorCode, GenerationPaths, ProxyHeader, generation_paths

METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
DEFAULT_METHOD = "POST"
LIVE_RAW = "raw"
CANCEL_AFTER_MINIMUM = 1.0
"""A client that comes back needs a moment."""
CANCEL_AFTER_MAXIMUM = 86_400.0

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of anything the proxy takes.

    Attributes:
        request_body_bytes: A larger request body is refused.
        request_header_bytes: All names and values of the request's headers together.
        error_body_bytes: An upstream error answer is cut to this length.
        response_bytes: A longer answer ends there, as ``too_large``.
        buffered_bytes: Bytes of one generation that may wait for the log: beyond, the upstream
            is not read from until the log has caught up.
        generations_per_principal: How many generations of one principal run on one node; 0 is no
            limit.
        readers_per_principal: How many answers one principal reads from one node; 0 is no limit.
    """

    request_body_bytes: int = 32 * 1024 * 1024
    request_header_bytes: int = 64 * 1024
    error_body_bytes: int = 1024 * 1024
    response_bytes: int = 1024 * 1024 * 1024
    buffered_bytes: int = 512 * 1024
    generations_per_principal: int = 1000
    readers_per_principal: int = 10_000


@dataclass(frozen=True, slots=True)
class StartRequest:
    """One request to be sent upstream, all checks passed.

    Attributes:
        headers: Those that go upstream.
        live: The answer is to be the live body itself.
        cancel_after: Seconds without a reader after which the generation is stopped; None: never.
        any_address: The host may lead to an address that is not public: the allowlist names it.
        paths: Where the generation's streams are.
        principal: Whose request it is; limits are counted by it.
    """

    session_id: UUID
    request_id: UUID
    method: str
    target: Target
    headers: tuple[tuple[bytes, bytes], ...]
    live: bool
    cancel_after: float | None
    any_address: bool
    paths: GenerationPaths
    principal: str = ""
    body: bytes = b""

    def with_body(self, body: bytes) -> "StartRequest":
        """The request with its body, which comes after the head."""
        return replace(self, body=body)

    def by(self, principal: str) -> "StartRequest":
        """The request as somebody's."""
        return replace(self, principal=principal)


def parse_head(
    session: str, request: str, headers: RawHeaders, *, allowlist: Allowlist, limits: Limits
) -> StartRequest:
    """Judge everything of a start request but its body.

    Raises:
        RefusedError: it cannot go anywhere.
    """
    _check_headers(headers, limits)
    session_id, request_id, method = parse_id(session), parse_id(request), _method(headers)
    target = _target(headers, allowlist)
    return StartRequest(
        session_id=session_id,
        request_id=request_id,
        method=method,
        target=target,
        headers=tuple(upstream_headers(headers)),
        live=_live(headers),
        cancel_after=_cancel_after(headers),
        any_address=allowlist.names_host_of(target),
        paths=generation_paths(session_id, request_id),
    )


def check_body_length(length: int, limits: Limits) -> None:
    """Judge the length of a body, declared or received so far.

    Raises:
        RefusedError: it is too long.
    """
    if length > limits.request_body_bytes:
        raise _refused(
            ErrorCode.BODY_TOO_LARGE,
            f"the request body is larger than {limits.request_body_bytes} bytes, the proxy's limit",
        )


def declared_length(headers: RawHeaders) -> int:
    """``Content-Length``, or 0 when there is none that is a number."""
    text = dict(headers).get(b"content-length", b"").decode("latin-1")
    # As many digits as no body has; int() itself refuses thousands of them.
    return int(text[:20]) if text.isascii() and text.isdecimal() else 0


def parse_id(text: str) -> UUID:
    """A session or request id.

    Raises:
        RefusedError: it is no UUID.
    """
    if (found := uuid_of(text)) is not None:
        return found
    raise _refused(
        ErrorCode.INVALID_ID, "session and request ids are UUIDs: POST /api/{session}/{request}"
    )


def uuid_of(text: str) -> UUID | None:
    """A UUID in its usual form."""
    # UUID() alone also takes braces, "urn:uuid:" and hyphens anywhere.
    return UUID(text) if _UUID.fullmatch(text) else None


def _check_headers(headers: RawHeaders, limits: Limits) -> None:
    if sum(len(name) + len(value) for name, value in headers) > limits.request_header_bytes:
        raise _refused(
            ErrorCode.HEADERS_TOO_LARGE,
            f"the request headers are larger than {limits.request_header_bytes} bytes in all",
        )
    if not all(_NAME.fullmatch(name) and _VALUE.fullmatch(value) for name, value in headers):
        raise _refused(ErrorCode.BAD_REQUEST, "a request header has control characters")


def _single(headers: RawHeaders, header: str) -> str | None:
    """The value of a header that may be there once."""
    name = header.lower().encode()
    values = [value for candidate, value in headers if candidate.lower() == name]
    if len(values) > 1:
        raise _refused(ErrorCode.BAD_REQUEST, f"{header} is there {len(values)} times")
    return values[0].decode("latin-1").strip() if values else None


def _method(headers: RawHeaders) -> str:
    method = _single(headers, ProxyHeader.METHOD)
    if method is None:
        return DEFAULT_METHOD
    if method in METHODS:
        return method
    raise _refused(
        ErrorCode.INVALID_PROXY_METHOD, f"{ProxyHeader.METHOD} is one of {', '.join(METHODS)}"
    )


def _target(headers: RawHeaders, allowlist: Allowlist) -> Target:
    text = _single(headers, ProxyHeader.URL)
    if not text:
        raise _refused(
            ErrorCode.INVALID_PROXY_URL,
            f"the {ProxyHeader.URL} header is missing: it is the absolute URL to call",
        )
    try:
        target = parse_url(text)
    except UrlError as error:
        raise _refused(ErrorCode.INVALID_PROXY_URL, f"{ProxyHeader.URL}: {error}") from None
    refusal = allowlist.refuse(target)
    if refusal is not None:
        raise RefusedError(refusal)
    return target


def _live(headers: RawHeaders) -> bool:
    live = _single(headers, ProxyHeader.LIVE)
    if live is None:
        return False
    if live.lower() == LIVE_RAW:
        return True
    raise _refused(ErrorCode.BAD_REQUEST, f"{ProxyHeader.LIVE} can only be {LIVE_RAW}")


def _cancel_after(headers: RawHeaders) -> float | None:
    text = _single(headers, ProxyHeader.CANCEL_AFTER)
    if text is None:
        return None
    if _SECONDS.fullmatch(text) and CANCEL_AFTER_MINIMUM <= float(text) <= CANCEL_AFTER_MAXIMUM:
        return float(text)
    raise _refused(
        ErrorCode.BAD_REQUEST,
        f"{ProxyHeader.CANCEL_AFTER} is a number of seconds, from {CANCEL_AFTER_MINIMUM:g}"
        f" to {CANCEL_AFTER_MAXIMUM:g}",
    )


def _refused(code: ErrorCode, message: str) -> RefusedError:
    return RefusedError(Refusal(code, message))
