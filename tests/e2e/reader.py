"""A client process that gets killed: runs one driver and writes each event as a JSON line.

``python -m e2e.reader --driver NAME --proxy URL --upstream URL --model ID --storage DIR
--session ID [--resume | --from-start]``
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import anyio

from durable_transport import AsyncDurableTransport, DurableTransport, FileStorage, resume, session
from e2e.drivers import BY_NAME, Event, Target

TESTS = Path(__file__).parent.parent
OPTIONS = ("driver", "proxy", "upstream", "model", "storage", "session")


class Reader:
    """The process, seen from the test."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def read(self, count: int | None = None) -> list[Event]:
        """Wait for that many events (None: for all, until the process ends)."""
        assert self._process.stdout is not None
        events: list[Event] = []
        while count is None or len(events) < count:
            line = self._process.stdout.readline()
            if not line.endswith("\n"):
                break
            events.append(json.loads(line))
        return events

    def kill(self) -> list[Event]:
        """End it with SIGKILL; returns what it had written and nobody had read."""
        self._process.kill()
        rest = self.read()
        self._process.wait()
        return rest

    def exit_code(self) -> int:
        """Wait for its end."""
        return self._process.wait()


@contextmanager
def reader_process(module: str = "e2e.reader", **options: object) -> Iterator[Reader]:
    """Run a reader; it is gone when the block ends."""
    arguments = [sys.executable, "-m", module]
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        arguments += [flag] if value is True else [flag, str(value)]
    paths = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": paths}
    ) as process:
        try:
            yield Reader(process)
        finally:
            process.kill()


def _write(event: Event) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in OPTIONS:
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--from-start", action="store_true")
    asked = parser.parse_args()
    headers = session(asked.session)
    if asked.resume or asked.from_start:
        headers = resume(asked.session, from_start=asked.from_start)
    storage = FileStorage(asked.storage)
    target = Target(
        asked.upstream,
        transport=partial(DurableTransport, asked.proxy, storage=storage),
        async_transport=partial(AsyncDurableTransport, asked.proxy, storage=storage),
        headers=tuple(headers.items()),
    )
    anyio.run(BY_NAME[asked.driver].stream, target, asked.model, _write)


if __name__ == "__main__":
    main()
