"""Live reads over real sockets: long-poll, events and raw bytes, at every timing."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from durable_streams_server import Append, Create, Delete, StorageError
from durable_streams_server._cursor import EPOCH_SECONDS, INTERVAL_SECONDS
from durable_transport.protocol import format_offset
from streams.builders import NOW
from streams.event_parser import Event, EventParser
from streams.http_client import BodyCutError
from streams.serving import PATIENT, served

if TYPE_CHECKING:
    from streams.http_client import Connection, Reply
    from streams.serving import Served

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("each_protocol")]

CURSOR = int((NOW - EPOCH_SECONDS) // INTERVAL_SECONDS)


def polling(server: Served, path: str, query: str = "") -> asyncio.Task[Reply]:
    return asyncio.create_task(server.get(f"{path}live=long-poll{query}"))


class Events:
    """The events of one live answer, as they come."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.parser = EventParser()
        self._ready: list[Event] = []

    async def next(self) -> Event:
        while not self._ready:
            piece = await self._connection.chunk()
            assert piece, "the body ended"
            self._ready += self.parser.feed(piece)
        return self._ready.pop(0)

    async def rest(self) -> list[Event]:
        """Everything up to the end of the body."""
        while piece := await self._connection.chunk():
            self._ready += self.parser.feed(piece)
        return self._ready


# --------------------------------------------------------------------------- long-poll


async def test_a_poll_behind_the_tail_is_answered_at_once(server: Served) -> None:
    await server.put("s", b"abc")
    reply = await server.get("s?offset=-1&live=long-poll")
    assert (reply.status, reply.body) == (200, b"abc")
    assert reply["stream-next-offset"] == format_offset(3)
    assert reply["stream-up-to-date"] == "true"
    assert reply["stream-cursor"].isdigit()
    assert reply["etag"]


async def test_a_poll_at_the_tail_waits_for_data(server: Served) -> None:
    await server.put("s", b"abc")
    for offset in (format_offset(3), "now"):
        poll = polling(server, f"s?offset={offset}&")
        await server.waiting("s")
        await server.post("s", b"x")
        reply = await poll
        assert (reply.status, reply.body) == (200, b"x")
        await server.ask("DELETE", "s")
        await server.put("s", b"abc")


async def test_a_poll_at_the_tail_wakes_with_the_close(server: Served) -> None:
    await server.put("s", b"abc")
    poll = polling(server, f"s?offset={3:020}&")
    await server.waiting("s")
    await server.close("s")
    reply = await poll
    assert (reply.status, reply.body, reply["stream-closed"]) == (204, b"", "true")
    assert reply["stream-next-offset"] == format_offset(3)
    assert reply["stream-up-to-date"] == "true"


async def test_a_poll_gets_the_last_data_with_the_close(server: Served) -> None:
    await server.put("s", b"abc")
    poll = polling(server, f"s?offset={3:020}&")
    await server.waiting("s")
    await server.post("s", b"end", Stream_Closed="true")
    reply = await poll
    assert (reply.status, reply.body, reply["stream-closed"]) == (200, b"end", "true")


@pytest.mark.parametrize("offset", [format_offset(3), "now"])
async def test_a_poll_of_a_closed_stream_does_not_wait(server: Served, offset: str) -> None:
    await server.put("s", b"abc", Stream_Closed="true")
    reply = await server.get(f"s?offset={offset}&live=long-poll")
    assert (reply.status, reply["stream-closed"]) == (204, "true")
    assert reply["stream-up-to-date"] == "true"
    assert reply["cache-control"] == "no-store"


async def test_a_quiet_poll_ends_after_its_time(unit: float) -> None:
    async with served(replace(PATIENT, long_poll=0.05 * unit), clock=lambda: NOW) as server:
        await server.put("s", b"abc")
        reply = await server.get("s?offset=now&live=long-poll")
        assert (reply.status, reply.body) == (204, b"")
        assert reply["stream-next-offset"] == format_offset(3)
        assert reply["stream-cursor"] == str(CURSOR)
        assert reply["stream-up-to-date"] == "true"
        assert reply.get("stream-closed") is None
        ahead = await server.get(f"s?offset=now&live=long-poll&cursor={CURSOR}")
        assert int(ahead["stream-cursor"]) > CURSOR


