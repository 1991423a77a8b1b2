"""Whatever is written, every derived collection is what its definition makes of the rows now."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from fractions import Fraction
from math import inf
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from durable_ai_db.live import Collection, Deleted, Graph, Inserted, Source, Updated
from durable_ai_db.live import _aggregates as figures
from durable_ai_db.live._sorted import SortedKeys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from durable_ai_db.live import Change


@dataclass(frozen=True)
class Row:
    group: int
    size: float
    tags: tuple[str, ...]


ROWS = st.builds(
    Row,
    group=st.integers(0, 3),
    size=st.one_of(st.integers(-5, 5), st.floats(allow_nan=False, allow_infinity=False)),
    tags=st.lists(st.sampled_from("abc"), max_size=2, unique=True).map(tuple),
)
WRITES = st.tuples(st.sampled_from("lr"), st.integers(0, 5), st.one_of(st.none(), ROWS))
BATCHES = st.lists(st.lists(WRITES, max_size=6), max_size=12)

Rows = dict[int, Row]


def _groups(rows: Rows) -> dict[int, list[Row]]:
    found: dict[int, list[Row]] = defaultdict(list)
    for row in rows.values():
        found[row.group].append(row)
    return found


def _exact(sizes: list[float]) -> float:
    if all(isinstance(one, int) for one in sizes):
        return sum(sizes)
    exact = sum(map(Fraction, sizes))
    try:
        return float(exact)
    except OverflowError:
        return inf if exact > 0 else -inf


def _in_order(rows: Rows) -> list[tuple[int, Row]]:
    return sorted(rows.items(), key=lambda item: (item[1].size, item[0]))


def _pairs(left: Rows, right: Rows) -> dict[tuple[int, int | None], tuple[Row, Row | None]]:
    return {
        (one, other): (a, b)
        for one, a in left.items()
        for other, b in right.items()
        if a.group == b.group
    }


def _outer(left: Rows, right: Rows) -> dict[tuple[int, int | None], tuple[Row, Row | None]]:
    groups = {row.group for row in right.values()}
    found = _pairs(left, right)
    for key, row in left.items():
        if row.group not in groups:
            found[key, None] = (row, None)
    return found


Left = Collection[int, Row]
QUERIES: dict[str, tuple[Callable[[Left, Left], Any], Callable[[Rows, Rows], Any]]] = {
    "where": (
        lambda a, _: a.where(lambda row: row.size > 0),
        lambda a, _: {key: row for key, row in a.items() if row.size > 0},
    ),
    "map": (
        lambda a, _: a.map(lambda row: row.tags),
        lambda a, _: {key: row.tags for key, row in a.items()},
    ),
    "flat_map": (
        lambda a, _: a.flat_map(lambda row: dict.fromkeys(row.tags, row.group)),
        lambda a, _: {(key, tag): row.group for key, row in a.items() for tag in row.tags},
    ),
    "count": (
        lambda a, _: a.group_by(lambda row: row.group).count(),
        lambda a, _: {group: len(rows) for group, rows in _groups(a).items()},
    ),
    "sum": (
        lambda a, _: a.group_by(lambda row: row.group).sum(lambda row: row.size),
        lambda a, _: {group: _exact([r.size for r in rows]) for group, rows in _groups(a).items()},
    ),
    "mean": (
        lambda a, _: a.group_by(lambda row: row.group).mean(lambda row: row.size),
        lambda a, _: {
            group: _exact([r.size for r in rows]) / len(rows) for group, rows in _groups(a).items()
        },
    ),
    "least and greatest": (
        lambda a, _: a.group_by(lambda row: row.group).aggregate(
            low=figures.least(lambda row: row.tags), high=figures.greatest(lambda row: row.tags)
        ),
        lambda a, _: {
            group: {"low": min(r.tags for r in rows), "high": max(r.tags for r in rows)}
            for group, rows in _groups(a).items()
        },
    ),
    "rows of a group": (
        lambda a, _: a.group_by(lambda row: row.group).rows().map(lambda rows: set(rows)),  # noqa: PLW0108
        lambda a, _: {group: set(rows) for group, rows in _groups(a).items()},
    ),
    "order": (lambda a, _: a.order_by(lambda row: row.size), lambda a, _: _in_order(a)),
    "order, reversed": (
        lambda a, _: a.order_by(lambda row: row.size, reverse=True),
        lambda a, _: _in_order(a)[::-1],
    ),
    "the first three": (
        lambda a, _: a.order_by(lambda row: row.size, limit=3),
        lambda a, _: _in_order(a)[:3],
    ),
    "the last two": (
        lambda a, _: a.order_by(lambda row: row.size, limit=2, reverse=True),
        lambda a, _: _in_order(a)[::-1][:2],
    ),
    "join": (
        lambda a, b: a.join(b, lambda row: row.group, lambda row: row.group),
        _pairs,
    ),
    "left join": (
        lambda a, b: a.left_join(b, lambda row: row.group, lambda row: row.group),
        _outer,
    ),
    "join with itself": (
        lambda a, _: a.join(a, lambda row: row.group, lambda row: row.group),
        lambda a, _: _pairs(a, a),
    ),
    "of a join": (
        lambda a, b: (
            a.join(b, lambda row: row.group, lambda row: row.group)
            .where(lambda pair: pair[0].size != pair[1].size)
            .group_by(lambda pair: pair[0].group)
            .count()
        ),
        lambda a, b: {
            group: count
            for group in range(4)
            if (
                count := sum(
                    x.group == y.group == group and x.size != y.size
                    for x in a.values()
                    for y in b.values()
                )
            )
        },
    ),
}


def _shown(found: Collection[Any, Any], wanted: Any) -> Any:
    return list(found.items()) if isinstance(wanted, list) else dict(found.items())


def _replayed(state: dict[Any, Any], changes: list[Change[Any, Any]]) -> None:
    for change in changes:
        match change:
            case Inserted(key, value):
                assert key not in state
                state[key] = value
            case Updated(key, before, value):
                assert state[key] == before
                assert before is not value
                state[key] = value
            case Deleted(key, before):
                assert state.pop(key) == before


@given(BATCHES)
def test_all_queries_are_what_they_would_be_from_scratch(
    batches: list[list[tuple[str, int, Row | None]]],
) -> None:
    graph = Graph()
    left, right = Source[int, Row](graph), Source[int, Row](graph)
    queries = {name: make(left, right) for name, (make, _) in QUERIES.items()}
    replayed: dict[str, dict[Any, Any]] = {name: {} for name in queries}
    glitches: list[str] = []

    def check(name: str, changes: list[Change[Any, Any]]) -> None:
        """Everybody who is told of a batch sees all of it everywhere."""
        _replayed(replayed[name], changes)
        for other, query in queries.items():
            wanted = QUERIES[other][1](dict(left.items()), dict(right.items()))
            if _shown(query, wanted) != wanted:
                glitches.append(f"{other}, seen when {name} changed")

    for name, query in queries.items():
        query.subscribe(lambda changes, name=name: check(name, changes))
    for batch in batches:
        with graph.batch():
            for side, key, row in batch:
                source = left if side == "l" else right
                if row is None:
                    source.delete(key)
                else:
                    source.set(key, row)
    assert glitches == []
    for name, query in queries.items():
        assert replayed[name] == dict(query.items()), name
        late = QUERIES[name][0](left, right)
        assert dict(late.items()) == dict(query.items()), f"{name}, made at the end"


@given(st.lists(st.tuples(st.integers(0, 3000), st.one_of(st.none(), st.integers(0, 9)))))
def test_sorted_keys_are_sorted(writes: list[tuple[int, int | None]]) -> None:
    keys = SortedKeys[int]()
    model: dict[int, int] = {}
    for key in range(0, 3000, 2):  # more than a piece
        keys.put(key, key % 7)
        model[key] = key % 7
    for key, place in writes:
        if place is None:
            keys.remove(key)
            model.pop(key, None)
        else:
            keys.put(key, place)
            model[key] = place
    wanted = [key for _, key in sorted((place, key) for key, place in model.items())]
    assert list(keys) == wanted
    assert list(reversed(keys)) == wanted[::-1]
    assert len(keys) == len(wanted)


def test_sorted_keys_that_all_go_leave_nothing() -> None:
    keys = SortedKeys[int]()
    for key in range(3000):
        keys.put(key, -key)
    for key in range(3000):
        keys.remove(key)
    assert (list(keys), len(keys), keys._pieces, keys._lasts) == ([], 0, [], [])


FLOATS = st.one_of(st.floats(), st.integers(-(10**20), 10**20))


@given(st.lists(FLOATS, min_size=1), st.lists(FLOATS))
def test_a_sum_is_exact_whatever_has_come_and_gone(kept: list[float], passing: list[float]) -> None:
    numbers: Mapping[int, float] = dict(enumerate(kept + passing))
    accumulator = figures.total(lambda one: one)()
    for key, value in numbers.items():
        accumulator.add(key, value)
    for key, value in numbers.items():
        if key >= len(kept):
            accumulator.remove(key, value)
    fresh = figures.total(lambda one: one)()
    for key, value in enumerate(kept):
        fresh.add(key, value)
    assert repr(accumulator.result()) == repr(fresh.result())
    if all(isinstance(one, int) for one in kept):
        assert accumulator.result() == sum(kept)
