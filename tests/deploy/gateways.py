"""nginx and Caddy as `docs/OPERATIONS.md` sets them up, with the doctor looking through them.

Not collected by itself, because it needs both programs:
`PATH=$PATH:/usr/sbin .venv/bin/python -m pytest tests/deploy/gateways.py`.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploy.running import PROGRAMS, UNIT

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = (Path(__file__).parents[2] / "docs" / "OPERATIONS.md").read_text()
SERVER = "127.0.0.1:3001"


def _block(name: str) -> str:
    found = re.search(rf"^\*\*{name}\*\*[^\n]*\n```\w*\n((?:.*\n)*?)```", PAGE, re.MULTILINE)
    assert found
    return found[1]


def _nginx(folder: Path, inside: str, outside: int) -> list[str]:
    location = _block("nginx").replace(SERVER, inside)
    assert inside in location
    temporary = "\n".join(
        f"{what}_temp_path {folder}/{what};"
        for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; {temporary}\n"
        f"gzip on; gzip_types *; gzip_min_length 1;\n"  # what the page's lines have to undo
        f"server {{ listen 127.0.0.1:{outside};\n{location}\n}} }}\n"
    )
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def _caddy(folder: Path, inside: str, outside: int) -> list[str]:
    block = _block("Caddy").replace(SERVER, inside)
    assert inside in block
    file = folder / "Caddyfile"
    file.write_text(f"{{\n admin off\n}}\nhttp://127.0.0.1:{outside} {{\n{block}\n}}\n")
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(file)]


@contextmanager
def _running(command: list[str], port: int, log: Path, folder: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, stdout=output, stderr=subprocess.STDOUT, env={"HOME": str(folder)}
        )
    try:
        deadline = time.monotonic() + 30 * UNIT
        while process.poll() is None and time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        else:
            pytest.fail(log.read_text())
        yield
    finally:
        process.terminate()
        process.wait(10 * UNIT)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize(("program", "prepare"), [("nginx", _nginx), ("caddy", _caddy)])
def test_the_doctor_finds_nothing_between(program: str, prepare: object, tmp_path: Path) -> None:
    found = shutil.which(program)
    assert found, f"{program} is needed for this test"
    assert callable(prepare)
    inside, outside = _free_port(), _free_port()
    server = [str(PROGRAMS / "durable-streams"), "serve", "--port", str(inside)]
    gateway = prepare(tmp_path, f"127.0.0.1:{inside}", outside)
    with (
        _running([*server, "--store", "sqlite://"], inside, tmp_path / "server.log", tmp_path),
        _running([found, *gateway[1:]], outside, tmp_path / "gateway.log", tmp_path),
    ):
        done = subprocess.run(
            [PROGRAMS / "durable-streams", "doctor", f"http://127.0.0.1:{outside}"],
            capture_output=True,
            text=True,
            check=False,
            timeout=100 * UNIT,
        )
    sys.stdout.write(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
