"""A message out of chunks, the same one that the AI SDK makes of them. Pure.

`UIMessageReader` does what ``processUIMessageStream`` of vercel/ai does, chunk by chunk; a test
compares the two after every chunk. A message is the JSON that the SDK works with, so that it can be
kept, sent back to a backend and rendered by a page: ``{"id", "role", "parts", "metadata"}``.
"""

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from typing import Any, Final, Literal, NotRequired, TypedDict

from durable_ai_transport.vercel._chunks import Chunk, parse_chunk
from durable_ai_transport.vercel._errors import ChunkOutOfOrder
from durable_ai_transport.vercel._json import UNDEFINED, PartialJson, joined
from durable_ai_transport.vercel._tool_parts import (
    Part,
    ToolUpdate,
    is_static,
    is_tool,
    name_of,
    put,
)

Fields = Mapping[str, Any]

ENDS: Final = frozenset({"finish", "abort", "error"})
"""The types of the chunks that end an answer."""


class UIMessage(TypedDict):
    """A message of the AI SDK.

    Its parts are those of ``ui-messages.ts``: ``text``, ``reasoning``, ``tool-NAME``,
    ``dynamic-tool``, ``source-url``, ``source-document``, ``file``, ``data-NAME``, ``step-start``
    and so on.
    """

    id: str
    role: Literal["user", "assistant", "system"]
    parts: list[dict[str, Any]]
    metadata: NotRequired[Any]


def text_of(message: UIMessage) -> str:
    """The text of a message: that of its text parts, one after the other."""
    return "".join(part["text"] for part in message["parts"] if part["type"] == "text")


class _PartialCall:
    """A tool call whose input comes in pieces."""

    def __init__(self, part: Fields, name: str, *, dynamic: bool, text: str = "") -> None:
        self.name = name
        self.dynamic = dynamic
        self.encoding = part.get("inputEncoding", UNDEFINED)
        self.title = part.get("title", UNDEFINED)
        self.tool_metadata = part.get("toolMetadata", UNDEFINED)
        self.json = PartialJson("" if self.is_text else text)
        self.plain = text

    @property
    def is_text(self) -> bool:
        return bool(self.encoding == "text")

    def feed(self, piece: str) -> None:
        self.plain = joined(self.plain, piece)
        if not self.is_text:
            self.json.feed(piece)

    @property
    def value(self) -> Any:
        return self.plain if self.is_text else self.json.value()


