"""The command: what it says when it cannot start, and how it ends."""

from __future__ import annotations

import ctypes
import os
import re
import socket
import sqlite3
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from durable_streams_server._cli import main
from durable_streams_server._sqlite import SqliteStore
from streams.command import ServeProcess, command
from streams.http_client import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What a command does before it serves may block: nobody is being served.
pytestmark = pytest.mark.allow_blocking

PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2


def _obey_modes() -> None:
    """Make a superuser's process heed the modes of files; for between fork and exec."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None)
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


def ran(*arguments: str) -> tuple[int, str, str]:
    """Run the command in this process, which is quicker; gives exit code, output and errors."""
    interval = sys.getswitchinterval()
    try:
        done = CliRunner().invoke(main, arguments)
    finally:
        sys.setswitchinterval(interval)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def in_good_order(code: int, output: str, errors: str) -> str:
    """The command could not start and says so in one line."""
    assert code == 1, errors
    assert output == ""
    assert "Traceback" not in errors
    assert errors.startswith("durable-streams: ")
    assert errors.count("\n") == 1
    return errors


def fails(*arguments: str) -> str:
    return in_good_order(*ran(*arguments))


def serve_fails(store: str) -> str:
    return fails("serve", "--port", "0", "--store", store)


def serve_fails_apart(store: str, **options: Any) -> str:
    """The same in a process of its own."""
    done = command("serve", "--port", "0", "--store", store, **options)
    return in_good_order(done.returncode, done.stdout, done.stderr)


# --------------------------------------------------------------------------- words


def test_help() -> None:
    code, output, _ = ran("serve", "--help")
    assert code == 0
    for option in ("--host", "--port", "--store", "--insecure", "3001", "sqlite:///FILE"):
        assert option in output
    assert "serve" in ran("-h")[1]


def test_version() -> None:
    assert re.search(r"\d+\.\d+\.\d+", command("--version").stdout)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["serve", "--port", "x"], "--port"),
        (["serve", "--port", "70000"], "--port"),
        (["serve", "--max-body", "0"], "--max-body"),
        (["serve", "--long-poll-timeout", "nan", "--store", "none"], "--long-poll-timeout"),
        (["doctor", "http://localhost:1", "--idle", "nan"], "--idle"),
        (["ls", "http://localhost:1", "-H", "x: é"], "--header"),
        (["ls", "http://localhost:1", "-H", "é: x"], "--header"),
        (["ls", "http://localhost:1", "-H", "x: a\r\nb: c"], "--header"),
        (["ls", "http://localhost:1", "--token", "clé"], "--token"),
        (["serve", "--host", "0.0.0.0"], "--insecure"),
        (["serve", "--webhook-allow", "localhost"], "http://localhost:*"),
        (["serve", "--public-url", "streams.example"], "https://"),
        (["serve", "--host", "192.0.2.1"], "--insecure"),
        (["server"], "server"),
    ],
)
def test_a_wrong_command_line(arguments: list[str], hint: str) -> None:
    code, output, errors = ran(*arguments)
    assert (code, output) == (2, "")
    assert hint in errors


# --------------------------------------------------------------------------- addresses


def test_a_port_in_use() -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = str(taken.getsockname()[1])
        text = fails("serve", "--port", port, "--store", "sqlite://")
    assert port in text
    assert "--port" in text


def test_an_address_of_another_machine() -> None:
    text = fails("serve", "--host", "192.0.2.1", "--insecure", "--store", "sqlite://")
    assert "192.0.2.1" in text


# --------------------------------------------------------------------------- stores


@pytest.mark.parametrize("store", ["mysql://db/x", "file.sqlite", "sqlite:///"])
def test_a_store_url_that_is_none(store: str) -> None:
    text = serve_fails(store)
    assert repr(store.partition(":")[0]) in text
    assert "sqlite:///relative/file" in text


@pytest.mark.parametrize("store", ["postgresql://u:hunter2@h/db", "sqlite:///f?key=hunter2"])
def test_a_password_in_a_store_url_is_not_repeated(store: str) -> None:
    assert "hunter2" not in serve_fails(store)


def test_a_database_of_another_program(url: str, tmp_path: Path) -> None:
    file = tmp_path / "store.sqlite"
    with closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE streams (id INTEGER)")
        database.commit()
    before = file.read_bytes()
    text = serve_fails(url)
    assert str(file) in text
    assert "another program" in text
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file], "nothing is left beside what is not ours"


def test_a_file_that_is_no_database(url: str, tmp_path: Path) -> None:
    file = tmp_path / "store.sqlite"
    file.write_text("a diary\n" * 1000)
    text = serve_fails(url)
    assert str(file) in text
    assert "choose another file" in text
    assert file.read_text() == "a diary\n" * 1000
    assert list(tmp_path.iterdir()) == [file], "nothing is left beside what is not ours"


def test_a_store_of_a_newer_version(url: str, tmp_path: Path) -> None:
    file = tmp_path / "store.sqlite"
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA application_id = 0x44535452")
        database.execute("PRAGMA user_version = 99")
        database.execute("CREATE TABLE streams (id INTEGER)")
        database.commit()
    before = file.read_bytes()
    text = serve_fails(url)
    assert "newer version" in text
    assert "upgrade" in text
    assert file.read_bytes() == before


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    text = serve_fails(f"sqlite:///{tmp_path}/missing/store")
    assert "missing/store" in text
    assert "choose another" in text
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert "folder" in serve_fails(f"sqlite:///{tmp_path}/folder")


@pytest.fixture
def restored(tmp_path: Path) -> Iterator[Path]:
    """Give the test's folder, and make it removable again afterwards."""
    yield tmp_path
    tmp_path.chmod(0o700)


def test_a_folder_that_cannot_be_written(restored: Path, url: str) -> None:
    restored.chmod(0o500)
    text = serve_fails_apart(url, preexec_fn=_obey_modes)
    assert "cannot be written" in text
    assert "choose another" in text


def test_a_file_that_cannot_be_written(tmp_path: Path, url: str) -> None:
    with closing(sqlite3.connect(tmp_path / "store.sqlite")) as database:
        database.execute("PRAGMA application_id = 0x44535452")
        database.commit()
    (tmp_path / "store.sqlite").chmod(0o400)
    text = serve_fails_apart(url, preexec_fn=_obey_modes)
    assert "store.sqlite" in text
    assert "writ" in text
    assert "choose another" in text


def test_a_failed_start_leaves_the_file_to_others(url: str, tmp_path: Path) -> None:
    (tmp_path / "store.sqlite").write_text("a diary\n" * 1000)
    serve_fails(url)
    (tmp_path / "store.sqlite").unlink()
    SqliteStore(tmp_path / "store.sqlite").close()


@pytest.mark.anyio
async def test_a_store_that_another_process_has(url: str, tmp_path: Path) -> None:
    async with ServeProcess(url) as server:
        assert (await server.put("s", b"kept")).status == 201
        text = serve_fails_apart(url)
        assert f"process {server.pid} on {socket.gethostname()}" in text
        assert str(tmp_path / "store.sqlite") in text
        assert "--store" in text
        assert (await server.get("s")).body == b"kept"
        assert server.errors() == ""
