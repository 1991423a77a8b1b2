"""`make demo` tells its story in a pipe and in a terminal, and leaves nothing behind."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "durable_demos.interrupted", "--pace", "0.008"]
UNIT = float(os.environ.get("DURABLE_TEST_UNIT", "1"))
LIMIT = 40 * UNIT


def _environment(temporary: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    return kept | {"TMPDIR": str(temporary), "PYTHONWARNINGS": "error::ResourceWarning"} | more


def _pids(output: str) -> set[int]:
    return {int(pid) for pid in re.findall(r"pid (\d+)", output)}


def _assert_gone(output: str, temporary: Path) -> None:
    for pid in _pids(output):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert list(temporary.iterdir()) == []


def _run_in_a_pipe(environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        COMMAND,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


def test_in_a_narrow_pipe_without_colour(tmp_path: Path) -> None:
    environment = _environment(tmp_path, NO_COLOR="1", COLUMNS="44")
    done = subprocess.run(
        COMMAND,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 44
    words = " ".join(done.stdout.split())
    assert "killed (SIGKILL)" in words
    assert "none lost, none twice" in words
    assert "1 call for 2 readers" in words
    assert len(_pids(words)) == 4
    _assert_gone(words, tmp_path)


def test_in_a_terminal(tmp_path: Path) -> None:
    output, code = _run_in_a_terminal(tmp_path)
    assert code == 0, output
    assert "model called once" in output
    assert "✗ text" not in output
    _assert_gone(output, tmp_path)


def _run_in_a_terminal(temporary: Path) -> tuple[str, int]:
    ours, theirs = pty.openpty()
    environment = _environment(temporary, TERM="xterm-256color", COLUMNS="80", LINES="40")
    with subprocess.Popen(
        COMMAND, cwd=ROOT, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        pieces = []
        while True:
            try:
                piece = os.read(ours, 1 << 16)
            except OSError:  # the other side is closed
                break
            if not piece:
                break
            pieces.append(piece)
        code = process.wait(LIMIT)
    os.close(ours)
    return b"".join(pieces).decode(errors="replace"), code


def test_ctrl_c_stops_everything(tmp_path: Path) -> None:
    with subprocess.Popen(
        COMMAND,
        cwd=ROOT,
        env=_environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
        # What a shell starts in the background ignores SIGINT, and so does all that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        seen = ""
        while "reader 1" not in seen:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            seen += line
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "interrupted" in errors
    _assert_gone(" ".join((seen + rest).split()), tmp_path)


def test_a_failure_is_told_plainly(tmp_path: Path) -> None:
    """Nobody answers where the model should be."""
    nowhere = "http://127.0.0.1:1/v1"
    environment = _environment(tmp_path, OPENAI_API_KEY="sk-x", OPENAI_BASE_URL=nowhere)
    started = time.monotonic()
    done = subprocess.run(
        COMMAND,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 1
    assert "demo failed" in done.stderr
    assert "Traceback" not in done.stderr
    assert time.monotonic() - started < LIMIT
    assert list(tmp_path.iterdir()) == []
