"""The chunks of a UI message stream (AI SDK 5 to 7), typed. Pure.

Fields are those of ``packages/ai/src/ui-message-stream/ui-message-chunks.ts`` of vercel/ai, in
Python's spelling; on the wire they are camelCase. What a newer SDK adds is kept: unknown fields on
every chunk, unknown types as `UnknownChunk`.
"""

import json
from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from durable_ai_transport.vercel._errors import InvalidChunk

ProviderMetadata = dict[str, dict[str, Any]]


class Chunk(BaseModel):
    """One chunk. Fields that the sender left out stay left out when it is sent on."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="allow", strict=True, frozen=True
    )
    type: str

    def to_json(self) -> dict[str, Any]:
        """The chunk as it goes on the wire."""
        fields: dict[str, Any] = self.model_dump(by_alias=True, exclude_unset=True)
        return {"type": self.type, **fields}


class _Metadata(Chunk):
    provider_metadata: ProviderMetadata | None = None


class TextStartChunk(_Metadata):
    """A part of text begins."""

    type: Literal["text-start"] = "text-start"
    id: str


class TextDeltaChunk(_Metadata):
    """More of a part of text."""

    type: Literal["text-delta"] = "text-delta"
    id: str
    delta: str


class TextEndChunk(_Metadata):
    """A part of text is complete."""

    type: Literal["text-end"] = "text-end"
    id: str
    citations: list[dict[str, Any]] | None = None


class ReasoningStartChunk(_Metadata):
    """A part of reasoning begins."""

    type: Literal["reasoning-start"] = "reasoning-start"
    id: str


class ReasoningDeltaChunk(_Metadata):
    """More of a part of reasoning."""

    type: Literal["reasoning-delta"] = "reasoning-delta"
    id: str
    delta: str


class ReasoningEndChunk(_Metadata):
    """A part of reasoning is complete."""

    type: Literal["reasoning-end"] = "reasoning-end"
    id: str


class CustomChunk(_Metadata):
    """A provider's own kind of content."""

    type: Literal["custom"] = "custom"
    kind: str


class SourceUrlChunk(_Metadata):
    """A source that is a web page."""

    type: Literal["source-url"] = "source-url"
    source_id: str
    url: str
    title: str | None = None


class SourceDocumentChunk(_Metadata):
    """A source that is a document."""

    type: Literal["source-document"] = "source-document"
    source_id: str
    media_type: str
    title: str
    filename: str | None = None


class FileChunk(_Metadata):
    """A file."""

    type: Literal["file"] = "file"
    url: str
    media_type: str


class ReasoningFileChunk(_Metadata):
    """A file that belongs to the reasoning."""

    type: Literal["reasoning-file"] = "reasoning-file"
    url: str
    media_type: str


class _ToolChunk(Chunk):
    tool_call_id: str


class ToolInputStartChunk(_ToolChunk, _Metadata):
    """A tool is about to be called; its input comes."""

    type: Literal["tool-input-start"] = "tool-input-start"
    tool_name: str
    input_encoding: Literal["json", "text"] | None = None
    provider_executed: bool | None = None
    tool_metadata: dict[str, Any] | None = None
    dynamic: bool | None = None
    title: str | None = None


class ToolInputDeltaChunk(_ToolChunk):
    """More of a tool's input, as JSON text."""

    type: Literal["tool-input-delta"] = "tool-input-delta"
    input_text_delta: str


class ToolInputAvailableChunk(_ToolChunk, _Metadata):
    """A tool's input is complete."""

    type: Literal["tool-input-available"] = "tool-input-available"
    tool_name: str
    input: Any = None
    provider_executed: bool | None = None
    tool_metadata: dict[str, Any] | None = None
    dynamic: bool | None = None
    title: str | None = None


class ToolInputErrorChunk(_ToolChunk, _Metadata):
    """A tool's input is not what the tool takes."""

    type: Literal["tool-input-error"] = "tool-input-error"
    tool_name: str
    input: Any = None
    error_text: str
    provider_executed: bool | None = None
    tool_metadata: dict[str, Any] | None = None
    dynamic: bool | None = None
    title: str | None = None


class ToolApprovalRequestChunk(_ToolChunk):
    """Somebody has to allow the call."""

    type: Literal["tool-approval-request"] = "tool-approval-request"
    approval_id: str
    approval_descriptor: Any = None
    input_schema_input: Any = None
    reason: str | None = None
    is_automatic: bool | None = None
    signature: str | None = None


