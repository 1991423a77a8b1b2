"""The two shapes over HTTP: what is answered when, and that it is the same everywhere."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING
from uuid import uuid4

import httpx2
import pytest

from durable_proxy import Limits as ProxyLimits
from durable_streams_server import Limits, Log
from proxy.harness import UNIT, eventually, served
from proxy.shapes import Rows, Written, node, of, text
from proxy.wire import upstream, whole
from streams.postgres import database

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from proxy.harness import Served

pytestmark = pytest.mark.anyio

QUICK = Limits(long_poll=0.2 * UNIT, rotate=0.5 * UNIT, heartbeat=0.1 * UNIT)
PATIENT = Limits(long_poll=10 * UNIT, rotate=10 * UNIT, heartbeat=0.1 * UNIT)


def _rows(proxy: Served, it: Written, kind: str = "data") -> Rows:
    return Rows(proxy, kind, of(it.session, it.request))


async def test_what_is_there_is_answered_at_once(log: Log) -> None:
    it = await Written.whole(log, uuid4(), b"one ", b"two")
    async with served(log) as proxy:
        rows = _rows(proxy, it)
        answer = await rows.ask()
        assert rows.text == "one two"
        assert answer.headers["electric-offset"] == "7_0"
        assert set(json.loads(answer.headers["electric-schema"])) == set(rows.rows[0])
        assert answer.headers["cache-control"].startswith("private, no-cache")
        assert answer.headers["content-type"] == "application/json"
        tag = answer.headers["etag"]

        shape = of(it.session, it.request)
        known = {"If-None-Match": tag}
        again = await proxy.client.get(
            "/stream/data", params=shape | {"offset": "-1"}, headers=known
        )
        assert (again.status_code, again.content) == (304, b"")
        control = _rows(proxy, it, "control")
        assert [row["event"] for row in await control.catch_up()] == ["done"]
        assert control.rows[0]["data_row_id"] == f"{7:020d}"


async def test_a_poll_that_brings_nothing_is_up_to_date(log: Log) -> None:
    it = Written(log, uuid4())
    await it.begin()
    async with served(log, stream_limits=QUICK) as proxy:
        for kind in ("data", "control"):
            rows = _rows(proxy, it, kind)
            await rows.catch_up()
            answer = await rows.live()
            assert rows.up_to_date
            assert rows.rows == []
            assert len(answer.json()) == 1
            assert answer.headers["cache-control"].startswith("no-store")
            again = await rows.ask(live="true", cursor=answer.headers["electric-cursor"])
            assert again.headers["electric-cursor"] > answer.headers["electric-cursor"]


async def test_a_poll_is_answered_when_something_comes_or_the_end(log: Log) -> None:
    it = Written(log, uuid4())
    await it.begin()
    async with served(log, stream_limits=PATIENT) as proxy:
        rows = _rows(proxy, it)
        await rows.catch_up()
        async with asyncio.timeout(5 * UNIT):
            polling = asyncio.create_task(rows.live())
            await asyncio.sleep(0.05)
            await it.add("€".encode()[:2])  # not a whole character: waits for the rest
            await asyncio.sleep(0.05)
            assert not polling.done()
            await it.add("€".encode()[2:])
            await polling
            assert (rows.text, rows.offset) == ("€", "3_0")
            polling = asyncio.create_task(rows.live())
            await asyncio.sleep(0.05)
            await it.end()
            await polling
            assert rows.up_to_date


async def test_who_reads_to_the_end_does_not_wait_after_it(log: Log) -> None:
    it = await Written.whole(log, uuid4(), b"one")
    async with served(log, stream_limits=PATIENT) as proxy:
        rows = _rows(proxy, it)
        await rows.catch_up()
        async with asyncio.timeout(2 * UNIT):
            await rows.ask(live="true", until="end")
        assert rows.up_to_date


async def test_a_request_may_be_read_before_it_has_begun(log: Log) -> None:
    it = Written(log, uuid4())
    async with served(log, stream_limits=PATIENT) as proxy:
        rows = _rows(proxy, it)
        assert await rows.catch_up() == []
        polling = asyncio.create_task(rows.live())
        await asyncio.sleep(0.05)
        await it.begin()
        await it.end(b"here")
        async with asyncio.timeout(5 * UNIT):
            await polling
        assert rows.text == "here"


async def test_only_what_comes_from_now_on(log: Log) -> None:
    it = Written(log, uuid4())
    await it.begin()
    await it.add(b"before ")
    async with served(log, stream_limits=QUICK) as proxy:
        for given in ({"offset": "now"}, {"log": "changes_only"}):
            rows = _rows(proxy, it)
            await rows.ask(**given)
            assert rows.up_to_date
            await it.add(b"after")
            await rows.live()
            assert rows.text == "after"


async def test_columns_that_were_not_asked_for_are_left_out(log: Log) -> None:
    it = await Written.whole(log, uuid4(), b"one")
    async with served(log) as proxy:
        rows = _rows(proxy, it)
        answer = await rows.ask(columns="data,id")
        assert rows.rows == [{"id": "3", "data": "one"}]
        assert set(json.loads(answer.headers["electric-schema"])) == {"id", "data"}


async def test_bytes_that_are_no_text_are_replaced_as_a_decoder_does(log: Log) -> None:
    body = b"\xff\xfe\x00\x80abc\xe2\x82"
    it = await Written.whole(log, uuid4(), *(body[i : i + 1] for i in range(len(body))))
    async with served(log) as proxy:
        rows = _rows(proxy, it)
        assert text(await rows.catch_up()) == body.decode(errors="replace")
        assert rows.offset == f"{len(body)}_0"


async def test_a_long_body_comes_in_several_answers(log: Log) -> None:
    body = "€uro".encode() * 400_000
    it = await Written.whole(
        log, uuid4(), *(body[i : i + 99_999] for i in range(0, len(body), 99_999))
    )
    async with served(log) as proxy:
        rows = _rows(proxy, it)
        await rows.ask()
        assert not rows.up_to_date
        assert (await rows.catch_up())[-1]["id"] == str(len(body))
        assert rows.text == body.decode()


async def test_a_session_shows_a_request_when_those_before_have_ended(log: Log) -> None:
    session = uuid4()
    one, two = Written(log, session), Written(log, session)
    await one.begin()
    await two.begin()
    await one.add(b"a1 ")
    await two.end(b"b")
    async with served(log, stream_limits=PATIENT) as proxy:
        data, control = (Rows(proxy, kind, of(session)) for kind in ("data", "control"))
        await data.catch_up()
        assert data.text == "a1 "
        assert await control.catch_up() == []
        await one.end(b"a2 ")
        await data.live()
        if data.text != "a1 a2 b":
            await data.live()
        assert data.text == "a1 a2 b"
        assert [row["request"] for row in data.rows] == [str(one.request)] * 2 + [str(two.request)]
        await control.live()
        if len(control.rows) < 2:
            await control.live()
        assert [row["data_row_id"] for row in control.rows] == [f"{6:020d}", f"{7:020d}"]


async def test_sessions_do_not_see_each_other(log: Log) -> None:
    one = await Written.whole(log, uuid4(), b"mine")
    two = await Written.whole(log, uuid4(), b"theirs")
    async with served(log) as proxy:
        rows = Rows(proxy, "data", of(one.session))
        assert text(await rows.catch_up()) == "mine"
        assert await Rows(proxy, "data", of(one.session, two.request)).catch_up() == []


async def _place(proxy: Served, it: Written, kind: str = "data") -> dict[str, str]:
    rows = _rows(proxy, it, kind)
    await rows.catch_up()
    assert rows.handle is not None
    return {"handle": rows.handle, "offset": rows.offset}


@pytest.mark.parametrize("live", [{}, {"live": "true"}, {"live": "true", "live_sse": "true"}])
async def test_a_place_in_another_shape_means_begin_anew(log: Log, live: dict[str, str]) -> None:
    it = await Written.whole(log, uuid4(), b"one")
    other = await Written.whole(log, uuid4(), b"one")
    async with served(log, stream_limits=QUICK) as proxy:
        place, control = await _place(proxy, it), await _place(proxy, it, "control")
        wrong = [
            await _place(proxy, other),
            control,
            place | {"offset": "4_0"},
            place | {"offset": "3_1"},
            place | {"offset": "0_inf"},
            place | {"handle": "nonsense"},
        ]
        shape = of(it.session, it.request)
        for given in wrong:
            answer = await proxy.client.get("/stream/data", params=shape | live | given)
            assert answer.status_code == 409
            assert answer.json() == [{"headers": {"control": "must-refetch"}}]
            assert answer.headers["electric-handle"] == place["handle"]
            assert answer.headers["cache-control"].startswith("no-store")
        within = control | {"offset": "5_0"}
        if "live_sse" not in live:
            answer = await proxy.client.get("/stream/control", params=shape | live | within)
            assert answer.status_code == 409


async def test_a_stream_that_is_replaced_under_a_poll_means_begin_anew(log: Log) -> None:
    it = Written(log, uuid4())
    await it.begin()
    async with served(log, stream_limits=PATIENT) as proxy:
        rows = _rows(proxy, it)
        await rows.catch_up()
        before = rows.handle
        polling = asyncio.create_task(rows.live())
        await asyncio.sleep(0.05)
        await it.remove()
        await Written(log, it.session, it.request).begin()
        async with asyncio.timeout(5 * UNIT):
            answer = await polling
        assert answer.status_code == 409
        assert answer.headers["electric-handle"] != before


async def _events(proxy: Served, given: dict[str, str]) -> AsyncGenerator[str]:
    async with proxy.client.stream(
        "GET", "/stream/data", params=given | {"live": "true", "live_sse": "true"}
    ) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.headers["electric-offset"] == given["offset"]
        assert "electric-cursor" in answer.headers
        async for line in answer.aiter_lines():
            if line:
                yield line


async def test_events_of_a_quiet_shape_are_kept_alive_and_end(log: Log) -> None:
    it = Written(log, uuid4())
    await it.begin()
    async with served(log, stream_limits=QUICK) as proxy:
        shape = of(it.session, it.request) | await _place(proxy, it)
        lines = [line async for line in _events(proxy, shape)]
        assert set(lines) == {": keep-alive"}
        assert 2 <= len(lines) <= 6


async def test_events_come_when_their_rows_do(log: Log) -> None:
    it = Written(log, uuid4())
    await it.begin()
    async with served(log, stream_limits=PATIENT) as proxy:
        events = _events(proxy, of(it.session, it.request) | await _place(proxy, it))
        # Sooner than anything that is looked for from time to time.
        async with asyncio.timeout(4 * UNIT):
            for number in range(1, 9):
                await it.add(b"x")
                lines = [line async for line in _until(events, "up-to-date")]
                assert f'"id":"{number}"' in "".join(lines)
        await events.aclose()


async def _until(events: AsyncIterator[str], text: str) -> AsyncIterator[str]:
    async for line in events:
        yield line
        if text in line:
            return


async def test_events_end_where_the_handle_does_not_reach(log: Log) -> None:
    session = uuid4()
    one, two = Written(log, session), Written(log, session)
    await one.begin()
    async with served(log, stream_limits=PATIENT) as proxy:
        rows = Rows(proxy, "data", of(session))
        await rows.catch_up()
        events = _events(proxy, of(session) | {"handle": str(rows.handle), "offset": rows.offset})
        assert await anext(events) == ": keep-alive"
        await two.begin()
        await two.end(b"two")
        await one.end(b"one")
        async with asyncio.timeout(5 * UNIT):
            found = [json.loads(line[6:]) async for line in events if line.startswith("data: ")]
        assert [one["value"]["data"] for one in found if "value" in one] == ["one"]
        await rows.catch_up()
        assert rows.text == "onetwo"


async def test_a_client_that_leaves_is_not_waited_for(log: Log) -> None:
    it = Written(log, uuid4())
    await it.begin()
    async with served(log, stream_limits=PATIENT) as proxy:
        place = await _place(proxy, it)
        for live in ({"live": "true"}, {"live": "true", "live_sse": "true"}):
            given = of(it.session, it.request) | place | live
            with pytest.raises(httpx2.TimeoutException):
                # Events are read up to their first pause, a poll is waited for.
                await proxy.client.get("/stream/data", params=given, timeout=0.05 * UNIT)
        await eventually(lambda: not log.readers())


async def test_a_shutdown_sends_who_waits_home(log: Log) -> None:
    it = Written(log, uuid4())
    await it.begin()
    async with served(log, stream_limits=PATIENT) as proxy:
        rows, nothing = _rows(proxy, it), _rows(proxy, Written(log, uuid4()))
        await rows.catch_up()
        await nothing.catch_up()
        polling = [asyncio.create_task(one.live()) for one in (rows, nothing)]
        await asyncio.sleep(0.05)
        async with asyncio.timeout(5 * UNIT):
            await proxy.app.state.proxy.drain()
            assert [(await one).status_code for one in polling] == [200, 200]


async def test_a_restart_and_house_keeping_change_nothing(tmp_path: Path) -> None:
    store, session = f"sqlite:///{tmp_path}/log.sqlite", uuid4()
    async with await Log.open(store) as log:
        pieces = [f"{number} € ".encode() for number in range(200)]
        await Written.whole(log, session, *pieces)
        async with served(log) as proxy:
            before = Rows(proxy, "data", of(session))
            await before.catch_up()
        await log.tidy()
    async with await Log.open(store) as log, served(log) as proxy:
        after = Rows(proxy, "data", of(session))
        await after.catch_up()
        assert (after.handle, after.offset, after.rows) == (
            before.handle,
            before.offset,
            before.rows,
        )


async def test_every_node_goes_on_where_another_ended() -> None:
    session = uuid4()
    with database() as postgres:
        async with (
            await Log.open(postgres.url) as here,
            await Log.open(postgres.url) as there,
            served(here, stream_limits=QUICK) as near,
            served(there, stream_limits=QUICK) as far,
        ):
            it = Written(here, session)
            await it.begin()
            rows = Rows(near, "data", of(session))
            for number in range(10):
                await it.add(f"{number} €".encode())
                rows._client = (far, near)[number % 2].client
                answer = await rows.ask()
                assert answer.status_code == 200
            assert rows.text == "".join(f"{number} €" for number in range(10))


async def test_what_is_refused_says_what_to_change(log: Log) -> None:
    async with served(log) as proxy:
        for given in ("offset=-2", "offset=1_0", "offset=-1&subset__limit=1", "where=true"):
            answer = await proxy.client.get(f"/stream/data?sessionId={uuid4()}&{given}")
            assert answer.status_code == 400
            assert answer.json()["error"]["code"] == "bad_request"
        answer = await proxy.client.post("/stream/data")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


async def test_pages_may_read_what_a_client_needs(log: Log) -> None:
    it = await Written.whole(log, uuid4(), b"one")
    async with served(log, cors_origins=["https://app.example"]) as proxy:
        for offset, status in (("-1", 200), ("9_0", 409)):
            answer = await proxy.client.get(
                "/stream/data",
                params=of(it.session, it.request) | {"offset": offset, "handle": "x"},
                headers={"Origin": "https://app.example"},
            )
            assert answer.status_code == status
            exposed = answer.headers["access-control-expose-headers"].lower()
            for name in ("handle", "offset", "schema", "cursor", "up-to-date"):
                assert f"electric-{name}" in exposed


async def test_a_signed_address_reads_its_one_request() -> None:
    session, one, two = uuid4(), uuid4(), uuid4()
    secret = {"X-Proxy-Secret": "a-secret-of-the-service"}
    async with upstream(whole(200, b"hello")) as up, served(secret=secret.values()) as proxy:
        urls = []
        for request in (one, two):
            headers = secret | {"X-Proxy-Url": up.url}
            path = proxy.path(session, request)
            answer = await proxy.client.post(path, headers=headers, content=b"{}")
            urls.append(answer.json()["streamUrl"])
        known = urls[0] + "&offset=-1&sessionId=" + str(session)
        cases = [
            (f"{known}&requestId={one}", {}, 200),
            (f"{known}&requestId={two}", {}, 401),
            (known, {}, 401),
            (known, secret, 200),
            (f"/stream/data?offset=-1&sessionId={session}&requestId={one}", {}, 401),
            ("/stream/data?offset=wrong", {}, 401),
            ("/stream/data?offset=wrong", secret, 400),
            ("/stream/other", {}, 401),
        ]
        for url, headers, status in cases:
            assert (await proxy.client.get(url, headers=headers)).status_code == status, url
        # What a client of Electric makes of the address keeps its signature.
        async with node(urls[1], params=of(session, two)) as client:
            await client.has("hello")


async def test_a_reader_of_a_shape_takes_a_place(log: Log) -> None:
    it = Written(log, uuid4())
    await it.begin()
    limits = ProxyLimits(readers_per_principal=1)
    async with served(log, stream_limits=PATIENT, limits=limits) as proxy:
        rows = _rows(proxy, it)
        await rows.catch_up()
        polling = asyncio.create_task(rows.live())
        await asyncio.sleep(0.05)
        assert (await _rows(proxy, it).ask()).status_code == 429
        await it.end(b"x")
        await polling
        assert (await rows.ask()).status_code == 200
