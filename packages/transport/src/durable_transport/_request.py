"""Reading what a request asks of the transport, and writing what goes to the proxy."""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit, urlunsplit
from uuid import UUID

from durable_transport._errors import HeaderCollision, InvalidProxyURL
from durable_transport._fields import Fields, split_names
from durable_transport._headers import header_text
from durable_transport._http_url import split_http_url
from durable_transport._shape import ShapeCursor
from durable_transport.protocol import (
    HOP_BY_HOP_HEADERS,
    ProxyHeader,
    format_offset,
    generation_paths,
    to_uuid,
)

_RETRY_COUNT = "x-stainless-retry-count"
"""How the SDKs of OpenAI, Anthropic and many others say which attempt of a call a request is."""
_CANONICAL_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

_FOR_THE_TRANSPORT = frozenset(
    name.lower()
    for name in (
        ProxyHeader.SESSION_ID,
        ProxyHeader.REQUEST_ID,
        ProxyHeader.TURN_ID,
        ProxyHeader.RESUME_ACTIVE_GENERATION,
        ProxyHeader.REPLAY_FROM_START,
        ProxyHeader.ACTIVE_GENERATION_TTL,
    )
)
_OURS = frozenset(
    name.lower()
    for name in (ProxyHeader.URL, ProxyHeader.METHOD, ProxyHeader.LIVE, ProxyHeader.STRIP)
)
# The offsets count the bytes of the upstream's own body, so nobody on the way may compress it.
_NEVER_FORWARDED = (
    HOP_BY_HOP_HEADERS | _FOR_THE_TRANSPORT | {"host", "content-length", "accept-encoding"}
)


@dataclass(frozen=True, slots=True)
class ProxyURL:
    """The proxy's base URL, checked; ``text`` has no slash at its end and no secrets."""

    text: str

    @classmethod
    def parse(cls, url: str) -> "ProxyURL":
        """Check a base URL.

        Raises:
            InvalidProxyURL: not an absolute http(s) URL, or with parts that have no place in one.
        """
        parts = split_http_url(url, InvalidProxyURL)
        if parts.query or parts.fragment:
            raise InvalidProxyURL(url, "it has a query or a fragment")
        return cls(f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}")

    def start(self, session: UUID, request: UUID) -> str:
        """Where a generation is started."""
        return f"{self.text}/api/{session}/{request}"

    def stop(self, session: UUID, request: UUID) -> str:
        """Where it is stopped."""
        return f"{self.text}/api/{session}/{request}/stop"

    def active(self, session: UUID) -> str:
        """Which generations of a session run."""
        return f"{self.text}/api/{session}/active"

    def data(self, session: UUID, request: UUID, position: int) -> str:
        """Where its body is read live from ``position``."""
        path = generation_paths(session, request).data
        return f"{self.text}/v1/stream/{path}?live=raw&offset={format_offset(position)}"

    def shape(self, cursor: ShapeCursor, session: UUID, request: UUID, *, wait: bool) -> str:
        """Where what follows in one of its shapes is, with or without waiting for some."""
        return f"{self.text}/stream/{cursor.kind}?{cursor.query(session, request, wait=wait)}"

    def control(self, session: UUID, request: UUID, offset: str, *, wait: bool) -> str:
        """Where its control messages after ``offset`` are, with or without waiting for some."""
        path = generation_paths(session, request).control
        live = "&live=long-poll" if wait else ""
        return f"{self.text}/v1/stream/{path}?offset={offset}{live}"


@dataclass(frozen=True, slots=True)
class DurableRequest:
    """One request, as the transport sees it."""

    method: str
    url: str
    headers: Fields
    body: bytes
    session_id: str
    """As the caller wrote it."""
    request_id: str
    resume: bool
    from_start: bool
    ttl: float | None
    """Seconds; None: the default of whoever uses it."""
    timeout: Mapping[str, float | None]
    """The client's own time limits: ``connect``, ``read``, ``write``, ``pool``."""

    @property
    def proxy_headers(self) -> dict[str, str]:
        """The request's own ``x-proxy-*`` headers, which go with every request to the proxy."""
        return {
            name.lower(): value
            for name, value in self.headers
            if name.lower().startswith("x-proxy-") and name.lower() not in _OURS
        }


