"""``durable-sessions serve`` as a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2

from ai_db_proxy.harness import ANY_LOOPBACK, LOOPBACK, UNIT, Client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

COMMAND = Path(sys.executable).with_name("durable-sessions")


def free_port() -> int:
    """A port that is free at the moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


class Command:
    """A server that can be killed and started again at the same address."""

    def __init__(self, store: str, folder: Path, *options: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self._errors = folder / f"stderr-{self.port}.txt"
        self._arguments = ["serve", "--port", str(self.port), "--allow", ANY_LOOPBACK, *options]
        self._environment = dict(os.environ)
        if store.startswith("http"):
            self._environment["DURABLE_STREAMS_URL"] = store
        else:
            self._arguments += ["--store", store]
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self._errors.open("ab") as stderr:
            self.process = await asyncio.create_subprocess_exec(
                str(COMMAND),
                *self._arguments,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=self._environment,
            )
        assert self.process.stdout is not None
        async with asyncio.timeout(60 * UNIT):
            line = (await self.process.stdout.readline()).decode()
        assert line.startswith(f"durable-sessions: {self.url}"), self._errors.read_text()

    async def kill(self) -> None:
        """End it as a crash would."""
        assert self.process is not None
        self.process.kill()
        await self.process.wait()

    async def terminate(self) -> int:
        """End it politely; its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30 * UNIT):
            return await self.process.wait()

    async def end(self) -> None:
        """Be sure that it has ended."""
        if self.process is not None and self.process.returncode is None:
            await self.kill()


@asynccontextmanager
async def running(store: str, folder: Path, *options: str) -> AsyncIterator[tuple[Command, Client]]:
    """A server in a process, and a client for it."""
    command = Command(store, folder, "--lease", str(UNIT), "--drain", "0", *options)
    try:
        await command.start()
        async with httpx2.AsyncClient(timeout=20 * UNIT) as http:
            yield command, Client(command.url, http)
    finally:
        await command.end()
