"""``durable-proxy serve`` as a process of its own, on a free port."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.harness import ANY_LOOPBACK, UNIT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

COMMAND = Path(sys.executable).with_name("durable-proxy")


class Command:
    """A started command that serves."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, errors: Path) -> None:
        self.process = process
        self.url = url
        self._errors = errors

    @property
    def stderr(self) -> str:
        return self._errors.read_text()

    async def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        await self.process.wait()

    async def terminate(self) -> int:
        """End it politely; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30 * UNIT):
            return await self.process.wait()


@asynccontextmanager
async def serving(
    directory: Path,
    *options: str,
    port: int = 0,
    allow: tuple[str, ...] = (ANY_LOOPBACK,),
    store: str | None = None,
) -> AsyncIterator[Command]:
    """Start it, on the store of a directory unless another is given; be sure that it ends."""
    allowing = [part for pattern in allow for part in ("--allow", pattern)]
    errors = directory / "stderr.txt"
    with errors.open("ab") as stderr:
        process = await asyncio.create_subprocess_exec(
            *(str(COMMAND), "serve", "--port", str(port), *allowing),
            *("--store", store or f"sqlite:///{directory / 'proxy.sqlite'}", *options),
            stdout=subprocess.PIPE,
            stderr=stderr,
        )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60 * UNIT):
            line = (await process.stdout.readline()).decode()
        assert line.startswith("durable-proxy: http://"), errors.read_text()
        yield Command(process, line.split()[1], errors)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command that ends by itself."""
    return subprocess.run(
        [str(COMMAND), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60 * UNIT,
    )
