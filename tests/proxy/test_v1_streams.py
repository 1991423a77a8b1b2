"""The proxy protocol, by the sections of its specification: reading, aborting, deleting."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest

from durable_proxy import Limits
from proxy.harness import UNIT, eventually
from proxy.v1 import (
    BEARER,
    SECRET,
    Slow,
    bare_of,
    end_of,
    has,
    id_of,
    nothing_is_left,
    refusal_of,
    world,
)
from proxy.wire import whole

if TYPE_CHECKING:
    from proxy.wire import Wire

pytestmark = pytest.mark.anyio

# ---------------------------------------------------------------------- 4.2 read


async def test_read_is_that_of_the_base_protocol() -> None:
    slow = Slow()
    async with world(slow) as it:
        address = await it.address()
        first = await it.client.get(address)
        assert first.headers["stream-up-to-date"] == "true"
        offset = first.headers["stream-next-offset"]
        assert (await it.client.get(f"{address}&offset={offset}")).content == b""
        poll = asyncio.create_task(it.client.get(f"{address}&offset={offset}&live=long-poll"))
        await asyncio.sleep(0)
        slow.go_on.set()
        polled = await poll
        assert polled.content == b"data: two\n\n"
        events = await it.client.get(f"{address}&offset=-1&live=sse")
        assert events.headers["content-type"] == "text/event-stream"
        assert events.headers["stream-sse-data-encoding"] == "base64"
        data = [line[5:].strip() for line in events.text.splitlines() if line.startswith("data:")]
        assert b"".join(map(base64.b64decode, data[:1])).startswith(b"data: one\n\n")
        assert '"streamClosed":true' in events.text
        done = await it.client.get(f"{address}&offset={polled.headers['stream-next-offset']}")
        assert done.headers["stream-closed"] == "true"
        for answer in (first, polled, events, done):
            assert answer.headers["upstream-content-type"] == "text/event-stream"


async def test_a_content_type_is_known_after_a_restart(tmp_path: Any) -> None:
    store = f"sqlite:///{tmp_path / 'proxy.sqlite'}"
    async with world(store=store) as it:
        address = await it.address()
    async with world(store=store) as it:
        url = f"{it.proxy.url}/v1/proxy/{id_of(address)}?{urlsplit(address).query}"
        read = await it.client.get(url)
        assert read.content == b"hello"
        assert read.headers["upstream-content-type"] == "text/plain; charset=utf-8"


async def test_an_upstream_without_a_content_type() -> None:
    async with world(whole(200, b"hello")) as it:
        created = await it.create()
        read = await it.client.get(created.headers["location"])
        for answer in (created, read):
            assert answer.headers["upstream-content-type"] == "application/octet-stream"


@pytest.mark.parametrize("query", ["offset=nonsense", "offset=-1&live=never", "live=sse"])
async def test_a_malformed_read(query: str) -> None:
    async with world() as it:
        answer = await it.client.get(f"{await it.address()}&{query}")
        assert answer.status_code == 400
        assert "upstream-content-type" not in answer.headers


NOBODY = "3e2b4d6c-9d0f-4a52-8b5e-6f8f0a1c2d3e"


@pytest.mark.parametrize("unknown", [NOBODY, "nonsense", "../x", "0" * 32, f"{{{NOBODY}}}"])
async def test_a_stream_that_is_not_there(unknown: str) -> None:
    async with world() as it:
        path = f"/v1/proxy/{unknown.replace('/', '%2F')}"
        for headers, refused in ((BEARER, "STREAM_NOT_FOUND"), ({}, "MISSING_SECRET")):
            answer = await it.client.get(path, headers=headers)
            if unknown == "../x":
                assert answer.status_code in (401, 404)
            else:
                assert refusal_of(answer)[1] == refused
        assert (await it.client.head(path, headers=BEARER)).status_code == 404
        assert (await it.client.delete(path, headers=BEARER)).status_code in (204, 404)


async def test_who_may_read() -> None:
    """Section 9.2: the address, or the service as a fallback."""
    async with world() as it:
        address, other = await it.address(), await it.address()
        query = urlsplit(address).query
        bare = bare_of(address)
        assert (await it.client.get(address)).status_code == 200
        for headers in (BEARER, {"X-Proxy-Secret": SECRET}):
            assert (await it.client.get(bare, headers=headers)).status_code == 200
        assert (await it.client.get(f"{bare}?secret={SECRET}")).status_code == 200
        assert refusal_of(await it.client.get(bare)) == (401, "MISSING_SECRET")
        assert refusal_of(await it.client.get(bare, headers={"X-Proxy-Secret": "no"})) == (
            401,
            "INVALID_SECRET",
        )
        assert refusal_of(await it.client.get(f"{bare}?secret=no")) == (401, "INVALID_SECRET")
        for wrong in (
            f"{address}x",
            f"{bare_of(other)}?{query}",
            address.replace("expires=1", "expires=2"),
        ):
            assert refusal_of(await it.client.get(wrong)) == (401, "SIGNATURE_INVALID")
        it.proxy.app.state.guard._clock = lambda: 99_999_999_999.0
        assert refusal_of(await it.client.get(address)) == (401, "SIGNATURE_EXPIRED")
        assert (await it.client.get(address, headers=BEARER)).status_code == 200


async def test_addresses_are_good_for_a_day_unless_it_is_said_otherwise() -> None:
    """Section 7.4."""
    for options, seconds in ((dict[str, Any](), 24 * 3600), ({"url_seconds": 60}, 60)):
        async with world(**options) as it:
            it.proxy.app.state.guard._clock = lambda: 1_000.0
            (expires,) = parse_qs(urlsplit(await it.address()).query)["expires"]
            assert int(expires) == 1_000 + seconds


async def test_readers_are_limited() -> None:
    slow = Slow()
    async with world(slow, limits=Limits(readers_per_principal=1)) as it:
        address = await it.address()
        async with it.client.stream("GET", f"{address}&offset=-1&live=raw") as first:
            assert first.status_code == 200
            assert refusal_of(await it.client.get(address)) == (429, "TOO_MANY_READERS")
            assert (await it.client.get(bare_of(address), headers=BEARER)).status_code == 200
            slow.go_on.set()
            await first.aread()
        await eventually(lambda: not it.proxy.app.state.guard.readers._held)
        missing = await it.client.get(f"/v1/proxy/{uuid4()}", headers=BEARER)
        assert missing.status_code == 404
        assert (await it.client.get(address)).status_code == 200


# ---------------------------------------------------------------------- 4.3 abort


async def test_abort_stops_the_upstream_and_keeps_what_came() -> None:
    slow = Slow()
    async with world(slow) as it:
        address = await it.address()
        await eventually(lambda: has(it, address, b"data: one\n\n"))
        for _ in range(2):  # section 4.3: idempotent
            answer = await it.client.patch(f"{address}&action=abort")
            assert (answer.status_code, answer.content) == (204, b"")
        async with asyncio.timeout(5 * UNIT):
            await it.up.left.wait()
        read = await it.client.get(address)
        assert read.content == b"data: one\n\n"
        assert read.headers["stream-closed"] == "true"
        assert (await end_of(it, address))["payload"]["code"] == "aborted"


async def test_abort_of_what_has_ended_or_is_gone() -> None:
    async with world() as it:
        address = await it.address()
        assert (await it.client.patch(f"{address}&action=abort")).status_code == 204
        assert (await it.client.get(address)).content == b"hello"
        await it.client.delete(bare_of(address), headers=BEARER)
        assert (await it.client.patch(f"{address}&action=abort")).status_code == 204


async def test_abort_takes_the_address_and_nothing_else() -> None:
    slow = Slow()
    async with world(slow) as it:
        address, other = await it.address(), await it.address()
        query = urlsplit(address).query
        for wrong, code in (
            (f"{bare_of(address)}?action=abort", "MISSING_SIGNATURE"),
            (f"{bare_of(address)}?action=abort&secret={SECRET}", "MISSING_SIGNATURE"),
            (f"{bare_of(address)}?action=abort&signature=x", "MISSING_SIGNATURE"),
            (f"{bare_of(address)}?action=abort&expires=99999999999", "MISSING_SIGNATURE"),
            (f"{address}x&action=abort", "SIGNATURE_INVALID"),
            (f"{bare_of(other)}?{query}&action=abort", "SIGNATURE_INVALID"),
            (f"/v1/proxy/nonsense?{query}&action=abort", "SIGNATURE_INVALID"),
        ):
            for headers in ({}, BEARER, {"X-Proxy-Secret": SECRET}):
                assert refusal_of(await it.client.patch(wrong, headers=headers)) == (401, code)
        for action in ("", "&action=", "&action=pause", "&action=ABORT"):
            answer = await it.client.patch(address + action)
            assert refusal_of(answer) == (400, "INVALID_ACTION")
        it.proxy.app.state.guard._clock = lambda: 99_999_999_999.0
        answer = await it.client.patch(f"{address}&action=abort", headers=BEARER)
        assert refusal_of(answer) == (401, "SIGNATURE_EXPIRED")
        assert it.proxy.app.state.proxy.parts.generations.active == 2
        slow.go_on.set()


# ---------------------------------------------------------------------- 4.4 head


async def test_head_is_for_the_service() -> None:
    async with world() as it:
        address = await it.address()
        await eventually(lambda: has(it, address, b"hello"))
        answer = await it.client.head(bare_of(address), headers=BEARER)
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["stream-next-offset"] == f"{5:020}"
        assert answer.headers["upstream-content-type"] == "text/plain; charset=utf-8"
        for url, headers in (
            (address, {}),
            (bare_of(address), {}),
            (bare_of(address), {"X-Proxy-Secret": "no"}),
        ):
            assert (await it.client.head(url, headers=headers)).status_code == 401
        assert (await it.client.head(f"/v1/proxy/{uuid4()}", headers=BEARER)).status_code == 404


# ---------------------------------------------------------------------- 4.5 delete


async def test_delete_ends_the_upstream_and_removes_the_stream() -> None:
    slow = Slow()
    async with world(slow) as it:
        address = await it.address()
        for _ in range(2):
            answer = await it.client.delete(bare_of(address), headers=BEARER)
            assert (answer.status_code, answer.content) == (204, b"")
        async with asyncio.timeout(5 * UNIT):
            await it.up.left.wait()
        assert refusal_of(await it.client.get(address)) == (404, "STREAM_NOT_FOUND")
        assert (await it.client.head(bare_of(address), headers=BEARER)).status_code == 404
        await nothing_is_left(it)
        assert (await it.client.delete(f"/v1/proxy/{uuid4()}", headers=BEARER)).status_code == 204


async def test_delete_is_for_the_service() -> None:
    async with world() as it:
        address = await it.address()
        for url, headers, code in (
            (address, {}, "MISSING_SECRET"),
            (bare_of(address), {}, "MISSING_SECRET"),
            (bare_of(address), {"Authorization": "Bearer wrong"}, "INVALID_SECRET"),
        ):
            assert refusal_of(await it.client.delete(url, headers=headers)) == (401, code)
        assert (await it.client.get(address)).content == b"hello"


# ---------------------------------------------------------------------- 8.2 piping


async def test_all_bytes_are_there_and_the_stream_is_closed() -> None:
    pieces = [bytes([value]) * (value * 7 % 100 + 1) for value in range(256)]

    async def script(wire: Wire) -> None:
        await wire.head(200, ("Content-Type", "application/octet-stream"))
        for piece in pieces:
            await wire.chunk(piece)
        await wire.end()

    async with world(script) as it:
        address = await it.address()
        assert (await it.client.get(f"{address}&offset=-1&live=raw")).content == b"".join(pieces)
        assert (await it.client.get(address)).headers["stream-closed"] == "true"


async def test_bytes_that_came_before_a_break_are_kept() -> None:
    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.chunk(b"hello")
        wire.reset()

    async with world(script) as it:
        address = await it.address()
        read = await it.client.get(f"{address}&offset=-1&live=raw")
        assert read.content == b"hello"
        assert (await end_of(it, address))["event"] == "error"


async def test_an_answer_beyond_the_limit_is_cut_and_says_so() -> None:
    async with world(whole(200, b"hello, world"), limits=Limits(response_bytes=5)) as it:
        address = await it.address()
        read = await it.client.get(f"{address}&offset=-1&live=raw")
        assert read.content == b"hello"
        assert (await end_of(it, address))["payload"]["code"] == "too_large"
