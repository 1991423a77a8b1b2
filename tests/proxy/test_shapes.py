"""What rows, positions and handles are, and which requests are requests for a shape."""

from __future__ import annotations

import json
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from durable_proxy._errors import RefusedError
from durable_proxy._shape_request import After, Beginning, Kind, Live, Tail, parse_shape
from durable_proxy._shapes import (
    ROW_BYTES,
    NotOursError,
    Pair,
    Part,
    Row,
    Shape,
    event_stream,
    insert,
    next_cursor,
    read_rows,
    schema,
)
from durable_streams_server import StreamInfo, json_record
from durable_transport.protocol import ControlEvent, ControlMessage, TerminalPayload

SESSION = UUID(int=7)
REQUEST = UUID(int=8)


def _stream(number: int, tail: int = 0, *, closed: bool = True) -> StreamInfo:
    return StreamInfo(number, f"stream {number}", "", tail, closed, 1_700_000_000.25)


def _part(base: int = 0, data_base: int = 0) -> Part:
    return Part(REQUEST, base, data_base, _stream(1))


def _pair(number: int, data: int, control: int = 10, *, closed: bool = True) -> Pair:
    """Streams with ids of their own, in the order in which a store gives them out."""
    return Pair(
        UUID(int=number),
        _stream(2 * number + 1, data, closed=closed),
        _stream(2 * number, control, closed=closed),
    )


def _shape(*pairs: Pair, kind: Kind = Kind.DATA, session: UUID = SESSION) -> Shape:
    return Shape(kind, session, None, pairs)


# ---------------------------------------------------------------------- text


