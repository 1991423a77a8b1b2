"""Stream names over the wire: every spelling of one name is one stream, and no two are mixed up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durable_streams_server import Log, StreamsApp
from streams.serving import PATIENT, Served, served, serving

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("each_protocol")]


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        ("a/b", "%61/b", "a%2Fb"),
        ("a%2Fb", "a%2fb", "a%252Fb"),
        ("a", "%61", "a/"),
        ("a//b", "a//%62", "a/b"),
        ("%E2%82%AC", "%e2%82%ac", "%E2%82%AD"),
        ("sp%20ace", "sp%20%61ce", "sp+ace"),
        ("100%25", "100%", "100"),
        ("x%3Fy", "%78%3fy", "x"),
        ("A", "%41", "a"),
        ("v1/stream/x", "v1/stream/%78", "x"),
    ],
)
async def test_spellings(server: Served, one: str, same: str, other: str) -> None:
    assert (await server.put(one, b"mine")).status == 201
    assert (await server.put(same, b"")).status == 200
    assert (await server.get(same)).body == b"mine"
    assert (await server.get(other)).status == 404
    assert (await server.post(other, b"x")).status == 404
    assert (await server.ask("DELETE", other)).status == 404
    assert (await server.ask("DELETE", same)).status == 204
    assert (await server.get(one)).status == 404


@pytest.mark.parametrize(
    "path",
    [
        "a/../b", "../s", "a/./b", "%2e%2e/s", "a/%2E%2e", ".", "a%00b", "%ff", "%c3%28",
        "x" * 1025, "%2e", "a/b/..",
    ],
)  # fmt: skip
async def test_names_that_are_refused(server: Served, path: str) -> None:
    await server.put("s", b"kept")
    for method in ("PUT", "GET", "POST", "DELETE"):
        reply = await server.ask(method, path, b"x", Content_Type="text/plain")
        assert reply.status == 400, method
        assert reply.json()["error"]["code"] == "bad_request"
        assert reply["x-content-type-options"] == "nosniff"
    assert (await server.get("s")).body == b"kept"


async def test_the_whole_url_may_be_in_the_request_line(server: Served) -> None:
    await server.put("s", b"abc")
    async with server.connect() as connection:
        await connection.request("GET", "http://streams.test/v1/stream/s?offset=-1")
        assert (await connection.reply()).body == b"abc"


async def test_the_prefix_ends_at_a_segment(server: Served) -> None:
    await server.put("s", b"abc")
    server.prefix = "/"
    for path in ("v1/streams", "v1/stream", "v1/streamss", "v2/stream/s", "V1/stream/s", "s"):
        assert (await server.get(path)).status in (400, 404), path


async def test_another_prefix() -> None:
    async with served(prefix="/x/") as server:
        server.prefix = "/x/"
        assert (await server.put("s", b"abc"))["location"] == "http://streams.test/x/s"
        assert (await server.get("s")).body == b"abc"


async def test_a_mounted_application(log: Log) -> None:
    app = StreamsApp(log, limits=PATIENT)

    async def host(
        scope: MutableMapping[str, object],
        receive: Callable[[], Awaitable[MutableMapping[str, object]]],
        send: Callable[[MutableMapping[str, object]], Awaitable[None]],
    ) -> None:
        await app({**scope, "root_path": "/mounted"}, receive, send)

    async with serving(host, log) as server:
        server.prefix = "/mounted/v1/stream/"
        created = await server.put("s", b"abc")
        assert created["location"] == "http://streams.test/mounted/v1/stream/s"
        assert (await server.get("s")).body == b"abc"
        assert await log.stat("s") is not None


SEGMENTS = st.text("ab./%2Ff6E1? #é€\0+", min_size=1, max_size=8)


async def _hold_their_own(server: Served, raws: list[str]) -> None:
    encoded = ["".join(c if c in "ab./%2Ff6E1+" else _escape(c) for c in raw) for raw in raws]
    held: dict[tuple[bytes, ...], bytes] = {}
    for n, path in enumerate(encoded):
        meaning = tuple(unquote_to_bytes(part) for part in path.split("/"))
        reply = await server.put(path, b"%d" % n)
        assert reply.status in (200, 201, 400)
        if reply.status != 400:
            assert (reply.status == 201) is (meaning not in held)
            held.setdefault(meaning, b"%d" % n)
    for path in encoded:
        meaning = tuple(unquote_to_bytes(part) for part in path.split("/"))
        reply = await server.get(path)
        if meaning in held:
            assert (reply.status, reply.body) == (200, held[meaning])
        else:
            assert reply.status in (400, 404)
    for path in encoded:
        await server.ask("DELETE", path)


def _escape(character: str) -> str:
    return "".join(f"%{byte:02x}" for byte in character.encode())


async def test_no_path_gets_another_ones_data(server: Served) -> None:
    """Hypothesis drives one event loop, so it is run beside it and asks it for each example."""
    loop = asyncio.get_running_loop()

    @given(st.lists(SEGMENTS, min_size=2, max_size=6, unique=True))
    @settings(max_examples=50, deadline=None)
    def examples(raws: list[str]) -> None:
        asyncio.run_coroutine_threadsafe(_hold_their_own(server, raws), loop).result()

    await asyncio.to_thread(examples)
