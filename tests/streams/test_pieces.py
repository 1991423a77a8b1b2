"""Reads of the store that readers share."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import cast

import pytest

from durable_streams_server import StorageError
from durable_streams_server._pieces import KEPT, Pieces

pytestmark = pytest.mark.anyio


class Disk:
    """Gives bytes when it is told to, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.go = asyncio.Event()
        self.error: StorageError | None = None

    async def read(self) -> bytes:
        self.asked += 1
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return b"%d" % self.asked


async def test_readers_at_one_place_share_a_read() -> None:
    disk, pieces = Disk(), Pieces()
    readers = [asyncio.create_task(pieces.get((1, 0, 10), disk.read)) for _ in range(4)]
    other = asyncio.create_task(pieces.get((1, 5, 10), disk.read))
    await asyncio.sleep(0)
    disk.go.set()
    assert len(set(await asyncio.gather(*readers))) == 1
    await other
    assert disk.asked == 2
    await pieces.get((1, 0, 10), disk.read)
    assert disk.asked == 2


async def test_a_reader_that_leaves_does_not_take_it_from_the_others() -> None:
    disk, pieces = Disk(), Pieces()
    leaver, stayer = (asyncio.create_task(pieces.get((1, 0, 1), disk.read)) for _ in range(2))
    await asyncio.sleep(0)
    leaver.cancel()
    await asyncio.sleep(0)
    disk.go.set()
    assert await stayer == b"1"
    with pytest.raises(asyncio.CancelledError):
        await leaver


async def test_a_read_that_failed_is_tried_again() -> None:
    disk, pieces = Disk(), Pieces()
    disk.go.set()
    disk.error = StorageError("gone")
    for _ in range(2):
        with pytest.raises(StorageError):
            await pieces.get((1, 0, 1), disk.read)
    disk.error = None
    assert await pieces.get((1, 0, 1), disk.read) == b"3"


async def test_few_are_kept_and_no_longer_than_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("durable_streams_server._pieces.KEPT_SECONDS", 0.01)
    pieces = Pieces()

    class Piece:
        """In place of bytes, of which nobody can say whether they are still held."""

    kept: list[weakref.ref[Piece]] = []

    async def read() -> bytes:
        piece = Piece()
        kept.append(weakref.ref(piece))
        return cast("bytes", piece)

    for number in range(2 * KEPT):
        await pieces.get((number, 0, 1), read)
    gc.collect()
    assert sum(ref() is not None for ref in kept) <= KEPT
    await asyncio.sleep(0.05)
    gc.collect()
    assert sum(ref() is not None for ref in kept) == 0
