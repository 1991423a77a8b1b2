"""Server-sent events: what an independent parser reads is what was stored."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from durable_streams_server import json_items, json_record
from durable_streams_server._sse import (
    HEARTBEAT,
    complete_utf8_length,
    control_event,
    data_event,
    hold_back_partial_text,
    is_text,
)
from streams.builders import chunk
from streams.event_parser import Event, EventParser, parse

LINE_ENDS = "\r\n\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e"
texts = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from(LINE_ENDS + " :"), max_size=30
)


def _lines_as_lf(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


@given(texts)
@example("")
@example(" ")
@example("\n")
@example("  two spaces\n one\nnone\n")
@example("\r\n\r\n")
@example("\r\r\n\n")
@example("data: x\n\nevent: control\ndata: {}\n\n")
@example('a\r\n\r\nevent: control\r\ndata: {"streamClosed":true}\r\n\r\n')
@example("\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e\ufeff")
@example("id: 7\nretry: 1\n: comment")
def test_any_text_is_one_event_and_comes_back(text: str) -> None:
    (event,) = parse(data_event(text.encode(), "text/plain"))
    assert event == Event("data", _lines_as_lf(text))


@given(st.binary(max_size=60), st.sampled_from(["application/octet-stream", "image/png", "x/y"]))
def test_any_bytes_are_one_event_of_base64(data: bytes, content_type: str) -> None:
    (event,) = parse(data_event(data, content_type))
    assert event.binary() == data
    assert len(event.data.replace("\n", "")) % 4 == 0


@given(st.lists(st.dictionaries(texts, texts), min_size=1, max_size=4), st.sampled_from([None, 1]))
def test_json_messages_are_one_event_with_an_array(
    messages: list[dict[str, str]], indent: int | None
) -> None:
    records = b"".join(
        json_record(json.dumps(one, indent=indent, ensure_ascii=False).encode()) for one in messages
    )
    (event,) = parse(data_event(records, "application/json"))
    assert json.loads(event.data) == messages == json_items(records)


@given(st.lists(texts, min_size=1, max_size=4), st.data())
def test_events_do_not_depend_on_the_packets(payloads: list[str], data: st.DataObject) -> None:
    body = b"".join(
        data_event(text.encode(), "text/plain")
        + control_event(next_offset="1", cursor=None, up_to_date=True, closed=False)
        for text in payloads
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=6)))
    parser = EventParser()
    pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    events = [event for piece in pieces for event in parser.feed(piece)]
    assert events == parse(body)
    assert [event.data for event in events[::2]] == [_lines_as_lf(text) for text in payloads]


@pytest.mark.parametrize(
    ("cursor", "up_to_date", "closed", "fields"),
    [
        ("7", False, False, {"streamNextOffset": "9", "streamCursor": "7"}),
        ("7", True, False, {"streamNextOffset": "9", "streamCursor": "7", "upToDate": True}),
        ("7", True, True, {"streamNextOffset": "9", "upToDate": True, "streamClosed": True}),
        (None, True, False, {"streamNextOffset": "9", "upToDate": True}),
    ],
)
def test_control_event(
    cursor: str | None, *, up_to_date: bool, closed: bool, fields: dict[str, object]
) -> None:
    event = control_event(next_offset="9", cursor=cursor, up_to_date=up_to_date, closed=closed)
    (parsed,) = parse(event)
    assert parsed.control() == fields


def test_a_heartbeat_is_no_event() -> None:
    parser = EventParser()
    assert parser.feed(HEARTBEAT * 2) == []
    assert parser.comments == 2


@pytest.mark.parametrize(
    ("content_type", "text"),
    [
        ("text/plain", True),
        ("TEXT/html; charset=utf-8", True),
        ("application/json", True),
        ("application/JSON;v=1", True),
        ("application/x-ndjson", False),
        ("application/octet-stream", False),
        ("textual/x", False),
    ],
)
def test_is_text(content_type: str, *, text: bool) -> None:
    assert is_text(content_type) is text


# --------------------------------------------------------------------------- whole code points

SAMPLE = "aß€😀z".encode()


@pytest.mark.parametrize("cut", range(len(SAMPLE) + 1))
def test_no_code_point_is_cut(cut: int) -> None:
    head = SAMPLE[:cut]
    whole = head[: complete_utf8_length(head)]
    text = whole.decode()
    assert "aß€😀z".startswith(text)
    assert len(head) - len(whole) < 4
    # Nothing is held back that could have gone out already.
    assert len(text) == len(head.decode(errors="ignore"))


@pytest.mark.parametrize(
    "never",
    [b"\x80", b"a\xbf\xbf\xbf\xbf", b"\xff", b"a\xfe", b"\xf8\x80", b"\xc3a", b"\xe2\x82z"],
)
def test_what_can_never_be_text_is_not_held_back(never: bytes) -> None:
    assert complete_utf8_length(never) == len(never)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12), st.data())
def test_held_back_bytes_come_with_the_next_chunk(text: str, data: st.DataObject) -> None:
    body = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=6)))
    held, sent, end = b"", b"", 0
    for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True):
        part, held = hold_back_partial_text(held, chunk(body[a:b], start=a, behind=b < len(body)))
        part.data.decode()  # strict: raises on half a code point
        assert part.start == end
        assert part.end == end + len(part.data) == b - len(held)
        assert part.up_to_date is (b == len(body) and not held)
        sent, end = sent + part.data, part.end
    assert sent == body
    assert held == b""


def test_a_silent_moment_keeps_what_is_held() -> None:
    part, held = hold_back_partial_text(b"\xe2\x82", chunk(b"", start=7))
    assert (part.data, part.end, part.up_to_date, held) == (b"", 5, False, b"\xe2\x82")


def test_a_closed_stream_holds_nothing_back() -> None:
    part, held = hold_back_partial_text(b"\xe2", chunk(b"\x82", start=4, closed=True))
    assert (part.start, part.end, part.data, part.closed, held) == (3, 5, b"\xe2\x82", True, b"")


@pytest.mark.parametrize("content_type", ["application/json", "application/octet-stream"])
def test_what_is_not_text_goes_as_it_is(content_type: str) -> None:
    piece = chunk(b"\xe2", content_type=content_type)
    assert hold_back_partial_text(b"", piece) == (piece, b"")
