"""The protocol authors' own client of streams, unmodified, reads a signed address in Node."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from uuid import uuid4

import pytest

from proxy.harness import UNIT, served
from proxy.wire import Wire, upstream

pytestmark = pytest.mark.anyio

SCRIPT = Path(__file__).parent.parent / "conformance" / "proxy_client.mjs"
SECRET = "a-secret-of-the-service"
PIECES = [b"data: one \xe2\x82", b"\xac\n\n", bytes(range(256)), b"data: two\r\n\r\n"]


@pytest.mark.parametrize("live", ["sse", "long-poll"])
async def test_it_reads_every_byte_while_they_come(live: str) -> None:
    reading = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head(200, ("Content-Type", "text/event-stream"))
        await wire.chunk(PIECES[0])
        await reading.wait()
        for piece in PIECES[1:]:
            await wire.chunk(piece)
            await asyncio.sleep(0.01 * UNIT)
        await wire.end()

    async with upstream(script) as up, served(secret=SECRET) as proxy:
        headers = {"Upstream-URL": up.url, "Upstream-Method": "POST", "X-Proxy-Secret": SECRET}
        created = await proxy.client.post("/v1/proxy", headers=headers)
        assert created.status_code == 201
        node = await asyncio.create_subprocess_exec(
            *("node", str(SCRIPT), created.headers["location"], live),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            held = proxy.app.state.guard.readers
            async with asyncio.timeout(15 * UNIT):
                while not held._held:  # noqa: ASYNC110 - another process has to come by
                    await asyncio.sleep(0.01)
                reading.set()
                said, _ = await node.communicate()
        finally:
            if node.returncode is None:
                node.kill()
            await node.wait()
        told = json.loads(said)
        assert base64.b64decode(told["body"]) == b"".join(PIECES)
        assert told["offset"] == f"{len(b''.join(PIECES)):020}"
        assert (await proxy.client.get(f"/v1/proxy/{uuid4()}")).status_code == 401
