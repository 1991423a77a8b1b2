"""A client of others, in a Node process, that answers lines with lines."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streams.gate import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CONFORMANCE = Path(__file__).parent.parent / "conformance"


class Foreign:
    """The client."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, **question: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question).encode() + b"\n")
        await self._process.stdin.drain()
        async with asyncio.timeout(PATIENCE):
            answer: dict[str, Any] = json.loads(await self._process.stdout.readline())
        return answer


@asynccontextmanager
async def foreign(script: str, *arguments: str) -> AsyncIterator[Foreign]:
    process = await asyncio.create_subprocess_exec(
        "node",
        str(CONFORMANCE / script),
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 24,
    )
    try:
        yield Foreign(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