async def test_a_poll_of_a_deleted_stream_ends(server: Served) -> None:
    await server.put("s")
    poll = polling(server, "s?offset=-1&")
    await server.waiting("s")
    await server.ask("DELETE", "s")
    assert (await poll).status == 404


# --------------------------------------------------------------------------- events


async def test_events_follow_the_stream(server: Served) -> None:
    await server.put("s", b"one\ntwo")
    async with server.live("s?offset=-1&live=sse") as (connection, head):
        assert head.status == 200
        assert head["content-type"] == "text/event-stream"
        assert head["x-content-type-options"] == "nosniff"
        assert head.get("stream-sse-data-encoding") is None
        events = Events(connection)
        assert await events.next() == Event("data", "one\ntwo")
        control = (await events.next()).control()
        assert control.pop("streamCursor").isdigit()
        assert control == {"streamNextOffset": format_offset(7), "upToDate": True}
        await server.waiting("s")
        await server.post("s", " three\r\n€".encode())
        assert await events.next() == Event("data", " three\n€")
        assert (await events.next()).control()["streamNextOffset"] == format_offset(18)
        await server.waiting("s")
        await server.close("s")
        (last,) = await events.rest()
        closed = {"streamNextOffset": format_offset(18), "upToDate": True, "streamClosed": True}
        assert last.control() == closed


@pytest.mark.parametrize("moment", ["before", "entered", "waiting"])
@pytest.mark.parametrize("together", [True, False])
async def test_the_last_data_comes_before_the_close(
    server: Served, moment: str, *, together: bool
) -> None:
    async def end() -> None:
        if together:
            await server.log.transact(Append("s", b"last", close=True))
        else:
            await server.log.transact(Append("s", b"last"))
            await server.log.transact(Append("s", close=True))

    await server.put("s")
    if moment == "before":
        await end()
    async with server.live("s?offset=-1&live=sse") as (connection, _):
        if moment == "waiting":
            await server.waiting("s")
        if moment != "before":
            await end()
        received = await Events(connection).rest()
    data = [event.data for event in received if event.name == "data"]
    controls = [event.control() for event in received if event.name == "control"]
    assert data == ["last"]
    assert [control.get("streamClosed", False) for control in controls][:-1].count(True) == 0
    assert controls[-1]["streamClosed"] is True
    assert controls[-1]["streamNextOffset"] == format_offset(4)
    names = [event.name for event in received]
    assert names.index("data") < len(names) - 1
    assert names[-1] == "control"


async def test_events_of_a_closed_stream_at_its_tail(server: Served) -> None:
    await server.put("s", b"abc", Stream_Closed="true")
    for offset in (format_offset(3), "now"):
        async with server.live(f"s?offset={offset}&live=sse") as (connection, _):
            (event,) = await Events(connection).rest()
            assert event.control()["streamClosed"] is True


async def test_binary_events_are_base64(server: Served) -> None:
    body = bytes(range(256))
    await server.put("s", body, Content_Type="image/png", Stream_Closed="true")
    async with server.live("s?offset=-1&live=sse") as (connection, head):
        assert head["stream-sse-data-encoding"] == "base64"
        data, control = await Events(connection).rest()
        assert data.binary() == body
        assert control.control()["streamClosed"] is True


async def test_json_events_are_arrays(server: Served) -> None:
    await server.put("s", b'[{"a":\n1}, "\xe2\x80\xa8"]', Content_Type="application/json")
    async with server.live("s?offset=-1&live=sse") as (connection, head):
        assert head.get("stream-sse-data-encoding") is None
        event = await Events(connection).next()
        assert json.loads(event.data) == [{"a": 1}, "\u2028"]


async def test_a_split_character_waits_for_its_rest(server: Served) -> None:
    euro = "€".encode()
    await server.put("s", b"a" + euro[:1])
    async with server.live("s?offset=-1&live=sse") as (connection, _):
        events = Events(connection)
        assert (await events.next()).data == "a"
        control = (await events.next()).control()
        assert control["streamNextOffset"] == format_offset(1), "whoever reconnects gets it whole"
        assert "upToDate" not in control
        await server.waiting("s")
        await server.post("s", euro[1:] + b"b")
        assert (await events.next()).data == "€b"
        assert (await events.next()).control()["upToDate"] is True


