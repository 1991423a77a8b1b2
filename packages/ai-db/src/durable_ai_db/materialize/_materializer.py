"""Chunk rows in, changes of rows out. Pure.

Incremental: what a chunk costs does not depend on how many came before it, in its message or in
the session. Idempotent: a row that is there already changes nothing. Order does not matter: rows
count in the order of their ``seq`` within a message, and messages in the order of their earliest
time; whatever way the rows of a session arrive, the same ones end as the same state.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar, cast

from durable_ai_db.materialize._document import session_document
from durable_ai_db.materialize._draft import Draft
from durable_ai_db.materialize._format import ChunkFormat
from durable_ai_db.materialize._links import Links
from durable_ai_db.materialize._message import LoggedMessage
from durable_ai_db.materialize._order import Instant
from durable_ai_db.materialize._rows import (
    ActiveGenerationRow,
    ApprovalRow,
    ChunkRow,
    Collection,
    Json,
    MessageRow,
    Row,
    RowChange,
    StatsRow,
    ToolCallRow,
    ToolResultRow,
)
from durable_ai_db.materialize._stats import Tally
from durable_ai_db.materialize.formats import DEFAULT_FORMATS

SNAPSHOT_VERSION: Final = 1
R = TypeVar("R", bound=Row)


class Materializer:
    """The rows of one session, made of its chunks.

    Args:
        formats: Chunk formats in the order in which they are asked whether a message is theirs.
        session_id: Of the session; key of its `stats`.
    """

    def __init__(
        self, formats: Iterable[ChunkFormat] = DEFAULT_FORMATS, *, session_id: str = ""
    ) -> None:
        self.session_id = session_id
        self._formats = tuple(formats)
        self._begin()

    def _begin(self) -> None:
        self._logged: dict[str, LoggedMessage] = {}
        self._links = Links(self._logged)
        self._tally = Tally(self.session_id)
        self._rows: dict[Collection, dict[str, Row]] = {
            "message": {},
            "tool_call": {},
            "tool_result": {},
            "approval": {},
            "active_generation": {},
            "stats": {self.session_id: self._tally.row()},
        }
        self._call_keys: dict[str, list[str]] = {}

    # The rows as they are

    @property
    def messages(self) -> Mapping[str, MessageRow]:
        """Messages by the id that their chunks have."""
        return self._view("message", MessageRow)

    @property
    def tool_calls(self) -> Mapping[str, ToolCallRow]:
        """Tool calls by id (see `RowChange` for ids that repeat)."""
        return self._view("tool_call", ToolCallRow)

    @property
    def tool_results(self) -> Mapping[str, ToolResultRow]:
        """Tool results by ``{messageId}:{toolCallId}``."""
        return self._view("tool_result", ToolResultRow)

    @property
    def approvals(self) -> Mapping[str, ApprovalRow]:
        """Approvals by id."""
        return self._view("approval", ApprovalRow)

    @property
    def active_generations(self) -> Mapping[str, ActiveGenerationRow]:
        """Messages that are being generated, by id."""
        return self._view("active_generation", ActiveGenerationRow)

    @property
    def stats(self) -> StatsRow:
        """Counts of the session."""
        return cast("StatsRow", self._rows["stats"][self.session_id])

    def _view(self, collection: Collection, _row: type[R]) -> Mapping[str, R]:
        return MappingProxyType(cast("dict[str, R]", self._rows[collection]))

    def timeline(self) -> list[MessageRow]:
        """The messages in their order: by the earliest time of their rows, then by id."""
        return [self.messages[message_id] for message_id in self._tally.message_ids()]

    def call_of(
        self, message_id: str, call_id: str
    ) -> tuple[ToolCallRow | None, ToolResultRow | None]:
        """A call of a message and its result, wherever that came; None while there is none."""
        rows = [self.tool_calls[key] for key in self._call_keys.get(call_id, ())]
        # A message that came as one chunk may call itself something else than its rows do.
        found = [row for row in rows if row.message_id == message_id] or rows
        if not found:
            return None, None
        return found[0], self._links.final_result(found[0].message_id, call_id)

    def document(self) -> Json:
        """All collections in one JSON document.

        Returns:
            ``messages, toolCalls, toolResults, approvals, activeGenerations, stats``.
        """
        order = sorted(self._logged, key=self._links.order)
        return session_document(
            [(message_id, self._logged[message_id].draft) for message_id in order],
            messages=self.timeline(),
            calls=self.tool_calls.values(),
            results=self.tool_results,
            approvals=self.approvals,
            active=self.active_generations,
            stats=self.stats,
        )

    def place(self, message_id: str) -> Instant | None:
        """When the first of a message's rows was written, by which messages are ordered."""
        logged = self._logged.get(message_id)
        return None if logged is None else logged.earliest

    def chunks(self) -> Iterable[ChunkRow]:
        """All rows that came in, message by message, in the order of their ``seq``."""
        for logged in self._logged.values():
            yield from (logged.rows[seq] for seq in sorted(logged.rows))

    # Rows in

    def apply(self, rows: Iterable[ChunkRow]) -> list[RowChange]:
        """Take rows in; what changed, each row once, however many chunks made it."""
        touched: dict[str, LoggedMessage] = {}
        for row in rows:
            logged = self._logged.get(row.message_id)
            if logged is None:
                logged = LoggedMessage(row.message_id, self._formats)
                self._logged[row.message_id] = logged
            if logged.take(row):
                touched[row.message_id] = logged
        return self._flush(touched)

    def discard(self, rows: Iterable[tuple[str, int]]) -> list[RowChange]:
        """Let rows (message id and ``seq``) go, as if they had never come; what changed."""
        gone: dict[str, list[int]] = {}
        for message_id, seq in rows:
            gone.setdefault(message_id, []).append(seq)
        touched = {
            message_id: logged
            for message_id, seqs in gone.items()
            if (logged := self._logged.get(message_id)) is not None and logged.drop(seqs)
        }
        changes = self._flush(touched)
        for message_id, logged in touched.items():
            if not logged.rows:
                del self._logged[message_id]
        return changes

    def reset(self) -> list[RowChange]:
        """Let everything go; what changed."""
        before = self._rows
        self._begin()
        gone = [
            RowChange(collection, key, None)
            for collection, rows in before.items()
            if collection != "stats"
            for key in rows
        ]
        same = before["stats"] == self._rows["stats"]
        return gone if same else [*gone, RowChange("stats", self.session_id, self.stats)]

    # A snapshot

    def export(self) -> Json:
        """Everything that came in, as JSON, for `restore`."""
        return {
            "version": SNAPSHOT_VERSION,
            "sessionId": self.session_id,
            "chunks": [list(row) for row in self.chunks()],
        }

    def restore(self, snapshot: Mapping[str, Any]) -> list[RowChange]:
        """Take in what `export` gave, in addition to what is there; what changed.

        Raises:
            ValueError: It is no snapshot, or one of a later version.
        """
        if snapshot.get("version") != SNAPSHOT_VERSION:
            raise ValueError(f"snapshot version {snapshot.get('version')!r} is not known")
        return self.apply([ChunkRow(*values) for values in snapshot["chunks"]])

    # Changes out

    def _flush(self, touched: Mapping[str, LoggedMessage]) -> list[RowChange]:
        changes: dict[tuple[Collection, str], Row | None] = {}
        calls: dict[str, None] = {}
        results: dict[tuple[str, str], None] = {}
        approvals: dict[str, None] = {}
        for message_id, logged in touched.items():
            before = logged.renew()
            draft = logged.draft
            if before is not None:
                _touch_all(draft, before)
            self._links.note(message_id, draft)
            calls |= draft.touched.calls | draft.touched.results
            results |= {(message_id, call_id): None for call_id in draft.touched.results}
            approvals |= draft.touched.approvals
        self._flush_approvals(approvals, calls, changes)
        shown = dict(touched)
        self._flush_calls(calls, shown, changes)
        for message_id, call_id in results:
            row = self._logged[message_id].draft.results.get(call_id)
            self._put(changes, "tool_result", f"{message_id}:{call_id}", row)
        for message_id, logged in shown.items():
            self._flush_message(message_id, logged, changes)
        self._put(changes, "stats", self.session_id, self._tally.row_of(self._rows))
        return [RowChange(collection, key, row) for (collection, key), row in changes.items()]

    def _flush_approvals(
        self,
        approvals: Iterable[str],
        calls: dict[str, None],
        changes: dict[tuple[Collection, str], Row | None],
    ) -> None:
        for approval_id in approvals:
            old = cast("ApprovalRow | None", self._rows["approval"].get(approval_id))
            if old is not None:
                calls[old.tool_call_id] = None
            self._put(changes, "approval", approval_id, self._links.approval_row(approval_id))
            calls |= dict.fromkeys(self._links.asked_for(approval_id))

    def _flush_calls(
        self,
        calls: Iterable[str],
        shown: dict[str, LoggedMessage],
        changes: dict[tuple[Collection, str], Row | None],
    ) -> None:
        for call_id in calls:
            for message_id in self._links.link_parts(call_id):
                shown[message_id] = self._logged[message_id]
            rows = dict(self._links.call_rows(call_id))
            for key in self._call_keys.get(call_id, ()):
                if key not in rows:
                    self._put(changes, "tool_call", key, None)
            for key, row in rows.items():
                self._put(changes, "tool_call", key, row)
            self._call_keys[call_id] = list(rows)

    def _flush_message(
        self,
        message_id: str,
        logged: LoggedMessage,
        changes: dict[tuple[Collection, str], Row | None],
    ) -> None:
        draft = logged.draft
        if draft.touched.message:
            row = logged.message_row()
            self._tally.replace(message_id, logged, self.messages.get(message_id), row)
            self._put(changes, "message", message_id, row)
        self._tally.count(message_id, draft)
        self._put(changes, "active_generation", message_id, logged.generation_row())
        draft.touched.clear()

    def _put(
        self,
        changes: dict[tuple[Collection, str], Row | None],
        collection: Collection,
        key: str,
        row: Row | None,
    ) -> None:
        rows = self._rows[collection]
        before = rows.get(key)
        if row is before or row == before:
            return
        if row is None:
            del rows[key]
        else:
            rows[key] = row
        changes[collection, key] = row


def _touch_all(draft: Draft, before: Draft) -> None:
    """A draft that was made again may have changed in everything that the old or the new holds."""
    touched = draft.touched
    touched.message = True
    for one in (draft, before):
        touched.calls |= dict.fromkeys(one.calls)
        touched.results |= dict.fromkeys(one.results)
        touched.approvals |= dict.fromkeys((*one.requests, *one.answers))