class UIMessageReader:
    """Makes a message of chunks.

    Args:
        message: Of the assistant, to be gone on with: it is copied. A message of anybody else
            counts as none.
        message_id: The new message's, until a chunk names it.
        reset_on_new_id: A ``start`` with another id begins another message (as in
            ``readUIMessageStream``); otherwise it renames this one.
        reset_on_start: The first ``start`` begins the message anew: for a replay.

    Attributes:
        message: What there is of it, updated by every chunk: copy it to keep it.
        finish_reason: Of the ``finish`` chunk.
        aborted: There was an ``abort`` chunk.
        errors: The texts of ``error`` chunks.
        ended: There was a chunk that ends an answer: ``finish``, ``abort`` or ``error``.
    """

    def __init__(
        self,
        message: UIMessage | None = None,
        *,
        message_id: str = "",
        reset_on_new_id: bool = False,
        reset_on_start: bool = False,
    ) -> None:
        self._reset_on_new_id = reset_on_new_id
        self._reset_on_start = reset_on_start
        self.aborted = False
        self.errors: list[str] = []
        self.ended = False
        self._begin(message, message_id)

    def _begin(self, message: UIMessage | None, message_id: str) -> None:
        self.finish_reason: str | None = None
        goes_on = message is not None and message["role"] == "assistant"
        self.message: UIMessage = (
            deepcopy(message)  # type: ignore[assignment]
            if goes_on
            else {"id": message_id, "role": "assistant", "parts": []}
        )
        self._texts: dict[str, Part] = {}
        self._thoughts: dict[str, Part] = {}
        self._calls: dict[str, _PartialCall] = {
            part["toolCallId"]: _PartialCall(
                part,
                name_of(part),
                dynamic=part["type"] == "dynamic-tool",
                text=part.get("rawInput") or "",
            )
            for part in self._step()
            if is_tool(part) and part.get("state") == "input-streaming"
        }

    def read(self, chunk: Chunk | Fields) -> bool:
        """Take one more chunk.

        Returns:
            Whether there is something new to show.

        Raises:
            InvalidChunk: it is none.
            ChunkOutOfOrder: it continues or answers what has not begun.
        """
        known = parse_chunk(chunk)
        fields: Fields = known.to_json() if isinstance(chunk, Chunk) else chunk
        handler = _HANDLERS.get(known.type)
        if handler is not None:
            return handler(self, fields)
        return known.type.startswith("data-") and self._data(fields)

    # ------------------------------------------------------------------ text

    def _start_text(self, chunk: Fields) -> bool:
        part: Part = {"type": "text", "text": "", "state": "streaming"}
        put(part, "providerMetadata", chunk.get("providerMetadata", UNDEFINED))
        self._texts[chunk["id"]] = part
        return self._push(part)

    def _start_reasoning(self, chunk: Fields) -> bool:
        part: Part = {"type": "reasoning", "id": chunk["id"], "text": "", "state": "streaming"}
        put(part, "providerMetadata", chunk.get("providerMetadata", UNDEFINED))
        self._thoughts[chunk["id"]] = part
        return self._push(part)

    def _more_text(self, chunk: Fields) -> bool:
        return self._grow(self._texts, chunk, "text-start")

    def _more_reasoning(self, chunk: Fields) -> bool:
        return self._grow(self._thoughts, chunk, "reasoning-start")

    def _grow(self, active: dict[str, Part], chunk: Fields, needed: str) -> bool:
        part = _begun(active, chunk, "id", needed)
        part["text"] = joined(part["text"], chunk["delta"])
        _annotate(part, chunk)
        return True

    def _end_text(self, chunk: Fields) -> bool:
        part = _begun(self._texts, chunk, "id", "text-start")
        if chunk.get("citations") is not None:
            part["citations"] = chunk["citations"]
        return self._end(self._texts, part, chunk)

    def _end_reasoning(self, chunk: Fields) -> bool:
        part = _begun(self._thoughts, chunk, "id", "reasoning-start")
        return self._end(self._thoughts, part, chunk)

    def _end(self, active: dict[str, Part], part: Part, chunk: Fields) -> bool:
        part["state"] = "done"
        _annotate(part, chunk)
        del active[chunk["id"]]
        return True

    # ------------------------------------------------------------------ other parts

    def _custom(self, chunk: Fields) -> bool:
        return self._copy(chunk, "kind", "providerMetadata")

    def _file(self, chunk: Fields) -> bool:
        metadata = ("providerMetadata",) if chunk.get("providerMetadata") is not None else ()
        return self._copy(chunk, "mediaType", "url", *metadata)

    def _source_url(self, chunk: Fields) -> bool:
        return self._copy(chunk, "sourceId", "url", "title", "providerMetadata")

    def _source_document(self, chunk: Fields) -> bool:
        return self._copy(chunk, "sourceId", "mediaType", "title", "filename", "providerMetadata")

    def _steering(self, chunk: Fields) -> bool:
        return self._copy(chunk, "id", "parts")

    def _copy(self, chunk: Fields, *names: str) -> bool:
        part = {name: deepcopy(chunk[name]) for name in ("type", *names) if name in chunk}
        return self._push(part)

    def _data(self, chunk: Fields) -> bool:
        if chunk.get("transient"):
            return False
        same = (
            part
            for part in self.message["parts"]
            if part["type"] == chunk["type"] and part.get("id") == chunk["id"]
        )
        part = next(same, None) if chunk.get("id") is not None else None
        if part is None:
            return self._push(deepcopy(dict(chunk)))
        put(part, "data", deepcopy(chunk.get("data", UNDEFINED)))
        return True

    # ------------------------------------------------------------------ tools

    def _start_input(self, chunk: Fields) -> bool:
        dynamic = bool(chunk.get("dynamic"))
        call = _PartialCall(chunk, chunk["toolName"], dynamic=dynamic)
        self._calls[chunk["toolCallId"]] = call
        return self._update_call(ToolUpdate.of(chunk, "input-streaming"), dynamic=dynamic)

    def _more_input(self, chunk: Fields) -> bool:
        call = _begun(self._calls, chunk, "toolCallId", "tool-input-start")
        call.feed(chunk["inputTextDelta"])
        update = ToolUpdate(
            chunk["toolCallId"],
            call.name,
            "input-streaming",
            input=call.value,
            raw_input=call.plain,
            encoding=call.encoding,
            title=call.title,
            tool_metadata=call.tool_metadata,
        )
        return self._update_call(update, dynamic=call.dynamic)

    def _input(self, chunk: Fields) -> bool:
        update = ToolUpdate.of(chunk, "input-available")
        return self._update_call(update, dynamic=bool(chunk.get("dynamic")))

    def _input_error(self, chunk: Fields) -> bool:
        found = next((part for part in self._tools() if _is_call(part, chunk)), None)
        dynamic = chunk.get("dynamic") if found is None else found["type"] == "dynamic-tool"
        update = ToolUpdate.of(chunk, "output-error")
        update.title = UNDEFINED
        return self._update_call(update, dynamic=bool(dynamic))

    def _output(self, chunk: Fields) -> bool:
        part = self._call(chunk)
        update = ToolUpdate.of_result(part, chunk, "output-available")
        update.output = deepcopy(chunk.get("output", UNDEFINED))
        update.preliminary = chunk.get("preliminary", UNDEFINED)
        update.apply(part)
        return True

    def _output_error(self, chunk: Fields) -> bool:
        part = self._call(chunk)
        update = ToolUpdate.of_result(part, chunk, "output-error")
        if is_static(part):
            update.raw_input = part.get("rawInput", UNDEFINED)
        update.error_text = chunk["errorText"]
        update.apply(part)
        return True

    def _denied(self, chunk: Fields) -> bool:
        self._call(chunk)["state"] = "output-denied"
        return True

    def _ask(self, chunk: Fields) -> bool:
        part = self._call(chunk)
        part["state"] = "approval-requested"
        approval = part["approval"] = {"id": chunk["approvalId"]}
        for name, given in (("descriptor", "approvalDescriptor"), ("requestReason", "reason")):
            if chunk.get(given) is not None:
                approval[name] = chunk[given]
        if "inputSchemaInput" in chunk:
            approval["inputSchemaInput"] = chunk["inputSchemaInput"]
        if chunk.get("isAutomatic") is True:
            approval["isAutomatic"] = True
        if chunk.get("signature") is not None:
            approval["signature"] = chunk["signature"]
        return True

    def _answer(self, chunk: Fields) -> bool:
        asked = (
            part
            for part in self.message["parts"]
            if is_tool(part) and (part.get("approval") or {}).get("id") == chunk["approvalId"]
        )
        part = next(asked, None)
        if part is None:
            needed = "tool-approval-request"
            raise ChunkOutOfOrder(chunk["type"], chunk["approvalId"], needed)
        part["state"] = "approval-responded"
        part["approval"] = {**part["approval"], "approved": chunk["approved"]}
        if chunk.get("reason") is not None:
            part["approval"]["reason"] = chunk["reason"]
        if chunk.get("providerExecuted") is not None:
            part["providerExecuted"] = chunk["providerExecuted"]
        if chunk.get("providerMetadata") is not None:
            part["callProviderMetadata"] = chunk["providerMetadata"]
        return True

    def _update_call(self, update: ToolUpdate, *, dynamic: bool) -> bool:
        ours = (
            part for part in self._tools() if is_static(part) is not dynamic and update.is_of(part)
        )
        part = next(ours, None)
        if part is None:
            return self._push(update.new_part(dynamic=dynamic))
        update.apply(part)
        return True

    def _call(self, chunk: Fields) -> Part:
        """The call that a chunk is about: of this step, or else the last one of its id."""
        parts: list[Part] = self.message["parts"]
        for part in (*self._tools(), *filter(is_tool, reversed(parts))):
            if _is_call(part, chunk):
                return part
        raise ChunkOutOfOrder(chunk["type"], chunk["toolCallId"], "tool-input-available")

    # ------------------------------------------------------------------ the message

    def _start_step(self, _: Fields) -> bool:
        self._push({"type": "step-start"})
        return False

    def _reset_step(self, _: Fields) -> bool:
        void = len(self._step())
        self._texts, self._thoughts, self._calls = {}, {}, {}
        parts = self.message["parts"]
        del parts[len(parts) - void :]
        return void > 0

    def _start(self, chunk: Fields) -> bool:
        message_id = chunk.get("messageId")
        differs = message_id is not None and message_id != self.message["id"]
        reset = self._reset_on_start or (self._reset_on_new_id and differs)
        self._reset_on_start = False
        if reset:
            self._begin(None, self.message["id"])
        if message_id is not None:
            self.message["id"] = message_id
        merged = self._merge(chunk)
        return reset or message_id is not None or merged

    def _finish(self, chunk: Fields) -> bool:
        self.ended = True
        if chunk.get("finishReason") is not None:
            self.finish_reason = chunk["finishReason"]
        return self._merge(chunk)

    def _abort(self, _: Fields) -> bool:
        self.ended = self.aborted = True
        return False

    def _error(self, chunk: Fields) -> bool:
        self.ended = True
        self.errors.append(chunk["errorText"])
        return False

    def _merge(self, chunk: Fields) -> bool:
        more = chunk.get("messageMetadata")
        if more is None:
            return False
        self.message["metadata"] = _merged(self.message.get("metadata"), deepcopy(more))
        return True

    def _nothing(self, _: Fields) -> bool:
        return False

    # ------------------------------------------------------------------ parts

    def _push(self, part: Part) -> bool:
        self.message["parts"].append(part)
        return True

    def _step(self) -> list[Part]:
        """The parts of the present step."""
        parts = self.message["parts"]
        for at in range(len(parts) - 1, -1, -1):
            if parts[at]["type"] == "step-start":
                return parts[at + 1 :]
        return list(parts)

    def _tools(self) -> Iterator[Part]:
        return (part for part in self._step() if is_tool(part))


