"""Stores that are taken away, replaced, torn, filled up: it is said, and nothing promised is lost.

The files belong to real servers, which are killed.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from durable_streams_server import (
    Append,
    Create,
    Log,
    StorageError,
    StoreFormatError,
)
from durable_streams_server._schema import SCHEMA_VERSION
from streams.command import ServeProcess, command
from streams.warm import WarmProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from streams.http_client import Reply

pytestmark = [pytest.mark.anyio]


def log_of(file: Path) -> Path:
    return file.with_name(file.name + "-wal")


def unavailable(reply: Reply) -> None:
    assert (reply.status, reply.json()["error"]["code"]) == (503, "storage_unavailable")
    assert reply["retry-after"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


# --------------------------------------------------------------------------- taken away


@pytest.mark.parametrize("part", ["file", "log"])
@pytest.mark.parametrize("way", ["removed", "replaced"])
async def test_nothing_is_acknowledged_into_a_file_that_is_gone(
    file: Path, part: str, way: str
) -> None:
    victim = file if part == "file" else log_of(file)
    async with WarmProcess(f"sqlite:///{file}") as server:
        assert (await server.put("s", b"kept")).status == 201
        aside = file.with_name("aside")
        victim.rename(aside)
        if way == "replaced":
            shutil.copy(aside, victim)
        for _ in range(2):
            unavailable(await server.post("s", b"lost"))
        read = await server.get("s")  # what is still open can be read, nothing else is made up
        assert read.status == 503 or read.body == b"kept"
        assert part == "log" or victim.exists() is (way == "replaced")
        aside.replace(victim)
        unavailable(await server.post("s", b"what it has missed cannot be known"))
    async with WarmProcess(f"sqlite:///{file}") as server:
        assert (await server.get("s")).body == b"kept"
        assert (await server.post("s", b"!")).status == 204


@pytest.mark.parametrize("part", ["file", "log"])
async def test_an_old_state_does_not_pass_for_what_was_acknowledged(file: Path, part: str) -> None:
    victim = file if part == "file" else log_of(file)
    async with WarmProcess(f"sqlite:///{file}") as server:
        assert (await server.put("s", b"kept")).status == 201
    aside = file.with_name("aside")
    victim.rename(aside)
    for _ in range(2):
        refused = command("serve", "--port", "0", "--store", f"sqlite:///{file}")
        assert refused.returncode == 1
        assert f"{victim} is missing" in refused.stderr
        assert "put it back" in refused.stderr
        assert not victim.exists()
    aside.rename(victim)
    async with WarmProcess(f"sqlite:///{file}") as server:
        assert (await server.get("s")).body == b"kept"


async def test_what_is_gone_for_good_can_be_given_up(file: Path) -> None:
    async with WarmProcess(f"sqlite:///{file}") as server:
        assert (await server.put("s", b"kept")).status == 201
    log_of(file).unlink()
    file.with_name(file.name + ".lock").unlink()
    async with WarmProcess(f"sqlite:///{file}") as server:
        assert (await server.get("s")).status == 404


async def test_an_opening_that_fails_after_a_crash_may_be_tried_again(file: Path) -> None:
    async with WarmProcess(f"sqlite:///{file}") as server:
        assert (await server.put("s", b"kept")).status == 201
    for version, refused in ((9999, True), (SCHEMA_VERSION, False)):
        with closing(sqlite3.connect(file)) as other, closing(sqlite3.connect(file)):
            other.execute(f"PRAGMA user_version = {version}")
            if refused:
                with pytest.raises(StoreFormatError, match="newer"):
                    await Log.open(f"sqlite:///{file}")
    async with await Log.open(f"sqlite:///{file}") as log:
        assert (await log.read("s")).data == b"kept"


async def test_a_store_that_was_closed_may_be_moved_and_made_anew(file: Path) -> None:
    async with ServeProcess(f"sqlite:///{file}") as server:
        assert (await server.put("s", b"kept")).status == 201
        server.signal(signal.SIGTERM)
        assert await server.ended() == 0
    assert not log_of(file).exists()
    await asyncio.to_thread(file.rename, file.with_name("elsewhere"))
    async with await Log.open(f"sqlite:///{file}") as log:
        assert await log.stat("s") is None
    async with await Log.open(f"sqlite:///{file.with_name('elsewhere')}") as log:
        assert (await log.read("s")).data == b"kept"


# --------------------------------------------------------------------------- torn


@pytest.mark.parametrize("keep", [100, 4096, 4097, 40_000])
async def test_a_torn_file_is_refused_or_reads_right(file: Path, keep: int) -> None:
    """Never other bytes than those that were acknowledged."""
    body = os.urandom(60_000)
    async with await Log.open(f"sqlite:///{file}") as log:
        await log.transact(Create("s", data=body[:30_000]))
        await log.transact(Append("s", body[30_000:]))
    with file.open("r+b") as torn:
        torn.truncate(keep)
    found = b""
    with suppress(StorageError):
        async with await Log.open(f"sqlite:///{file}") as log, log.reader("s") as reader:
            while len(found) < len(body):
                found += (await reader.next(0)).data
    assert body.startswith(found)


async def test_a_torn_log_loses_nothing_that_was_synced_before(file: Path) -> None:
    """What SQLite cannot read of its log was never acknowledged, or the disk has lost it."""
    async with WarmProcess(f"sqlite:///{file}") as server:
        await server.put("s", b"first|")
        whole = log_of(file).stat().st_size
        await server.post("s", b"second|")
    with log_of(file).open("r+b") as torn:
        torn.truncate(whole + 100)
    for _ in range(5):  # and so it stays
        async with WarmProcess(f"sqlite:///{file}") as server:
            assert (await server.get("s")).body == b"first|"


# --------------------------------------------------------------------------- full, read-only


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def make_room(folder: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=8m", str(folder)], check=True)


async def test_a_full_disk_refuses_and_recovers_without_a_restart(tmp_path: Path) -> None:
    folder, piece = tmp_path / "disk", b"x" * 50_000
    with small_disk(folder):
        url, stored = f"sqlite:///{folder / 'store.sqlite'}", 0
        async with WarmProcess(url) as server:
            await server.put("s")
            while (reply := await server.post("s", piece)).status == 204:
                stored += len(piece)
            unavailable(reply)
            assert "full" in reply.json()["error"]["message"]
            assert stored > 0
            assert len((await server.get("s")).body) == stored
            make_room(folder)
            assert (await server.post("s", piece)).status == 204
            stored += len(piece)
        async with WarmProcess(url) as server:
            assert len((await server.get("s")).body) == stored


async def test_a_file_that_becomes_read_only_under_a_server_loses_nothing(file: Path) -> None:
    url = f"sqlite:///{file}"
    async with WarmProcess(url) as server:
        await server.put("s", b"kept")
        await asyncio.to_thread(file.chmod, 0o444)
        status = (await server.post("s", b"more")).status
        assert status in (204, 503)
    await asyncio.to_thread(file.chmod, 0o644)
    async with WarmProcess(url) as server:
        body = (await server.get("s")).body
        assert body == (b"keptmore" if status == 204 else b"kept")