async def test_payloads_forge_no_events(server: Served) -> None:
    forged = b'x\n\nevent: control\ndata: {"streamClosed":true}\n\n'
    await server.put("s", forged + forged.replace(b"\n", b"\r"), Stream_Closed="true")
    async with server.live("s?offset=-1&live=sse") as (connection, _):
        names = [event.name for event in await Events(connection).rest()]
        assert names == ["data", "control"]


async def test_a_quiet_answer_is_kept_alive_and_then_rotated(unit: float) -> None:
    limits = replace(PATIENT, heartbeat=0.05 * unit, rotate=0.2 * unit)
    async with served(limits) as server:
        await server.put("s", b"x")
        async with server.live("s?offset=-1&live=sse") as (connection, _):
            events = Events(connection)
            names = [event.name for event in await events.rest()]
            assert names == ["data", "control"]
            assert events.parser.comments >= 2


async def test_the_cursor_of_an_answer_does_not_go_backwards() -> None:
    async with served(clock=lambda: NOW) as server:
        await server.put("s", b"x")
        async with server.live(f"s?offset=-1&live=sse&cursor={CURSOR + 500}") as (connection, _):
            events = Events(connection)
            seen = [CURSOR + 500]
            for _ in range(3):
                assert (await events.next()).name == "data"
                seen.append(int((await events.next()).control()["streamCursor"]))
                await server.post("s", b"x")
            assert seen == sorted(seen)
            assert seen[1] > seen[0]


async def test_the_events_of_a_deleted_stream_end(server: Served) -> None:
    await server.put("s")
    async with server.live("s?offset=-1&live=sse") as (connection, _):
        events = Events(connection)
        await events.next()
        await server.waiting("s")
        await server.ask("DELETE", "s")
        assert await events.rest() == [], "a clean end: the client comes back and gets a 404"


# --------------------------------------------------------------------------- raw


async def _raw(connection: Connection) -> bytes:
    body = b""
    while piece := await connection.chunk():
        body += piece
    return body


async def test_raw_bytes_are_exact_and_end_with_the_stream(server: Served) -> None:
    first, second = bytes(range(256)), b"\r\n\r\n0\r\n\r\n\xff"
    await server.put("s", first, Content_Type="image/png")
    async with server.live("s?offset=-1&live=raw") as (connection, head):
        assert head.status == 200
        assert head["content-type"] == "image/png"
        assert head["stream-next-offset"] == format_offset(0)
        assert head.get("stream-closed") is None
        assert head["access-control-allow-origin"] == "*"
        assert await connection.chunk() == first
        await server.waiting("s")
        await server.post("s", second, Content_Type="image/png")
        assert await connection.chunk() == second
        await server.waiting("s")
        await server.close("s")
        assert await connection.chunk() == b""
        # The connection is still in order.
        await connection.request("GET", "/v1/stream/s?offset=-1")
        assert (await connection.reply()).body == first + second


async def test_raw_from_an_offset(server: Served) -> None:
    await server.put("s", b"0123456789", Stream_Closed="true")
    async with server.live(f"s?offset={4:020}&live=raw") as (connection, head):
        assert head["stream-next-offset"] == format_offset(4)
        assert head.get("stream-closed") is None, "there is a body yet to come"
        assert await _raw(connection) == b"456789"


@pytest.mark.parametrize("offset", [format_offset(3), "now"])
async def test_raw_at_the_tail_of_a_closed_stream(server: Served, offset: str) -> None:
    await server.put("s", b"abc", Stream_Closed="true")
    async with server.live(f"s?offset={offset}&live=raw") as (connection, head):
        assert (head.status, head["stream-closed"]) == (200, "true")
        assert await _raw(connection) == b""


async def test_raw_json_is_wire_bytes(server: Served) -> None:
    await server.put("s", b"[1, 2]", Content_Type="application/json", Stream_Closed="true")
    async with server.live("s?offset=-1&live=raw") as (connection, _):
        assert await _raw(connection) == b"1, 2,"


