"""Following a stream: what is decided, against a server that cuts answers anywhere."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durable_transport import (
    InvalidOffset,
    StreamError,
    StreamGone,
    StreamNotFound,
    StreamProtocolError,
    StreamRefused,
    StreamUnreachable,
)
from durable_transport._effects import Breakage, Broke
from durable_transport._stream._units import ByteUnits, JsonUnits, TextUnits
from transport.stream_world import World, opened

JSON = "application/json"
CLOSED = b"streamClosed"
TAIL = {"Stream-Next-Offset": "5", "Stream-Up-To-Date": "true", "Content-Type": "text/plain"}


def all_items(world: World, units: Any, offset: str = "-1", live: Any = "auto") -> list[Any]:
    _, batches = world.follow(units, offset, live=live)
    return [item for batch in batches for item in batch.items]


cuts = st.lists(st.none() | st.integers(0, 120), max_size=12)
some_bytes = st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=6)
messages = st.lists(
    st.lists(
        st.integers() | st.text(max_size=5) | st.just([1, {"a": "]"}]), min_size=1, max_size=4
    ),
    min_size=1,
    max_size=5,
)
worlds = {
    "cuts": cuts,
    "stored": st.integers(0, 6),
    "piece": st.integers(1, 40),
    "page": st.integers(1, 3),
    "ours": st.booleans(),
    "live": st.sampled_from(["auto", "sse", "long-poll", "raw"]),
    "without": st.sampled_from([frozenset(), frozenset({"sse"})]),
}


def world_of(appends: list[Any], content_type: str, made: dict[str, Any]) -> World:
    options = {key: value for key, value in made.items() if key != "live"}
    options["stored"] = min(options["stored"], len(appends))
    return World(appends, content_type=content_type, **options)


@settings(max_examples=150, deadline=None)
@given(appends=some_bytes, made=st.fixed_dictionaries(worlds))
def test_bytes_are_exact_and_so_is_every_offset(appends: list[bytes], made: dict[str, Any]) -> None:
    world = world_of(appends, "application/octet-stream", made)
    follower, batches = world.follow(ByteUnits, live=made["live"])
    seen, places = b"", []
    for batch in batches:
        seen += b"".join(batch.items)
        places += [(batch.offset, len(seen))]
    assert seen == b"".join(appends)
    assert follower.closed
    for offset, position in places:
        again = World(appends, len(appends), ours=made["ours"])
        assert b"".join(all_items(again, ByteUnits, offset)) == seen[position:]


@settings(max_examples=150, deadline=None)
@given(text=st.text(min_size=1, max_size=30), data=st.data(), made=st.fixed_dictionaries(worlds))
def test_text_is_exact_wherever_it_was_cut(text: str, data: Any, made: dict[str, Any]) -> None:
    whole = text.replace("\r", "").encode()  # server-sent events would change it, see below
    places = data.draw(st.sets(st.integers(1, max(1, len(whole) - 1)), max_size=4))
    bounds = [0, *sorted(places), len(whole)]
    appends = [whole[a:b] for a, b in itertools.pairwise(bounds) if a < b] or [b"x"]
    world = world_of(appends, "text/plain", made)
    _, batches = world.follow(TextUnits, live=made["live"])
    seen, offsets = "", []
    for batch in batches:
        seen += "".join(batch.items)
        offsets += [(batch.offset, len(seen))]
    assert seen == b"".join(appends).decode()
    for offset, position in offsets:
        again = World(appends, len(appends), content_type="text/plain", ours=made["ours"])
        assert "".join(all_items(again, TextUnits, offset)) == seen[position:]


@settings(max_examples=150, deadline=None)
@given(appends=messages, made=st.fixed_dictionaries(worlds))
def test_every_message_comes_once_and_has_its_offset(
    appends: list[list[Any]], made: dict[str, Any]
) -> None:
    world = world_of(appends, JSON, made)
    _, batches = world.follow(JsonUnits, live=made["live"])
    got = [pair for batch in batches for pair in zip(batch.items, batch.offsets, strict=True)]
    seen = [item for item, _ in got]
    assert seen == [message for append in appends for message in append]
    for number, (_, offset) in enumerate(got, 1):
        again = World(appends, len(appends), content_type=JSON, ours=made["ours"])
        assert all_items(again, JsonUnits, offset) == seen[number:]


def test_line_ends_of_text_survive_because_server_sent_events_are_not_used() -> None:
    world = World([b"a\r\nb", b"\rc\n"], 1, content_type="text/plain")
    assert "".join(all_items(world, TextUnits)) == "a\r\nb\rc\n"
    assert {query.get("live") for _, query in world.asked} == {None, "long-poll"}


def test_catch_up_then_live_with_the_cursor_repeated() -> None:
    world = World([[1], [2], [3]], 1, content_type=JSON)
    assert all_items(world, JsonUnits, live="long-poll") == [1, 2, 3]
    lives = [query.get("live") for _, query in world.asked]
    assert lives == [None, "long-poll", "long-poll"]
    assert [query.get("cursor") for _, query in world.asked] == [None, "101", "102"]


def test_the_state_is_told_even_without_items() -> None:
    world = World([[1]], 0, content_type=JSON)
    _, batches = world.follow(JsonUnits)
    states = [(batch.items, batch.up_to_date, batch.closed) for batch in batches]
    assert states == [((), True, False), ((1,), True, True)]


def test_now_begins_at_the_tail_and_knows_its_offset() -> None:
    world = World([[1], [2]], 1, content_type=JSON)
    _, batches = world.follow(JsonUnits, "now")
    first = next(batches)
    assert (first.items, first.offset, first.up_to_date) == ((), world.offset(1), True)
    assert [item for batch in batches for item in batch.items] == [2]


def test_only_the_last_item_of_a_batch_is_up_to_date() -> None:
    world = World([[1, 2], [3]], 2, content_type=JSON, page=5)
    _, batches = world.follow(JsonUnits)
    (batch,) = batches
    assert batch.offsets == ("-1/1", "-1/2", world.offset(2))
    assert batch.closed


# ---------------------------------------------------------------- edges of the loop


def failing(answers: list[Any], kind: type[StreamError], live: Any = "auto") -> World:
    world = World([], scripted=answers)
    _, batches = world.follow(ByteUnits, live=live)
    with pytest.raises(kind):
        list(batches)
    return world


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidOffset),
        (404, StreamNotFound),
        (410, StreamGone),
        (413, StreamRefused),
        (302, StreamProtocolError),
    ],
)
def test_refusals_have_a_type_and_are_not_repeated(status: int, kind: type[StreamError]) -> None:
    world = failing([opened(status)], kind)
    assert len(world.asked) == 1


def test_a_refused_token_is_asked_for_anew_once() -> None:
    world = failing([opened(401), opened(401)], StreamRefused)
    assert len(world.slept) == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_temporary_refusals_back_off_for_a_limited_time(status: int) -> None:
    world = failing([opened(status)] * 1000, StreamUnreachable)
    assert sum(world.slept) == pytest.approx(60, abs=6)
    assert len(world.asked) < 40


def test_retry_after_is_honoured() -> None:
    answers = [
        opened(503, {"Retry-After": "7"}),
        (opened(200, {**TAIL, "Stream-Closed": "true"}), b""),
    ]
    world = World([], scripted=answers)
    list(world.follow(ByteUnits)[1])
    assert world.slept == [7.0]


def test_a_server_that_is_never_reached_is_given_up_soon() -> None:
    refused = Broke(Breakage.NOT_CONNECTED, ConnectionRefusedError("no"))
    world = failing([refused] * 100, StreamUnreachable)
    assert sum(world.slept) == pytest.approx(5, abs=1)


def test_an_answer_that_leads_nowhere_backs_off_and_asks_past_the_caches() -> None:
    nowhere = (opened(200, {"Stream-Next-Offset": "5"}), b"")
    done = (opened(200, {**TAIL, "Stream-Closed": "true"}), b"")
    world = World([], scripted=[nowhere, nowhere, done])
    follower, batches = world.follow(ByteUnits, "5")
    list(batches)
    assert follower.closed
    assert len(world.slept) == 2
    assert ("Cache-Control", "no-cache") not in world.headers[0]
    assert ("Cache-Control", "no-cache") in world.headers[1]


def test_a_stale_answer_does_not_move_the_reader_back() -> None:
    old = (opened(200, {"Stream-Next-Offset": "3", "Stream-Up-To-Date": "true"}), b"old")
    world = World([], scripted=[old, (opened(200, {**TAIL, "Stream-Closed": "true"}), b"")])
    _, batches = world.follow(ByteUnits, "5")
    assert [batch.items for batch in batches] == [()]
    assert len(world.slept) == 1


def test_data_that_leads_to_where_it_began_is_no_protocol() -> None:
    failing([(opened(200, {**TAIL, "Stream-Next-Offset": "-1"}), b"x")], StreamProtocolError)
    world = World([], scripted=[(opened(200, TAIL), b"x")])
    with pytest.raises(StreamProtocolError, match="same offset"):
        list(world.follow(ByteUnits, "5")[1])


def test_empty_live_answers_are_paced_and_never_given_up() -> None:
    quiet = (opened(204, TAIL), b"")
    end = (opened(204, {**TAIL, "Stream-Closed": "true"}), b"")
    world = World([], scripted=[(opened(200, TAIL), b""), *[quiet] * 200, end])
    list(world.follow(ByteUnits, "5", live="long-poll")[1])
    assert len(world.slept) == 200
    assert min(world.slept) >= 0.5


def test_a_live_answer_that_ends_at_once_backs_off() -> None:
    sse = (opened(200, {"Content-Type": "text/event-stream"}), b"")
    start = {**TAIL, "Content-Type": JSON}
    world = World([], scripted=[(opened(200, start), b"[]"), *[sse] * 500], content_type=JSON)
    _, batches = world.follow(JsonUnits, "5", live="sse")
    with pytest.raises(StreamUnreachable):
        list(batches)
    assert 55 < sum(world.slept) < 66
    assert len(world.asked) < 40


def test_events_that_only_say_that_nothing_is_new_are_paced_and_never_given_up() -> None:
    control = b'event: control\ndata: {"streamNextOffset":"5","upToDate":true}\n\n'
    quiet = (opened(200, {"Content-Type": "text/event-stream"}), control)
    end = (opened(200, {"Content-Type": "text/event-stream"}), control.replace(b"upToDate", CLOSED))
    start = (opened(200, {**TAIL, "Content-Type": JSON}), b"[]")
    world = World([], scripted=[start, *[quiet] * 200, end], content_type=JSON)
    assert [batch.closed for batch in world.follow(JsonUnits, "5")[1]] == [False, True]
    assert len(world.slept) == 200
    assert min(world.slept) >= 0.5


def test_silent_server_sent_events_are_given_up_for_long_poll() -> None:
    world = World([[1], [2]], 1, content_type=JSON)
    _, batches = world.follow(JsonUnits)
    next(batches)
    world.scripted = [
        (opened(200, {"Content-Type": "text/event-stream"}), b""),
        Broke(Breakage.SILENT, TimeoutError()),
        (opened(200, {"Content-Type": "text/event-stream"}), b""),
        (opened(200, {"Content-Type": "text/event-stream"}), b""),
    ]
    assert [item for batch in batches for item in batch.items] == [2]
    assert world.asked[-1][1]["live"] == "long-poll"


def test_a_cached_page_instead_of_events_means_long_poll() -> None:
    world = World([[1], [2]], 1, content_type=JSON)
    world.scripted = []
    _, batches = world.follow(JsonUnits)
    next(batches)
    world.scripted = [(opened(200, {"Content-Type": "text/html"}), b"<html>")]
    assert [item for batch in batches for item in batch.items] == [2]


# ---------------------------------------------------------------- what is no protocol


@pytest.mark.parametrize(
    "answer",
    [
        (opened(200, {"Content-Type": "text/html"}), b"<html>"),
        (opened(200, {**TAIL, "Content-Type": "text/html"}), b"<html>"),
        (opened(200, {**TAIL, "Content-Type": JSON}), b'{"a": 1}'),
        (opened(200, {**TAIL, "Content-Type": JSON}), b'[{"a": '),
        (opened(200, {**TAIL, "Content-Type": JSON}), b"[" * 100_000),
        (
            opened(200, {**TAIL, "Stream-Next-Offset": "a/b", "Content-Type": JSON}),
            b"[]",
        ),
        (opened(200, {**TAIL, "Content-Encoding": "gzip"}), b"\x1f\x8b"),
    ],
)
def test_what_is_no_stream_of_messages_is_said_and_moves_nothing(answer: Any) -> None:
    world = World([], content_type=JSON, scripted=[answer])
    follower, batches = world.follow(JsonUnits)
    with pytest.raises(StreamProtocolError):
        list(batches)
    assert follower.offset == "-1"


def test_broken_events_are_said() -> None:
    for event in (b"event: control\ndata: {\n\n", b'event: control\ndata: {"upToDate":true}\n\n'):
        world = World([[1]], 0, content_type=JSON)
        _, batches = world.follow(JsonUnits)
        next(batches)
        world.scripted = [(opened(200, {"Content-Type": "text/event-stream"}), event)]
        with pytest.raises(StreamProtocolError):
            list(batches)


def test_text_that_is_none_is_said_and_its_bytes_are_not_passed() -> None:
    world = World([b"ok", b"\xff\xff"], 2, content_type="text/plain", page=1)
    follower, batches = world.follow(TextUnits)
    got: list[Any] = []
    with pytest.raises(StreamProtocolError, match="UTF-8"):
        got.extend(batches)
    assert follower.offset == world.offset(1)


def test_a_reader_goes_on_after_a_failure() -> None:
    world = World([b"one", b"two"], 2, page=1)
    follower, batches = world.follow(ByteUnits)
    assert next(batches).items == (b"one",)
    world.scripted = [opened(404)]
    with pytest.raises(StreamNotFound):
        next(batches)
    rest = [item for batch in world.emitted(follower.run()) for item in batch.items]
    assert rest == [b"two"]


def test_messages_with_line_separators_stay_whole() -> None:
    odd = [["\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e \r\n"]]
    world = World(odd, 0, content_type=JSON)
    world.encoded = lambda append: b"".join(  # type: ignore[method-assign]
        json.dumps(one, ensure_ascii=False).encode() + b"," for one in append
    )
    assert all_items(world, JsonUnits) == odd[0]
