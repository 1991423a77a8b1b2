"""Forks: another stream's bytes at the beginning, and what that means for deleting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_streams_server import (
    Append,
    ConfigMismatch,
    ContentTypeMismatch,
    Create,
    Created,
    Delete,
    Deleted,
    Exists,
    Fork,
    ForkOutOfRange,
    ForkSourceGone,
    Gone,
    Log,
    NotFound,
    Producer,
    SequenceGap,
    StreamGoneError,
    json_items,
)
from durable_streams_server._json_mode import json_prefix_length
from durable_streams_server._model import StreamInfo, Touch
from durable_streams_server._plan import Planner, State
from durable_transport.protocol import format_offset
from streams.builders import NOW, stream
from streams.gate import UNIT
from streams.serving import served

if TYPE_CHECKING:
    from pathlib import Path

    from durable_streams_server import Operation, Outcome

pytestmark = pytest.mark.anyio


def plan(*streams: StreamInfo, now: float = NOW) -> Planner:
    ids = iter(range(100, 200))
    state = State({one.path: one for one in streams}, {(1, "p"): (0, 4)})
    return Planner(state, now, lambda: next(ids))


def run(planner: Planner, operation: Operation) -> Outcome:
    (outcome,) = planner.run((operation,))
    return outcome


SOURCE = stream(path="source", tail=10, content_type="text/plain", seq="z")


def fork_of(source: str = "source", position: int | None = None, **fields: object) -> Create:
    return Create("fork", fork=Fork(source, position), **fields)  # type: ignore[arg-type]


REFUSED: list[tuple[str, StreamInfo, Create, type]] = [
    ("no source", stream(path="other"), fork_of(), NotFound),
    ("another incarnation", SOURCE, Create("fork", fork=Fork("source", 3, 77)), NotFound),
    ("deleted source", SOURCE._replace(deleted=True, forks=1), fork_of(), ForkSourceGone),
    ("past the tail", SOURCE, fork_of(position=11), ForkOutOfRange),
    ("other content", SOURCE, fork_of(content_type="text/html"), ContentTypeMismatch),
]


@pytest.mark.parametrize(
    ("source", "operation", "outcome"), [row[1:] for row in REFUSED], ids=[r[0] for r in REFUSED]
)
def test_a_refused_fork_leaves_its_source_alone(
    source: StreamInfo, operation: Create, outcome: type
) -> None:
    planner = plan(source)
    assert isinstance(run(planner, operation), outcome)
    assert planner.state.streams == {source.path: source}
    assert not planner.effects.streams


@pytest.mark.parametrize(("position", "begins"), [(None, 10), (0, 0), (4, 4), (10, 10)])
def test_a_fork_begins_in_its_source(position: int | None, begins: int) -> None:
    planner = plan(SOURCE._replace(closed=True))
    outcome = run(planner, fork_of(position=position, data=b"own"))
    assert isinstance(outcome, Created)
    fork = outcome.stream
    assert (fork.fork_position, fork.tail, fork.closed) == (begins, begins + 3, False)
    assert (fork.content_type, fork.seq) == ("text/plain", None)
    assert planner.effects.chunks[fork.id] == [b"own"]
    assert planner.state.streams["source"].forks == 1


LIFETIMES = [
    # source, asked for, the fork's (ttl, expires_at)
    ({}, {}, (None, None)),
    ({}, {"ttl_seconds": 5}, (5, None)),
    ({"ttl_seconds": 9}, {}, (9, None)),
    ({"ttl_seconds": 9}, {"ttl_seconds": 5}, (5, None)),
    ({"ttl_seconds": 9}, {"expires_at": NOW + 1}, (None, NOW + 1)),
    ({"expires_at": NOW + 9}, {}, (None, NOW + 9)),
    ({"expires_at": NOW + 9}, {"ttl_seconds": 5}, (5, None)),
    ({"expires_at": NOW + 9}, {"expires_at": NOW + 99}, (None, NOW + 99)),
]


@pytest.mark.parametrize(("source", "asked", "lifetime"), LIFETIMES)
def test_a_fork_lives_as_long_as_it_says_or_as_its_source(
    source: dict[str, float], asked: dict[str, float], lifetime: tuple[float, float]
) -> None:
    outcome = run(plan(SOURCE._replace(**source)), fork_of(**asked))  # type: ignore[arg-type]
    assert isinstance(outcome, Created)
    assert (outcome.stream.ttl_seconds, outcome.stream.expires_at) == lifetime


def test_a_fork_created_again_is_the_same_fork_or_a_conflict() -> None:
    planner = plan(SOURCE)
    run(planner, fork_of(position=4))
    assert isinstance(run(planner, fork_of(position=4)), Exists)
    assert isinstance(run(planner, fork_of()), Exists)
    for other in (
        fork_of(position=5),
        fork_of("elsewhere", 4),
        fork_of(position=4, ttl_seconds=3),
        fork_of(position=4, content_type="text/html"),
        Create("fork", "text/plain"),
    ):
        assert isinstance(run(planner, other), ConfigMismatch)
    assert planner.state.streams["source"].forks == 1


def test_a_producer_of_the_source_is_unknown_to_the_fork() -> None:
    planner = plan(SOURCE)
    run(planner, fork_of())
    again = Append("fork", b"x", producer=Producer("p", 0, 5))
    assert run(planner, again) == SequenceGap(expected=0, received=5)


def test_a_source_goes_with_the_last_of_its_forks() -> None:
    planner = plan(SOURCE)
    run(planner, fork_of())
    run(planner, Create("second", fork=Fork("fork")))
    assert run(planner, Delete("source")) == Deleted()
    assert run(planner, Delete("fork")) == Deleted()
    for path in ("source", "fork"):
        assert isinstance(run(planner, Append(path, b"x")), Gone)
        assert isinstance(run(planner, Delete(path)), Gone)
        assert isinstance(run(planner, Create(path, "text/plain")), ConfigMismatch)
    assert run(planner, Delete("second")) == Deleted()
    assert planner.state.streams == {}
    assert isinstance(run(planner, Append("source", b"x")), NotFound)


def test_an_expired_source_is_deleted_for_clients_only() -> None:
    planner = plan(SOURCE._replace(expires_at=NOW + 5))
    run(planner, fork_of(expires_at=NOW + 500))
    later = plan(*planner.state.streams.values(), now=NOW + 10)
    run(later, Touch("source"))
    assert later.state.streams["source"].deleted
    assert not later.effects.deleted
    run(later, Delete("fork"))
    assert later.state.streams == {}


# --------------------------------------------------------------------------- with a store


async def _body(log: Log, path: str, position: int = 0) -> bytes:
    body = b""
    async with log.reader(path, position) as reader:
        while chunk := (await reader.read(7)).data:
            body += chunk
    return body


async def test_chains_of_forks_read_as_one_stream_after_a_restart(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'log.sqlite'}"
    async with await Log.open(url) as log:
        await log.transact(Create("a", data=b"0123456789"))
        await log.transact(Append("a", b"abcdefghij"))
        await log.transact(Create("b", fork=Fork("a", 13)))
        await log.transact(Append("b", b"B" * 9))
        await log.transact(Create("c", fork=Fork("b", 5)), Append("c", b"C"))
        await log.transact(Create("d", fork=Fork("b")))
        await log.transact(Append("a", b"later"), Delete("a"), Delete("b"))
    async with await Log.open(url) as log:
        assert await _body(log, "c") == b"01234C"
        assert await _body(log, "d") == b"0123456789abc" + b"B" * 9
        for position in range(23):
            assert await _body(log, "d", position) == (b"0123456789abc" + b"B" * 9)[position:]
        with pytest.raises(StreamGoneError):
            await _body(log, "a")
        await log.transact(Delete("c"))
        await log.transact(Delete("d"))
        assert await log.stat("a") is None


async def test_a_reader_of_a_deleted_source_ends_and_one_of_its_fork_does_not() -> None:
    async with await Log.open() as log:
        await log.transact(Create("a", data=b"one"))
        await log.transact(Create("b", fork=Fork("a")))
        async with log.reader("a", 3) as of_source, log.reader("b", 3) as of_fork:
            await log.transact(Append("a", b"two"))
            assert (await of_source.next(UNIT)).data == b"two"
            assert (await of_fork.next(0)).data == b""
            await log.transact(Delete("a"))
            with pytest.raises(StreamGoneError):
                await of_source.next(UNIT)
            await log.transact(Append("b", b"mine"))
            assert (await of_fork.next(UNIT)).data == b"mine"


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.lists(JSON_VALUES, max_size=6), st.integers(0, 8), st.sampled_from(["", " ", "\n\t"]))
def test_messages_are_counted_off_by_their_text(
    values: list[object], count: int, space: str
) -> None:
    import json

    records = "".join(f"{space}{json.dumps(value)}{space}," for value in values).encode()
    length, found = json_prefix_length(records, count)
    assert found == min(count, len(values))
    assert (json_items(records[:length]) if length else []) == values[:found]


JSON_SOURCE = b'1,{"a":[1,2]},"x,3,",45,'
BOUNDARIES = {0, 2, 14, 21, 24}


@pytest.mark.parametrize("further", [{}, {"Stream_Fork_Sub_Offset": "1"}])
@pytest.mark.parametrize("position", range(len(JSON_SOURCE)))
async def test_a_fork_does_not_cut_a_message_in_two(position: int, further: dict[str, str]) -> None:
    async with served() as server:
        await server.log.transact(Create("s", "application/json", data=JSON_SOURCE[:14]))
        await server.log.transact(Append("s", JSON_SOURCE[14:]))
        reply = await server.put(
            "fork",
            Content_Type="application/json",
            Stream_Forked_From="/v1/stream/s",
            Stream_Fork_Offset=format_offset(position),
            **further,
        )
        if position in BOUNDARIES:
            assert reply.status == 201
            fork = await server.log.read("fork")
            end = min(one for one in BOUNDARIES if one > position) if further else position
            assert fork.data == JSON_SOURCE[:end]
        else:
            assert (reply.status, reply.json()["error"]["code"]) == (400, "invalid_offset")
            assert await server.log.stat("fork") is None


async def test_a_fork_is_confirmed_when_its_source_is_gone() -> None:
    asked = {"Stream_Forked_From": "/v1/stream/s", "Stream_Fork_Offset": format_offset(1)}
    async with served() as server:
        await server.put("s", b"abc")
        assert (await server.put("fork", Stream_Closed="true", **asked)).status == 201
        assert (await server.ask("DELETE", "s")).status == 204
        again = await server.put("fork", Stream_Closed="true", **asked)
        assert (again.status, again["stream-next-offset"]) == (200, format_offset(1))
        assert (await server.put("fork", **asked)).status == 409
        assert (await server.put("new", **asked)).status == 409
