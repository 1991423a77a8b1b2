"""The rows of one message and the draft that is made of them. Pure."""

from collections.abc import Iterable
from typing import Final

from durable_ai_db.materialize._draft import PIECES, Draft
from durable_ai_db.materialize._format import (
    Chunk,
    ChunkError,
    ChunkFormat,
    ChunkReader,
    UnknownChunkError,
    recognized,
)
from durable_ai_db.materialize._json import parse
from durable_ai_db.materialize._order import Instant, instant
from durable_ai_db.materialize._rows import ActiveGenerationRow, ChunkRow, MessageRow
from durable_ai_db.materialize._session_chunks import ANSWERS, SESSION_CHUNKS, shown_as
from durable_ai_db.materialize._text import encodable_json

_HALF, _UPPER_HALF = "\\ud", "\\uD"
"""How the halves of surrogate pairs begin in JSON: whole, or alone where JavaScript cut a text."""

_UNUSABLE: Final = (LookupError, TypeError, ValueError, AttributeError, RecursionError)
"""What a reader may raise on a chunk that is not as it thinks."""


class LoggedMessage:
    """All rows of a message, by their ``seq``.

    A row that follows the last one is read at once. One that belongs before it makes the draft
    stale: it is made again, of all rows, when the next one is asked for.
    """

    __slots__ = (
        *(
            "_format",
            "_formats",
            "_moved",
            "_reader",
            "_stale",
            "draft",
            "earliest",
            "first",
            "id",
            "last",
        ),
        "rows",
    )

    def __init__(self, message_id: str, formats: Iterable[ChunkFormat]) -> None:
        self.id = message_id
        self.rows: dict[int, ChunkRow] = {}
        self.first: ChunkRow | None = None
        self.last: ChunkRow | None = None
        self.earliest: Instant | None = None
        self._formats = formats
        self._stale = False
        self._moved = False
        self._begin()

    def _begin(self) -> None:
        self.draft = Draft()
        self._reader: ChunkReader | None = None
        self._format: str | None = None

    def take(self, row: ChunkRow) -> bool:
        """Take a row in; False when it is there already."""
        if row.seq in self.rows:
            return False
        self.rows[row.seq] = row
        moment = instant(row.created_at)
        if self.earliest is None or moment < self.earliest:
            self._moved = self.earliest is not None
            self.earliest = moment
        if self._stale or (self.last is not None and row.seq < self.last.seq):
            self._stale = True
        else:
            self._read(row)
        return True

    def drop(self, seqs: Iterable[int]) -> bool:
        """Let rows go; False when none of them is there."""
        gone = [seq for seq in seqs if self.rows.pop(seq, None) is not None]
        if gone:
            self._stale = True
            self.earliest = min(
                (instant(row.created_at) for row in self.rows.values()), default=None
            )
        return bool(gone)

    def renew(self) -> Draft | None:
        """Make a stale draft again, of all rows.

        Returns:
            What the draft was before, if all that it says may have changed: the draft itself when
            only the message's place in the session is another one. None otherwise.
        """
        before = self.draft
        moved, self._moved = self._moved, False
        if not self._stale:
            return before if moved else None
        self._stale = False
        self.first = self.last = None
        self._begin()
        for seq in sorted(self.rows):
            self._read(self.rows[seq])
        return before

    def _read(self, row: ChunkRow) -> None:
        if self.first is None:
            self.first = row
        self.last = self.draft.row = row
        try:
            chunk = parse(row.chunk)
            if not isinstance(chunk, dict):
                raise ChunkError("not a JSON object")
            if _HALF in row.chunk or _UPPER_HALF in row.chunk:
                chunk = encodable_json(chunk, PIECES)
            self._dispatch(chunk)
        except UnknownChunkError as error:
            self.draft.show()
            self.draft.skip("unknown", str(error))
        except _UNUSABLE as error:
            self.draft.show()
            self.draft.skip("malformed", str(error) or type(error).__name__)

    def _dispatch(self, chunk: Chunk) -> None:
        kind = chunk.get("type")
        if kind.__class__ is str:
            handler = ANSWERS.get(kind)
            if handler is not None:
                handler(chunk, self.draft)
                return
            handler = SESSION_CHUNKS.get(kind)
            if handler is not None:
                self.draft.show()
                handler(chunk, self.draft)
                return
        self.draft.show()
        reader = self._reader or self._choose(chunk)
        reader.read(chunk, self.draft)

    def _choose(self, chunk: Chunk) -> ChunkReader:
        found = recognized(self._formats, chunk)
        if found is None:
            raise UnknownChunkError(f"type {chunk.get('type')!r} is of no known format")
        self._format, self._reader = found.name, found.reader()
        self.draft.touched.message = True  # It is known to be a generation now.
        return self._reader

    @property
    def is_active(self) -> bool:
        """More is to come: it is a message, not at its end, and somebody is generating it."""
        draft = self.draft
        if draft.is_complete or not draft.shown or self.first is None:
            return False
        return self._reader is not None or self.first.role == "assistant"

    def message_row(self) -> MessageRow | None:
        """The message as it is now, None when it is only an answer to another one."""
        draft, first = self.draft, self.first
        if first is None or not draft.shown:
            return None
        shown_id, role, created_at = shown_as(draft, self.id, first.role, first.created_at)
        return MessageRow(
            shown_id,
            role,
            draft.parts(),
            first.actor_id,
            not self.is_active,
            created_at,
            draft.error,
            draft.finish_reason,
            draft.stopped or draft.error is not None,
            draft.metadata,
            self._format,
            draft.skipped,
            draft.skipped_count,
        )

    def generation_row(self) -> ActiveGenerationRow | None:
        """The generation of the message, None when it is over."""
        first, last = self.first, self.last
        if not self.is_active or first is None or last is None:
            return None
        return ActiveGenerationRow(
            self.id, first.actor_id, first.created_at, last.seq, last.created_at
        )
