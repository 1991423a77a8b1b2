"""What the README says about TanStack AI, run."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import durable_ai_transport
from ai_transport.answers import streams
from ai_transport.tanstack.test_connection import chatting
from durable_ai_transport import drain
from durable_ai_transport.tanstack import decode
from proxy.harness import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

README = (Path(durable_ai_transport.__file__).parents[2] / "README.md").read_text()
EXAMPLES = re.findall(
    r"^```python\n(.*?)^```$", README.partition("\n## TanStack AI")[2], re.MULTILINE | re.DOTALL
)


def example(having: str, **given: str) -> str:
    (found,) = (one for one in EXAMPLES if having in one)
    text: str = found
    for name, place in given.items():
        text = text.replace({"streams": "http://localhost:3001/v1/stream"}[name], place)
    return text


async def test_runs() -> None:
    async with streams() as server:
        scope: dict[str, Any] = {}
        exec(example("to_resumable_run_response", streams=server.url), scope)
        async with serving(scope["app"]) as served:
            user = {"id": "1", "role": "user", "content": "Hi"}
            body = {"threadId": "t", "runId": "run-1", "messages": [user]}
            told = decode([(await served.client.post("/api/chat", json=body)).content])
            again = await served.client.get("/api/chat?runId=run-1&offset=-1")
        assert [one.get("delta") for one in told] == [None, "Hello ", "there.", None]
        assert decode([again.content]) == told


async def test_sessions() -> None:
    async def answer(_messages: list[Any]) -> AsyncIterator[Any]:
        yield {"type": "TEXT_MESSAGE_CONTENT", "messageId": "a", "delta": "Hi!"}

    async with streams() as server:
        scope: dict[str, Any] = {"answer": answer}
        exec(example("read_proxy", streams=server.url), scope)
        async with serving(scope["app"]) as served:
            body = {"messages": [{"id": "1", "role": "user", "content": "Hello"}]}
            sent = await served.client.post("/api/chat?id=one", json=body)
            assert sent.status_code == 202
            await drain(20)
            read = await served.client.get("/api/chat-stream?id=one&offset=-1")
        assert [one.get("delta") for one in read.json()] == [None, "Hello", None, "Hi!"]


async def test_a_chat(tmp_path: Path, unit: float) -> None:
    async with chatting() as chat:
        chat.go_on()
        text = example("DurableConnection").replace("http://localhost:4000", chat.proxy)
        text = text.replace("http://localhost:8000/api/chat", chat.api)
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-c", text), cwd=tmp_path, stdout=pipe, stderr=pipe
        )
        out, err = await asyncio.wait_for(process.communicate(), 30 * unit)
        assert (process.returncode, err.decode()) == (0, "")
        assert "so so" in out.decode()
        assert len(chat.asked) == 1
