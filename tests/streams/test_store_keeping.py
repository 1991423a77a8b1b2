"""What every store tells to whoever looks after it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from durable_streams_server import Append, Create, Delete, Fork, Heartbeat, Producer
from streams.builders import NOW
from streams.test_store import JSON, MANY, one, run, stat

if TYPE_CHECKING:
    from durable_streams_server._store import Store


def names(store: Store, prefix: str = "", after: str = "", limit: int = MANY) -> list[str]:
    return [one.path for one in store.list_streams(prefix, after, limit, NOW)]


def test_streams_are_listed_in_the_order_of_their_bytes(store: Store) -> None:
    for path in ("b", "a~", "a/b", "a", "a%C3%A9", "A", "a_b", "~"):
        one(store, Create(path))
    assert names(store) == ["A", "a", "a%C3%A9", "a/b", "a_b", "a~", "b", "~"]
    assert names(store, prefix="a") == ["a", "a%C3%A9", "a/b", "a_b", "a~"]
    assert names(store, prefix="a%") == ["a%C3%A9"], "no character of a prefix stands for others"
    assert names(store, prefix="a_") == ["a_b"]
    assert names(store, prefix="c") == []


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
def test_pages_follow_each_other_without_gap_or_overlap(store: Store, limit: int) -> None:
    wanted = [f"s/{number}" for number in range(7)]
    run(store, *[Create(path) for path in [*wanted, "r", "t"]])
    pages = [names(store, "s/", "", limit)]
    while len(pages[-1]) == limit:
        pages.append(names(store, "s/", pages[-1][-1], limit))
    assert [path for page in pages for path in page] == wanted


def test_a_list_says_what_stat_says(store: Store) -> None:
    run(store, Create("s", JSON, data=b"1,", ttl_seconds=10), Create("over", expires_at=NOW))
    one(store, Append("s", b"2,"))
    run(store, Create("source", data=b"abc"), Create("fork", fork=Fork("source")))
    one(store, Delete("source"))
    listed = store.list_streams("", "", MANY, NOW)
    assert [one.path for one in listed] == ["fork", "s", "source"]
    assert listed == [stat(store, one.path) for one in listed]
    assert listed[2].deleted
    assert store.list_streams("s", "", MANY, NOW + 10) == [listed[2]], "its lifetime is over"


def test_inspect(store: Store) -> None:
    one(store, Heartbeat("node", NOW + 10))
    one(store, Create("s", data=b"abc", owner="node"))
    one(store, Append("s", b"de", owner="node", producer=Producer("p", 3, 0)))
    one(store, Append("s", b"f", owner="node", producer=Producer("p", 3, 1)))
    run(store, Create("f", data=b"!!", fork=Fork("s", 4)))
    found = store.inspect("s", NOW)
    assert found is not None
    assert found.stream == stat(store, "s")
    assert (found.producers, found.forks) == ((Producer("p", 3, 1),), ("f",))
    assert (found.stored_bytes, found.lease_expires_at) == (6, NOW + 10)
    assert 1 <= found.rows <= 3
    fork = store.inspect("f", NOW)
    assert fork is not None
    assert (fork.stored_bytes, fork.stream.tail) == (2, 6), "what it inherits is stored elsewhere"
    assert (fork.producers, fork.forks, fork.lease_expires_at) == ((), (), None)
    assert store.inspect("nowhere", NOW) is None


def test_the_store_knows_its_size(store: Store) -> None:
    before = store.size()
    one(store, Create("s", data=random.Random(0).randbytes(1 << 20)))
    assert store.size() >= before + (1 << 20)
