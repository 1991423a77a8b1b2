"""The AI SDK itself, in a Node process, as an oracle; and chunks to ask it about."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from durable_ai_transport.vercel import ChunkOutOfOrder, UIMessageReader

CONFORMANCE = Path(__file__).parent.parent / "conformance"


class Sdk:
    """Answers with what the SDK makes of chunks."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["node", CONFORMANCE / "ui_message_snapshots.mjs"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        self._process.communicate(timeout=20)

    def ask(self, **question: Any) -> dict[str, Any]:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(question) + "\n")
        process.stdin.flush()
        answer: dict[str, Any] = json.loads(process.stdout.readline())
        return answer


def ours(chunks: list[Any], message: Any = None) -> dict[str, Any]:
    """The same answer, of our reader."""
    reader = UIMessageReader(message, reset_on_new_id=True)
    shown, error = [], None
    for chunk in chunks:
        try:
            if reader.read(chunk):
                shown.append(json.loads(json.dumps(reader.message)))
        except ChunkOutOfOrder as problem:
            # The SDK says "tool-invocation" of all chunks that need a call.
            kind, chunk_id = problem.chunk_type, problem.chunk_id
            needs_call = kind.startswith("tool-") and problem.needed == "tool-input-available"
            error = ["tool-invocation" if needs_call else kind, chunk_id]
            break
    return {"messages": shown, "error": error}


# ---------------------------------------------------------------------- chunks of all kinds

_IDS = st.sampled_from(["1", "2", "__proto__"])
_TEXT = st.sampled_from(["", "a", "ü ", "\U0001f600", "\ud83d", "\ude00", "\u2028", "\n"])
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "x", "1.5e3"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["a", "b", "ä"]), inner, max_size=2)
    ),
    max_leaves=4,
)
_METADATA = st.dictionaries(st.sampled_from("ab"), _VALUES, max_size=2)
_PROVIDER = st.fixed_dictionaries({"p": st.dictionaries(st.sampled_from("st"), _VALUES)})
_INPUT_PIECES = st.text(alphabet='{}[]",:\\utrefalsn019.-e+ x', max_size=4) | st.sampled_from(
    ['{"a":', '"b\\u00', "true", "[1,", '{"__proto__":1}', "}", '"']
)


def _chunk(type_: str, optional: dict[str, Any] | None = None, /, **fields: Any) -> Any:
    return st.fixed_dictionaries({"type": st.just(type_), **fields}, optional=optional or {})


_FLAGS: dict[str, Any] = {
    "providerExecuted": st.booleans(),
    "providerMetadata": _PROVIDER,
    "toolMetadata": _METADATA,
    "dynamic": st.booleans(),
}
_TITLED = _FLAGS | {"title": st.sampled_from(["T", ""])}
_CALL = {"toolCallId": _IDS, "toolName": st.sampled_from(["t", "my-tool"])}
_ID = {"toolCallId": _IDS}
_NOTE = {"providerMetadata": _PROVIDER}
CHUNKS = st.one_of(
    *(
        _chunk(f"{kind}-{what}", _NOTE, id=_IDS, **fields)
        for kind in ("text", "reasoning")
        for what, fields in {"start": {}, "delta": {"delta": _TEXT}, "end": {}}.items()
    ),
    _chunk("text-end", {"citations": st.just([])}, id=_IDS),
    _chunk(
        "tool-input-start", _TITLED | {"inputEncoding": st.sampled_from(["json", "text"])}, **_CALL
    ),
    _chunk("tool-input-delta", inputTextDelta=_INPUT_PIECES, **_ID),
    _chunk("tool-input-delta", inputTextDelta=_INPUT_PIECES, **_ID),
    _chunk("tool-input-available", _TITLED, input=_VALUES, **_CALL),
    _chunk("tool-input-error", _TITLED, input=_VALUES, errorText=_TEXT, **_CALL),
    _chunk(
        "tool-approval-request",
        {
            "approvalDescriptor": _VALUES,
            "inputSchemaInput": _VALUES,
            "reason": _TEXT,
            "isAutomatic": st.booleans(),
            "signature": _TEXT,
        },
        approvalId=_IDS,
        **_ID,
    ),
    _chunk(
        "tool-approval-response",
        {"reason": _TEXT, "providerExecuted": st.booleans(), "providerMetadata": _PROVIDER},
        approvalId=_IDS,
        approved=st.booleans(),
    ),
    _chunk("tool-output-available", _FLAGS | {"preliminary": st.booleans()}, output=_VALUES, **_ID),
    _chunk("tool-output-error", _FLAGS, errorText=_TEXT, **_ID),
    _chunk("tool-output-denied", **_ID),
    _chunk("custom", _NOTE, kind=st.just("a.b")),
    _chunk("source-url", _NOTE | {"title": _TEXT}, sourceId=_IDS, url=_TEXT),
    _chunk(
        *("source-document", _NOTE | {"filename": _TEXT}),
        sourceId=_IDS,
        mediaType=_TEXT,
        title=_TEXT,
    ),
    _chunk("file", _NOTE, url=_TEXT, mediaType=_TEXT),
    _chunk("reasoning-file", _NOTE, url=_TEXT, mediaType=_TEXT),
    _chunk("steering-message", id=_IDS, parts=st.just([{"type": "text", "text": "stop"}])),
    _chunk("data-x", {"id": _IDS, "transient": st.booleans()}, data=_VALUES),
    _chunk("data-y", {"id": _IDS, "more": _TEXT}, data=_VALUES),
    _chunk("start", {"messageId": _IDS, "messageMetadata": _METADATA}),
    *(_chunk(kind) for kind in ("start-step", "start-step", "finish-step", "reset-step")),
    _chunk("message-metadata", messageMetadata=_METADATA),
    _chunk("finish", {"finishReason": st.just("stop"), "messageMetadata": _METADATA}),
    _chunk("abort", {"reason": _TEXT}),
    _chunk("error", errorText=_TEXT),
    _chunk("from-the-future", id=_IDS),
)


def _usable(chunks: list[Any], last: Any) -> list[Any]:
    """Those that our reader takes, and one that it may refuse."""
    reader = UIMessageReader(reset_on_new_id=True)
    kept = []
    for chunk in chunks:
        try:
            reader.read(chunk)
        except ChunkOutOfOrder:
            continue
        kept.append(chunk)
    return [*kept, last]


STREAMS = st.builds(_usable, st.lists(CHUNKS, min_size=4, max_size=30), CHUNKS)


def recorded() -> dict[str, list[Any]]:
    """Streams of real backends."""
    folder = Path(__file__).parent.parent / "ai_db" / "fixtures" / "formats"
    files = sorted(folder.glob("vercel*.json"))
    return {file.stem: json.loads(file.read_text())["chunks"] for file in files}