def _begun(active: Mapping[str, Any], chunk: Fields, field: str, needed: str) -> Any:
    try:
        return active[chunk[field]]
    except KeyError:
        raise ChunkOutOfOrder(chunk["type"], chunk[field], needed) from None


def _is_call(part: Part, chunk: Fields) -> bool:
    return bool(part.get("toolCallId") == chunk["toolCallId"])


def _annotate(part: Part, chunk: Fields) -> None:
    if chunk.get("providerMetadata") is not None:
        part["providerMetadata"] = chunk["providerMetadata"]


_FORBIDDEN: Final = frozenset({"__proto__", "constructor", "prototype"})


def _merged(base: Any, more: Any) -> Any:
    """Objects field by field, everything else replaced."""
    if not (isinstance(base, dict) and isinstance(more, dict)):
        return more
    kept = {name: value for name, value in more.items() if name not in _FORBIDDEN}
    return base | {name: _merged(base.get(name), value) for name, value in kept.items()}


# ruff: noqa: SLF001  (the table of the class above)
_R = UIMessageReader
_HANDLERS: Final[Mapping[str, Callable[[UIMessageReader, Fields], bool]]] = {
    "text-start": _R._start_text,
    "text-delta": _R._more_text,
    "text-end": _R._end_text,
    "reasoning-start": _R._start_reasoning,
    "reasoning-delta": _R._more_reasoning,
    "reasoning-end": _R._end_reasoning,
    "custom": _R._custom,
    "file": _R._file,
    "reasoning-file": _R._file,
    "source-url": _R._source_url,
    "source-document": _R._source_document,
    "steering-message": _R._steering,
    "tool-input-start": _R._start_input,
    "tool-input-delta": _R._more_input,
    "tool-input-available": _R._input,
    "tool-input-error": _R._input_error,
    "tool-approval-request": _R._ask,
    "tool-approval-response": _R._answer,
    "tool-output-available": _R._output,
    "tool-output-error": _R._output_error,
    "tool-output-denied": _R._denied,
    "start-step": _R._start_step,
    "finish-step": _R._nothing,
    "reset-step": _R._reset_step,
    "start": _R._start,
    "message-metadata": _R._merge,
    "finish": _R._finish,
    "abort": _R._abort,
    "error": _R._error,
}
