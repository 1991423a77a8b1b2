"""Whatever is sent to the subscription API is understood, or refused with a reason."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_streams_server._subscription import Ack, Config, Delivery, WakeReport
from durable_streams_server._subscription_request import (
    METHODS,
    Action,
    Route,
    SubscriptionCode,
    SubscriptionError,
    parse_bearer,
    parse_config,
    parse_report,
    parse_route,
    parse_streams,
    parse_worker,
)

if TYPE_CHECKING:
    from collections.abc import Callable

TEXTS = st.sampled_from(["", "a", "a/*", "é", "a\0b", "\ud800", "../x", "__ds/x", "x" * 5000])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.sampled_from(
    [
        *("type", "pattern", "streams", "webhook", "wake_stream", "lease_ttl_ms", "description"),
        *("wake_id", "generation", "acks", "done", "worker"),
    ]
)
BODIES = st.dictionaries(FIELDS, VALUES).map(lambda value: json.dumps(value).encode())
OFFSET = f"{5:020}"


@given(BODIES | st.binary(max_size=20), st.sampled_from([*Delivery, None]))
def test_no_body_is_a_surprise(body: bytes, delivery: Delivery | None) -> None:
    parsers: list[Callable[[bytes], Any]] = [
        *(parse_config, parse_streams, parse_worker, parse_report)
    ]
    if delivery is not None and body.startswith(b"{"):
        body = json.dumps({**_loaded(body), "type": delivery}).encode()
    for parse in parsers:
        with suppress(SubscriptionError):
            str(parse(body)).encode()


def _loaded(body: bytes) -> dict[str, Any]:
    try:
        loaded: dict[str, Any] = json.loads(body)
    except ValueError:
        return {}
    return loaded


def test_a_whole_configuration() -> None:
    body = {
        "type": "webhook",
        "pattern": "/e/**",
        "streams": ["b", "/a", "b", "é"],
        "webhook": {"url": "https://hook"},
        "wake_stream": "not for webhooks",
        "lease_ttl_ms": 1000,
        "description": "d",
        "unknown": 1,
    }
    assert parse_config(json.dumps(body).encode()) == Config(
        Delivery.WEBHOOK, "e/**", ("%C3%A9", "a", "b"), "https://hook", None, 1000, "d"
    )


def test_reports() -> None:
    said: dict[str, Any] = {"wake_id": "w", "generation": 1}
    acks = [{"stream": "/a", "offset": OFFSET}, {"path": "b", "offset": OFFSET}]
    whole = json.dumps(said | {"acks": acks, "done": True}).encode()
    both = (Ack("a", 5), Ack("b", 5))
    assert parse_report(whole) == WakeReport("w", 1, both, done=True)
    assert parse_report(whole, release=True) == WakeReport("w", 1, (), done=True)
    assert parse_report(json.dumps(said | {"done": 1}).encode()) == WakeReport("w", 1)


@pytest.mark.parametrize("offset", ["-1", "now", "5", "x" * 20, "1_2"])
def test_offsets_that_are_none(offset: str) -> None:
    acks = [{"stream": "a", "offset": offset}]
    body = json.dumps({"wake_id": "w", "generation": 1, "acks": acks}).encode()
    with pytest.raises(SubscriptionError) as caught:
        parse_report(body)
    assert caught.value.code is SubscriptionCode.INVALID_OFFSET


@pytest.mark.parametrize(
    ("raw", "route"),
    [
        ("jwks.json", Route(Action.KEYS)),
        ("subscriptions/a", Route(Action.SUBSCRIPTION, "a")),
        ("subscriptions/a/", Route(Action.SUBSCRIPTION, "a")),
        ("subscriptions/a%2Fb/claim", Route(Action.CLAIM, "a/b")),
        ("subscriptions/a/streams", Route(Action.STREAMS, "a")),
        ("subscriptions/a/streams/b/c", Route(Action.STREAM, "a", "b/c")),
        ("subscriptions/a/streams/b%2Fc", Route(Action.STREAM, "a", "b/c")),
        ("subscriptions/streams/ack", Route(Action.ACK, "streams")),
    ],
)
def test_routes(raw: str, route: Route) -> None:
    for method in METHODS[route.action]:
        assert parse_route(method, raw) == route
    with pytest.raises(SubscriptionError) as caught:
        parse_route("PATCH", raw)
    assert caught.value.allow == METHODS[route.action]


@given(st.text(alphabet="subscription/streams%2Fa\xff.", max_size=40))
def test_no_path_is_a_surprise(raw: str) -> None:
    with suppress(SubscriptionError):
        parse_route("POST", f"subscriptions/{raw}")


@pytest.mark.parametrize("text", [None, "", "Bearer", "Bearer ", "Basic x", "token"])
def test_what_is_no_bearer_token(text: str | None) -> None:
    with pytest.raises(SubscriptionError):
        parse_bearer(text)


@pytest.mark.parametrize("text", ["Bearer t", "bearer  t ", "BEARER t"])
def test_bearer_tokens(text: str) -> None:
    assert parse_bearer(text) == "t"
