"""The older chunks of TanStack AI (``@tanstack/ai`` before its move to AG-UI events). Pure.

They are turned into events, so that everything behind speaks one language, and an old backend can
feed a new client.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from durable_ai_transport.tanstack._messages import mapping, text_of

FinishReason = Literal["stop", "length", "content_filter", "tool_calls"]


class LegacyChunk(BaseModel):
    """What all older chunks have in common; names are camelCase in JSON."""

    model_config = ConfigDict(extra="allow", populate_by_name=True)

    id: str = ""
    model: str = ""
    timestamp: int = 0


class ContentChunk(LegacyChunk):
    """Text: the piece that is new, and all of it so far."""

    type: Literal["content"] = "content"
    delta: str | None = None
    content: str = ""
    role: str | None = None


class ThinkingChunk(LegacyChunk):
    """A thought, likewise."""

    type: Literal["thinking"] = "thinking"
    delta: str | None = None
    content: str = ""


class CalledFunction(BaseModel):
    """The function of a tool call; the arguments come in pieces."""

    name: str = ""
    arguments: str = ""


class CalledTool(BaseModel):
    """A tool call, or a piece of it."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class ToolCallChunk(LegacyChunk):
    """A piece of a tool call."""

    type: Literal["tool_call"] = "tool_call"
    tool_call: CalledTool = Field(alias="toolCall")
    index: int = 0


class ToolResultChunk(LegacyChunk):
    """What a tool answered."""

    type: Literal["tool_result"] = "tool_result"
    tool_call_id: str = Field(alias="toolCallId")
    content: str


class DoneChunk(LegacyChunk):
    """The end of a model's answer; after ``tool_calls`` another one follows."""

    type: Literal["done"] = "done"
    finish_reason: FinishReason | None = Field(None, alias="finishReason")
    usage: dict[str, Any] | None = None


class ChunkFailure(BaseModel):
    """What went wrong."""

    message: str
    code: str | None = None


class ErrorChunk(LegacyChunk):
    """The end of an answer that failed."""

    type: Literal["error"] = "error"
    error: ChunkFailure


class Approval(BaseModel):
    """What the user is asked under."""

    id: str
    needs_approval: bool = Field(True, alias="needsApproval")


class ApprovalRequestedChunk(LegacyChunk):
    """A tool waits for the user's consent."""

    type: Literal["approval-requested"] = "approval-requested"
    tool_call_id: str = Field(alias="toolCallId")
    tool_name: str = Field("", alias="toolName")
    input: Any = None
    approval: Approval


class ToolInputAvailableChunk(LegacyChunk):
    """A tool is to run at the client."""

    type: Literal["tool-input-available"] = "tool-input-available"
    tool_call_id: str = Field(alias="toolCallId")
    tool_name: str = Field("", alias="toolName")
    input: Any = None


LEGACY: Final[tuple[type[LegacyChunk], ...]] = (
    *(ContentChunk, ThinkingChunk, ToolCallChunk, ToolResultChunk),
    *(DoneChunk, ErrorChunk, ApprovalRequestedChunk, ToolInputAvailableChunk),
)
"""All older chunks."""

Events = list[Mapping[str, Any]]