def _read_in_pieces(data: bytes, cuts: list[int], base: int = 0) -> list[Row]:
    """Rows of bytes that come in pieces, as a reading takes them."""
    rows, held, at = list[Row](), b"", 0
    ends = [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for end in ends:
        held += data[at:end]
        start, at = base + end - len(held), end
        final = end == len(data)
        found, taken = read_rows(Kind.DATA, SESSION, _part(base), held, start, final=final)
        rows, held = rows + found, held[taken:]
    assert held == b""
    return rows


_BYTES = st.binary(max_size=40) | st.lists(
    st.sampled_from([b"a", "é".encode(), "€".encode(), "\U0001f600".encode(), b"\xf0", b"\x80\xff"])
).map(b"".join)


@given(_BYTES, st.lists(st.integers(0, 50), max_size=6), st.integers(0, 3 * ROW_BYTES))
@example("€".encode(), [1, 2], 0)
@example(b"\xe0\x80\xf0\x9f\x98", [1, 2, 3, 4], 5)
def test_rows_are_what_a_decoder_makes_of_the_whole(
    data: bytes, cuts: list[int], base: int
) -> None:
    rows = _read_in_pieces(data, cuts, base)
    assert "".join(row.values["data"] or "" for row in rows) == data.decode(errors="replace")
    ends = [row.end for row in rows]
    assert ends == sorted(set(ends))
    assert ends[-1:] == ([base + len(data)] if data else [])


@given(st.text(max_size=20), st.lists(st.integers(0, 60), max_size=6))
def test_rows_of_text_are_the_bytes_between_their_ids(text: str, cuts: list[int]) -> None:
    data, at = text.encode(), 0
    for row in _read_in_pieces(data, cuts):
        assert (row.values["data"] or "").encode() == data[at : row.end]
        at = row.end


def test_long_rows_end_at_the_same_places_for_everybody() -> None:
    data = "€".encode() * ROW_BYTES
    rows, _ = read_rows(Kind.DATA, SESSION, _part(), data, 0, final=True)
    later, _ = read_rows(Kind.DATA, SESSION, _part(), data[300:], 300, final=True)
    assert rows == [Row(rows[0].end, rows[0].values), *later[1:]]
    assert max(row.end - before.end for before, row in pairwise(rows)) <= (ROW_BYTES + 2)


# ---------------------------------------------------------------------- control messages


def _records(*messages: ControlMessage) -> list[bytes]:
    return [json_record(message.to_json()) for message in messages]


DONE = ControlMessage.terminal(ControlEvent.DONE, 30, TerminalPayload(finish_reason="complete"))
START = ControlMessage(event="start", payload={"status": 200, "text": "€"})
NEW = ControlMessage(event="something new")


def test_the_messages_of_the_table_are_rows_and_others_only_move_the_position() -> None:
    records = _records(START, NEW, DONE)
    data = b"".join(records)
    rows, taken = read_rows(Kind.CONTROL, SESSION, _part(5, 100), data, 5, final=True)
    assert taken == len(data)
    assert [row.end for row in rows] == [5 + len(data)]
    assert rows[0].values == {
        "id": str(5 + len(data)),
        "session": str(SESSION),
        "request": str(REQUEST),
        "event": "done",
        "data_row_id": f"{130:020d}",
        "payload": '{"finishReason": "complete"}',
        "created_at": "2023-11-14 22:13:20.250000",
    }


@pytest.mark.parametrize("skipped", [1, 3, len(b"".join(_records(START))) - 1])
def test_a_position_within_a_message_is_none_of_ours(skipped: int) -> None:
    data = b"".join(_records(START, DONE))[skipped:]
    with pytest.raises(NotOursError):
        read_rows(Kind.CONTROL, SESSION, _part(), data, skipped, final=True)


# ---------------------------------------------------------------------- shapes


def test_requests_follow_each_other_up_to_the_first_that_has_not_ended() -> None:
    shape = _shape(_pair(3, 7, closed=False), _pair(1, 10), _pair(4, 9), _pair(2, 0))
    assert [(part.request.int, part.base) for part in shape.parts] == [(1, 0), (2, 10), (3, 10)]
    assert shape.end == 17
    found = [part and part.request.int for part in map(shape.part_at, (0, 9, 10, 16, 17, 99))]
    assert found == [1, 1, 3, 3, 3, 3]
    assert _shape(_pair(1, 10)).part_at(10) is None


def test_control_messages_name_rows_of_the_data() -> None:
    shape = _shape(_pair(1, 10, 3), _pair(2, 20, 4), kind=Kind.CONTROL)
    assert [(part.base, part.data_base) for part in shape.parts] == [(0, 0), (3, 10)]


def test_a_handle_holds_while_the_shape_grows_and_no_longer() -> None:
    one, two = _pair(1, 10), _pair(2, 20)
    empty, before, after = _shape(), _shape(one), _shape(one, two)
    assert all(after.is_named(known.handle) for known in (empty, before, after))
    assert not before.is_named(after.handle)
    replaced = _shape(_pair(3, 10), two)
    assert replaced.is_named(empty.handle)
    assert not replaced.is_named(before.handle)
    assert not replaced.is_named(after.handle)


def test_shapes_have_handles_of_their_own() -> None:
    pairs = (_pair(1, 10),)
    shapes = [
        _shape(*pairs),
        _shape(*pairs, kind=Kind.CONTROL),
        _shape(*pairs, session=REQUEST),
        Shape(Kind.DATA, SESSION, REQUEST, pairs),
    ]
    assert len({shape.handle for shape in shapes}) == len(shapes)


@pytest.mark.parametrize("handle", ["", "-", "1", "-1-00", "2-00", "1-00", "٣-00", "9" * 5000])
def test_what_is_no_handle(handle: str) -> None:
    assert not _shape(_pair(1, 10)).is_named(handle)


# ---------------------------------------------------------------------- messages


def test_a_row_cannot_forge_an_event() -> None:
    row = Row(3, {"id": "3", "data": 'a\n\ndata: {"x":1}\r\n\r\n'})
    sent = event_stream([insert(Kind.DATA, row, ("id", "data"))])
    assert sent.count(b"\n") == 2
    assert json.loads(sent.removeprefix(b"data: "))["value"] == row.values


def test_the_schema_has_the_columns_that_were_asked_for() -> None:
    assert json.loads(schema(Kind.CONTROL, ("id", "payload"))) == {
        "id": {"type": "int8", "dims": 0, "not_null": True, "pk_index": 0},
        "payload": {"type": "jsonb", "dims": 0},
    }


@given(st.floats(1.8e9, 2.2e9), st.floats(0, 0.999), st.none() | st.integers(0, 10**9).map(str))
def test_a_cursor_always_leads_on(now: float, random: float, seen: str | None) -> None:
    assert int(next_cursor(seen, now, random)) > int(seen or 0)


@pytest.mark.parametrize("seen", ["", "x", "-1", "9" * 5000, "\u0661"])
def test_a_cursor_of_nonsense_counts_as_none(seen: str) -> None:
    assert next_cursor(seen, 1.8e9, 0.5) == next_cursor(None, 1.8e9, 0.5)


# ---------------------------------------------------------------------- requests

WHO = f"sessionId={SESSION}"


def _parse(query: str, kind: str = "data") -> object:
    return parse_shape(kind, f"{WHO}&{query}".encode())


def test_what_a_request_says() -> None:
    shape = parse_shape(
        "control",
        f"{WHO}&requestId={REQUEST}&offset=12_0&handle=1-a&live=true&live_sse=true&cursor=9"
        f"&columns=%22payload%22,id&table=control_messages&expired_handle=0-b&token=secret"
        f"&replica=full&log=full".encode(),
    )
    assert (shape.session, shape.request) == (SESSION, REQUEST)
    assert shape.start == After("1-a", 12)
    assert shape.live is Live.SSE
    assert shape.columns == ("id", "payload")
    assert shape.table == "control_messages"
    assert shape.where == f"session='{SESSION}' AND request='{REQUEST}'"
    assert dict(shape.passed_on) == {
        "offset": "12_0",
        "handle": "1-a",
        "live": "true",
        "live_sse": "true",
        "cursor": "9",
        "columns": '"payload",id',
        "expired_handle": "0-b",
        "replica": "full",
        "log": "full",
    }


@pytest.mark.parametrize(
    ("query", "start"),
    [
        ("offset=-1", Beginning()),
        ("offset=now", Tail()),
        ("offset=-1&log=changes_only", Tail()),
        ("offset=-1&handle=known", Beginning()),
        ("offset=0_0&handle=a", After("a", 0)),
        ("offset=5_1&handle=a", After("a", None)),
        ("offset=0_inf&handle=a", After("a", None)),
    ],
)
def test_where_it_begins(query: str, start: object) -> None:
    shape = parse_shape("data", f"{WHO}&{query}".encode())
    assert shape.start == start
    assert shape.live is None


@pytest.mark.parametrize(
    "query",
    [
        "",
        "offset=",
        "offset=5",
        "offset=-2",
        "offset=-1_0",
        "offset=1_0",
        "offset=1_0&handle=",
        "offset=1_0_0&handle=a",
        "offset=%D9%A1_0&handle=a",
        f"offset={'9' * 20}_0&handle=a",
        "offset=-1&offset=-1",
        "offset=-1&live=true",
        "offset=now&live=true",
        "offset=1_0&handle=a&live=yes",
        "offset=1_0&handle=a&live_sse=true",
        "offset=1_0&handle=a&experimental_live_sse=1",
        "offset=-1&log=some",
        "offset=-1&table=users",
        "offset=-1&table=control_messages",
        "offset=-1&where=true",
        "offset=-1&params[1]=x",
        "offset=-1&params=x",
        "offset=-1&columns=data",
        "offset=-1&columns=id,secret",
        "offset=-1&columns=",
        "offset=-1&requestId=",
        "offset=-1&requestId=x",
        f"offset=-1&requestId={REQUEST}'",
        "offset=-1&sessionId=x",
        "offset=-1&%ff=1",
        "&".join(f"p{number}=1" for number in range(100)),
    ],
)
def test_what_is_no_request_for_a_shape(query: str) -> None:
    with pytest.raises(RefusedError) as refused:
        _parse(query)
    assert refused.value.refusal.status == 400


def test_a_session_has_to_be_named() -> None:
    with pytest.raises(RefusedError):
        parse_shape("data", b"offset=-1")


def test_there_are_two_shapes() -> None:
    with pytest.raises(RefusedError) as refused:
        _parse("offset=-1", "streams")
    assert refused.value.refusal.status == 404
