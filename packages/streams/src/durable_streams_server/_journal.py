"""Bytes that are on disk in the order of their commits, not yet among their streams' rows. Pure.

A commit that gives each stream a row of its own writes to a page of the index for each: 32 appends
of 256 bytes wrote 45 pages of 4 KiB. So a commit writes one row of the journal, with what it
appends to all streams, and a stream's bytes become rows of its own later, many appends at a time.

1.  What is in the journal is also here, by stream: readers get it from memory.
2.  Moving is a part of some later commit (`next_part`), so it costs no sync of its own. A *round*
    moves all streams that were in the journal when it began, a few with each commit; its last part
    deletes the journal's rows up to where it began.
3.  Until then a row may hold bytes that have been moved: `load` leaves out what is stored already.
4.  Nothing here changes before the transaction that says so is on disk (`settle`).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from struct import Struct
from typing import NamedTuple

from durable_streams_server._segments import SEGMENT_BYTES

DIRECT_BYTES = 32 * 1024
"""A piece of this size becomes a row at once: it would only be written twice."""
ROUND_BYTES = 1024 * 1024
ROUND_ROWS = 1024
"""So much is in the journal before a round begins: it bounds memory and the time to open."""
PART_STREAMS = 64
"""Streams that one commit moves along."""

_ENTRY = Struct("<qqI")


class Row(NamedTuple):
    """Bytes of one stream: up to where, and when they were written, in epoch seconds."""

    stream_id: int
    end_offset: int
    data: bytes
    written_at: int


class Part(NamedTuple):
    """What one transaction moves.

    Attributes:
        stream_ids: Whose bytes leave the journal.
        rows: What is to be inserted among the streams' rows.
        through: Rows of the journal up to this id are to be deleted; None: none yet.
    """

    stream_ids: Sequence[int]
    rows: list[Row]
    through: int | None


NOTHING = Part((), [], None)


def entries_of(rows: Iterable[Row]) -> bytes:
    """The journal's row for what a commit appends."""
    parts: list[bytes] = []
    for stream_id, end_offset, data, _ in rows:
        parts += (_ENTRY.pack(stream_id, end_offset, len(data)), data)
    return b"".join(parts)


def _rows_of(entries: bytes, written_at: int) -> Iterator[Row]:
    place = 0
    while place < len(entries):
        stream_id, end_offset, size = _ENTRY.unpack_from(entries, place)
        place += _ENTRY.size
        yield Row(stream_id, end_offset, entries[place : place + size], written_at)
        place += size


class Journal:
    """What is in the journal, by stream. Only the thread that commits changes it.

    Readers in other threads take `rows` before they look into the store, so that what is moved
    meanwhile is in one or the other; and who asks for a `tail` after looking into the store looks
    again if `moves` has changed.

    Args:
        moves: Where to begin counting.

    Attributes:
        moves: Changes when bytes have left the journal.
        last_id: The id of the journal's newest row.
    """

    def __init__(self, moves: int = 0) -> None:
        self.moves = moves
        self.last_id = 0
        self._held: dict[int, list[Row]] = {}
        self._new_rows = 0  # since the last round began
        self._new_bytes = 0
        self._to_move: list[int] = []  # what is left of a round
        self._through = 0

    def load(
        self, stored: Iterable[tuple[int, int, bytes]], known_end: Callable[[int], int | None]
    ) -> None:
        """Take over what an earlier process has left.

        Args:
            stored: Id, time and entries of the journal's rows, in the order of the ids.
            known_end: Up to where a stream's bytes are stored or not wanted; None: it is gone.
        """
        for row_id, written_at, entries in stored:
            self.last_id = row_id
            self._hold(
                row
                for row in _rows_of(entries, written_at)
                if (end := known_end(row.stream_id)) is not None and row.end_offset > end
            )

    # ------------------------------------------------------------------ reading

    def rows(self, stream_id: int) -> Sequence[Row]:
        """A stream's bytes that are in the journal, in order."""
        return tuple(self._held.get(stream_id, ()))

    def tail(self, stream_id: int) -> int:
        """Where they end; 0 when there are none."""
        held = self._held.get(stream_id)
        return 0 if held is None else held[-1].end_offset

    # ------------------------------------------------------------------ moving

    def next_part(self, also: Iterable[int] = ()) -> Part:
        """What the next commit moves along.

        Args:
            also: Streams that get a row of their own in it: what is before has to go first.
        """
        if not self._to_move and self._is_full():
            self._begin_round()
        wanted = dict.fromkeys(islice(self._to_move, PART_STREAMS))
        through = self._through if 0 < len(self._to_move) <= len(wanted) else None
        wanted.update(dict.fromkeys(also))
        return self._part(list(wanted), through) if wanted else NOTHING

    def everything(self) -> Part:
        """All that is left, for who needs it among the rows."""
        return self._part(list(self._held), self.last_id) if self._held else NOTHING

    def _is_full(self) -> bool:
        return self._new_rows >= ROUND_ROWS or self._new_bytes >= ROUND_BYTES

    def _begin_round(self) -> None:
        self._to_move = list(self._held)
        self._through = self.last_id
        self._new_rows = self._new_bytes = 0

    def _part(self, stream_ids: Sequence[int], through: int | None) -> Part:
        rows = [row for id_ in stream_ids for row in _merged(self._held.get(id_, ()))]
        return Part(stream_ids, rows, through)

    # ------------------------------------------------------------------ what is on disk

    def settle(
        self, part: Part = NOTHING, new: Sequence[Row] = (), deleted: Iterable[int] = ()
    ) -> None:
        """A transaction is on disk.

        Args:
            part: What it moved.
            new: What it added to the journal, in one row.
            deleted: Streams that it deleted.
        """
        if part.stream_ids:
            self.moves += 1
            gone = set(part.stream_ids)
            self._to_move = [id_ for id_ in self._to_move if id_ not in gone]
        for stream_id in (*part.stream_ids, *deleted):
            self._held.pop(stream_id, None)
        if new:
            self.last_id += 1
            self._hold(new)

    def let_go(self, stream_id: int, start: int) -> None:
        """Retention has let go of what is before ``start``."""
        held = self._held.get(stream_id)
        if held is not None and held[-1].end_offset <= start:
            del self._held[stream_id]

    def _hold(self, rows: Iterable[Row]) -> None:
        for row in rows:
            held = self._held.get(row.stream_id)
            if held is None:
                self._held[row.stream_id] = [row]
            else:
                held.append(row)
            self._new_rows += 1
            self._new_bytes += len(row.data)


def _merged(rows: Sequence[Row]) -> Iterator[Row]:
    """Rows of one stream as few: those of one second are one, up to a segment's size."""
    run: list[Row] = []
    size = 0
    for row in rows:
        size += len(row.data)
        if run and (row.written_at != run[-1].written_at or size > SEGMENT_BYTES):
            yield _joined(run)
            run, size = [], len(row.data)
        run.append(row)
    if run:
        yield _joined(run)


def _joined(run: Sequence[Row]) -> Row:
    return run[-1]._replace(data=b"".join([row.data for row in run]))
