"""Header names on every surface of the family, spelled once."""

from enum import StrEnum


class StreamHeader(StrEnum):
    """Headers of the Durable Streams protocol (PROTOCOL section 13.2), and three of our own."""

    NEXT_OFFSET = "Stream-Next-Offset"
    UP_TO_DATE = "Stream-Up-To-Date"
    CLOSED = "Stream-Closed"
    CURSOR = "Stream-Cursor"
    SEQ = "Stream-Seq"
    TTL = "Stream-TTL"
    EXPIRES_AT = "Stream-Expires-At"
    FORKED_FROM = "Stream-Forked-From"
    FORK_OFFSET = "Stream-Fork-Offset"
    FORK_SUB_OFFSET = "Stream-Fork-Sub-Offset"
    SSE_DATA_ENCODING = "Stream-SSE-Data-Encoding"
    PRODUCER_ID = "Producer-Id"
    PRODUCER_EPOCH = "Producer-Epoch"
    PRODUCER_SEQ = "Producer-Seq"
    PRODUCER_EXPECTED_SEQ = "Producer-Expected-Seq"
    PRODUCER_RECEIVED_SEQ = "Producer-Received-Seq"

    RETAIN_BYTES = "Stream-Retain-Bytes"
    """Of our own: so many of the newest bytes are kept at least, older ones are let go."""
    RETAIN_SECONDS = "Stream-Retain-Seconds"
    """Of our own: bytes that are younger are kept."""
    EARLIEST_OFFSET = "Stream-Earliest-Offset"
    """Of our own: where the bytes begin that are still there."""


class ProxyHeader(StrEnum):
    """Headers of the transport proxy and of the requests a durable client sends."""

    URL = "X-Proxy-Url"
    """Absolute upstream URL."""
    METHOD = "X-Proxy-Method"
    """Upstream method, POST when absent."""
    LIVE = "X-Proxy-Live"
    """``raw``: answer the start request with the live body itself instead of with JSON."""
    STRIP = "X-Proxy-Strip"
    """Comma-separated names of headers meant for the proxy only: they do not go upstream."""
    SECRET = "X-Proxy-Secret"  # noqa: S105 - the name of a header
    """The proxy's own secret. Like all ``X-Proxy-*`` it does not go upstream."""
    AUTHORIZATION = "X-Proxy-Authorization"
    """``Bearer`` and the proxy's secret, where ``Authorization`` is the upstream's."""
    CANCEL_AFTER = "X-Proxy-Cancel-After"
    """Seconds without a reader after which the generation is stopped; never, when absent."""
    INCARNATION = "X-Proxy-Incarnation"
    """On a live answer: which attempt of these ids it is, for whoever wants to stop just this."""
    SOURCE = "X-Proxy-Source"
    """On an answer that is not 2xx: ``upstream`` or ``proxy``, whoever refused."""
    ERROR = "X-Proxy-Error"
    """On an answer whose source is ``proxy``: the `ErrorCode`."""

    SESSION_ID = "X-Session-ID"
    REQUEST_ID = "X-Request-ID"
    TURN_ID = "X-Turn-ID"
    """Of our own, from client code to its transport: makes the request's id, with what it asks."""
    RESUME_ACTIVE_GENERATION = "X-Resume-Active-Generation"
    REPLAY_FROM_START = "X-Replay-From-Start"
    ACTIVE_GENERATION_TTL = "X-Active-Generation-TTL"


HOP_BY_HOP_HEADERS = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Lower-case names that concern one connection only (RFC 9110 section 7.6.1)."""
