"""The State Protocol's own client, unmodified, follows a session: ``createStreamDB`` in Node."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from ai_db_proxy.agents import agent_server
from ai_db_proxy.harness import UNIT, Client, served
from durable_ai_db.materialize import ChunkRow, Materializer

SCRIPT = Path(__file__).parents[1] / "conformance" / "session_client.mjs"


class Node:
    """The client in its process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, line: str) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        return await self.line()

    async def line(self) -> Any:
        assert self._process.stdout is not None
        async with asyncio.timeout(30 * UNIT):
            return json.loads(await self._process.stdout.readline())


async def following(client: Client) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    url = f"{client.url}/v1/stream/sessions/{client.session}"
    return await asyncio.create_subprocess_exec(
        *("node", str(SCRIPT), url), stdin=pipe, stdout=pipe, limit=2**24
    )


async def test_stream_db_follows_a_session() -> None:
    async with agent_server() as agents, served() as client:
        await client.create()
        await client.register(agents.spec("talks", name="Talks", triggers="all"))
        agents.answer("talks", "Hel", "lo")
        await client.send("before", actorId="ann")
        await client.quiet()
        process = await following(client)
        try:
            node = Node(process)
            assert await node.line() == "ready"
            await client.post("/presence", 204, actorId="ann", name="Ann")
            sent = await client.send("after", actorId="ann", txid="tx-1")
            seen = await node.ask("txid tx-1")
            assert sent in {one["messageId"] for one in seen["chunks"]}
            await client.post("/regenerate", fromMessageId=sent, content="after all")
            state = await client.quiet()
            await client.send("last", actorId="ann", txid="tx-2")
            state = await client.quiet()
            await client.post("/stop", 204)
            async with asyncio.timeout(10 * UNIT):
                while True:
                    seen = await node.ask("check")
                    rows = Materializer(session_id="s1")
                    rows.apply(map(ChunkRow.from_json, seen["chunks"]))
                    if rows.document() == state.messages.document():
                        break
                    await asyncio.sleep(0.02)
            assert [one["agentId"] for one in seen["agents"]] == ["talks"]
            (ann,) = seen["presence"]
            assert (ann["actorId"], ann["name"], ann["status"]) == ("ann", "Ann", "online")
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
