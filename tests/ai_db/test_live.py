"""What holds for live collections beside being right."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from durable_ai_db.live import (
    Deleted,
    Graph,
    Inserted,
    QueryFailed,
    Source,
    Updated,
    follow,
)

if TYPE_CHECKING:
    from collections.abc import Hashable

    from durable_ai_db.live import Change, Collection


def source(graph: Graph | None = None, **rows: int) -> Source[str, int]:
    made = Source[str, int](graph)
    with made.graph.batch():
        for key, value in rows.items():
            made.set(key, value)
    return made


class Told:
    """Keeps what a collection tells."""

    def __init__(self, rows: Collection[Any, Any], *, initial: bool = False) -> None:
        self.batches: list[list[Change[Any, Any]]] = []
        self.subscription = rows.subscribe(self.batches.append, initial=initial)


def test_reading_is_like_a_mapping() -> None:
    rows = source(a=1, b=2)
    assert (rows["a"], rows.get("c"), rows.get("c", 5), "b" in rows, "c" in rows) == (
        *(1, None, 5, True, False),
    )
    assert (list(rows), list(rows.values()), list(rows.items()), len(rows)) == (
        *(["a", "b"], [1, 2], [("a", 1), ("b", 2)], 2),
    )
    with pytest.raises(KeyError):
        rows["c"]
    assert repr(rows) == "<Source of 2 rows>"


def test_changes_say_what_was_and_what_is() -> None:
    rows = source(a=1)
    told = Told(rows)
    rows.set("b", 2)
    rows.set("b", 3)
    rows.delete("a")
    assert told.batches == [[Inserted("b", 2)], [Updated("b", 2, 3)], [Deleted("a", 1)]]


def test_what_changes_nothing_is_not_told() -> None:
    rows = source(a=1)
    told = Told(rows)
    rows.set("a", 1)
    rows.delete("nothing")
    with rows.graph.batch():
        rows.set("b", 1)
        rows.delete("b")
    assert told.batches == []


def test_true_is_not_one() -> None:
    rows = Source[str, object]()
    rows.set("a", 1)
    told = Told(rows)
    rows.set("a", True)
    assert told.batches == [[Updated("a", 1, True)]]


def test_a_batch_is_one_change_of_each_row_and_is_not_seen_before_its_end() -> None:
    rows = source(a=1)
    told = Told(rows)
    with rows.graph.batch():
        rows.set("a", 2)
        with rows.graph.batch():
            rows.set("a", 3)
            rows.set("b", 1)
        assert rows["a"] == 1
    assert told.batches == [[Updated("a", 1, 3), Inserted("b", 1)]]


def test_a_batch_that_raises_writes_nothing() -> None:
    rows = source(a=1)

    def write() -> None:
        with rows.graph.batch():
            rows.set("a", 2)
            raise LookupError

    with pytest.raises(LookupError):
        write()
    assert dict(rows.items()) == {"a": 1}


def test_a_failed_part_of_a_batch_leaves_the_rest() -> None:
    rows = source(a=1)

    def fail() -> None:
        with rows.graph.batch():
            rows.set("a", 5)
            raise LookupError

    with rows.graph.batch():
        rows.set("b", 2)
        with pytest.raises(LookupError):
            fail()
    assert dict(rows.items()) == {"a": 1, "b": 2}


def test_clear_takes_all_rows() -> None:
    rows = source(a=1, b=2)
    told = Told(rows)
    rows.clear()
    assert (len(rows), told.batches) == (0, [[Deleted("a", 1), Deleted("b", 2)]])


def test_subscribers_may_begin_with_what_is_there_and_leave() -> None:
    rows = source(a=1)
    told = Told(rows, initial=True)
    assert told.batches == [[Inserted("a", 1)]]
    told.subscription.close()
    told.subscription.close()
    rows.set("b", 2)
    with rows.subscribe(told.batches.append):
        pass
    rows.set("c", 3)
    assert len(told.batches) == 1


def test_what_subscribers_write_is_the_next_batch() -> None:
    rows = source()
    doubled = rows.map(lambda value: 2 * value)
    order: list[object] = []
    rows.subscribe(lambda changes: order.append(("rows", changes[0].key)))

    def write(_: object) -> None:
        if "b" not in rows:
            rows.set("b", 2)

    rows.subscribe(write)
    doubled.subscribe(lambda changes: order.append(("doubled", changes[0].key)))
    rows.set("a", 1)
    assert order == [("rows", "a"), ("doubled", "a"), ("rows", "b"), ("doubled", "b")]
    assert dict(doubled.items()) == {"a": 2, "b": 4}


def test_a_subscriber_that_leaves_during_a_batch_is_told_no_more() -> None:
    rows = source()
    told: list[Any] = []
    rows.subscribe(lambda _: later.close())
    later = rows.subscribe(told.append)
    rows.set("a", 1)
    assert told == []


def test_a_subscriber_that_raises_keeps_nothing_from_the_others() -> None:
    rows = source()

    def fail(_: object) -> None:
        raise LookupError("mine")

    rows.subscribe(fail)
    told = Told(rows)
    with pytest.raises(ExceptionGroup) as raised:
        rows.set("a", 1)
    assert [repr(error) for error in raised.value.exceptions] == ["LookupError('mine')"]
    assert told.batches == [[Inserted("a", 1)]]


def test_errors_go_to_whoever_asked_for_them() -> None:
    errors: list[Exception] = []
    rows = source(Graph(on_error=errors.append), a=1)
    broken = rows.map(lambda value: 1 // value)
    below = broken.where(bool)
    count = rows.count()
    rows.set("b", 0)
    assert [type(error) for error in errors] == [ZeroDivisionError]
    for one in (broken, below):
        with pytest.raises(QueryFailed) as raised:
            len(one)
        assert isinstance(raised.value.__cause__, ZeroDivisionError)
    assert count.value == 2
    rows.set("c", 1)
    assert (len(errors), count.value) == (1, 3)


def test_a_function_of_a_collection_must_not_write() -> None:
    rows = source()
    other = source(rows.graph)
    bad = rows.map(lambda value: other.set("x", value))
    with pytest.raises(ExceptionGroup) as raised:
        rows.set("a", 1)
    assert raised.group_contains(RuntimeError, match="must not write")
    with pytest.raises(QueryFailed):
        bad.get("a")


def test_collections_of_two_graphs_do_not_mix() -> None:
    with pytest.raises(ValueError, match="one graph"):
        source().join(source(), lambda one: one, lambda one: one)


def test_values_of_the_whole_collection() -> None:
    rows = source(a=3, b=1)
    count, total = rows.count(), rows.sum(lambda one: one)
    low, high = rows.min(lambda one: one), rows.max(lambda one: one)
    seen: list[float] = []
    total.subscribe(seen.append)
    assert (count.value, total.value, low.value, high.value) == (2, 4, 1, 3)
    rows.set("c", 7)
    rows.delete("b")
    assert (count.value, total.value, low.value, high.value) == (2, 10, 3, 7)
    rows.clear()
    assert (count.value, total.value, low.value, high.value) == (0, 0, None, None)
    assert seen == [11, 10, 0]
    assert repr(count) == "<LiveValue 0>"


@dataclass(frozen=True)
class Raised:
    """A patch."""

    key: str
    by: int | None

    def apply(self, row: int | None) -> int | None:
        return None if self.by is None else (row or 0) + self.by


def test_patches_change_rows_in_the_order_they_came() -> None:
    rows = source(a=1)
    patches = Source[int, Raised](rows.graph)
    patched = rows.patched(patches)
    told = Told(patched)
    patches.set(1, Raised("a", 10))
    patches.set(2, Raised("b", 5))
    rows.set("a", 2)
    patches.set(3, Raised("a", None))
    patches.delete(3)
    with rows.graph.batch():
        patches.delete(2)
        rows.set("b", 5)
    patches.clear()
    assert dict(patched.items()) == {"a": 2, "b": 5}
    assert told.batches == [
        *([Updated("a", 1, 11)], [Inserted("b", 5)], [Updated("a", 11, 12)]),
        *([Deleted("a", 12)], [Inserted("a", 12)], [Updated("a", 12, 2)]),
    ]


def test_what_nobody_has_is_not_kept_up_to_date() -> None:
    rows = source(a=1)
    asked: list[int] = []
    derived = rows.map(asked.append)
    told = Told(rows.map(lambda value: value + 1).where(bool))
    del derived
    gc.collect()
    rows.set("b", 2)
    assert asked == [1]
    assert told.batches == [[Inserted("b", 3)]], "a subscription keeps what it needs"
    told.subscription.close()
    gc.collect()
    assert rows.children() == []


async def test_an_iterator_follows(unit: float) -> None:
    rows = source(a=1)
    async with asyncio.timeout(5 * unit):
        feed = follow(rows, initial=True)
        assert await anext(feed) == [Inserted("a", 1)]
        asyncio.get_running_loop().call_soon(rows.set, "b", 2)
        assert await anext(feed) == [Inserted("b", 2)]
        rows.set("c", 3)
        feed.close()
        rows.set("d", 4)
        assert [batch async for batch in feed] == [[Inserted("c", 3)]]


async def test_a_slow_iterator_gets_one_change_for_each_row(unit: float) -> None:
    rows = source(a=1)
    with follow(rows) as feed:
        for value in range(100):
            rows.set("b", value)
        rows.set("c", 1)
        rows.delete("c")
        rows.delete("a")
        async with asyncio.timeout(5 * unit):
            assert await anext(feed) == [Inserted("b", 99), Deleted("a", 1)]


async def test_an_iterator_that_was_dropped_follows_no_more() -> None:
    rows = source().where(bool)
    feed = follow(rows)
    del feed
    gc.collect()
    assert rows._subscribers == {}


@pytest.mark.parametrize("size", [10, 10_000])
def test_a_change_costs_the_same_in_a_large_collection(size: int) -> None:
    """Counts what is done, not how long it takes: how often each function is asked."""
    asked = 0

    def ask(value: int) -> Hashable:
        nonlocal asked
        asked += 1
        return value % 10

    rows = Source[int, int]()
    with rows.graph.batch():
        for key in range(size):
            rows.set(key, key)
    derived = [
        rows.where(ask),
        rows.map(ask),
        rows.flat_map(lambda value: {ask(value): value}),
        rows.group_by(ask).count(),
        rows.group_by(lambda value: value % 2).max(ask),
        rows.order_by(ask),
        rows.join(rows.where(lambda value: value < 20), ask, lambda value: value),
    ]
    asked = 0
    rows.set(5, 55)
    assert asked <= 2 * len(derived)
