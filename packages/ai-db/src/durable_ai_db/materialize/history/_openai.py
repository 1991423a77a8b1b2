"""A history as OpenAI's chat completions take it. Pure."""

from collections.abc import Iterable, Iterator

from durable_ai_db.materialize._rows import Json, MessageRow
from durable_ai_db.materialize.history._content import File, files, texts
from durable_ai_db.materialize.history._resolve import HistoryMessage
from durable_ai_db.materialize.history._steps import Step, steps


def openai_messages(history: Iterable[HistoryMessage]) -> Iterator[Json]:
    """The messages; each call is followed by its result."""
    for message in history:
        if message.row.role == "assistant":
            for step in steps(message):
                yield from _step(step)
        else:
            yield from _other(message.row)


def _step(step: Step) -> Iterator[Json]:
    message: Json = {"role": "assistant", "content": step.text or None}
    if step.calls:
        message["tool_calls"] = [
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
            yield {"role": "tool", "tool_call_id": call.id, "content": call.outcome.text}


def _other(row: MessageRow) -> Iterator[Json]:
    text = "".join(texts(row))
    attached = [_file(one) for one in files(row)]
    if attached:
        said = [{"type": "text", "text": text}] if text else []
        yield {"role": row.role, "content": [*said, *attached]}
    elif text:
        yield {"role": row.role, "content": text}


def _file(file: File) -> Json:
    if file.media_type.startswith("image/"):
        return {"type": "image_url", "image_url": {"url": file.url}}
    return {"type": "file", "file": {"filename": file.name or "file", "file_data": file.url}}
