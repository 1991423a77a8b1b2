"""The rows of a session: the chunks that come in, and what is materialized from them. Pure.

Each row is immutable; `to_json` gives the shape that the TypeScript original's collections have
(`tests/ai_db/fixtures/materialize`), with more fields where it has no answer: ``error`` and
``skipped`` of a message, for example. Times are the ISO texts of the chunk rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from durable_ai_db.materialize._json import BadJsonError, parse
from durable_ai_db.materialize._text import NO_TEXT, Text

Json: TypeAlias = dict[str, Any]
Role: TypeAlias = Literal["user", "assistant", "system"]
TextKind: TypeAlias = Literal["text", "thinking"]
CallPartState: TypeAlias = Literal[
    "awaiting-input", "input-streaming", "input-complete", "approval-requested"
]
CallState: TypeAlias = Literal["pending", "executing", "complete"]
ApprovalStatus: TypeAlias = Literal["pending", "approved", "denied"]
Collection: TypeAlias = Literal[
    "message", "tool_call", "tool_result", "approval", "active_generation", "stats"
]

ROLES: Final = ("user", "assistant", "system")
MAX_SKIPPED: Final = 20
"""So many skipped chunks a message tells of one by one; the rest are counted."""


class BadRowError(ValueError):
    """A value is not a chunk row."""


class ChunkRow(NamedTuple):
    """One row of the session's log: a piece of a message. A tuple, because there are many.

    Attributes:
        chunk: JSON text, in whatever format the agent speaks.
        seq: Place within the message.
        created_at: ISO 8601.
    """

    message_id: str
    actor_id: str
    role: str
    chunk: str
    seq: int
    created_at: str

    @property
    def key(self) -> str:
        """Key of the row in the session's log."""
        return f"{self.message_id}:{self.seq}"

    @classmethod
    def from_json(cls, value: object) -> "ChunkRow":
        """The row that `value`, a chunk row as the log has it, stands for.

        Raises:
            BadRowError: A field is missing or has another type.
        """
        if not isinstance(value, Mapping):
            raise BadRowError(f"a chunk row is an object, not {type(value).__name__}")
        seq = value.get("seq")
        if not isinstance(seq, int) or isinstance(seq, bool):
            raise BadRowError("seq: not a whole number")
        role = value.get("role")
        if role not in ROLES:
            raise BadRowError(f"role: not one of {', '.join(ROLES)}")
        message_id, actor_id = _text_of(value, "messageId"), _text_of(value, "actorId")
        return cls(
            message_id, actor_id, role, _text_of(value, "chunk"), seq, _text_of(value, "createdAt")
        )

    def to_json(self) -> Json:
        """The row as the log has it."""
        return {
            "messageId": self.message_id,
            "actorId": self.actor_id,
            "role": self.role,
            "chunk": self.chunk,
            "seq": self.seq,
            "createdAt": self.created_at,
        }


def _text_of(value: Mapping[str, Any], name: str) -> str:
    found = value.get(name)
    if not isinstance(found, str):
        raise BadRowError(f"{name}: not a text")
    return found


@dataclass(frozen=True, slots=True)
class TextPart:
    """Text of the answer, or (`type` ``thinking``) of the reasoning before it.

    Attributes:
        text: The content, joined only when it is read.
        extra: What the format says besides, such as a signature.
    """

    text: Text
    type: TextKind = "text"
    extra: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, content: str) -> "TextPart":
        """A text that is there already."""
        return cls(Text.of(content))

    @property
    def content(self) -> str:
        """The text."""
        return str(self.text)

    def to_json(self) -> Json:
        """JSON of the part."""
        return {"type": self.type, "content": self.content, **(self.extra or {})}


@dataclass(frozen=True, slots=True)
class ToolCallPart:
    """A tool call at its place in the message.

    Attributes:
        arguments_text: JSON text of the arguments, as far as it has come.
        approval: ``id`` and ``needsApproval``, and ``approved`` once it was answered.
        outcome: ``output`` and ``error`` of a result that came in a message of its own.
    """

    id: str
    name: str
    arguments_text: Text
    state: CallPartState
    approval: Mapping[str, Any] | None = None
    outcome: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] | None = None
    type: Literal["tool-call"] = "tool-call"

    @property
    def arguments(self) -> str:
        """JSON text of the arguments, as far as it has come."""
        return str(self.arguments_text)

    def to_json(self) -> Json:
        """JSON of the part."""
        whole: Json = {
            "type": self.type,
            "id": self.id,
            "name": self.name,
            "arguments": self.arguments,
            "state": self.state,
        }
        if self.approval is not None:
            whole["approval"] = dict(self.approval)
        return whole | dict(self.outcome or {}) | dict(self.extra or {})