@pytest.mark.parametrize("limits", [{"raw_idle": 0.05}, {"rotate": 0.05}])
async def test_a_quiet_raw_answer_ends(limits: dict[str, float], unit: float) -> None:
    scaled = {name: value * unit for name, value in limits.items()}
    async with served(replace(PATIENT, **scaled)) as server:  # type: ignore[arg-type]
        await server.put("s", b"abc")
        async with server.live("s?offset=-1&live=raw") as (connection, head):
            assert await _raw(connection) == b"abc"
            assert head.get("stream-closed") is None


async def test_the_raw_answer_of_a_deleted_stream_ends(server: Served) -> None:
    await server.put("s")
    async with server.live("s?offset=-1&live=raw") as (connection, _):
        await server.waiting("s")
        await server.ask("DELETE", "s")
        assert await _raw(connection) == b""


async def test_a_long_stream_comes_whole_to_every_reader(server: Served) -> None:
    pieces = [bytes([n]) * 30_000 for n in range(20)]
    await server.log.transact(Create("s", data=pieces[0]))

    async def follow() -> bytes:
        async with server.live("s?offset=-1&live=raw") as (connection, _):
            return await _raw(connection)

    readers = [asyncio.create_task(follow()) for _ in range(8)]
    for piece in pieces[1:]:
        await server.log.transact(Append("s", piece))
    await server.log.transact(Append("s", close=True))
    assert set(await asyncio.gather(*readers)) == {b"".join(pieces)}


# --------------------------------------------------------------------------- leaving


@pytest.mark.parametrize("live", ["long-poll", "sse", "raw"])
async def test_a_client_that_leaves_frees_its_reader(server: Served, live: str) -> None:
    await server.put("s")
    for _ in range(3):
        async with server.connect() as connection:
            await connection.request("GET", f"/v1/stream/s?offset=-1&live={live}")
            await server.waiting("s")
            assert server.readers("s") == 1
        await server.settled(lambda: server.readers("s") == 0)
    await server.settled(lambda: not server.state.tasks)


@pytest.mark.parametrize("live", ["sse", "raw"])
async def test_a_client_that_takes_nothing_is_let_go(live: str, unit: float) -> None:
    async with served(replace(PATIENT, send=0.1 * unit)) as server:
        await server.log.transact(Create("s", data=bytes(20_000_000)))
        async with server.connect() as connection:
            await connection.request("GET", f"/v1/stream/s?offset=-1&live={live}")
            await server.settled(lambda: server.readers("s") == 1)
            await server.settled(lambda: server.readers("s") == 0)
            await connection.head()
            with pytest.raises((BodyCutError, ConnectionResetError)):
                await _raw(connection)


@pytest.mark.parametrize("live", ["sse", "raw"])
async def test_released_readers_end_their_answers(server: Served, live: str) -> None:
    await server.put("s", b"abc")
    async with server.live(f"s?offset=-1&live={live}") as (connection, _):
        await server.waiting("s")
        server.log.release_readers()
        assert b"abc" in await _raw(connection)
    assert (await server.post("s", b"x")).status == 204, "writing goes on"


@pytest.mark.parametrize("live", ["sse", "raw"])
async def test_a_store_that_fails_in_mid_answer_ends_it(
    server: Served, monkeypatch: pytest.MonkeyPatch, live: str
) -> None:
    async def fail(*_: object) -> bytes:
        raise StorageError("injected")

    await server.put("s", b"abc")
    with monkeypatch.context() as patched:
        patched.setattr(server.log._reads, "read_store", fail)
        async with server.live(f"s?offset=-1&live={live}") as (connection, head):
            assert head.status == 200
            assert await _raw(connection) == b""
        failed = await server.get("s")
        assert (failed.status, failed.json()["error"]["code"]) == (503, "storage_unavailable")
        assert b"injected" not in failed.body, "our inside is nobody's business"
    assert (await server.get("s")).body == b"abc"


async def test_nothing_is_left_of_a_stream_deleted_under_many_readers(server: Served) -> None:
    await server.put("s", b"x")
    modes = ["sse", "raw", "long-poll"]
    tasks = [asyncio.create_task(server.get(f"s?offset=now&live={live}")) for live in modes * 5]
    await server.waiting("s", len(tasks))
    await server.log.transact(Delete("s"))
    replies = await asyncio.gather(*tasks)
    assert {reply.status for reply in replies} == {200, 404}
    assert "s" not in server.log._reads._tails