class Upgrade:
    """Turns older chunks into AG-UI events, one by one; events pass as they are.

    Args:
        new_id: Names a message whose chunks have no id.
    """

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        self._message: str | None = None
        self._text_open = False
        self._text = self._segment = self._thinking = ""
        self._calls: dict[str, str] = {}
        self._ended: set[str] = set()
        self._handlers: Mapping[str, Callable[[Mapping[str, Any]], Events]] = {
            "content": self._content,
            "thinking": self._think,
            "tool_call": self._tool_call,
            "tool_result": self._tool_result,
            "done": self._done,
            "error": self._error,
            "approval-requested": self._about_call,
            "tool-input-available": self._about_call,
        }

    def feed(self, chunk: Mapping[str, Any]) -> Events:
        """The events that a chunk comes to."""
        handler = self._handlers.get(text_of(chunk.get("type")))
        return [chunk] if handler is None else handler(chunk)

    def _name(self, chunk: Mapping[str, Any]) -> str:
        """One message for the whole answer, whatever ids the model's turns have."""
        if self._message is None:
            self._message = text_of(chunk.get("id")) or self._new_id()
        return self._message

    def _content(self, chunk: Mapping[str, Any]) -> Events:
        name, events = self._name(chunk), self._end_calls()
        if not self._text_open:
            self._text_open = True
            self._segment = ""
            start = {"type": "TEXT_MESSAGE_START", "messageId": name, "role": "assistant"}
            events.append(start)
        delta = _piece(chunk, self._segment, self._text)
        self._text += delta
        self._segment += delta
        if delta:
            events.append({"type": "TEXT_MESSAGE_CONTENT", "messageId": name, "delta": delta})
        return events

    def _think(self, chunk: Mapping[str, Any]) -> Events:
        delta = _piece(chunk, self._thinking, "")
        self._thinking += delta
        name = f"{self._name(chunk)}-thinking"
        event = {"type": "REASONING_MESSAGE_CONTENT", "messageId": name, "delta": delta}
        return [event] if delta else []

    def _tool_call(self, chunk: Mapping[str, Any]) -> Events:
        tool = mapping(chunk.get("toolCall"))
        function = mapping(tool.get("function"))
        call_id, name = text_of(tool.get("id")), text_of(function.get("name"))
        self._name(chunk)
        events: Events = []
        if call_id not in self._calls:
            self._calls[call_id] = name
            self._text_open = False
            start = {"type": "TOOL_CALL_START", "toolCallId": call_id, "toolCallName": name}
            events.append(start)
        delta = text_of(function.get("arguments"))
        if delta:
            events.append({"type": "TOOL_CALL_ARGS", "toolCallId": call_id, "delta": delta})
        return events

    def _tool_result(self, chunk: Mapping[str, Any]) -> Events:
        call_id = text_of(chunk.get("toolCallId"))
        result = {"type": "TOOL_CALL_RESULT", "toolCallId": call_id}
        named = {"messageId": f"{call_id}-result", "content": chunk.get("content")}
        return [*self._end_calls(), {**result, **named}]

    def _done(self, chunk: Mapping[str, Any]) -> Events:
        run = text_of(chunk.get("id"))
        finished = {"type": "RUN_FINISHED", "threadId": run, "runId": run}
        kept = {key: chunk[key] for key in ("finishReason", "usage") if chunk.get(key) is not None}
        return [*self._end_calls(), {**finished, **kept}]

    def _error(self, chunk: Mapping[str, Any]) -> Events:
        error = mapping(chunk.get("error"))
        event = {"type": "RUN_ERROR", "message": text_of(error.get("message"))}
        return [{**event, **({"code": error["code"]} if error.get("code") is not None else {})}]

    def _about_call(self, chunk: Mapping[str, Any]) -> Events:
        keys = ("toolCallId", "toolName", "input", "approval")
        value = {key: chunk[key] for key in keys if key in chunk}
        return [{"type": "CUSTOM", "name": chunk["type"], "value": value}]

    def _end_calls(self) -> Events:
        ending = [call for call in self._calls if call not in self._ended]
        self._ended.update(ending)
        return [{"type": "TOOL_CALL_END", "toolCallId": call} for call in ending]


def _piece(chunk: Mapping[str, Any], segment: str, whole: str) -> str:
    """What the chunk adds: its delta, or what its text adds to the text so far."""
    delta = chunk.get("delta")
    if isinstance(delta, str):
        return delta
    content = text_of(chunk.get("content"))
    for known in (segment, whole):
        if known and content.startswith(known):
            return content[len(known) :]
    return "" if segment.startswith(content) else content
