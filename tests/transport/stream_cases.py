"""What the stream client does with any server of the protocol: the same cases for every server."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from durable_transport import (
    DurableStream,
    IdempotentProducer,
    InvalidOffset,
    MemoryStorage,
    ProducerFenced,
    SequenceConflict,
    StreamClosed,
    StreamConflict,
    StreamExists,
    StreamNotFound,
    Timing,
)

JSON = "application/json"
QUICK = Timing(give_up_after=10, start_patience=2)


class StreamCases:
    """Subclasses have a fixture ``base``: where streams can be made."""

    @contextlib.asynccontextmanager
    async def stream(self, base: str, content_type: str = JSON, name: str = "s") -> Any:
        async with DurableStream(f"{base}/{name}", timing=QUICK) as stream:
            await stream.create(content_type=content_type)
            yield stream

    async def test_life(self, base: str) -> None:
        async with DurableStream(f"{base}/life", timing=QUICK) as stream:
            with pytest.raises(StreamNotFound, match="/life"):
                await stream.head()
            made = await stream.create(content_type=JSON, ttl=3600)
            assert made.created
            assert not (await stream.create(content_type=JSON, ttl=3600)).created
            with pytest.raises(StreamExists):
                await stream.create(content_type="text/plain")
            await stream.create(content_type=JSON, ttl=3600)
            one = await stream.append({"n": 1})
            two = await stream.extend([{"n": 2}, [3]])
            assert one.offset is not None
            assert two.offset is not None
            assert one.offset < two.offset
            info = await stream.head()
            assert (info.offset, info.closed, info.ttl) == (two.offset, False, 3600)
            end = await stream.close("bye")
            assert end.closed
            assert (await stream.close()).offset == end.offset
            with pytest.raises(StreamClosed) as caught:
                await stream.append(1)
            assert caught.value.offset == end.offset
            everything = await stream.read_json()
            assert everything.data == [{"n": 1}, {"n": 2}, [3], "bye"]
            assert everything.closed
            assert everything.offset == end.offset
            await stream.delete()
            with pytest.raises(StreamNotFound):
                await stream.read_json()

    async def test_every_offset_resumes_exactly(self, base: str) -> None:
        async with self.stream(base) as stream:
            await stream.extend([1, 2, 3])
            await stream.extend([4, 5])
            await stream.close()
            reader = stream.follow_json()
            places = [(item, reader.offset) async for item in reader]
            assert [item for item, _ in places] == [1, 2, 3, 4, 5]
            for item, offset in places:
                assert (await stream.read_json(offset)).data == list(range(item + 1, 6))

    @pytest.mark.parametrize("live", ["auto", "sse", "long-poll", "raw"])
    @pytest.mark.parametrize("content_type", ["application/octet-stream", "text/plain"])
    async def test_bytes_live(self, base: str, content_type: str, live: Any) -> None:
        wire = "a\u2028é".encode()
        # A server may decode text before it makes events of it, and then code points that are cut
        # do not survive: one reason why `auto` does not use them for text.
        one, two = (1, 4) if (content_type, live) == ("text/plain", "sse") else (2, 5)
        async with self.stream(base, content_type) as stream:
            await stream.append(wire[:one])
            reader = stream.follow_text(live=live)
            assert await anext(reader) == "a"

            async def write() -> None:
                await stream.append(wire[one:two])
                await stream.append(wire[two:])
                await stream.close("!")

            writing = asyncio.create_task(write())
            rest = "".join([text async for text in reader])
            await writing
            assert rest == "\u2028é!"
            assert reader.closed
            assert (await stream.read()).data == wire + b"!"

    @pytest.mark.parametrize("live", ["auto", "sse", "long-poll"])
    async def test_snapshot_and_tail_leave_no_gap(self, base: str, live: Any) -> None:
        async with self.stream(base) as stream:

            async def write() -> None:
                for number in range(60):
                    await stream.append(number)
                await stream.close()

            writing = asyncio.create_task(write())
            await asyncio.sleep(0.02)
            snapshot = await stream.read_json()
            reader = stream.follow_json(snapshot.offset, live=live)
            tail = [item async for item in reader]
            await writing
            assert snapshot.data + tail == list(range(60))
            assert reader.closed
            assert reader.up_to_date

    async def test_from_now_on(self, base: str) -> None:
        async with self.stream(base) as stream:
            await stream.append("old")
            reader = stream.follow_json("now")
            batches = reader.batches()
            first = await anext(batches)
            assert (first.items, first.up_to_date) == ((), True)
            await stream.append("new")
            assert (await anext(batches)).items == ("new",)

    async def test_appends_at_the_same_time_keep_their_order(self, base: str) -> None:
        async with self.stream(base) as stream:
            done = await asyncio.gather(*(stream.append(number) for number in range(50)))
            assert (await stream.read_json()).data == list(range(50))
            assert len({one.offset for one in done}) < 10

    async def test_one_bad_append_does_not_harm_its_neighbours(self, base: str) -> None:
        async with self.stream(base) as stream:
            done = await asyncio.gather(
                *(stream.append(data) for data in (b"0", b"1", b"{bad", b"2")),
                return_exceptions=True,
            )
            failed = [isinstance(one, Exception) for one in done]
            assert failed == [False, False, True, False]
            assert (await stream.read_json()).data == [0, 1, 2]

    async def test_seq(self, base: str) -> None:
        async with self.stream(base) as stream:
            await stream.append(1, seq="a")
            with pytest.raises(SequenceConflict):
                await stream.append(2, seq="a")

    async def test_refusals(self, base: str) -> None:
        async with self.stream(base) as stream:
            with pytest.raises(InvalidOffset):
                await stream.read_json("no offset of theirs")
            other = DurableStream(stream.url, content_type="text/plain", timing=QUICK)
            async with other:
                with pytest.raises(StreamConflict):
                    await other.append("text")

    async def test_fork(self, base: str) -> None:
        async with self.stream(base) as stream:
            await stream.extend([1, 2, 3])
            reader = stream.follow_json()
            await anext(reader)
            await anext(reader)
            fork = await stream.fork("fork", offset=reader.offset)
            await fork.append("other")
            assert (await fork.read_json()).data == [1, 2, "other"]
            assert (await stream.read_json()).data == [1, 2, 3]
            await fork.delete()

    # ------------------------------------------------------------ producers

    async def test_a_producer_batches_and_keeps_the_order(self, base: str) -> None:
        async with self.stream(base) as stream:
            async with IdempotentProducer(stream, "p") as producer:
                for number in range(500):
                    producer.append(number)
                    if number % 50 == 0:
                        await asyncio.sleep(0)
                await producer.flush()
                assert producer.unacknowledged == []
                assert producer.offset == (await stream.head()).offset
            assert (await stream.read_json()).data == list(range(500))

    async def test_a_producer_started_again_takes_over(self, base: str) -> None:
        storage = MemoryStorage()
        async with self.stream(base) as stream:
            for start in range(3):
                async with IdempotentProducer(stream, "p", storage=storage) as producer:
                    producer.append(start)
                assert producer.epoch == start
            assert (await stream.read_json()).data == [0, 1, 2]

    async def test_without_storage_the_next_epoch_is_claimed(self, base: str) -> None:
        async with self.stream(base) as stream:
            old = IdempotentProducer(stream, "p")
            old.append("old")
            await old.flush()
            async with IdempotentProducer(stream, "p") as new:
                new.append("new")
            assert new.epoch == 1
            old.append("zombie")
            with pytest.raises(ProducerFenced):
                await old.flush()
            assert old.unacknowledged == [b'"zombie"']
            with pytest.raises(ProducerFenced):
                old.append("more")
            with pytest.raises(ProducerFenced):
                await old.aclose()
            assert (await stream.read_json()).data == ["old", "new"]

    async def test_a_given_epoch_is_not_changed(self, base: str) -> None:
        async with self.stream(base) as stream:
            async with IdempotentProducer(stream, "p", epoch=4) as producer:
                producer.append(1)
            again = IdempotentProducer(stream, "p", epoch=4)
            again.append(2)
            with pytest.raises(ProducerFenced):
                await again.aclose()
            assert (await stream.read_json()).data == [1]

    async def test_a_producer_closes_the_stream(self, base: str) -> None:
        async with self.stream(base) as stream:
            producer = IdempotentProducer(stream, "p")
            for number in range(5):
                producer.append(number)
            done = await producer.close("end")
            assert (await producer.close()).offset == done.offset
            whole = await stream.read_json()
            assert (whole.data, whole.closed) == ([0, 1, 2, 3, 4, "end"], True)
            assert whole.offset == done.offset

    async def test_errors_of_appends_that_nobody_waited_for_come_out(self, base: str) -> None:
        async with self.stream(base) as stream:
            producer = IdempotentProducer(stream, "p")
            producer.append(1)
            await producer.flush()
            await stream.close()
            producer.append(2)
            with pytest.raises(StreamClosed):
                await producer.flush()
            with pytest.raises(StreamClosed):
                await producer.close()
            assert producer.unacknowledged == [b"2"]

    async def test_without_a_stream_nothing_is_lost_silently(self, base: str) -> None:
        async with DurableStream(f"{base}/missing", timing=QUICK) as stream:
            producer = IdempotentProducer(stream, "p")
            producer.append({"n": 1})
            producer.append({"n": 2})
            with pytest.raises(StreamNotFound):
                await producer.aclose()
            assert producer.unacknowledged == [{"n": 1}, {"n": 2}]

    async def test_what_cannot_be_appended_comes_out_too(self, base: str) -> None:
        async with self.stream(base, "text/plain") as stream:
            early = IdempotentProducer(stream, "p")
            early.append({"no": "text"})
            with pytest.raises(TypeError, match="takes bytes or str"):
                await early.flush()
            async with IdempotentProducer(stream, "q") as producer:
                producer.append("fine")
                await producer.flush()
                with pytest.raises(TypeError):
                    producer.append({"no": "text"})
            assert (await stream.read_text()).data == "fine"
