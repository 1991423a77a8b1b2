"""Understanding the proxy's answers, and writing the head of ours."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from durable_transport._fields import Fields
from durable_transport._progress import Progress
from durable_transport._request import wire_id
from durable_transport.protocol import (
    HOP_BY_HOP_HEADERS,
    ControlMessage,
    ProxyHeader,
)

DEFAULT_CONTENT_TYPE = "application/octet-stream"

# What is about the connection or the framing, and cookies: the upstream's never get here, so they
# are those of a server in front of the proxy, and the client would keep them for the upstream.
_NOT_PASSED_ON = HOP_BY_HOP_HEADERS | {"content-length", "content-encoding", "set-cookie"}
_SET_BY_US = {"content-type", "cache-control", "x-session-id", "x-request-id"}
# Headers of the proxy's own surface, meant for browsers and for us.
_SURFACE_PREFIXES = ("x-proxy-", "stream-", "access-control-")

_TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Trouble:
    """What a refusal says; ``code`` is None when it is not in our format."""

    code: str | None
    message: str


def is_success(status: int) -> bool:
    """2xx."""
    return 200 <= status < 300  # noqa: PLR2004  (the definition itself)


def is_temporary(status: int) -> bool:
    """The same request may succeed later."""
    return status in _TEMPORARY


def is_compressed(headers: Fields) -> bool:
    """Somebody on the way compressed the body, so its bytes are not those of the log."""
    return (headers.get("content-encoding") or "identity").strip().lower() != "identity"


def trouble_of(headers: Fields, body: bytes) -> Trouble:
    """Read a refusal: ``{"error": {"code", "message"}}``, or anything."""
    code = headers.get(ProxyHeader.ERROR)
    try:
        error = json.loads(body)["error"]
        return Trouble(code or str(error["code"]), str(error.get("message", "")))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Trouble(code, "")


def parse_control(body: bytes) -> list[ControlMessage]:
    """Read a run of control messages.

    Raises:
        ValueError: not a JSON array of messages (pydantic's ValidationError is one).
    """
    items = json.loads(body)
    if not isinstance(items, list):
        raise ValueError("not an array")  # noqa: TRY004  (the input is wrong, not the program)
    return [ControlMessage.model_validate(item) for item in items]


def live_headers(
    upstream: Iterable[tuple[str, str]],
    *,
    content_type: str | None,
    progress: Progress,
) -> list[tuple[str, str]]:
    """The head of a live response: the upstream's forwardable headers and ours.

    Vendors send a request id of their own under the same name as ours; it stays readable as
    ``X-Upstream-Request-ID``.
    """
    upstream = list(upstream)
    theirs = _upstream_request_ids(upstream, progress)
    return [
        *((name, value) for name, value in upstream if _is_passed_on(name, _SET_BY_US)),
        *(("X-Upstream-Request-ID", value) for value in theirs),
        ("Content-Type", content_type or DEFAULT_CONTENT_TYPE),
        ("Cache-Control", "no-cache"),
        (ProxyHeader.SESSION_ID.value, progress.session_id),
        (ProxyHeader.REQUEST_ID.value, progress.request_id),
    ]


def whole_headers(headers: Iterable[tuple[str, str]], progress: Progress) -> list[tuple[str, str]]:
    """The headers of an answer that is passed on whole: a rejection, or a refusal.

    The vendor's own request id keeps its place: it is what its support asks for.
    """
    headers = list(headers)
    theirs = _upstream_request_ids(headers, progress) or [progress.request_id]
    ids = {ProxyHeader.SESSION_ID.lower(), ProxyHeader.REQUEST_ID.lower()}
    return [
        *((name, value) for name, value in headers if _is_passed_on(name, ids)),
        (ProxyHeader.SESSION_ID.value, progress.session_id),
        *((ProxyHeader.REQUEST_ID.value, value) for value in theirs),
    ]


def _upstream_request_ids(headers: list[tuple[str, str]], progress: Progress) -> list[str]:
    ours = str(wire_id(progress.request_id))
    name = ProxyHeader.REQUEST_ID.lower()
    return [value for key, value in headers if key.lower() == name and value != ours]


def _is_passed_on(name: str, set_by_us: Iterable[str]) -> bool:
    lower = name.lower()
    return (
        lower not in _NOT_PASSED_ON
        and lower not in set_by_us
        and not lower.startswith(_SURFACE_PREFIXES)
    )
