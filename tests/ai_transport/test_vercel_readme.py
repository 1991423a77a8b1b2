"""The README's examples of the Vercel half."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import durable_ai_transport
from ai_transport.answers import streams
from ai_transport.foreign import foreign
from durable_ai_transport.vercel import DurableChats
from streams.gate import PATIENCE
from streams.serving import serving

if TYPE_CHECKING:
    from pathlib import Path as Folder

README = (Path(durable_ai_transport.__file__).parents[2] / "README.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def example(name: str) -> str:
    found: str = next(one for one in EXAMPLES if one.startswith(f"# {name}"))
    return found


async def test_the_backend_and_the_client(tmp_path: Folder) -> None:
    async with streams() as server, asyncio.timeout(3 * PATIENCE):
        backend = example("app.py").replace("openai:gpt-5", "test")
        scope: dict[str, Any] = {}
        exec(backend.replace("http://localhost:3001/v1/stream", server.url), scope)
        async with (
            serving(scope["app"], server.server.log) as served,
            scope["chats"].lifespan(),
        ):
            url = f"http://127.0.0.1:{served.port}"
            client = example("client.py").replace("http://localhost:8000", url)
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-W", "error", "-c", client),
                stdout=asyncio.subprocess.PIPE,
                cwd=tmp_path,
            )
            said, _ = await process.communicate()
            assert said.decode() == "success (no tool calls)"
            async with foreign("aisdk_transport.mjs", f"{url}/api/chat") as page:
                assert await page.ask(send="chat-2", text="Hello") == {"found": True}
                answer = await page.ask(read=None)
                assert [chunk["type"] for chunk in answer["chunks"]][-1] == "finish"


def test_the_defaults_are_as_they_are_told() -> None:
    chats = DurableChats("http://127.0.0.1:9")
    assert chats._lease == 15
    assert "15\nseconds (`lease=`)" in README
