"""The small pure parts of the stream client."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_transport import InvalidStreamURL
from durable_transport._fields import Fields
from durable_transport._stream._calls import Entry, first_offset, take_together
from durable_transport._stream._encode import encode, encode_all, join
from durable_transport._stream._head import Head, is_true, parse_control, parse_head, valid_offset
from durable_transport._stream._place import Place, parse_place
from durable_transport._stream._sse import Event, EventDecoder
from durable_transport._stream._url import StreamURL

JSON = "application/json"

CASES: list[tuple[bytes, list[Event]]] = [
    (b"data: a\n\n", [Event("message", b"a")]),
    (b"data:a\r\rdata:b\r\r", [Event("message", b"a"), Event("message", b"b")]),
    (b"event:x\r\ndata: a\r\ndata:  b\r\n\r\n", [Event("x", b"a\n b")]),
    (b"\xef\xbb\xbfdata: bom\n\n", [Event("message", b"bom")]),
    (b": comment\n\ndata\n\n", [Event("message", b"")]),
    (b"event: only a type\n\ndata: x\n\n", [Event("message", b"x")]),
    (b"id: 1\nretry: 5\nodd\ndata: x\n\n", [Event("message", b"x")]),
    (
        "data: \u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e\n\n".encode(),
        [Event("message", "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e".encode())],
    ),
    (b"data: incomplete\n", []),
    (b"data: a\r\n\ndata: b\n\r\n", [Event("message", b"a"), Event("message", b"b")]),
]


@pytest.mark.parametrize(("body", "events"), CASES)
def test_events_are_the_same_wherever_the_body_is_cut(body: bytes, events: list[Event]) -> None:
    assert EventDecoder().feed(body) == events
    decoder = EventDecoder()
    assert [event for one in body for event in decoder.feed(bytes([one]))] == events
    for at in range(len(body) + 1):
        decoder = EventDecoder()
        pieces = (body[:at], b"", body[at:], b"data: tail")
        assert [event for piece in pieces for event in decoder.feed(piece)] == events


@given(
    data=st.binary(max_size=60),
    end=st.sampled_from([b"\n", b"\r", b"\r\n"]),
    cuts=st.lists(st.integers(0, 100), max_size=6),
)
def test_payloads_cannot_forge_events(data: bytes, end: bytes, cuts: list[int]) -> None:
    lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    body = b"event: data" + end + b"".join(b"data: " + line + end for line in lines) + end
    bounds = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    decoder = EventDecoder()
    found = [one for a, b in itertools.pairwise(bounds) for one in decoder.feed(body[a:b])]
    assert found == [Event("data", b"\n".join(lines))]


def test_an_endless_event_is_refused() -> None:
    decoder = EventDecoder(limit=100)
    for _ in range(12):
        decoder.feed(b"data: x\n")
    with pytest.raises(ValueError, match="more than 100"):
        decoder.feed(b"data: x\n")


def test_heads() -> None:
    pairs = [("stream-next-offset", "7"), ("Stream-Closed", "TRUE"), ("Stream-Cursor", "c")]
    assert parse_head(Fields(pairs)) == Head("7", up_to_date=True, closed=True, cursor="c")
    assert parse_head(Fields()) == Head(None, up_to_date=False, closed=False, cursor=None)
    assert not any(map(is_true, [None, "", "1", "yes", "false"]))


@pytest.mark.parametrize(
    "text", [None, 5, "", "-1", "now", "a,b", "a&b", "a=b", "a?b", "a/b", "a b"]
)
def test_what_no_server_may_send_as_an_offset(text: object) -> None:
    assert valid_offset(text) is None


def test_control_events() -> None:
    said = b'{"streamNextOffset":"7","streamClosed":true}'
    assert parse_control(said) == Head("7", up_to_date=True, closed=True, cursor=None)
    for bad in (b"", b"[]", b"{}", b"nonsense", b'{"streamNextOffset":7}', b"[" * 100_000):
        with pytest.raises(ValueError, match=r".") as caught:
            parse_control(bad)
        assert str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "/1", "a/", "a/0", "a/01", "a/-1", "a/x", "a/1/2", "a/\u0661"]
)
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(ValueError, match="not an offset"):
        parse_place(text)


@given(units=st.lists(st.integers(1, 5), max_size=8), skip=st.integers(0, 6), data=st.data())
def test_a_place_counts_every_unit_once(units: list[int], skip: int, data: st.DataObject) -> None:
    """However often an answer begins again at its offset, each unit is new exactly once."""
    place, new = Place(f"o/{skip}" if skip else "o"), 0
    for number, count in enumerate(units):
        for _ in range(data.draw(st.integers(0, 2))):
            place.restart()
            part = data.draw(st.integers(0, count))
            new += part - place.take(part)
        place.restart()
        new += count - place.take(count)
        place.arrive(f"o{number}")
    total = sum(units)
    assert new == max(0, total - skip)
    left = max(0, skip - total)
    anchor = f"o{len(units) - 1}" if units else "o"
    assert str(place) == (f"{anchor}/{left}" if left else anchor)


def test_addresses() -> None:
    url = StreamURL.parse("http://h:1/v1/stream/a%2Fb?sig=x%2By")
    assert url.with_query([("offset", "a b&c"), ("live", "sse")]) == (
        "http://h:1/v1/stream/a%2Fb?sig=x%2By&live=sse&offset=a%20b%26c"
    )
    assert url.bare == "http://h:1/v1/stream/a%2Fb"
    assert url.path == "/v1/stream/a%2Fb"
    assert url.beside("../stream/c").text == "http://h:1/v1/stream/c"


@pytest.mark.parametrize(
    "url", ["", "h/x", "ftp://h/x", "http://", "http://h:0/", "http://h/#f", "http://h:x/"]
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(InvalidStreamURL, match="not the address of a stream"):
        StreamURL.parse(url)


def test_an_address_with_a_password_is_not_repeated() -> None:
    with pytest.raises(InvalidStreamURL) as caught:
        StreamURL.parse("http://user:hush@h/x")
    assert "hush" not in str(caught.value)


def test_what_is_appended() -> None:
    assert encode("é", "text/plain") == "é".encode()
    assert encode("é", JSON) == '"é"'.encode()
    assert encode(b'{"a": 1}', JSON) == b'{"a": 1}'
    assert encode(None, JSON) == b"null"
    assert encode(bytearray(b"x"), "image/png") == b"x"
    assert join([b"[1]", b"2"], f"{JSON}; charset=utf-8") == b"[[1],2]"
    assert join([b"a", b"b"], "text/plain") == b"ab"
    assert json.loads(join([encode_all([1, [2]], JSON)], JSON)) == [1, [2]]


@pytest.mark.parametrize(
    ("data", "content_type", "error"),
    [
        ({"a": 1}, "text/plain", TypeError),
        (object(), JSON, TypeError),
        (float("nan"), JSON, ValueError),
        (b"", "text/plain", ValueError),
        (b" ", JSON, ValueError),
        ("", "text/plain", ValueError),
    ],
)
def test_what_cannot_be_appended(data: object, content_type: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        encode(data, content_type)


def test_nothing_cannot_be_appended() -> None:
    with pytest.raises(ValueError, match="nothing"):
        encode_all([], JSON)


@pytest.mark.parametrize(
    ("waiting", "count"),
    [
        ([], 0),
        ([Entry(b"a"), Entry(b"b")], 2),
        ([Entry(b"a"), Entry(b"b", seq="1")], 1),
        ([Entry(b"b", seq="1"), Entry(b"a")], 1),
        ([Entry(b"a"), Entry(None, close=True)], 1),
        ([Entry(b"x" * 9), Entry(b"y" * 9)], 1),
        ([Entry(b"x" * 99), Entry(b"y")], 1),
    ],
)
def test_which_appends_share_a_request(waiting: list[Entry], count: int) -> None:
    assert take_together(waiting, limit=10) == count


def test_the_beginning_in_a_servers_own_spelling() -> None:
    assert first_offset("0000_0123") == "0000_0000"
    assert first_offset("00000000000000000123") == "00000000000000000000"
    assert first_offset("01ARZ3NDEKTSV4RRFFQ69G5FAV") == "-1"
    assert first_offset("") == "-1"
