"""Any operations, in any groups and batches, end as a dict of bytes would."""

from __future__ import annotations

from copy import deepcopy
from itertools import count
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from durable_streams_server import Append, Create, Delete, Fork, Heartbeat, Producer
from durable_streams_server._plan import Effects, Planner, ProducerState, State
from streams.builders import NOW
from streams.oracle import Oracle, batches

if TYPE_CHECKING:
    from durable_streams_server import Operation, StreamInfo


class Disk:
    """Keeps what effects tell a store to keep, and checks that they can be kept."""

    def __init__(self) -> None:
        self.streams: dict[int, StreamInfo] = {}
        self.data: dict[int, bytes] = {}
        self.producers: dict[tuple[int, str], ProducerState] = {}
        self._ids = count(1)

    def commit(self, groups: list[tuple[Operation, ...]]) -> list[bool]:
        streams = {stream.path: stream for stream in self.streams.values()}
        planner = Planner(State(streams, dict(self.producers)), NOW, lambda: next(self._ids))
        accepted = [all(outcome.ok for outcome in planner.run(group)) for group in groups]
        self._write(planner.effects)
        assert {stream.path: stream for stream in self.streams.values()} == planner.state.streams
        assert self.producers == planner.state.producers
        return accepted

    def _write(self, effects: Effects) -> None:
        for id_ in effects.deleted:
            self.streams.pop(id_, None)
            self.data.pop(id_, None)
            self.producers = {key: one for key, one in self.producers.items() if key[0] != id_}
        for id_, stream in effects.streams.items():
            assert (id_ in effects.created) is (id_ not in self.streams)
            self.streams[id_] = stream
        for id_, pieces in effects.chunks.items():
            self.data[id_] = self.data.get(id_, b"") + b"".join(pieces)
            assert effects.streams[id_].tail == len(self.data[id_])
        assert all(key[0] in self.streams for key in effects.producers)
        self.producers |= effects.producers

    def contents(self) -> dict[str, tuple[bytes, bool]]:
        found = {}
        for id_, stream in self.streams.items():
            data = self.data.get(id_, b"")
            assert stream.tail == len(data)
            found[stream.path] = (data, stream.closed)
        return found


@given(batches)
def test_effects_add_up_to_what_the_oracle_holds(plan: list[list[tuple[Operation, ...]]]) -> None:
    disk, oracle = Disk(), Oracle()
    for batch in plan:
        assert disk.commit(batch) == [oracle.run(group) for group in batch]
        assert disk.contents() == oracle.contents()


FORKS = st.lists(
    st.sampled_from(
        [
            *(Create("fork", fork=Fork("a"), data=data) for data in (b"", b"own")),
            Create("b", fork=Fork("fork"), ttl_seconds=5),
            *(Delete(path) for path in ("a", "b", "fork")),
            Append("fork", b"more", producer=Producer("p", 0, 0)),
            Create("a", data=b"x", expires_at=NOW - 1),
            Heartbeat("n", NOW),
            Append("nowhere", b"refused"),
        ]
    ),
    max_size=6,
).map(tuple)


@given(st.lists(st.one_of(batches.map(lambda plan: plan[0] if plan else []), st.lists(FORKS))))
def test_a_refused_group_leaves_everything_as_it_was(
    plan: list[list[tuple[Operation, ...]]],
) -> None:
    ids = count(1)
    planner = Planner(State(), NOW, lambda: next(ids))
    for batch in plan:
        for group in batch:
            before = deepcopy((planner.state, planner.effects))
            outcomes = planner.run(group)
            if len(group) > 1 and not all(outcome.ok for outcome in outcomes):
                assert (planner.state, planner.effects) == before
