"""The synchronous stream client, which is generated from the asynchronous one."""

from __future__ import annotations

import asyncio

import pytest

from durable_transport import StreamClosed, SyncDurableStream, SyncStreamReader
from durable_transport._shell import _async_stream, _sync_stream
from e2e.relay import Fate, relaying
from streams.serving import served

JSON = "application/json"


async def test_a_stream_from_its_beginning_to_its_end() -> None:
    async with served() as server:
        await asyncio.to_thread(whole_life, server.port)


async def test_a_reader_survives_cuts() -> None:
    async with served() as server:
        await asyncio.to_thread(cut_reader, server.port)


def whole_life(port: int) -> None:
    with SyncDurableStream(f"http://127.0.0.1:{port}/v1/stream/s") as stream:
        assert stream.create(content_type=JSON).created
        stream.append(1)
        stream.extend([2, 3])
        snapshot = stream.read_json()
        reader = stream.follow_json(snapshot.offset)
        stream.close(4)
        assert snapshot.data + list(reader) == [1, 2, 3, 4]
        assert reader.closed
        with pytest.raises(StreamClosed):
            stream.append(5)
        fork = stream.fork("fork", offset=snapshot.offset)
        assert fork.read_json().data == [1, 2, 3]
        stream.delete()


def cut_reader(port: int) -> None:
    with SyncDurableStream(f"http://127.0.0.1:{port}/v1/stream/s") as stream:
        stream.create(content_type="text/plain", data="x" * 5000, closed=True)
        fates = iter([Fate(800), Fate(10), Fate(1500)])
        with (
            relaying(port, lambda _: next(fates, None)) as relay,
            SyncDurableStream(f"{relay.url}/v1/stream/s") as far,
        ):
            text = "".join(far.follow_text())
            assert relay.cuts == 3
        assert text == "x" * 5000


def test_both_have_the_same_methods() -> None:
    def methods(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    ours = methods(SyncDurableStream)
    assert ours - {"disconnect"} == methods(_async_stream.DurableStream) - {"aclose"}
    assert SyncStreamReader is _sync_stream.SyncStreamReader
