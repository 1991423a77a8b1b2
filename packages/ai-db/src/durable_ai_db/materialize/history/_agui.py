"""A history as AG-UI's ``RunAgentInput.messages``. Pure."""

from collections.abc import Iterable, Iterator

from durable_ai_db.materialize._rows import Json, MessageRow
from durable_ai_db.materialize.history._content import File, files, texts
from durable_ai_db.materialize.history._resolve import HistoryMessage
from durable_ai_db.materialize.history._steps import Step, steps


def agui_messages(history: Iterable[HistoryMessage]) -> Iterator[Json]:
    """The messages; those of a message in several steps have ids of their own."""
    for message in history:
        if message.row.role == "assistant":
            for number, step in enumerate(steps(message)):
                message_id = f"{message.row.id}:{number}" if number else message.row.id
                yield from _step(message_id, step)
        else:
            yield from _other(message.row)


def _step(message_id: str, step: Step) -> Iterator[Json]:
    message: Json = {"id": message_id, "role": "assistant"}
    if step.text:
        message["content"] = step.text
    if step.calls:
        message["toolCalls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in step.calls
        ]
    yield message
    for call in step.calls:
        if call.outcome is not None:
            result = {"id": f"{message_id}:{call.id}", "role": "tool", "toolCallId": call.id}
            error = {} if call.outcome.error is None else {"error": call.outcome.error}
            yield result | {"content": call.outcome.text} | error


def _other(row: MessageRow) -> Iterator[Json]:
    text = "".join(texts(row))
    attached = [_file(one) for one in files(row)] if row.role == "user" else []
    if attached:
        said = [{"type": "text", "text": text}] if text else []
        yield {"id": row.id, "role": row.role, "content": [*said, *attached]}
    elif text:
        yield {"id": row.id, "role": row.role, "content": text}


def _file(file: File) -> Json:
    kind = file.media_type.partition("/")[0]
    shown = kind if kind in {"image", "audio", "video"} else "document"
    source: Json = {"type": "url", "value": file.url, "mimeType": file.media_type}
    if file.url.startswith("data:"):
        source = {
            "type": "data",
            "value": file.url.partition(",")[2],
            "mimeType": file.media_type,
        }
    return {"type": shown, "source": source}