@dataclass(frozen=True, slots=True)
class ToolResultPart:
    """A tool's result at its place in the message.

    Attributes:
        content: What the tool gave: text or any JSON.
        error: What went wrong, when it failed.
    """

    tool_call_id: str
    content: Any
    error: str | None = None
    type: Literal["tool-result"] = "tool-result"

    def to_json(self) -> Json:
        """JSON of the part."""
        whole: Json = {
            "type": self.type,
            "toolCallId": self.tool_call_id,
            "content": self.content,
            "state": "complete" if self.error is None else "error",
        }
        return whole if self.error is None else whole | {"error": self.error}


@dataclass(frozen=True, slots=True)
class JsonPart:
    """Any other part (a file, a source, data of the application), as its format has it."""

    value: Mapping[str, Any]

    @property
    def type(self) -> str:
        """What the part calls itself."""
        return str(self.value.get("type", ""))

    def to_json(self) -> Json:
        """JSON of the part."""
        return dict(self.value)


Part: TypeAlias = TextPart | ToolCallPart | ToolResultPart | JsonPart


class Skipped(NamedTuple):
    """A chunk that could not be used: ``malformed``, or of an ``unknown`` type."""

    seq: int
    code: Literal["malformed", "unknown"]
    reason: str

    def to_json(self) -> Json:
        """JSON of the record."""
        return self._asdict()


@dataclass(frozen=True, slots=True)
class MessageRow:
    """One message.

    Attributes:
        is_complete: No more is generated.
        error: ``message`` (and ``code``) of the failure that ended it; the text so far stays.
        finish_reason: What the model, or whoever stopped it, gave as the reason.
        interrupted: Ended by a stop or a failure before the model was done.
        metadata: What the agent attached.
        format: Name of the chunk format it came in, None for whole messages.
        skipped: The first chunks that could not be used; `skipped_count` counts them all.
    """

    id: str
    role: str
    parts: Sequence[Part]
    actor_id: str
    is_complete: bool
    created_at: str
    error: Mapping[str, Any] | None = None
    finish_reason: str | None = None
    interrupted: bool = False
    metadata: Mapping[str, Any] | None = None
    format: str | None = None
    skipped: tuple[Skipped, ...] = ()
    skipped_count: int = 0

    @property
    def text(self) -> str:
        """The text parts, one after the other."""
        return "".join(
            part.content
            for part in self.parts
            if isinstance(part, TextPart) and part.type == "text"
        )

    def to_json(self) -> Json:
        """JSON of the row."""
        whole: Json = {
            "id": self.id,
            "role": self.role,
            "parts": [part.to_json() for part in self.parts],
            "actorId": self.actor_id,
            "isComplete": self.is_complete,
            "createdAt": self.created_at,
        }
        return whole | self.extras()

    def extras(self) -> Json:
        """The fields of its JSON that are there only when they say something."""
        extras: Json = {}
        if self.error is not None:
            extras["error"] = dict(self.error)
        if self.finish_reason is not None:
            extras["finishReason"] = self.finish_reason
        if self.interrupted:
            extras["interrupted"] = True
        if self.metadata is not None:
            extras["metadata"] = dict(self.metadata)
        if self.skipped:
            extras["skipped"] = [one.to_json() for one in self.skipped]
            extras["skippedCount"] = self.skipped_count
        return extras


