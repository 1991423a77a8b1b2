"""The stream client against the npm server of the protocol's authors: `make conformance` runs this.

The cases are those that it has to pass with our own server.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from transport.stream_cases import StreamCases

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
START_SECONDS = 20.0


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The npm server, with streams in memory and long-polls of half a second."""
    node = shutil.which("node")
    assert node, "Node.js is needed"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("foreign") / "server.log"
    with log.open("wb") as output:
        command = [node, str(HERE / "reference_server.mjs"), str(port), "500"]
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def base(server: str) -> str:
    """A place of its own for each test."""
    return f"{server}/v1/stream/{uuid.uuid4()}"


class TestForeignServer(StreamCases):
    pass
