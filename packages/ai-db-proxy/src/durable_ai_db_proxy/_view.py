"""What is materialized from a session, as State Protocol rows that a thin client can follow. Pure.

Rows of types ``message``, ``tool_call``, ``tool_result``, ``approval``, ``active_generation``,
``stats``, ``presence``, ``agent``, ``run`` and ``session`` are whole; calls and approvals say in
``phase`` how far they are. Text that grows is not sent again: a ``message_delta`` says

    {messageId, part, field, at, text}

that field ``field`` (``content`` or ``arguments``) of part ``part`` has ``text`` from character
``at`` (code points) on; what a client has after ``at`` it replaces. The arguments of a
``tool_call`` are whole when its state or its input changes, and in its message's deltas before.

Offsets are those of the session's stream. Who asks from an offset that is not remembered gets a
``reset`` control message and everything.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from durable_ai_db.materialize import (
    ApprovalRow,
    MessageRow,
    RowChange,
    TextPart,
    ToolCallPart,
    ToolCallRow,
)
from durable_ai_db_proxy._phase import APPLIED, Asked, Phases, asked_in
from durable_ai_db_proxy._rows import Row, dumps, record
from durable_ai_db_proxy._state import Change, SessionState

REMEMBERED = 1024
"""So many reads of a session can be caught up with by their changes."""
CHANGED = ""
"""No phase: the row is to be told again."""
RESET = dumps({"headers": {"control": "reset"}}).encode()


class Batch(NamedTuple):
    """What one read of the stream changed."""

    start: str
    end: str
    records: Sequence[bytes]


class View:
    """The changes of one session's rows, from now on.

    Args:
        state: As the session is now; it is looked at again at every change.
    """

    def __init__(self, state: SessionState) -> None:
        self._state = state
        self._messages: dict[str, MessageRow] = dict(state.messages.messages)
        self._calls: dict[str, ToolCallRow] = dict(state.messages.tool_calls)
        self._batches: deque[Batch] = deque(maxlen=REMEMBERED)
        phases = Phases(state)
        self._phases = {(name, key): phases.of(one) for name, key, one in asked_in(state)}
        """Of what agents have asked, until it is applied."""
        self._moved = False

    def add(self, start: str, end: str, changes: Sequence[Change]) -> None:
        """Take in what a read from offset ``start`` to ``end`` changed."""
        self._moved = False
        rows = [row for change in changes for row in self._rows_of(change)]
        if self._moved:
            rows += self._asked()
        self._batches.append(Batch(start, end, [record(row) for row in rows]))

    def since(self, offset: str) -> list[bytes] | None:
        """Rows from an offset on; None when it is not remembered."""
        found: list[bytes] = []
        for batch in reversed(self._batches):
            found[:0] = batch.records
            if batch.start == offset:
                return found
        return None

    def _rows_of(self, change: Change) -> list[Row]:
        """What a change comes to at once; what agents have asked is told by `_asked`."""
        if isinstance(change, Row):
            self._moved |= change.type == "run"
            return [change]
        match change.row:
            case MessageRow() as message:
                before = self._messages.get(change.key)
                self._messages[change.key] = message
                deltas = None if before is None else message_deltas(change.key, before, message)
                return [_whole(change)] if deltas is None else deltas
            case ToolCallRow() as call:
                earlier = self._calls.get(change.key)
                self._calls[change.key] = call
                if earlier is None or not _only_grew(earlier, call):
                    self._phases[change.collection, change.key] = CHANGED
                    self._moved = True
                return []
            case ApprovalRow():
                self._phases[change.collection, change.key] = CHANGED
                self._moved = True
                return []
            case None:
                self._messages.pop(change.key, None)
                self._calls.pop(change.key, None)
                self._phases.pop((change.collection, change.key), None)
        self._moved |= change.collection == "tool_result"
        return [_whole(change)]

    def _asked(self) -> list[Row]:
        """What agents have asked, as far as it is another one now, or further than it was."""
        rows: list[Row] = []
        phases = Phases(self._state)
        for (name, key), before in list(self._phases.items()):
            asked = _asked_at(self._state, name, key)
            if asked is None or before == APPLIED:
                del self._phases[name, key]
                continue
            now = self._phases[name, key] = phases.of(asked)
            if now != before:
                rows.append(Row(name, key, "upsert", phases.row(asked)))
        return rows


def _asked_at(state: SessionState, collection: str, key: str) -> Asked | None:
    rows = state.messages.tool_calls if collection == "tool_call" else state.messages.approvals
    return rows.get(key)


def _whole(change: RowChange) -> Row:
    if change.row is None:
        return Row(change.collection, change.key, "delete", None)
    return Row(change.collection, change.key, "upsert", change.row.to_json())


def _only_grew(before: ToolCallRow, now: ToolCallRow) -> bool:
    same = (before.state, before.name, before.given_input) == (now.state, now.name, now.given_input)
    return same and now.input is None


def message_deltas(key: str, before: MessageRow, now: MessageRow) -> list[Row] | None:
    """How a message grew; None when that is not all that happened to it."""
    if len(before.parts) != len(now.parts) or _frame(before) != _frame(now):
        return None
    deltas: list[Row] = []
    for index, (old, new) in enumerate(zip(before.parts, now.parts, strict=True)):
        if old is new:
            continue
        match old, new:
            case TextPart(), TextPart() if (old.type, old.extra) == (new.type, new.extra):
                field, earlier, text = "content", old.text, new.text
            case ToolCallPart(), ToolCallPart() if _same_call(old, new):
                field, earlier, text = "arguments", old.arguments_text, new.arguments_text
            case _:
                if old == new:
                    continue
                return None
        if not text.continues(earlier):
            return None
        at = len(earlier)
        value = {
            "messageId": key,
            "part": index,
            "field": field,
            "at": at,
            "text": text.since(at),
        }
        deltas.append(Row("message_delta", f"{key}:{index}:{at}", "upsert", value))
    return deltas


def _frame(message: MessageRow) -> tuple[Any, ...]:
    return (
        *(message.role, message.actor_id, message.is_complete, message.created_at),
        message.extras(),
    )


def _same_call(old: ToolCallPart, new: ToolCallPart) -> bool:
    return (old.id, old.name, old.state, old.approval, old.outcome, old.extra) == (
        *(new.id, new.name, new.state, new.approval, new.outcome, new.extra),
    )


def snapshot(state: SessionState) -> list[bytes]:
    """Everything as it is."""
    rows, phases = state.messages, Phases(state)
    made = [Row("message", key, "upsert", one.to_json()) for key, one in rows.messages.items()]
    made += [Row(name, key, "upsert", phases.row(one)) for name, key, one in asked_in(state)]
    made += [
        Row("tool_result", key, "upsert", one.to_json()) for key, one in rows.tool_results.items()
    ]
    made += [
        Row("active_generation", key, "upsert", one.to_json())
        for key, one in rows.active_generations.items()
    ]
    made.append(Row("stats", rows.session_id, "upsert", rows.stats.to_json()))
    made += [Row("presence", key, "upsert", one) for key, one in state.presence.items()]
    made += [Row("agent", key, "upsert", one) for key, one in state.agents.items()]
    made += [run.to_row() for run in state.runs.values()]
    if state.settings:
        made.append(Row("session", rows.session_id, "upsert", state.settings))
    return list(map(record, made))


def apply_delta(message: dict[str, Any], delta: dict[str, Any]) -> None:
    """What a client does with a ``message_delta``: the reference, and what the tests use."""
    part = message["parts"][delta["part"]]
    part[delta["field"]] = part[delta["field"]][: delta["at"]] + delta["text"]