@dataclass(frozen=True, slots=True)
class ToolCallRow:
    """One call of a tool.

    Attributes:
        given_input: The input in one piece, None when there are only arguments.
        state: ``complete`` once its result is there.
    """

    id: str
    message_id: str
    name: str
    actor_id: str
    created_at: str
    arguments_text: Text = NO_TEXT
    given_input: Any = None
    state: CallState = "pending"

    @property
    def arguments(self) -> str:
        """JSON text of the arguments, as far as it has come."""
        return str(self.arguments_text)

    @property
    def input(self) -> Any:
        """The input; None while the arguments are not complete."""
        if self.given_input is not None:
            return self.given_input
        try:
            return parse(self.arguments)
        except BadJsonError:
            return None

    def to_json(self) -> Json:
        """JSON of the row."""
        return {
            "id": self.id,
            "messageId": self.message_id,
            "name": self.name,
            "arguments": self.arguments,
            "input": self.input,
            "state": self.state,
            "actorId": self.actor_id,
            "createdAt": self.created_at,
        }


@dataclass(frozen=True, slots=True)
class ToolResultRow:
    """What a tool gave.

    Attributes:
        preliminary: More will replace it.
    """

    tool_call_id: str
    message_id: str
    output: Any
    error: str | None
    actor_id: str
    created_at: str
    preliminary: bool = False

    @property
    def id(self) -> str:
        """Key of the row."""
        return f"{self.message_id}:{self.tool_call_id}"

    def to_json(self) -> Json:
        """JSON of the row."""
        return {
            "id": self.id,
            "toolCallId": self.tool_call_id,
            "messageId": self.message_id,
            "output": self.output,
            "error": self.error,
            "actorId": self.actor_id,
            "createdAt": self.created_at,
        } | ({"preliminary": True} if self.preliminary else {})


@dataclass(frozen=True, slots=True)
class ApprovalRow:
    """A question whether a tool may be called, and its answer. The first answer counts."""

    id: str
    tool_call_id: str
    message_id: str
    status: ApprovalStatus
    requested_by: str
    requested_at: str
    responded_by: str | None = None
    responded_at: str | None = None
    reason: str | None = None

    def to_json(self) -> Json:
        """JSON of the row."""
        return {
            "id": self.id,
            "toolCallId": self.tool_call_id,
            "messageId": self.message_id,
            "status": self.status,
            "requestedBy": self.requested_by,
            "requestedAt": self.requested_at,
            "respondedBy": self.responded_by,
            "respondedAt": self.responded_at,
        } | ({"reason": self.reason} if self.reason is not None else {})


@dataclass(frozen=True, slots=True)
class ActiveGenerationRow:
    """A message that is still being generated."""

    message_id: str
    actor_id: str
    started_at: str
    last_chunk_seq: int
    last_chunk_at: str

    def to_json(self) -> Json:
        """JSON of the row."""
        return {
            "messageId": self.message_id,
            "actorId": self.actor_id,
            "startedAt": self.started_at,
            "lastChunkSeq": self.last_chunk_seq,
            "lastChunkAt": self.last_chunk_at,
        }


@dataclass(frozen=True, slots=True)
class StatsRow:
    """Counts of the session. There is one, with the session's id as its key."""

    session_id: str
    message_count: int = 0
    user_message_count: int = 0
    assistant_message_count: int = 0
    tool_call_count: int = 0
    approval_count: int = 0
    total_tokens: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    active_generation_count: int = 0
    first_message_at: str | None = None
    last_message_at: str | None = None
    skipped_chunk_count: int = 0

    def to_json(self) -> Json:
        """JSON of the row."""
        return {
            "sessionId": self.session_id,
            "messageCount": self.message_count,
            "userMessageCount": self.user_message_count,
            "assistantMessageCount": self.assistant_message_count,
            "toolCallCount": self.tool_call_count,
            "approvalCount": self.approval_count,
            "totalTokens": self.total_tokens,
            "promptTokens": self.prompt_tokens,
            "completionTokens": self.completion_tokens,
            "activeGenerationCount": self.active_generation_count,
            "firstMessageAt": self.first_message_at,
            "lastMessageAt": self.last_message_at,
            "skippedChunkCount": self.skipped_chunk_count,
        }


Row: TypeAlias = (
    MessageRow | ToolCallRow | ToolResultRow | ApprovalRow | ActiveGenerationRow | StatsRow
)


class RowChange(NamedTuple):
    """A row is new, is another one now, or (None) is gone.

    Attributes:
        key: Message id, tool call id, result id, approval id, message id, session id. Of several
            messages with a tool call of one id, the first holds the plain key and the others
            ``{messageId}:{id}``.
    """

    collection: Collection
    key: str
    row: Row | None
