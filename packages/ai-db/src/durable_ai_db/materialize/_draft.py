"""A message while its chunks are read: what a chunk format writes to. Pure.

A draft changes; rows are made of it once per call of the materializer, whatever the number of
chunks. Each chunk costs the same: texts are appended to buffers, and only the parts that changed
are made anew.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

from durable_ai_db.materialize._parts import PartList, Parts
from durable_ai_db.materialize._rows import (
    MAX_SKIPPED,
    CallPartState,
    ChunkRow,
    JsonPart,
    Part,
    Skipped,
    TextKind,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    ToolResultRow,
)
from durable_ai_db.materialize._text import TextBuffer, encodable_json
from durable_ai_db.materialize._usage import NO_USAGE, Usage

_MORE_TO_COME: Final = {"tool_calls", "tool-calls", "tool_use", "function_call", "pause_turn"}
"""Reasons to finish after which the agent calls the model again, in the same message."""


PIECES: Final = frozenset(
    {
        *("delta", "content", "text", "thinking", "reasoning", "reasoning_content", "refusal"),
        *("arguments", "inputTextDelta", "partial_json"),
    }
)
"""Fields with pieces of texts. The halves of a character may be in two of them."""


class Answer(NamedTuple):
    """An answer to a request for approval."""

    approved: bool
    actor_id: str
    created_at: str
    reason: str | None


class Request(NamedTuple):
    """A request for approval."""

    call_id: str
    actor_id: str
    created_at: str
    needs_approval: bool


class GrowingPart:
    """A text part that may still grow."""

    __slots__ = ("buffer", "extra", "index", "kind")

    def __init__(self, kind: TextKind, index: int) -> None:
        self.kind = kind
        self.index = index
        self.buffer = TextBuffer()
        self.extra: Mapping[str, Any] | None = None

    def part(self) -> Part:
        return TextPart(self.buffer.view(), self.kind, self.extra)


class Call:
    """A tool call. `approval` and `outcome` are set by what other messages say about it."""

    __slots__ = (
        *("actor_id", "approval", "buffer", "created_at", "executing", "extra", "given_input"),
        *("id", "index", "name", "outcome", "state"),
    )

    def __init__(self, call_id: str, name: str, index: int, row: ChunkRow) -> None:
        self.id = call_id
        self.name = name
        self.index = index
        self.actor_id = row.actor_id
        self.created_at = row.created_at
        self.buffer = TextBuffer()
        self.state: CallPartState = "awaiting-input"
        self.given_input: Any = None
        self.executing = False
        self.extra: Mapping[str, Any] | None = None
        self.approval: Mapping[str, Any] | None = None
        self.outcome: Mapping[str, Any] | None = None

    def part(self) -> Part:
        state = self.state if self.approval is None else "approval-requested"
        text = self.buffer.view()
        return ToolCallPart(
            self.id, self.name, text, state, self.approval, self.outcome, self.extra
        )


@dataclass(slots=True)
class Touched:
    """Ids of what changed since the last rows were made, in order, and whether the message did."""

    message: bool = False
    calls: dict[str, None] = field(default_factory=dict)
    results: dict[str, None] = field(default_factory=dict)
    approvals: dict[str, None] = field(default_factory=dict)

    def clear(self) -> None:
        """The rows are made."""
        self.message = False
        for ids in (self.calls, self.results, self.approvals):
            if ids:
                ids.clear()


class Draft:
    """What the chunks of one message have said so far.

    Attributes:
        row: The row that is being read: who says it, and when.
        whole: The message as one chunk gave it (id, role, time), None for a stream of chunks.
        shown: It is a message, and not only an answer to something in another one.
    """

    __slots__ = (
        *("_changed", "_last_text", "_open", "_parts", "_places", "_unready", "_usages"),
        *("answers", "calls", "error", "finish_reason", "is_complete", "metadata", "requests"),
        *("results", "row", "shown", "skipped", "skipped_count", "stopped", "touched", "usage"),
        "whole",
    )

    row: ChunkRow

    def __init__(self) -> None:
        self._parts = PartList()
        self._changed: dict[int, GrowingPart | Call] = {}
        self._last_text: GrowingPart | None = None
        self._open: dict[tuple[TextKind, str], GrowingPart] = {}
        self._places: dict[str, int] = {}
        self._unready: dict[str, Call] = {}
        self._usages: dict[str, Usage] = {}
        self.calls: dict[str, Call] = {}
        self.results: dict[str, ToolResultRow] = {}
        self.requests: dict[str, Request] = {}
        self.answers: dict[str, Answer] = {}
        self.usage = NO_USAGE
        self.is_complete = False
        self.stopped = False
        self.finish_reason: str | None = None
        self.error: Mapping[str, Any] | None = None
        self.metadata: Mapping[str, Any] | None = None
        self.whole: Mapping[str, Any] | None = None
        self.shown = False
        self.skipped: tuple[Skipped, ...] = ()
        self.skipped_count = 0
        self.touched = Touched()

    # Text

    def text(self, piece: str, key: str | None = None, kind: TextKind = "text") -> None:
        """Append to the text part `key`, or to the last part when that is such text."""
        if self.is_complete:
            self._resume()
        if key is None:
            part = self._last_text
            if part is None or part.kind != kind or part.index != len(self._parts) - 1:
                if not piece:
                    return
                part = self._last_text = self._begin(kind)
        else:
            part = self._open.get((kind, key)) or self.open_text(key, kind)
        part.buffer.append(piece)
        self._changed[part.index] = part
        self.touched.message = True

    def open_text(self, key: str, kind: TextKind = "text") -> GrowingPart:
        """Begin a text part that is named by `key`."""
        part = self._open[kind, key] = self._begin(kind)
        return part

    def forget_text(self, key: str, kind: TextKind = "text") -> None:
        """The next text of `key` begins another part."""
        self._open.pop((kind, key), None)

    def has_text(self, key: str, kind: TextKind = "text") -> bool:
        """A text part of this key is there."""
        return (kind, key) in self._open

    def annotate_text(self, extra: Mapping[str, Any], key: str, kind: TextKind = "text") -> None:
        """Add to what is said besides the text of `key`."""
        part = self._open.get((kind, key)) or self.open_text(key, kind)
        part.extra = {**(part.extra or {}), **extra}
        self._changed[part.index] = part
        self.touched.message = True

    def text_so_far(self, kind: TextKind = "text") -> tuple[str, str]:
        """The text of all closed parts of a kind, and of the last part when it is of that kind."""
        last = self._last_text
        is_last = last is not None and last.kind == kind and last.index == len(self._parts) - 1
        current = str(last.buffer.view()) if last is not None and is_last else ""
        before = self.parts()[: len(self._parts) - is_last]
        texts = [one.content for one in before if isinstance(one, TextPart) and one.type == kind]
        return "".join(texts), current

    def _begin(self, kind: TextKind) -> GrowingPart:
        part = GrowingPart(kind, len(self._parts))
        self._parts.append(part.part())
        self._changed[part.index] = part
        self.touched.message = True
        return part

    # Tools

    def call(self, call_id: str, name: str = "") -> Call:
        """The call, which begins here unless it is known; a name that is given counts."""
        if self.is_complete:
            self._resume()
        call = self.calls.get(call_id)
        if call is None:
            call = self.calls[call_id] = Call(call_id, name, len(self._parts), self.row)
            self._parts.append(call.part())
            self._unready[call_id] = call
        elif name:
            call.name = name
        self.mark(call)
        return call

    def arguments(self, call: Call, piece: str) -> None:
        """Append to the JSON text of the call's arguments."""
        call.buffer.append(piece)
        if piece and call.state == "awaiting-input":
            call.state = "input-streaming"
        self.mark(call)

    def give(self, call: Call, whole: Any) -> None:
        """The call's input in one piece; its arguments, when none came in pieces."""
        call.given_input = whole = encodable_json(whole)
        if not call.buffer.length:
            call.buffer.append(json.dumps(whole))
        self.ready(call)

    def ready(self, call: Call) -> None:
        """The call's arguments are complete."""
        call.state = "input-complete"
        self._unready.pop(call.id, None)
        self.mark(call)

    def all_ready(self) -> None:
        """The arguments of all calls are complete."""
        for call in list(self._unready.values()):
            self.ready(call)

    def mark(self, call: Call) -> None:
        """Something about the call has changed."""
        self._changed[call.index] = call
        self.touched.calls[call.id] = None
        self.touched.message = True

    def result(
        self, call_id: str, output: Any, error: str | None = None, *, preliminary: bool = False
    ) -> None:
        """The tool gave `output`; a later result of the same call replaces this one."""
        row, output = self.row, encodable_json(output)
        self.results[call_id] = ToolResultRow(
            call_id, row.message_id, output, error, row.actor_id, row.created_at, preliminary
        )
        self.put(f"result:{call_id}", ToolResultPart(call_id, output, error))
        self.touched.results[call_id] = None

    # Approvals

    def request(self, approval_id: str, call_id: str, *, needs_approval: bool = True) -> None:
        """Somebody has to say whether the tool may be called."""
        row = self.row
        self.requests[approval_id] = Request(call_id, row.actor_id, row.created_at, needs_approval)
        self.touched.approvals[approval_id] = None

    def answer(self, approval_id: str, *, approved: bool, reason: str | None = None) -> None:
        """Somebody said whether the tool may be called; the first answer counts."""
        row = self.row
        answer = Answer(approved, row.actor_id, row.created_at, reason)
        self.answers.setdefault(approval_id, answer)
        self.touched.approvals[approval_id] = None

    # Anything else

    @property
    def length(self) -> int:
        """How many parts there are."""
        return len(self._parts)

    def put(self, key: str | None, part: Part) -> None:
        """Add a part, or put it in the place of the one with the same key."""
        place = None if key is None else self._places.get(key)
        if place is not None:
            self._parts.set(place, part)
        else:
            if key is not None:
                self._places[key] = len(self._parts)
            self._parts.append(part)
        self.touched.message = True

    def cut(self, length: int) -> None:
        """Take back all parts but the first so many, with the calls and results in them."""
        self._parts.cut(length)
        for call in [one for one in self.calls.values() if one.index >= length]:
            del self.calls[call.id]
            self._unready.pop(call.id, None)
            self.touched.calls[call.id] = None
        for key in [key for key, place in self._places.items() if place >= length]:
            del self._places[key]
            call_id = key.removeprefix("result:")
            if self.results.pop(call_id, None) is not None:
                self.touched.results[call_id] = None
        self._open = {key: one for key, one in self._open.items() if one.index < length}
        self._changed = {at: one for at, one in self._changed.items() if at < length}
        self._last_text = None
        self.touched.message = True

    def put_json(self, value: Mapping[str, Any], key: str | None = None) -> None:
        """Like `put`, for a part that stays as its format has it."""
        self.put(key, JsonPart(encodable_json(value)))

    def annotate(self, metadata: Mapping[str, Any]) -> None:
        """Merge into the message's metadata."""
        self.metadata = merged(self.metadata or {}, encodable_json(metadata))
        self.touched.message = True

    def count(self, usage: object, key: str | None = None) -> None:
        """Add token counts, or put them in the place of those with the same key."""
        if isinstance(usage, Mapping):
            key = f"#{len(self._usages)}" if key is None else key
            counted = Usage.parse(usage)
            self.usage = self.usage.minus(self._usages.get(key, NO_USAGE)).plus(counted)
            self._usages[key] = counted

    # Ends

    def finish(self, reason: str | None = None) -> None:
        """The model is done; after a reason such as ``tool_calls`` it may go on."""
        self.all_ready()
        self._end(reason)

    def stop(self, reason: str) -> None:
        """Somebody stopped it."""
        if not self.is_complete:
            self.stopped = True
            self._end(reason)

    def fail(self, message: str, code: str | None = None) -> None:
        """It broke off; the text so far stays."""
        self.error = {"message": message} | ({} if code is None else {"code": code})
        self._end("error")

    def _end(self, reason: str | None) -> None:
        self.is_complete = True
        self.finish_reason = reason or self.finish_reason
        self.touched.message = True

    def _resume(self) -> None:
        if self.finish_reason in _MORE_TO_COME:
            self.resume()

    def resume(self) -> None:
        """The agent goes on, unless somebody stopped it or it failed."""
        if self.is_complete and not self.stopped and self.error is None:
            self.is_complete = False
            self.finish_reason = None
            self.touched.message = True

    # For the materializer

    def show(self) -> None:
        """It is a message, and not only an answer to something in another one."""
        if not self.shown:
            self.shown = self.touched.message = True

    def skip(self, code: Literal["malformed", "unknown"], reason: str) -> None:
        """Record that the chunk could not be used."""
        self.skipped_count += 1
        if len(self.skipped) < MAX_SKIPPED:
            self.skipped = (*self.skipped, Skipped(self.row.seq, code, reason))
        self.touched.message = True

    def parts(self) -> Parts:
        """The parts as they are now."""
        for index, source in self._changed.items():
            self._parts.set(index, source.part())
        self._changed.clear()
        return self._parts.view()


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Objects within objects are merged, everything else is replaced."""
    result = dict(old)
    for name, value in new.items():
        before = result.get(name)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            result[name] = merged(before, value)
        else:
            result[name] = value
    return result
