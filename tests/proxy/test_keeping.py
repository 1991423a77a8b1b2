"""How answers go: deleted by somebody, or after the days that they are kept."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from durable_proxy import Timeouts, create_app
from durable_transport.protocol import session_prefix
from proxy.harness import UNIT, eventually, served
from proxy.test_stop import running
from proxy.wire import pieces, upstream

if TYPE_CHECKING:
    from uuid import UUID

    from proxy.harness import Served

pytestmark = pytest.mark.anyio

SECRET = "a-secret-of-the-service"
DAY = 24 * 3600.0


async def paths_of(proxy: Served, session: UUID) -> list[str]:
    return [one.path for one in await proxy.log.list_streams(session_prefix(session))]


async def test_one_that_runs_is_stopped_and_removed() -> None:
    async with running() as one:
        await one.start()
        client, path = one.proxy.client, one.proxy.path(one.session, one.request)
        assert (await client.delete(path)).status_code == 204
        async with asyncio.timeout(5 * UNIT):
            await one.up.left.wait()
        assert await paths_of(one.proxy, one.session) == []
        assert (await client.get(path)).status_code == 404
        assert (await client.get(f"/v1/stream/{one.paths.data}")).status_code == 404
        again = await client.delete(path)
        assert (again.status_code, again.json()["error"]["code"]) == (404, "not_found")
        # Whoever sends it again asks for a new answer.
        assert (await one.start()).status_code == 200
        assert len(one.up.calls) == 2


async def test_a_reader_of_what_is_deleted_comes_to_an_end() -> None:
    async with running() as one:
        await one.start()
        client = one.proxy.client
        live = f"/v1/stream/{one.paths.data}?offset=-1&live=raw"
        async with client.stream("GET", live) as answer, asyncio.timeout(10 * UNIT):
            pieces_read = answer.aiter_raw()
            assert await anext(pieces_read) == b"data: one\n\n"
            await client.delete(one.proxy.path(one.session, one.request))
            assert [piece async for piece in pieces_read] == []


async def test_a_session_goes_as_a_whole_and_no_other() -> None:
    async with upstream(pieces(b"all")) as up, served() as proxy:
        session, other = uuid4(), uuid4()
        ids = [(session, uuid4()) for _ in range(60)] + [(other, uuid4())]  # more than a page
        for one in ids:
            headers = {"X-Proxy-Url": up.url}
            assert (await proxy.client.post(proxy.path(*one), headers=headers)).status_code == 200
        answer = await proxy.client.delete(f"/api/{session}")
        assert answer.json() == {"sessionId": str(session), "deleted": 60}
        assert await paths_of(proxy, session) == []
        assert len(await paths_of(proxy, other)) == 2
        assert (await proxy.client.delete(f"/api/{session}")).json()["deleted"] == 0
        assert (await proxy.client.delete("/api/chat-1")).status_code == 400


async def test_it_takes_more_than_a_signed_address() -> None:
    async with running(secret=SECRET) as one:
        answer = await one.start(**{"X-Proxy-Secret": SECRET})
        query = answer.json()["durableDataUrl"].partition("?")[2]
        client, path = one.proxy.client, one.proxy.path(one.session, one.request)
        for address in (path, f"/api/{one.session}"):
            assert (await client.delete(address)).status_code == 401
            assert (await client.delete(f"{address}?{query}")).status_code in (401, 403)
        assert len(await paths_of(one.proxy, one.session)) == 2
        deleted = await client.delete(path, headers={"X-Proxy-Secret": SECRET})
        assert deleted.status_code == 204


async def test_what_was_kept_long_enough_goes_and_what_runs_does_not() -> None:
    timeouts, kept = Timeouts(total=2 * UNIT), 0.5 * UNIT
    async with running(timeouts=timeouts, keep_days=kept / DAY) as one:
        begun = time.time()
        await one.start()
        await eventually(lambda: time.time() > begun + 3 * kept)
        assert (await one.look())["state"] == "streaming"
        client, path = one.proxy.client, one.proxy.path(one.session, one.request)

        async def is_gone() -> bool:
            return (await client.get(path)).status_code == 404

        await eventually(is_gone)
        assert time.time() > begun + timeouts.total + kept
        await one.proxy.log.sweep()
        assert await paths_of(one.proxy, one.session) == []


@pytest.mark.parametrize("days", [0, -1, float("nan"), float("inf")])
async def test_days_that_are_none_are_refused(days: float) -> None:
    with pytest.raises(ValueError, match=r"keep_days=.*above 0"):
        create_app("sqlite://", keep_days=days)


async def test_unless_it_is_said_nothing_goes_by_itself() -> None:
    async with running(pieces(b"all")) as one:
        await one.start()
        for path in (one.paths.control, one.paths.data):
            stream = await one.proxy.log.stat(path)
            assert stream is not None
            assert (stream.expires_at, stream.ttl_seconds) == (None, None)


async def test_a_second_start_finds_a_generation_that_is_to_go() -> None:
    async with running(keep_days=1) as one:
        first = await one.start()
        await asyncio.sleep(0.01)  # another moment, so it would have another end of its life
        again = await one.start()
        assert first.json()["incarnation"] == again.json()["incarnation"]
        assert len(one.up.calls) == 1
