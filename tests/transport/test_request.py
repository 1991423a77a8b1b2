"""What a request asks for, and what goes to the proxy."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from durable_transport import HeaderCollision, InvalidProxyURL, Timing, resume, session, turn
from durable_transport._fields import Fields
from durable_transport._headers import ambient_headers
from durable_transport._request import (
    DurableRequest,
    ProxyURL,
    read_headers,
    read_request,
    start_headers,
    wire_id,
)
from durable_transport.protocol import to_uuid

MADE_UP = UUID(int=7)


def request(headers: dict[str, str], url: str = "http://up/x", **ambient: str) -> DurableRequest:
    return read_request(
        method="POST",
        url=url,
        headers=Fields(headers.items()),
        body=b"",
        timeout={},
        ambient={name.replace("_", "-"): value for name, value in ambient.items()},
        new_id=lambda: MADE_UP,
    )


def test_a_plain_request() -> None:
    plain = request({})
    assert (plain.session_id, plain.request_id) == (str(MADE_UP), str(MADE_UP))
    assert (plain.resume, plain.from_start, plain.ttl) == (False, False, None)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"X-Resume-Active-Generation": ""}, (True, False, None)),
        ({"x-resume-active-generation": "false"}, (True, False, None)),  # present is enough
        ({"X-Replay-From-Start": "TRUE"}, (False, True, None)),
        ({"X-Replay-From-Start": "1"}, (False, False, None)),
        ({"X-Active-Generation-TTL": "1500"}, (False, False, 1.5)),
        ({"X-Active-Generation-TTL": "soon"}, (False, False, None)),
        ({"X-Active-Generation-TTL": "-1"}, (False, False, None)),
    ],
)
def test_the_headers(headers: dict[str, str], expected: tuple[bool, bool, float | None]) -> None:
    read = request(headers)
    assert (read.resume, read.from_start, read.ttl) == expected


def in_turn(turn_id: str, body: bytes, url: str = "http://up/x") -> str:
    return read_request(
        method="POST",
        url=url,
        headers=Fields(),
        body=body,
        timeout={},
        ambient={name.lower(): value for name, value in turn("chat", turn_id).items()},
        new_id=lambda: MADE_UP,
    ).request_id


def test_of_a_turn_the_same_question_is_the_same_request() -> None:
    assert in_turn("1", b"a") == in_turn("1", b"a")
    others = [in_turn("2", b"a"), in_turn("1", b"b"), in_turn("1", b"a", "http://up/y")]
    assert len({in_turn("1", b"a"), *others}) == 4
    explicit = request(dict(turn("chat", "1")) | {"X-Request-ID": "mine"})
    assert (explicit.session_id, explicit.request_id) == ("chat", "mine")
    names = {name.lower() for name, _ in start_headers(explicit, {})}
    assert not names & {"x-turn-id", "x-request-id", "x-session-id"}, "nothing of it goes upstream"


@pytest.mark.parametrize(
    ("headers", "changed", "ids"),
    [
        ({"x-stainless-retry-count": "1"}, {}, ("first", "attempt")),
        ({"x-stainless-retry-count": "1", "X-Session-ID": "s"}, {}, ("s", "attempt")),
        ({"x-stainless-retry-count": "1", "X-Request-ID": "r"}, {}, ("first", "r")),
        ({"x-stainless-retry-count": "0"}, {}, (str(MADE_UP), str(MADE_UP))),
        ({}, {}, (str(MADE_UP), str(MADE_UP))),
        ({"x-stainless-retry-count": "1"}, {"body": b"!"}, (str(MADE_UP), str(MADE_UP))),
        ({"x-stainless-retry-count": "1"}, {"url": "http://up/y"}, (str(MADE_UP), str(MADE_UP))),
    ],
)
def test_a_retry_of_what_was_not_answered_has_its_ids(
    headers: dict[str, str], changed: dict[str, object], ids: tuple[str, str]
) -> None:
    first = replace(request({}), session_id="first", request_id="attempt")
    again = read_request(
        method="POST",
        url="http://up/x",
        headers=Fields(headers.items()),
        body=b"",
        timeout={},
        ambient={},
        new_id=lambda: MADE_UP,
        unanswered=replace(first, **changed),  # type: ignore[arg-type]  # its fields, by name
    )
    assert (again.session_id, again.request_id) == ids


def test_the_requests_own_headers_win_over_those_around_it() -> None:
    read = request({"X-Session-ID": "mine"}, x_session_id="theirs", x_request_id="r")
    assert (read.session_id, read.request_id) == ("mine", "r")


@pytest.mark.parametrize("headers", [{"X-Session-ID": " "}])
def test_an_id_of_nothing_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="is not an id"):
        request(headers)


def test_wire_ids() -> None:
    canonical = "0B0B0B0B-0000-4000-8000-000000000001"
    assert str(wire_id(canonical)) == canonical.lower()
    assert wire_id("chat-1") == to_uuid("chat-1")
    braces = "{" + canonical + "}"
    assert wire_id(braces) == to_uuid(braces)


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("http://user:secret@up:8000/a?b=c#d", "http://up:8000/a?b=c"),
        ("http://up/%C3%A9?q=%20", "http://up/%C3%A9?q=%20"),
        ("http://up/é", "http://up/%C3%A9"),
    ],
)
def test_the_upstream_url_as_a_header(url: str, sent: str) -> None:
    assert request({}, url).url == sent


def test_start_headers() -> None:
    asked = request(
        {
            "Host": "up",
            "Content-Length": "3",
            "Accept-Encoding": "gzip",
            "Connection": "keep-alive, X-Hop",
            "X-Hop": "h",
            "TE": "trailers",
            "X-Session-ID": "s",
            "X-Proxy-Url": "http://elsewhere",
            "X-Proxy-Tenant": "request's",
            "X-Proxy-Other": "o",
            "Authorization": "sk",
        }
    )
    for_proxy = {"X-Proxy-Tenant": "transport's", "X-Gate": "g", "X-Proxy-Live": "n"}
    sent = start_headers(asked, for_proxy)
    assert sent == [
        ("Authorization", "sk"),
        ("Accept-Encoding", "identity"),
        ("X-Proxy-Url", "http://up/x"),
        ("X-Proxy-Method", "POST"),
        ("X-Proxy-Live", "raw"),
        ("x-proxy-other", "o"),
        ("X-Proxy-Tenant", "transport's"),
        ("X-Gate", "g"),
        ("X-Proxy-Strip", "X-Gate"),
    ]
    assert read_headers(asked, {"X-Gate": "g"}) == [
        ("x-proxy-tenant", "request's"),
        ("x-proxy-other", "o"),
        ("X-Gate", "g"),
    ]


def test_a_collision_names_the_remedy() -> None:
    asked = request({"authorization": "sk"})
    with pytest.raises(HeaderCollision, match="X-Proxy-Authorization") as caught:
        start_headers(asked, {"Authorization": "p"})
    assert caught.value.name == "Authorization"


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://localhost:4000", "http://localhost:4000"),
        ("https://H.example/base/", "https://h.example/base"),
        (" http://[::1]:1 ", "http://[::1]:1"),
    ],
)
def test_base_urls(url: str, text: str) -> None:
    assert ProxyURL.parse(url).text == text


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "http://"),
        ("localhost:4000", "http://"),
        ("//h", "http://"),
        ("http://", "no host"),
        ("http://:80", "no host"),
        ("http://h:99999", "Port"),
        ("http://h:0", "no host"),
        ("http://h?x=1", "query"),
        ("http://h#x", "query"),
        ("http://u:p@h", "headers="),
    ],
)
def test_what_is_no_base_url(url: str, reason: str) -> None:
    with pytest.raises(InvalidProxyURL, match=reason):
        ProxyURL.parse(url)


def test_the_python_way_is_the_headers() -> None:
    assert session("s") == {"X-Session-ID": "s"}
    assert session("s", request_id="r", ttl=timedelta(minutes=1)) == {
        "X-Session-ID": "s",
        "X-Request-ID": "r",
        "X-Active-Generation-TTL": "60000",
    }
    assert resume("s", from_start=True, ttl=1.5) == {
        "X-Session-ID": "s",
        "X-Resume-Active-Generation": "true",
        "X-Replay-From-Start": "true",
        "X-Active-Generation-TTL": "1500",
    }
    assert session("чат") == {"X-Session-ID": str(to_uuid("чат"))}


@pytest.mark.parametrize("bad", ["", " x", "x\n"])
def test_ids_that_are_none(bad: str) -> None:
    with pytest.raises(ValueError, match="is not an id"):
        session(bad)


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), timedelta(0)])
def test_ttls_that_are_none(ttl: float | timedelta) -> None:
    with pytest.raises(ValueError, match="ttl"):
        resume("s", ttl=ttl)


def test_blocks_nest_and_end() -> None:
    with session("a", request_id="r"), session("b") as inner:
        assert ambient_headers() == {"x-session-id": "b", "x-request-id": "r"}
        with inner:  # the same object again
            assert ambient_headers()["x-session-id"] == "b"
        assert ambient_headers()["x-session-id"] == "b"
    assert ambient_headers() == {}


def test_blocks_of_one_object_in_two_tasks() -> None:
    shared = session("a")

    async def use(steps: int) -> dict[str, str]:
        with shared:
            for _ in range(steps):
                await asyncio.sleep(0)
            return ambient_headers()

    async def main() -> list[dict[str, str]]:
        return list(await asyncio.gather(use(1), use(5), use(2)))

    assert asyncio.run(main()) == [{"x-session-id": "a"}] * 3


@pytest.mark.parametrize(
    "bad", [{"silence": 0}, {"close": 0}, {"give_up_after": -1}, {"settle": float("nan")}]
)
def test_timing_is_checked(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="Timing"):
        Timing(**bad)


def test_fields_keep_order_and_join() -> None:
    fields = Fields([(b"A", b"1"), (b"b", b"\xe9"), (b"a", b"2")])
    assert fields.get("a") == "1, 2"
    assert fields.get("B") == "é"
    assert fields.get("c") is None
    assert list(fields) == [("A", "1"), ("b", "é"), ("a", "2")]
