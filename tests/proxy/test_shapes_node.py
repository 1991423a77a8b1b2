"""An unmodified client of Electric, in Node, reads what the proxy relays."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from proxy.harness import served
from proxy.shapes import node, of
from proxy.wire import upstream, whole

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.harness import Served
    from proxy.wire import Upstream, Wire

pytestmark = pytest.mark.anyio

both_ways = pytest.mark.parametrize("sse", [False, True], ids=["long-poll", "sse"])

PIECES = [
    "data: one €\n\n".encode()[:11],
    "data: one €\n\n".encode()[11:],
    b"two",
    "\U0001f600".encode(),
]
TEXT = b"".join(PIECES).decode()


class Stepped:
    """A script that sends a piece at each step."""

    def __init__(self) -> None:
        self.steps: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def __call__(self, wire: Wire) -> None:
        await wire.head(200, ("Content-Type", "text/event-stream"))
        while (piece := await self.steps.get()) is not None:
            await wire.chunk(piece)
        await wire.end()

    def send(self, *pieces: bytes | None) -> None:
        for piece in pieces:
            self.steps.put_nowait(piece)


def _at_once(*parts: bytes) -> Callable[[Wire], Awaitable[None]]:
    script = Stepped()
    script.send(*parts, None)
    return script


async def _start(
    proxy: Served, up: Upstream, session: UUID, request: UUID, status: int = 200
) -> None:
    headers = {"X-Proxy-Url": up.url}
    answer = await proxy.client.post(proxy.path(session, request), headers=headers, content=b"{}")
    assert answer.status_code == status


@both_ways
async def test_rows_come_in_order_live_and_end_where_the_record_says(*, sse: bool) -> None:
    script, session, request = Stepped(), uuid4(), uuid4()
    async with upstream(script) as up, served() as proxy:
        await _start(proxy, up, session, request)
        script.send(PIECES[0])
        shape = {"params": of(session, request), "liveSse": sse}
        async with (
            node(f"{proxy.url}/stream/data", **shape) as data,
            node(f"{proxy.url}/stream/control", **shape) as control,
        ):
            await data.until(lambda: data.up_to_date)
            for count in range(2, len(PIECES) + 1):
                script.send(PIECES[count - 1])
                await data.has(b"".join(PIECES[:count]).decode(errors="ignore"))
            script.send(None)
            await control.until(lambda: bool(control.rows))
            assert control.rows[0]["event"] == "done"
            assert control.rows[0]["payload"]["finishReason"] == "complete"
            assert control.rows[0]["data_row_id"] == f"{int(data.rows[-1]['id']):020d}"
            assert {row["request"] for row in data.rows} == {str(request)}
            live = [url for url in data.requests if "live=true" in url]
            assert live
            assert all(("live_sse=true" in url) is sse for url in live)
            assert data.refetches == 0


@both_ways
async def test_a_client_goes_on_from_its_handle_and_offset(*, sse: bool) -> None:
    script, session, request = Stepped(), uuid4(), uuid4()
    async with upstream(script) as up, served() as proxy:
        await _start(proxy, up, session, request)
        script.send(b"one ")
        url, shape = f"{proxy.url}/stream/data", {"params": of(session, request), "liveSse": sse}
        async with node(url, **shape) as first:
            await first.until(lambda: first.up_to_date)
            script.send(b"two ")
            await first.has("one two ")
            place = first.place
        script.send(b"three ")
        async with node(url, **shape, **place) as second:
            await second.until(lambda: bool(second.rows))
            script.send(b"four", None)
            await second.has("three four")
            assert second.refetches == 0


@both_ways
async def test_a_handle_that_is_gone_makes_it_begin_anew(*, sse: bool) -> None:
    session, request = uuid4(), uuid4()
    async with upstream(_at_once(b"all of it")) as up, served() as proxy:
        await _start(proxy, up, session, request)
        gone = {"handle": "1-0123456789abcdef", "offset": "4_0"}
        shape = {"params": of(session, request), "liveSse": sse}
        async with node(f"{proxy.url}/stream/data", **shape, **gone) as client:
            await client.until(lambda: client.up_to_date)
            assert client.refetches == 1
            assert client.text == "all of it"


@both_ways
async def test_another_attempt_with_the_same_ids_is_another_shape(*, sse: bool) -> None:
    session, request = uuid4(), uuid4()
    async with upstream(whole(429, b"slow down")) as up, served() as proxy:
        await _start(proxy, up, session, request, 429)
        shape = {"params": of(session, request), "liveSse": sse}
        async with node(f"{proxy.url}/stream/control", **shape) as control:
            await control.until(lambda: control.up_to_date)
            assert control.rows[0]["event"] == "error"
            assert control.rows[0]["payload"]["code"] == "upstream_rejected"
            up.script = _at_once(b"welcome")
            await _start(proxy, up, session, request)
            await control.until(lambda: [row["event"] for row in control.rows] == ["done"])
            assert control.refetches == 1


@both_ways
async def test_the_requests_of_a_session_follow_each_other(*, sse: bool) -> None:
    session = uuid4()
    async with upstream(_at_once(b"first ")) as up, served() as proxy:
        shape = {"params": of(session), "liveSse": sse}
        async with (
            node(f"{proxy.url}/stream/data", **shape) as data,
            node(f"{proxy.url}/stream/control", **shape) as control,
        ):
            await data.until(lambda: data.up_to_date)  # before there is any request
            await _start(proxy, up, session, uuid4())
            await data.has("first ")
            up.script = _at_once(b"second ", b"and last")
            await _start(proxy, up, session, uuid4())
            await data.has("first second and last")
            await control.until(lambda: len(control.rows) == 2)
            assert [row["data_row_id"] for row in control.rows] == [f"{6:020d}", f"{21:020d}"]
            assert int(data.rows[-1]["id"]) == 21
            assert data.refetches == control.refetches == 0


async def test_the_original_transport_reads_a_body_and_its_end() -> None:
    script, session, request = Stepped(), uuid4(), uuid4()
    async with upstream(script) as up, served() as proxy:
        await _start(proxy, up, session, request)
        script.send(PIECES[0])
        urls = {"url": f"{proxy.url}/stream/data", "control": f"{proxy.url}/stream/control"}
        async with node(**urls, params=of(session, request), liveSse=True) as client:
            await client.until(lambda: any("body" in one for one in client.said))
            script.send(*PIECES[1:], None)
            await client.until(lambda: any("end" in one for one in client.said))
            assert "".join(one.get("body", "") for one in client.said) == TEXT
            assert client.said[-1]["end"] == "done"
