"""Reading the requests of the subscription API (PROTOCOL sections 6 and 7). Pure."""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import unquote_to_bytes

from durable_streams_server._glob import Glob, PatternError
from durable_streams_server._path import InvalidPathError, stream_path
from durable_streams_server._subscription import (
    DEFAULT_LEASE_MS,
    MAX_LEASE_MS,
    MIN_LEASE_MS,
    Ack,
    Config,
    Delivery,
    WakeReport,
)
from durable_transport.protocol import BEGINNING, NOW, InvalidOffsetError, parse_offset

MAX_ID_LENGTH = 256
MAX_STREAMS = 1000
"""So many streams, or acknowledgements, in one request."""
MAX_DESCRIPTION_LENGTH = 4096
MAX_URL_LENGTH = 2048


class SubscriptionCode(StrEnum):
    """Why the subscription API refuses. The names are the protocol's."""

    INVALID_REQUEST = "INVALID_REQUEST"
    WEBHOOK_URL_REJECTED = "WEBHOOK_URL_REJECTED"
    TOKEN_INVALID = "TOKEN_INVALID"  # noqa: S105 - a name
    TOKEN_EXPIRED = "TOKEN_EXPIRED"  # noqa: S105 - a name
    NOT_FOUND = "NOT_FOUND"
    SUBSCRIPTION_NOT_FOUND = "SUBSCRIPTION_NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    SUBSCRIPTION_ALREADY_EXISTS = "SUBSCRIPTION_ALREADY_EXISTS"
    FENCED = "FENCED"
    ALREADY_CLAIMED = "ALREADY_CLAIMED"
    NO_PENDING_WORK = "NO_PENDING_WORK"
    INVALID_OFFSET = "INVALID_OFFSET"


class SubscriptionError(Exception):
    """The request cannot be carried out as it stands.

    Attributes:
        code: Stable code; the status follows from it.
        message: What is wrong and how to mend it.
        allow: With `SubscriptionCode.METHOD_NOT_ALLOWED`, the methods that are.
    """

    def __init__(self, code: SubscriptionCode, message: str, allow: tuple[str, ...] = ()) -> None:
        self.code = code
        self.message = message
        self.allow = allow
        super().__init__(code, message)

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


# --------------------------------------------------------------------------- routes


class Action(StrEnum):
    """What a control path is for."""

    KEYS = "jwks.json"
    SUBSCRIPTION = ""
    STREAMS = "streams"
    STREAM = "streams/"
    CALLBACK = "callback"
    CLAIM = "claim"
    ACK = "ack"
    RELEASE = "release"


METHODS: dict[Action, tuple[str, ...]] = {
    Action.KEYS: ("GET",),
    Action.SUBSCRIPTION: ("GET", "PUT", "DELETE"),
    Action.STREAMS: ("POST",),
    Action.STREAM: ("DELETE",),
    Action.CALLBACK: ("POST",),
    Action.CLAIM: ("POST",),
    Action.ACK: ("POST",),
    Action.RELEASE: ("POST",),
}


@dataclass(frozen=True, slots=True)
class Route:
    """A control path. ``stream`` is there with `Action.STREAM` only."""

    action: Action
    subscription_id: str = ""
    stream: str = ""


def parse_route(method: str, raw: str) -> Route:
    """Read what follows ``__ds/`` in a URL's raw path.

    Raises:
        SubscriptionError: no such control path, or not with this method.
    """
    route = _route(raw)
    allowed = METHODS[route.action]
    if method not in allowed:
        raise SubscriptionError(
            SubscriptionCode.METHOD_NOT_ALLOWED,
            f"this path takes {' and '.join(allowed)}",
            allow=allowed,
        )
    return route


def _route(raw: str) -> Route:
    if raw == Action.KEYS:
        return Route(Action.KEYS)
    kind, _, rest = raw.partition("/")
    encoded_id, _, tail = rest.partition("/")
    if kind == "subscriptions" and encoded_id:
        name, slash, stream = tail.partition("/")
        if name == Action.STREAMS and stream:
            return Route(Action.STREAM, _id(encoded_id), _path(_decoded(stream)))
        if not slash and name in _NAMED:
            return Route(_NAMED[name], _id(encoded_id))
    raise SubscriptionError(SubscriptionCode.NOT_FOUND, "there is no such control path")


_NAMED = {action.value: action for action in Action if action not in (Action.KEYS, Action.STREAM)}


def _id(encoded: str) -> str:
    text = _decoded(encoded)
    if len(text) > MAX_ID_LENGTH or "\0" in text:
        raise _invalid(f"a subscription's id has 1 to {MAX_ID_LENGTH} characters and no NUL")
    return text


def _decoded(raw: str) -> str:
    try:
        return unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError as error:
        raise _invalid("a path is UTF-8, percent-encoded") from error


# --------------------------------------------------------------------------- bodies


