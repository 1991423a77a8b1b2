"""A log as a dict of bytes: what every store has to agree with after any operations.

It says only which operations succeed and what is stored then, not why something was refused. It is
written apart from the planner, and for streams without lifetime.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from durable_streams_server import Append, Create, Delete, Operation, Producer, Touch

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass
class Entry:
    """One stream."""

    data: bytes = b""
    closed: bool = False
    closer: tuple[object, ...] | None = None
    content_type: str = "text/plain"
    seqs: list[str] = field(default_factory=list)
    batches: dict[str, list[tuple[int, int]]] = field(default_factory=dict)


class Oracle:
    """The streams by path."""

    def __init__(self) -> None:
        self.streams: dict[str, Entry] = {}

    def run(self, group: Sequence[Operation]) -> bool:
        """Carry a group out, or nothing of it; tells whether it was accepted."""
        before = deepcopy(self.streams)
        # All of them are tried, for each later one is judged as if the earlier ones had happened.
        accepted = [self._run(operation) for operation in group]
        if not all(accepted):
            self.streams = before
        return all(accepted)

    def contents(self) -> dict[str, tuple[bytes, bool]]:
        return {path: (entry.data, entry.closed) for path, entry in self.streams.items()}

    def _run(self, operation: Operation) -> bool:
        match operation:
            case Create(path=path):
                return self._create(operation, self.streams.get(path))
            case Delete(path=path):
                return self.streams.pop(path, None) is not None
            case Append(path=path):
                entry = self.streams.get(path)
                return entry is not None and self._append(operation, entry)
            case Touch(path=path):
                return path in self.streams
            case _:
                return True

    def _create(self, create: Create, there: Entry | None) -> bool:
        if there is not None:
            return (there.content_type, there.closed) == (create.content_type, create.closed)
        self.streams[create.path] = Entry(
            create.data, create.closed, content_type=create.content_type or ""
        )
        return True

    def _append(self, append: Append, entry: Entry) -> bool:
        if entry.closed:
            if append.producer is None:
                return append.close and not append.data
            return append.close and entry.closer == tuple(append.producer)
        if append.data and append.content_type not in (None, entry.content_type):
            return False
        if append.producer is not None:
            verdict = _admit(append.producer, entry.batches.get(append.producer.id, []))
            if verdict != "new":
                return verdict == "seen"
        if append.seq is not None and any(seq >= append.seq for seq in entry.seqs):
            return False
        if append.producer is not None:
            batch = (append.producer.epoch, append.producer.seq)
            entry.batches.setdefault(append.producer.id, []).append(batch)
        if append.seq is not None:
            entry.seqs.append(append.seq)
        entry.data += append.data
        entry.closed = append.close
        entry.closer = tuple(append.producer) if append.close and append.producer else None
        return True


def _admit(producer: Producer, batches: list[tuple[int, int]]) -> str:
    """A batch by the history of all accepted ones: new, seen before, or refused."""
    batch = (producer.epoch, producer.seq)
    if producer.epoch < max((epoch for epoch, _ in batches), default=0):
        return "refused"
    if batch in batches:
        return "seen"
    follows = producer.seq == 0 or (producer.epoch, producer.seq - 1) in batches
    return "new" if follows else "refused"


# --------------------------------------------------------------------------- random operations

_paths = st.sampled_from(["a", "b/c"])
_types = st.sampled_from(["text/plain", "application/json"])
_producers = st.none() | st.builds(
    Producer, st.sampled_from(["p", "q"]), st.integers(0, 2), st.integers(0, 2)
)
_appends = st.builds(
    Append,
    _paths,
    st.binary(min_size=1, max_size=6),
    content_type=st.none() | _types,
    close=st.sampled_from([False, False, False, True]),
    seq=st.none() | st.sampled_from(["0", "1", "10", "2"]),
    producer=_producers,
    expected=st.none(),
)
_operations: st.SearchStrategy[Operation] = st.one_of(
    st.builds(Create, _paths, st.just("text/plain"), st.binary(max_size=6)),
    st.builds(Create, _paths, _types, closed=st.booleans()),
    _appends,
    _appends,
    _appends,
    st.builds(Append, _paths, close=st.just(True), producer=_producers, expected=st.none()),
    st.builds(Delete, _paths),
    st.builds(Touch, _paths),
)
groups = st.lists(_operations, min_size=1, max_size=3).map(tuple)
batches = st.lists(st.lists(groups, min_size=1, max_size=5), max_size=8)
"""Batches of groups of operations, on few enough streams that they meet."""