class ToolApprovalResponseChunk(_Metadata):
    """Somebody has allowed the call, or not."""

    type: Literal["tool-approval-response"] = "tool-approval-response"
    approval_id: str
    approved: bool
    reason: str | None = None
    provider_executed: bool | None = None


class ToolOutputAvailableChunk(_ToolChunk, _Metadata):
    """A tool's output; with ``preliminary`` another one follows."""

    type: Literal["tool-output-available"] = "tool-output-available"
    output: Any = None
    provider_executed: bool | None = None
    tool_metadata: dict[str, Any] | None = None
    dynamic: bool | None = None
    preliminary: bool | None = None


class ToolOutputErrorChunk(_ToolChunk, _Metadata):
    """A tool failed."""

    type: Literal["tool-output-error"] = "tool-output-error"
    error_text: str
    provider_executed: bool | None = None
    tool_metadata: dict[str, Any] | None = None
    dynamic: bool | None = None


class ToolOutputDeniedChunk(_ToolChunk):
    """A tool was not called, because it was not allowed."""

    type: Literal["tool-output-denied"] = "tool-output-denied"


class SteeringMessageChunk(Chunk):
    """A message of the user's that came in while the answer was made."""

    type: Literal["steering-message"] = "steering-message"
    id: str
    parts: list[dict[str, Any]]


class DataChunk(Chunk):
    """Data of the application's own: ``data-`` and a name. One with the same id takes its place.

    With ``transient`` it is told to who listens, and is no part of the message.
    """

    type: str
    id: str | None = None
    data: Any = None
    transient: bool | None = None


class StartStepChunk(Chunk):
    """A step begins: one call of the model."""

    type: Literal["start-step"] = "start-step"


class FinishStepChunk(Chunk):
    """A step is complete."""

    type: Literal["finish-step"] = "finish-step"


class ResetStepChunk(Chunk):
    """What the present step has brought is void."""

    type: Literal["reset-step"] = "reset-step"


class StartChunk(Chunk):
    """The message begins."""

    type: Literal["start"] = "start"
    message_id: str | None = None
    message_metadata: Any = None


class FinishChunk(Chunk):
    """The message is complete.

    The reason is ``stop``, ``length``, ``content-filter``, ``tool-calls``, ``error``,
    ``interrupted`` or ``other``.
    """

    type: Literal["finish"] = "finish"
    finish_reason: str | None = None
    message_metadata: Any = None


class AbortChunk(Chunk):
    """The message was stopped."""

    type: Literal["abort"] = "abort"
    reason: str | None = None


class ErrorChunk(Chunk):
    """The message could not be completed."""

    type: Literal["error"] = "error"
    error_text: str


class MessageMetadataChunk(Chunk):
    """More of the message's metadata."""

    type: Literal["message-metadata"] = "message-metadata"
    message_metadata: Any = None


class UnknownChunk(Chunk):
    """A chunk of a type that this version does not know; its fields are in ``model_extra``."""


CHUNK_TYPES: Final[Mapping[str, type[Chunk]]] = {
    kind.model_fields["type"].default: kind
    for kind in (
        *(TextStartChunk, TextDeltaChunk, TextEndChunk),
        *(ReasoningStartChunk, ReasoningDeltaChunk, ReasoningEndChunk),
        *(CustomChunk, SourceUrlChunk, SourceDocumentChunk, FileChunk, ReasoningFileChunk),
        *(ToolInputStartChunk, ToolInputDeltaChunk, ToolInputAvailableChunk, ToolInputErrorChunk),
        *(ToolApprovalRequestChunk, ToolApprovalResponseChunk),
        *(ToolOutputAvailableChunk, ToolOutputErrorChunk, ToolOutputDeniedChunk),
        *(SteeringMessageChunk, StartStepChunk, FinishStepChunk, ResetStepChunk),
        *(StartChunk, FinishChunk, AbortChunk, ErrorChunk, MessageMetadataChunk),
    )
}
"""The chunk of each type, ``data-`` ones aside."""


def parse_chunk(value: Any) -> Chunk:
    """The chunk that a JSON value stands for.

    Raises:
        InvalidChunk: it stands for none.
    """
    if isinstance(value, Chunk):
        return value
    kind = value.get("type") if isinstance(value, Mapping) else None
    if not isinstance(kind, str):
        raise InvalidChunk("it is no object with a type", _text(value))
    model = DataChunk if kind.startswith("data-") else CHUNK_TYPES.get(kind, UnknownChunk)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise InvalidChunk(_what_is_wrong(error), _text(value)) from None


def _what_is_wrong(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}"


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=repr)
