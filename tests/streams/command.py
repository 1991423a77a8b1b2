"""The server as a command, in a process of its own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from streams.gate import PATIENCE
from streams.http_client import Client

if TYPE_CHECKING:
    from types import TracebackType

EXECUTABLE = Path(sys.executable).with_name("durable-streams")


def command(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [EXECUTABLE, *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        **options,
    )
    return done


class ServeProcess(Client):
    """``durable-streams serve`` on a free port. Leaving the block kills it."""

    def __init__(self, store: str, *options: str) -> None:
        super().__init__(port=0)
        self._arguments = ["serve", "--port", "0", "--store", store, *options]
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed on leaving
        self._process: subprocess.Popen[str]

    async def __aenter__(self) -> Self:
        self.line = line = await asyncio.to_thread(self._start)
        assert line.startswith("durable-streams: http://127.0.0.1:"), line + self.errors()
        self.port = int(line.split("/v1/")[0].rpartition(":")[2])
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        await self.ended()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._errors.close()

    def _start(self) -> str:
        """Start the process and wait for its first line."""
        self._process = subprocess.Popen(
            [EXECUTABLE, *self._arguments],
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    @property
    def pid(self) -> int:
        return self._process.pid

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Wait for the process to end; gives its exit code."""
        return await asyncio.to_thread(self._process.wait, PATIENCE)

    def errors(self) -> str:
        """What the process wrote to its standard error."""
        self._errors.seek(0)
        return self._errors.read()
