"""Which headers cross the proxy, in either direction. Pure.

Up go the caller's own headers (its API key among them). Not those of one connection, not those
that address the proxy, and not what a browser or a reverse proxy adds on the way to us: cookies
are the proxy's own, and some vendors refuse a call that carries an ``Origin``.

Down go the upstream's headers about its answer: request ids, rate limits, retry advice. Not those
of one connection, not what describes a framing or coding that is gone, and nothing that would act
on the proxy's origin in a browser or on a reverse proxy. And not what is no header field at all:
HTTP parsers differ in what they let pass, and our server would break off an answer over it.
"""

import re
from collections.abc import Iterable, Sequence

from durable_transport.protocol import HOP_BY_HOP_HEADERS, ProxyHeader

RawHeaders = Sequence[tuple[bytes, bytes]]
"""Headers as ASGI has them: names in lower case."""

_FOR_THE_PROXY_PREFIX = "x-proxy-"

_NOT_UPSTREAM = frozenset(
    {
        "host",
        "content-length",
        "expect",
        "accept-encoding",
        "cookie",
        "cookie2",
        "origin",
        "referer",
        "forwarded",
        "via",
        "x-real-ip",
    }
)
_NOT_UPSTREAM_PREFIXES = (_FOR_THE_PROXY_PREFIX, "x-forwarded-", "sec-fetch-", "sec-ch-")

_NOT_DOWNSTREAM = frozenset(
    {
        # described by the answer itself
        "content-type",
        "content-length",
        "content-encoding",
        "content-range",
        "content-md5",
        "digest",
        "content-digest",
        "repr-digest",
        "accept-ranges",
        "trailer",
        "date",
        "server",
        "via",
        # about caching of a body that is served by us, from an offset
        "age",
        "cache-control",
        "etag",
        "expires",
        "last-modified",
        "pragma",
        "vary",
        # would act on our origin, or on a server in front of us
        "alt-svc",
        "clear-site-data",
        "content-security-policy",
        "content-security-policy-report-only",
        "link",
        "nel",
        "origin-agent-cluster",
        "permissions-policy",
        "public-key-pins",
        "referrer-policy",
        "refresh",
        "report-to",
        "reporting-endpoints",
        "service-worker-allowed",
        "set-cookie",
        "set-cookie2",
        "sourcemap",
        "strict-transport-security",
        "x-content-type-options",
        "x-frame-options",
        "x-sendfile",
        "x-session-id",
        "x-xss-protection",
    }
)
_NOT_DOWNSTREAM_PREFIXES = (
    _FOR_THE_PROXY_PREFIX,
    "access-control-",
    "cross-origin-",
    "stream-",
    "x-accel-",
)


_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""Not in a field's value. Tab may be in it, and bytes above ASCII (RFC 9110 section 5.5)."""


def upstream_headers(headers: RawHeaders) -> list[tuple[bytes, bytes]]:
    """The request headers that go upstream, in their order.

    The body is asked for uncompressed: the log has it as it is read, and what has to be unpacked
    first is late by a buffer.
    """
    texts = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers]
    listed = _listed_by({"connection", ProxyHeader.STRIP.lower()}, texts)
    dropped = _NOT_UPSTREAM | HOP_BY_HOP_HEADERS | listed
    kept = [
        header
        for header, (name, _) in zip(headers, texts, strict=True)
        if name not in dropped and not name.startswith(_NOT_UPSTREAM_PREFIXES)
    ]
    return [*kept, (b"accept-encoding", b"identity")]


def _listed_by(listing: set[str], headers: Iterable[tuple[str, str]]) -> frozenset[str]:
    """The header names that the values of some headers list."""
    return frozenset(
        item.strip().lower()
        for name, value in headers
        if name in listing
        for item in value.split(",")
    )


def content_type_of(headers: Iterable[tuple[str, str]]) -> str | None:
    """The upstream's content type; None when it names none, or none that can be passed on."""
    for name, value in headers:
        if name.lower() == "content-type" and value and _is_field(name, value):
            return value
    return None


def _is_field(name: str, value: str) -> bool:
    return _TOKEN.fullmatch(name) is not None and _CONTROL.search(value) is None


def forwardable_headers(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The upstream's response headers that its reader may see, names in lower case.

    ``content-type`` is not among them: it has a place of its own wherever these go.
    """
    lowered = [(name.lower(), value) for name, value in headers]
    dropped = _NOT_DOWNSTREAM | HOP_BY_HOP_HEADERS | _listed_by({"connection"}, lowered)
    return [
        (name, value)
        for name, value in lowered
        if name not in dropped
        and not name.startswith(_NOT_DOWNSTREAM_PREFIXES)
        and _is_field(name, value)
    ]
