"""Chunk rows in, changes of rows out. Pure.

Incremental: what a chunk costs does not depend on how many came before it, in its message or in
the session. Idempotent: a row that is there already changes nothing. Order does not matter: rows
count in the order of their ``seq`` within a message, and messages in the order of their earliest
time; whatever way the rows of a session arrive, the same ones end as the same state.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from durable_ai_db.materialize._collections import Collections
from durable_ai_db.materialize._document import session_document
from durable_ai_db.materialize._format import ChunkFormat
from durable_ai_db.materialize._links import Links
from durable_ai_db.materialize._message import LoggedMessage
from durable_ai_db.materialize._order import Instant
from durable_ai_db.materialize._rows import (
    ActiveGenerationRow,
    ApprovalRow,
    ChunkRow,
    Json,
    MessageRow,
    RowChange,
    StatsRow,
    ToolCallRow,
    ToolResultRow,
)
from durable_ai_db.materialize._stats import Tally
from durable_ai_db.materialize.formats import DEFAULT_FORMATS

SNAPSHOT_VERSION: Final = 1


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
        self._now = Collections()
        self._now.rows["stats"][self.session_id] = StatsRow(self.session_id)
        self._call_keys: dict[str, list[str]] = {}

    # The rows as they are

    @property
    def messages(self) -> Mapping[str, MessageRow]:
        """Messages by the id that their chunks have."""
        return self._now.views["message"]

    @property
    def tool_calls(self) -> Mapping[str, ToolCallRow]:
        """Tool calls by id (see `RowChange` for ids that repeat)."""
        return self._now.views["tool_call"]

    @property
    def tool_results(self) -> Mapping[str, ToolResultRow]:
        """Tool results by ``{messageId}:{toolCallId}``."""
        return self._now.views["tool_result"]

    @property
    def approvals(self) -> Mapping[str, ApprovalRow]:
        """Approvals by id."""
        return self._now.views["approval"]

    @property
    def active_generations(self) -> Mapping[str, ActiveGenerationRow]:
        """Messages that are being generated, by id."""
        return self._now.views["active_generation"]

    @property
    def stats(self) -> StatsRow:
        """Counts of the session."""
        stats: StatsRow = self._now.views["stats"][self.session_id]
        return stats

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
        before = self._now
        stats = self.stats
        self._begin()
        gone = [
            RowChange(collection, key, None)
            for collection, rows in before.rows.items()
            if collection != "stats"
            for key in rows
        ]
        same = stats == self.stats
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
        calls: dict[str, None] = {}
        approvals: dict[str, None] = {}
        renewed = {message_id for message_id, logged in touched.items() if _renew(logged)}
        for message_id, logged in touched.items():
            ids = logged.draft.touched
            if ids.calls or ids.results or ids.approvals:
                self._links.note(message_id, logged.draft)
                calls |= ids.calls | ids.results
                approvals |= ids.approvals
        self._flush_approvals(approvals, calls)
        self._flush_results(touched)
        linked = {one: self._logged[one] for one in self._flush_calls(calls)}
        for message_id, logged in {**touched, **linked}.items():
            self._flush_message(message_id, logged, compare=message_id in renewed)
        stats = self._tally.row_of(self._now.rows, self.stats)
        if stats is not self.stats:
            self._now.put_other("stats", self.session_id, stats)
        return self._now.changes()

    def _flush_approvals(self, approvals: Iterable[str], calls: dict[str, None]) -> None:
        for approval_id in approvals:
            old = self.approvals.get(approval_id)
            if old is not None:
                calls[old.tool_call_id] = None
            self._now.put("approval", approval_id, self._links.approval_row(approval_id))
            calls |= dict.fromkeys(self._links.asked_for(approval_id))

    def _flush_results(self, touched: Mapping[str, LoggedMessage]) -> None:
        for message_id, logged in touched.items():
            for call_id in logged.draft.touched.results:
                row = logged.draft.results.get(call_id)
                self._now.put("tool_result", f"{message_id}:{call_id}", row)

    def _flush_calls(self, calls: Iterable[str]) -> Iterator[str]:
        """Ids of the messages whose parts changed with this."""
        for call_id in calls:
            yield from self._links.link_parts(call_id)
            rows = dict(self._links.call_rows(call_id))
            for key in self._call_keys.get(call_id, ()):
                if key not in rows:
                    self._now.put("tool_call", key, None)
            for key, row in rows.items():
                self._now.put("tool_call", key, row)
            self._call_keys[call_id] = list(rows)

    def _flush_message(self, message_id: str, logged: LoggedMessage, *, compare: bool) -> None:
        draft = logged.draft
        if draft.touched.message:
            row = logged.message_row()
            self._tally.replace(message_id, logged, self.messages.get(message_id), row)
            put = self._now.put if compare else self._now.put_other
            put("message", message_id, row)
        self._tally.count(message_id, draft)
        self._now.put("active_generation", message_id, logged.generation_row())
        draft.touched.clear()


def _renew(logged: LoggedMessage) -> bool:
    """Make the draft again where it has to be: all that the old or the new holds may differ."""
    before = logged.renew()
    if before is None:
        return False
    touched = logged.draft.touched
    touched.message = True
    for one in (logged.draft, before):
        touched.calls |= dict.fromkeys(one.calls)
        touched.results |= dict.fromkeys(one.results)
        touched.approvals |= dict.fromkeys((*one.requests, *one.answers))
    return True
