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
        # who called whom before: what a reverse proxy says, and some upstreams believe
        "forwarded",
        "via",
        "client-ip",
        "true-client-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-host",
        "x-original-forwarded-for",
        "x-original-host",
        "x-real-ip",
        # another URL than the one that was checked
        "x-original-uri",
        "x-original-url",
        "x-rewrite-url",
        "x-envoy-original-path",
        # of another version of HTTP
        "http2-settings",
        "alt-used",
    }
)
_NOT_UPSTREAM_PREFIXES = (
    *(_FOR_THE_PROXY_PREFIX, "x-forwarded", "cf-connecting-", "fastly-client-", "sec-"),
    "access-control-request-",
)

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
        "cdn-cache-control",
        "cloudflare-cdn-cache-control",
        "no-vary-search",
        "surrogate-control",
        "surrogate-key",
        "use-as-dictionary",
        "etag",
        "expires",
        "last-modified",
        "pragma",
        "vary",
        # would act on our origin, or on a server in front of us
        "accept-ch",
        "alt-svc",
        "clear-site-data",
        "content-security-policy",
        "content-security-policy-report-only",
        "critical-ch",
        "document-policy",
        "expect-ct",
        "feature-policy",
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
        "set-login",
        "sourcemap",
        "speculation-rules",
        "supports-loading-mode",
        "timing-allow-origin",
        "strict-transport-security",
        "x-content-type-options",
        "x-dns-prefetch-control",
        "x-frame-options",
        "x-lighttpd-send-file",
        "x-lighttpd-send-tempfile",
        "x-litespeed-location",
        "x-permitted-cross-domain-policies",
        "x-reproxy-file",
        "x-reproxy-url",
        "x-sendfile",
        "x-sourcemap",
        "x-ua-compatible",
        "x-session-id",
        "x-xss-protection",
    }
)
_NOT_DOWNSTREAM_PREFIXES = (
    _FOR_THE_PROXY_PREFIX,
    "access-control-",
    "attribution-reporting-",
    "cross-origin-",
    "sec-",
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
        if _as_read(name) not in dropped and not _as_read(name).startswith(_NOT_UPSTREAM_PREFIXES)
    ]
    return [*kept, (b"accept-encoding", b"identity")]


def _as_read(name: str) -> str:
    """The name as servers read it that hand headers on as variables: `_` is `-` to them."""
    return name.replace("_", "-")


def _listed_by(listing: set[str], headers: Iterable[tuple[str, str]]) -> frozenset[str]:
    """The header names that the values of some headers list."""
    return frozenset(
        _as_read(item.strip().lower())
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
        if _as_read(name) not in dropped
        and not _as_read(name).startswith(_NOT_DOWNSTREAM_PREFIXES)
        and _is_field(name, value)
    ]
