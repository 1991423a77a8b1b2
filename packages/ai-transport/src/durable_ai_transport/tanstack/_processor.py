"""From chunks to messages: what ``@tanstack/ai-client`` makes of them, chunk by chunk.

Pure, but for the defaults of its clock and its ids. The client's ``StreamProcessor`` is the truth,
its corners included: a test runs both over the same chunks. The older chunks are turned into events
first (`Upgrade`).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

from durable_ai_transport.tanstack._conversation import Conversation
from durable_ai_transport.tanstack._legacy import Upgrade
from durable_ai_transport.tanstack._messages import (
    Part,
    UIMessage,
    compact,
    mapping,
    on_approval,
    on_call,
    parse_json,
    parsed_or_text,
    tanstack_metadata,
    text_of,
    with_call,
    with_result,
    with_text,
    with_thinking,
)
from durable_ai_transport.tanstack._snapshot import apply_snapshot, error_text
from durable_ai_transport.tanstack._structured import (
    object_completed,
    object_extended,
    object_failed,
)

_WAITING_OR_FAILED: Final = ("error", "approval-requested", "approval-responded")


def message_id() -> str:
    """A new message id."""
    return f"msg-{uuid4()}"


def _now() -> float:
    return datetime.now(UTC).timestamp()


@dataclass(frozen=True, slots=True)
class RunFailure:
    """What a ``RUN_ERROR`` said."""

    message: str
    code: str | None = None


@dataclass(slots=True)
class _Call:
    id: str
    name: str
    metadata: Any
    arguments: str = ""
    state: str = "awaiting-input"


@dataclass(slots=True)
class _Open:
    """What is known of a message while it streams."""

    role: str
    text: str = ""
    tools_since_text: bool = False
    step: str | None = None
    thinking: dict[str, str] = field(default_factory=dict)
    signatures: dict[str, str] = field(default_factory=dict)
    calls: dict[str, _Call] = field(default_factory=dict)
    complete: bool = False


class StreamProcessor:
    """Holds a conversation and applies chunks to it.

    Args:
        messages: The conversation so far.
        new_id: Names messages that come without an id.
        clock: Epoch seconds, for messages that come without a time.
    """

    def __init__(
        self,
        messages: Iterable[UIMessage] = (),
        *,
        new_id: Callable[[], str] = message_id,
        clock: Callable[[], float] = _now,
    ) -> None:
        self._talk = Conversation(messages, clock)
        self._new_id = new_id
        self._handlers: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
            "TEXT_MESSAGE_START": self._text_start,
            "TEXT_MESSAGE_CONTENT": self._text_content,
            "TEXT_MESSAGE_END": self._text_end,
            "TOOL_CALL_START": self._call_start,
            "TOOL_CALL_ARGS": self._call_args,
            "TOOL_CALL_END": self._call_end,
            "TOOL_CALL_RESULT": self._call_result,
            "RUN_STARTED": self._run_started,
            "RUN_FINISHED": self._run_finished,
            "RUN_ERROR": self._run_error,
            "STEP_STARTED": self._step_started,
            "STEP_FINISHED": self._step_finished,
            "MESSAGES_SNAPSHOT": self._messages_snapshot,
            "REASONING_MESSAGE_CONTENT": self._reasoning,
            "REASONING_ENCRYPTED_VALUE": self._encrypted,
            "CUSTOM": self._custom,
        }
        self._reset()

    @property
    def messages(self) -> list[UIMessage]:
        """The conversation now; what is handed out does not change later."""
        return list(self._talk.messages)

    def begin(self) -> None:
        """Prepare for another answer; the messages stay."""
        self._reset()

    def add_user_message(self, content: str | list[Part], id: str | None = None) -> UIMessage:  # noqa: A002  (its name in the message)
        """Put a message of the user's at the end; ``content`` is text, or parts."""
        parts = [{"type": "text", "content": content}] if isinstance(content, str) else content
        return self._talk.add(id or self._new_id(), "user", parts)

    def add_tool_result(self, call_id: str, output: Any, error: str | None = None) -> None:
        """Put the result of a tool that ran at the client; nothing when nobody called it."""
        owner = self._talk.owner(call_id)
        if owner is None:
            return
        state, shown = ("error", {"error": error}) if error else ("complete", output)
        self._talk.change_call(call_id, on_call(call_id, {"output": shown, "state": state}))
        content = output if isinstance(output, str) else compact(output)
        self._talk.change(owner, with_result(call_id, content, state, error))

    def respond_to_approval(self, approval_id: str, *, approved: bool) -> None:
        """Put the user's answer to an approval."""
        for message in self.messages:
            self._talk.change(message["id"], on_approval(approval_id, approved=approved))

    def process(self, chunk: Mapping[str, Any]) -> None:
        """Apply one chunk; one of an unknown type changes nothing."""
        for event in self._upgrade.feed(chunk):
            handler = self._handlers.get(text_of(event.get("type")))
            if handler is not None:
                handler(_restored(event))

    def finish(self) -> None:
        """The chunks have come to an end, with or without an event that says so."""
        self.done = True
        last = None
        for name in self._active:
            if name in self._open:
                self._complete_calls_of(name)
                self._open[name].complete = True
            message = self._talk.find(name)
            if message is not None and message["role"] == "assistant":
                last = message
        for name in self._objects:
            ended = "Stream ended without structured-output.complete"
            self._talk.change(name, object_failed(ended))
        self._objects.clear()
        self._active.clear()
        if last is not None and self.error is None and _is_blank(last):
            self._talk.remove(last["id"])

    def _reset(self) -> None:
        self._open: dict[str, _Open] = {}
        self._active: dict[str, None] = {}
        self._runs: set[str] = set()
        self._calls: dict[str, str] = {}
        self._objects: dict[str, None] = {}
        self._upgrade = Upgrade(self._new_id)
        self._made_up: str | None = None
        self._pending_step: str | None = None
        self.finish_reason: str | None = None
        """Why the last run ended, in the model's words."""
        self.error: RunFailure | None = None
        """How the last run failed."""
        self.done = False
        """No more chunks are expected."""

    # ------------------------------------------------------------------ messages

    def _assistant(self) -> str | None:
        """The assistant message that chunks without a message id are about."""
        for name in (*reversed(self._active), *reversed(self._open)):
            if name in self._open and self._open[name].role == "assistant":
                return name
        return None

    def _ensure(self, preferred: str | None = None) -> tuple[str, _Open]:
        for name in (preferred, self._assistant()):
            if name and name in self._open:
                self._active[name] = None
                if self._open[name].complete or self.done:
                    self._open[name].complete = self.done = False
                return name, self._open[name]
        known = self._talk.find(preferred) if preferred else None
        if known is not None:
            return known["id"], self._take_up(known)
        name = preferred or self._new_id()
        self._talk.add(name, "assistant", [])
        self._made_up = name
        return name, self._start(name, "assistant")

    def _start(self, name: str, role: str) -> _Open:
        self._active[name] = None
        self._open[name] = _Open(role)
        return self._open[name]

    def _take_up(self, message: UIMessage) -> _Open:
        """Go on with a message that is shown already."""
        draft = self._start(message["id"], message["role"])
        last = message["parts"][-1] if message["parts"] else {}
        if last.get("type") == "text":
            draft.text = text_of(last.get("content"))
        return draft

    # ------------------------------------------------------------------ text

    def _text_start(self, event: Mapping[str, Any]) -> None:
        name, role = text_of(event.get("messageId")), event.get("role")
        role = role if role in ("user", "system") else "assistant"
        made_up, self._made_up = self._made_up, None
        if made_up is None:
            if self._talk.find(name) is None:
                self._talk.add(name, role, [])
                self._start(name, role)
            self._active[name] = None
        elif made_up != name:
            self._rename(made_up, name)
        draft = self._open.get(name)
        if draft is None:
            self._start(name, role)
        elif draft.tools_since_text:
            draft.text, draft.tools_since_text = "", False
        self._talk.merge(name, event.get("metadata"))

    def _rename(self, old: str, new: str) -> None:
        """A message that was begun without an id has one now."""
        self._talk.rename(old, new)
        if old in self._open:
            self._open[new] = self._open.pop(old)
        self._active.pop(old, None)
        self._active[new] = None
        self._calls = {call: new if at == old else at for call, at in self._calls.items()}

    def _text_content(self, event: Mapping[str, Any]) -> None:
        name, draft = self._ensure(text_of(event.get("messageId")))
        self._talk.merge(name, event.get("metadata"))
        delta = text_of(event.get("delta"))
        if name in self._objects:
            if delta:
                self._talk.change(name, object_extended(delta))
            return
        if draft.tools_since_text:
            draft.text, draft.tools_since_text = "", False
        if delta:
            draft.text += delta
            self._talk.change(name, with_text(draft.text))

    def _text_end(self, event: Mapping[str, Any]) -> None:
        self._talk.merge(text_of(event.get("messageId")), event.get("metadata"))

    def _messages_snapshot(self, event: Mapping[str, Any]) -> None:
        self._reset()
        said = event.get("messages") or []
        self._talk.hold(apply_snapshot(said, self._talk.messages, self._new_id))

    # ------------------------------------------------------------------ thinking

    def _step_started(self, event: Mapping[str, Any]) -> None:
        step = text_of(event.get("stepName")) or self._new_id()
        active = self._assistant()
        if active is None:
            self._pending_step = step
            return
        self._open[active].step = step
        self._open[active].thinking.setdefault(step, "")
        self._pending_step = None

    def _step_finished(self, event: Mapping[str, Any]) -> None:
        signature = event.get("signature")
        if not isinstance(signature, str) or not signature:
            return
        name, draft = self._ensure(self._assistant())
        step = draft.step or text_of(event.get("stepId"))
        if step in draft.thinking:
            draft.signatures[step] = signature
            self._talk.change(name, with_thinking(step, draft.thinking[step], signature))

    def _reasoning(self, event: Mapping[str, Any]) -> None:
        name, draft = self._ensure(self._assistant())
        if self._pending_step is not None:
            draft.step, self._pending_step = self._pending_step, None
            draft.thinking.setdefault(draft.step, "")
        step = draft.step or text_of(event.get("messageId"))
        if step not in draft.thinking:
            draft.step = step
        content = draft.thinking.get(step, "") + text_of(event.get("delta"))
        draft.thinking[step] = content
        self._talk.change(name, with_thinking(step, content, draft.signatures.get(step)))

    def _encrypted(self, event: Mapping[str, Any]) -> None:
        entity, value = text_of(event.get("entityId")), text_of(event.get("encryptedValue"))
        if not value:
            return
        if event.get("subtype") == "tool-call":
            self._sign_call(entity, value)
            return
        name, draft = self._ensure(self._assistant())
        step = draft.step or entity
        draft.signatures[step] = value
        self._talk.change(name, with_thinking(step, draft.thinking.setdefault(step, ""), value))

    def _sign_call(self, call_id: str, signature: str) -> None:
        for part in self._talk.calls(call_id)[:1]:
            signed = {**mapping(part.get("metadata")), "thoughtSignature": signature}
            self._talk.change_call(call_id, on_call(call_id, {"metadata": signed}))
        for draft in self._open.values():
            if call_id in draft.calls:
                known = mapping(draft.calls[call_id].metadata)
                draft.calls[call_id].metadata = {**known, "thoughtSignature": signature}

    # ------------------------------------------------------------------ tools

    def _call_start(self, event: Mapping[str, Any]) -> None:
        parent = event.get("parentMessageId")
        name, draft = self._ensure(self._assistant() if parent is None else text_of(parent))
        draft.tools_since_text = True
        call_id = text_of(event.get("toolCallId"))
        if call_id in draft.calls:
            return
        call = _Call(call_id, text_of(event.get("toolCallName")), event.get("metadata"))
        draft.calls[call_id] = call
        self._calls[call_id] = name
        self._show(name, call)

    def _call_args(self, event: Mapping[str, Any]) -> None:
        name, call = self._running(event)
        if call is None:
            return
        delta = text_of(event.get("delta"))
        call.arguments += delta
        if delta and call.state == "awaiting-input":
            call.state = "input-streaming"
        self._show(name, call, metadata=None)

    def _call_end(self, event: Mapping[str, Any]) -> None:
        name, call = self._running(event)
        if call is None or call.state == "input-complete":
            return
        given = "input" in event
        if given and not call.arguments:
            call.arguments = compact(event["input"])
        self._complete(name, call)
        if given:
            self._show(name, call, input=event["input"])

    def _call_result(self, event: Mapping[str, Any]) -> None:
        call_id, content = text_of(event.get("toolCallId")), event.get("content")
        name = self._calls.get(call_id) or self._talk.owner(call_id)
        if name is None:
            return
        output = parsed_or_text(content)
        failed = event.get("state") == "output-error"
        state = "error" if failed else "complete"
        self._talk.change_call(call_id, on_call(call_id, {"output": output, "state": state}))
        error = error_text(output) if failed else None
        self._talk.change(name, with_result(call_id, content, state, error))

    def _running(self, event: Mapping[str, Any]) -> tuple[str, _Call | None]:
        call_id = text_of(event.get("toolCallId"))
        name = self._calls.get(call_id, "")
        return name, self._open[name].calls.get(call_id) if name in self._open else None

    def _show(self, name: str, call: _Call, **more: Any) -> None:
        shown = {"id": call.id, "name": call.name, "arguments": call.arguments}
        shown |= {"state": call.state, "metadata": call.metadata, **more}
        self._talk.change(name, with_call(shown))

    def _complete(self, name: str, call: _Call) -> None:
        """No more arguments come. Half a JSON text is no input: it is left to the reader."""
        call.state = "input-complete"
        if any(part.get("state") in _WAITING_OR_FAILED for part in self._talk.calls(call.id)):
            return
        _, value = parse_json(call.arguments)
        self._show(name, call, input=value)

    def _complete_calls_of(self, name: str) -> None:
        for call in self._open[name].calls.values():
            if call.state != "input-complete":
                self._complete(name, call)

    def _request(self, name: str | None, call_id: str, approval_id: Any) -> None:
        if name is not None:
            approval = {"id": approval_id, "needsApproval": True}
            requested = {"state": "approval-requested", "approval": approval}
            self._talk.change(name, on_call(call_id, requested))

    # ------------------------------------------------------------------ runs

    def _run_started(self, event: Mapping[str, Any]) -> None:
        self._runs.add(text_of(event.get("runId")))

    def _run_finished(self, event: Mapping[str, Any]) -> None:
        self.finish_reason = event.get("finishReason")
        self._runs.discard(text_of(event.get("runId")))
        outcome = mapping(event.get("outcome"))
        interrupted = outcome.get("type") == "interrupt"
        if interrupted:
            for one in outcome.get("interrupts") or []:
                self._interrupt(mapping(one))
        if self._runs:
            return
        for name in self._active:
            if name in self._open:
                self._complete_calls_of(name)
        # A turn that ends in tool calls is not the end: the results and the next turn follow.
        if self.finish_reason != "tool_calls" or interrupted:
            self.finish()

    def _interrupt(self, one: Mapping[str, Any]) -> None:
        call_id = text_of(one.get("toolCallId"))
        kind = mapping(one.get("metadata")).get("kind")
        if call_id and (kind == "approval" or one.get("reason") == "approval_required"):
            name = self._assistant() or self._calls.get(call_id) or self._talk.owner(call_id)
            self._request(name, call_id, one.get("id"))

    def _run_error(self, event: Mapping[str, Any]) -> None:
        nested = mapping(event.get("error"))
        message = text_of(event.get("message"))
        shown = message or text_of(nested.get("message")) or "An error occurred"
        self.error = RunFailure(shown, event.get("code", nested.get("code")))
        run = text_of(event.get("runId"))
        self._runs = self._runs - {run} if run else set()
        name, _ = self._ensure()
        if name in self._objects:
            self._talk.change(name, object_failed(message or "An error occurred"))
            del self._objects[name]

    # ------------------------------------------------------------------ events of TanStack's own

    def _custom(self, event: Mapping[str, Any]) -> None:
        value, active = event.get("value"), self._assistant()
        if not isinstance(value, Mapping):
            return
        call_id = text_of(value.get("toolCallId"))
        match event.get("name"):
            case "structured-output.start":
                name, _ = self._ensure(value.get("messageId") or active)
                self._objects[name] = None
            case "structured-output.complete":
                name, _ = self._ensure(value.get("messageId") or active)
                self._talk.change(name, object_completed(value))
                self._objects.pop(name, None)
            case "approval-requested":
                approval = mapping(value.get("approval"))
                self._request(active or self._calls.get(call_id), call_id, approval.get("id"))
            case "ui-resource":
                keys = ("resource", "toolCallId", "toolName", "serverId", "meta")
                part = {key: value[key] for key in keys if key in value}
                owner = self._calls.get(call_id) or active or ""
                self._talk.change(owner, lambda parts: [*parts, {"type": "ui-resource", **part}])
            case _:
                pass


def _restored(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """Fields that a server had to put into ``metadata.tanstack`` are the event's own."""
    extras = tanstack_metadata(event)
    if not extras:
        return event
    moved = {key: value for key, value in extras.items() if key not in ("usage", "interruptErrors")}
    return {**moved, **event}


def _is_blank(message: UIMessage) -> bool:
    return bool(message["parts"]) and all(
        part.get("type") == "text" and not text_of(part.get("content")).strip()
        for part in message["parts"]
    )
