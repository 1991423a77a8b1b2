"""``durable-streams serve`` in processes that begin with everything imported.

A crash run starts a server five times or more, and each time most of it would be imports. Here one
process has done them and forks; what is forked runs the command with a process id of its own, and
is killed like any other.
"""

from __future__ import annotations

import asyncio
import os
import sys
from multiprocessing import get_context
from typing import TYPE_CHECKING, Self, TextIO

from durable_streams_server import _log
from durable_streams_server._cli._main import main
from streams.gate import PATIENCE
from streams.http_client import Client

if TYPE_CHECKING:
    from multiprocessing.connection import Connection as Pipe
    from multiprocessing.context import ForkServerProcess
    from types import TracebackType

_context = get_context("forkserver")
_context.set_forkserver_preload([__name__])


HOUSE_KEEPING_SECONDS = 0.1
"""A server here lives for less than a second, and is to be killed in the middle of it as well."""


def _run(arguments: list[str], output: Pipe) -> None:
    os.dup2(output.fileno(), sys.stdout.fileno())
    _log.TIDY_SECONDS = _log.SWEEP_SECONDS = HOUSE_KEEPING_SECONDS
    main(arguments)


class WarmProcess(Client):
    """A server on a free port. Leaving the block kills it."""

    def __init__(self, store: str, *options: str) -> None:
        super().__init__(port=0)
        self._arguments = ["serve", "--port", "0", "--store", store, *options]
        self._process: ForkServerProcess

    async def __aenter__(self) -> Self:
        output = self.launch()
        try:
            line = await asyncio.to_thread(output.readline)
            assert line.startswith("durable-streams: http://127.0.0.1:"), line
        except BaseException:
            self._process.kill()  # also ends the reading, if that is what was given up
            self._process.join(PATIENCE)
            raise
        finally:
            output.close()
        self.port = int(line.split("/v1/")[0].rpartition(":")[2])
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.kill()

    def launch(self) -> TextIO:
        """Start the process; what it says comes out of the file."""
        reader, writer = _context.Pipe(duplex=False)
        self._process = _context.Process(target=_run, args=(self._arguments, writer))
        self._process.start()
        writer.close()
        output = os.fdopen(os.dup(reader.fileno()))
        reader.close()
        return output

    async def kill(self) -> None:
        """End it as a power cut would, and wait for its end."""
        self._process.kill()
        await asyncio.to_thread(self._process.join, PATIENCE)
        assert self._process.exitcode is not None
