"""Requests of the proxy protocol, in the words of the transport surface. Pure.

PROXY_PROTOCOL sections 4 to 7. A stream of this surface is a generation whose session and request
id are both the stream's id, so everything that looks after generations looks after it too. A
request to create one becomes a start request: what may go upstream is decided there, once.
"""

from enum import StrEnum
from urllib.parse import parse_qsl
from uuid import UUID

from durable_proxy._guard import Credentials, credentials_of
from durable_proxy._headers import RawHeaders
from durable_proxy._v1_errors import V1Code, V1RefusedError, v1_refusal
from durable_transport.protocol import GenerationPaths, ProxyHeader, generation_paths

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
"""Which an upstream may be called with; HEAD is not among them."""
ABORT = "abort"
_MAX_FIELDS = 100


class V1Header(StrEnum):
    """Headers of this surface."""

    UPSTREAM_URL = "Upstream-URL"
    UPSTREAM_METHOD = "Upstream-Method"
    UPSTREAM_AUTHORIZATION = "Upstream-Authorization"
    UPSTREAM_CONTENT_TYPE = "Upstream-Content-Type"
    UPSTREAM_STATUS = "Upstream-Status"


_URL, _METHOD, _AUTHORIZATION = (
    name.lower().encode()
    for name in (
        V1Header.UPSTREAM_URL,
        V1Header.UPSTREAM_METHOD,
        V1Header.UPSTREAM_AUTHORIZATION,
    )
)
_STAYS_HERE = frozenset(
    {
        *(_URL, _METHOD, _AUTHORIZATION, b"authorization"),
        b"trailers",  # what the protocol calls "trailer"
        *(name.lower().encode() for name in (ProxyHeader.URL, ProxyHeader.METHOD)),
        *(name.lower().encode() for name in (ProxyHeader.LIVE, ProxyHeader.STRIP)),
    }
)


def as_start(headers: RawHeaders) -> list[tuple[bytes, bytes]]:
    """The headers of the start request that a creation is.

    Raises:
        V1RefusedError: it does not say what to call, or how.
    """
    url = _required(headers, _URL, V1Code.MISSING_UPSTREAM_URL)
    method = _required(headers, _METHOD, V1Code.MISSING_UPSTREAM_METHOD).upper()
    if method.decode("latin-1") not in METHODS:
        message = f"{V1Header.UPSTREAM_METHOD} is one of {', '.join(METHODS)}"
        raise V1RefusedError(v1_refusal(V1Code.INVALID_UPSTREAM_METHOD, message))
    forwarded = [
        (name, value)
        for name, value in headers
        # Some servers read `_` as `-`.
        if name.lower().replace(b"_", b"-") not in _STAYS_HERE
    ]
    authorization = [(b"authorization", value) for name, value in headers if name == _AUTHORIZATION]
    return [
        *forwarded,
        *authorization,
        (ProxyHeader.URL.lower().encode(), url),
        (ProxyHeader.METHOD.lower().encode(), method),
    ]


def _required(headers: RawHeaders, name: bytes, missing: V1Code) -> bytes:
    values = [value.strip() for candidate, value in headers if candidate == name]
    if not values or not values[0]:
        message = f"the request has no {name.decode().title().replace('Url', 'URL')} header"
        raise V1RefusedError(v1_refusal(missing, message))
    if len(values) > 1:
        message = f"{name.decode()} is there {len(values)} times"
        raise V1RefusedError(v1_refusal(missing, message))
    return values[0]


def stream_of(stream_id: str) -> GenerationPaths | None:
    """Where a stream of this surface is; None when no stream has such an id."""
    try:
        found = UUID(stream_id)
    except ValueError:
        return None
    return generation_paths(found, found) if str(found) == stream_id else None


def v1_credentials(headers: RawHeaders, query: bytes) -> Credentials:
    """What a request shows: ``Authorization`` is always for us here.

    ``?secret=`` is what the protocol's own client sends. Nobody else should: addresses are logged.
    """
    shown = credentials_of(headers, query)
    if shown.secret is not None:
        return shown
    return Credentials(_field(query, "secret"), shown.signature)


def is_abort(query: bytes) -> bool:
    """The request asks for an abort."""
    return _field(query, "action") == ABORT


def _field(query: bytes, name: str) -> str | None:
    try:
        fields = parse_qsl(query.decode("latin-1"), max_num_fields=_MAX_FIELDS)
    except ValueError:
        return None
    return dict(fields).get(name)