def wire_id(text: str) -> UUID:
    """A UUID as it is; any other text as the UUID v5 that stands for it."""
    return UUID(text) if _CANONICAL_UUID.fullmatch(text) else to_uuid(text)


def read_request(
    *,
    method: str,
    url: str,
    headers: Fields,
    body: bytes,
    timeout: Mapping[str, float | None],
    ambient: Mapping[str, str],
    new_id: Callable[[], UUID],
    unanswered: DurableRequest | None = None,
) -> DurableRequest:
    """Understand a request; its own headers win over the ``ambient`` ones.

    ``unanswered`` is the caller's last request, if nobody knows what became of it: an SDK that
    tries the same again gets the same ids, so that the upstream is not asked twice.
    """

    def asked(name: ProxyHeader) -> str | None:
        value = headers.get(name)
        return ambient.get(name.lower()) if value is None else value

    plain = _plain_url(url)
    again = None
    if unanswered is not None and headers.get(_RETRY_COUNT) not in (None, "0"):
        same = (unanswered.method, unanswered.url, unanswered.body) == (method, plain, body)
        again = unanswered if same else None
    session_id = asked(ProxyHeader.SESSION_ID) or (again and again.session_id) or str(new_id())
    request_id = asked(ProxyHeader.REQUEST_ID)
    if request_id is None and (turn := asked(ProxyHeader.TURN_ID)) is not None:
        request_id = _id_in_turn(turn, method, plain, body)
    request_id = request_id or (again and again.request_id) or str(new_id())
    return DurableRequest(
        method=method,
        url=plain,
        headers=headers,
        body=body,
        session_id=header_text(session_id),
        request_id=header_text(request_id),
        resume=asked(ProxyHeader.RESUME_ACTIVE_GENERATION) is not None,
        from_start=(asked(ProxyHeader.REPLAY_FROM_START) or "").strip().lower() == "true",
        ttl=_seconds(asked(ProxyHeader.ACTIVE_GENERATION_TTL)),
        timeout=timeout,
    )


def start_headers(
    request: DurableRequest, for_proxy: Mapping[str, str], *, live: bool = True
) -> list[tuple[str, str]]:
    """The headers of a start request: the upstream's, then ours, then those for the proxy.

    With ``live`` the body is to come as the answer.

    Raises:
        HeaderCollision: ``for_proxy`` has a header that the request itself sends upstream.
    """
    dropped = _NEVER_FORWARDED | split_names(request.headers.get("connection"))
    forwarded = [
        (name, value)
        for name, value in request.headers
        if name.lower() not in dropped and not name.lower().startswith("x-proxy-")
    ]
    taken = {name.lower() for name, _ in forwarded}
    for name in for_proxy:
        if name.lower() in taken:
            raise HeaderCollision(name)
    headers = [
        *forwarded,
        ("Accept-Encoding", "identity"),
        (ProxyHeader.URL.value, request.url),
        (ProxyHeader.METHOD.value, request.method),
        *([(ProxyHeader.LIVE.value, "raw")] if live else []),
        *read_headers(request, for_proxy),
    ]
    strip = [name for name in for_proxy if not name.lower().startswith("x-proxy-")]
    if strip:
        headers.append((ProxyHeader.STRIP.value, ", ".join(strip)))
    return headers


def read_headers(request: DurableRequest, for_proxy: Mapping[str, str]) -> list[tuple[str, str]]:
    """The headers that go with every request to the proxy; ``for_proxy`` wins."""
    named = {name.lower() for name in for_proxy}
    own = [(name, value) for name, value in request.proxy_headers.items() if name not in named]
    return own + [(name, value) for name, value in for_proxy.items() if name.lower() not in _OURS]


def _id_in_turn(turn: str, method: str, url: str, body: bytes) -> str:
    return str(to_uuid(f"{turn}\n{method} {url}\n{hashlib.sha256(body).hexdigest()}"))


def _plain_url(url: str) -> str:
    """The URL as a header value, without fragment and credentials (clients send those apart)."""
    parts = urlsplit(url)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="")
    return quote(urlunsplit(bare), safe="!#$%&'()*+,/:;=?@[]~")


def _seconds(milliseconds: str | None) -> float | None:
    """``X-Active-Generation-TTL``; what is no number counts as absent."""
    try:
        seconds = int(milliseconds or "") / 1000
    except ValueError:
        return None
    return seconds if seconds >= 0 else None