def parse_config(body: bytes) -> Config:
    """Read the body of a PUT. The webhook's URL is checked elsewhere, by the server's policy.

    Raises:
        SubscriptionError: something is missing, or not what it should be.
    """
    fields = _object(body)
    delivery = _delivery(fields.get("type"))
    pattern = _pattern(_text(fields, "pattern"))
    streams = _paths(fields.get("streams"))
    if pattern is None and not streams:
        raise _invalid("send pattern, or streams, or both")
    wake_stream = _text(fields, "wake_stream")
    if delivery is Delivery.PULL_WAKE and wake_stream is None:
        raise _invalid("a pull-wake subscription needs wake_stream: the path of a stream")
    webhook = _webhook_url(fields.get("webhook")) if delivery is Delivery.WEBHOOK else None
    config = Config(
        delivery=delivery,
        pattern=pattern,
        streams=streams,
        webhook_url=webhook,
        wake_stream=_path(wake_stream) if wake_stream and delivery is Delivery.PULL_WAKE else None,
        lease_ttl_ms=_lease(fields.get("lease_ttl_ms", DEFAULT_LEASE_MS)),
        description=_text(fields, "description", MAX_DESCRIPTION_LENGTH),
    )
    if config.wake_stream in config.streams:
        raise _invalid("wake_stream is one of streams: every wake would be work for the next")
    return config


def _delivery(value: Any) -> Delivery:
    try:
        return Delivery(value)
    except ValueError as error:
        raise _invalid('type is "webhook" or "pull-wake"') from error


def _pattern(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return Glob.parse(text).text
    except PatternError as error:
        raise _invalid(str(error)) from error


def _webhook_url(webhook: Any) -> str:
    url = webhook.get("url") if isinstance(webhook, dict) else None
    if not isinstance(url, str) or not 0 < len(url) <= MAX_URL_LENGTH:
        raise _invalid(
            f"a webhook subscription needs webhook.url, {MAX_URL_LENGTH} characters at most"
        )
    return url


def _lease(value: Any) -> int:
    if type(value) is not int or not MIN_LEASE_MS <= value <= MAX_LEASE_MS:
        raise _invalid(f"lease_ttl_ms is a whole number from {MIN_LEASE_MS} to {MAX_LEASE_MS}")
    return value


def parse_streams(body: bytes) -> tuple[str, ...]:
    """Read the body of a POST to a subscription's streams.

    Raises:
        SubscriptionError: it names no streams.
    """
    streams = _paths(_object(body).get("streams"))
    if not streams:
        raise _invalid("send streams: a list of stream paths")
    return streams


def parse_worker(body: bytes) -> str:
    """Read the body of a claim.

    Raises:
        SubscriptionError: it names no worker.
    """
    worker = _text(_object(body), "worker", MAX_ID_LENGTH)
    if worker is None:
        raise _invalid("send worker: a name that others are told while you hold the lease")
    return worker


def parse_report(body: bytes, *, release: bool = False) -> WakeReport:
    """Read the body of a callback, an ack or a release.

    Raises:
        SubscriptionError: it does not say which wake it is about, or an offset is none.
    """
    fields = _object(body)
    wake_id, generation = fields.get("wake_id"), fields.get("generation")
    if not isinstance(wake_id, str) or type(generation) is not int:
        raise _invalid("send wake_id and generation as they were given to you")
    if release:
        return WakeReport(wake_id, generation, done=True)
    acks = fields.get("acks")
    if acks is not None and (not isinstance(acks, list) or len(acks) > MAX_STREAMS):
        raise _invalid(f"acks is a list of at most {MAX_STREAMS}")
    return WakeReport(
        wake_id, generation, tuple(map(_ack, acks or ())), done=fields.get("done") is True
    )


def _ack(value: Any) -> Ack:
    stream = value.get("stream", value.get("path")) if isinstance(value, dict) else None
    offset = value.get("offset") if isinstance(value, dict) else None
    if not isinstance(stream, str) or not isinstance(offset, str):
        raise _invalid("an ack is an object with stream and offset")
    if offset in (BEGINNING, NOW):
        raise SubscriptionError(
            SubscriptionCode.INVALID_OFFSET, "an ack names the offset that was processed up to"
        )
    try:
        return Ack(_path(stream), parse_offset(offset))
    except InvalidOffsetError as error:
        raise SubscriptionError(SubscriptionCode.INVALID_OFFSET, str(error)) from error


def parse_bearer(authorization: str | None) -> str:
    """Read an ``Authorization`` header.

    Raises:
        SubscriptionError: it is not there, or no bearer token.
    """
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise SubscriptionError(
            SubscriptionCode.TOKEN_INVALID, "send Authorization: Bearer with the token of the wake"
        )
    return token.strip()


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
        # Half a surrogate pair is JSON, but no text that could be stored or sent.
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise _invalid("the body is a JSON object of valid text")
    return value


def _text(fields: dict[str, Any], name: str, limit: int = MAX_URL_LENGTH) -> str | None:
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= limit or "\0" in value:
        raise _invalid(f"{name} is a text of 1 to {limit} characters, without NUL")
    return value


def _paths(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MAX_STREAMS:
        raise _invalid(f"streams is a list of at most {MAX_STREAMS} stream paths")
    return tuple(sorted({_path(one) for one in value}))


def _path(value: Any) -> str:
    if not isinstance(value, str):
        raise _invalid("a stream path is a text")
    try:
        return stream_path(value.removeprefix("/"))
    except InvalidPathError as error:
        raise _invalid(str(error)) from error


def _invalid(message: str) -> SubscriptionError:
    return SubscriptionError(SubscriptionCode.INVALID_REQUEST, message)
