"""Plain ``httpx`` clients, without an SDK and with bytes that are no text."""

import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import anyio
import anyio.to_thread
import httpx
import pytest

import durable_transport.httpx
from durable_transport import GenerationFailed, MemoryStorage, resume, session
from e2e.drivers import TIMEOUT
from e2e.relay import chaos, relaying
from e2e.stage import Stage
from emulator import Cut, Reject

pytestmark = pytest.mark.anyio

BLOB = random.Random(1).randbytes(20_000)


def _client(proxy_url: str, **options: object) -> httpx.Client:
    transport = durable_transport.httpx.DurableTransport(proxy_url, **options)  # type: ignore[arg-type]
    return httpx.Client(transport=transport, timeout=TIMEOUT)


def _async_client(proxy_url: str, **options: object) -> httpx.AsyncClient:
    transport = durable_transport.httpx.AsyncDurableTransport(proxy_url, **options)  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=transport, timeout=TIMEOUT)


Get = Callable[[str, str], Awaitable[bytes]]


async def _get_sync(proxy_url: str, url: str) -> bytes:
    def get() -> bytes:
        with _client(proxy_url) as client:
            return client.get(url).raise_for_status().content

    return await anyio.to_thread.run_sync(get)


async def _get_async(proxy_url: str, url: str) -> bytes:
    async with _async_client(proxy_url) as client:
        return (await client.get(url)).raise_for_status().content


@pytest.mark.parametrize("get", [_get_sync, _get_async])
@pytest.mark.parametrize("seed", range(2))
async def test_binary_bodies_survive_cuts(stage: Stage, get: Get, seed: int) -> None:
    stage.script(raw=(BLOB,), split=700, split_seed=seed, pace=0.001)
    port = int(stage.proxy_url.rpartition(":")[2])
    with relaying(port, chaos(seed)) as relay, anyio.fail_after(TIMEOUT):
        body = await get(relay.url, _raw_url(stage))
    assert body == BLOB, f"seed {seed}"
    assert stage.calls() == 1, f"seed {seed}"
    assert relay.cuts >= 5, f"seed {seed}"


@pytest.mark.parametrize("get", [_get_sync, _get_async])
async def test_big_bodies(stage: Stage, get: Get) -> None:
    stage.script(raw=(BLOB * 10,), raw_times=100)
    with anyio.fail_after(TIMEOUT):
        assert await get(stage.proxy_url, _raw_url(stage)) == BLOB * 1000


@pytest.mark.parametrize("get", [_get_sync, _get_async])
async def test_compressed_bodies_arrive_decoded(stage: Stage, get: Get) -> None:
    stage.script(raw=(BLOB,), gzip=True)
    assert await get(stage.proxy_url, _raw_url(stage)) == BLOB


async def test_status_and_headers_are_the_upstreams(stage: Stage) -> None:
    own = (("x-vendor", "yes"), ("set-cookie", "secret=1"))
    stage.script(raw=(b"x",), content_type="image/png", headers=own)
    async with _async_client(stage.proxy_url) as client:
        answer = await client.put(_raw_url(stage), content=b"\x00\xff", headers={"x-mine": "1"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-vendor"] == "yes"
    assert answer.headers["x-session-id"]
    assert answer.headers["x-request-id"]
    (received,) = stage.upstream.requests(stage.script_id)
    assert (received.method, received.body) == ("PUT", b"\x00\xff")
    assert dict(received.headers)["x-mine"] == "1"


async def test_rejections_pass_through(stage: Stage) -> None:
    stage.script(reject=Reject(status=418, message="teapot", headers=(("retry-after", "7"),)))
    async with _async_client(stage.proxy_url) as client:
        answer = await client.get(_raw_url(stage))
    assert answer.status_code == 418
    assert answer.headers["retry-after"] == "7"
    assert answer.json()["error"]["message"] == "teapot"


async def test_a_truncated_body_raises_httpxs_own_error(stage: Stage) -> None:
    stage.script(raw=(b"abc",) * 5, cut=Cut(packets=3, promise_length=True))
    received = bytearray()
    with pytest.raises(httpx.RemoteProtocolError) as caught:
        await _read_into(received, stage)
    assert isinstance(caught.value, GenerationFailed)
    assert caught.value.code == "upstream_truncated"
    assert caught.value.offset == len(received)
    assert bytes(received) == b"abc" * 3


async def _read_into(received: bytearray, stage: Stage) -> None:
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(_async_client(stage.proxy_url))
        answer = await stack.enter_async_context(client.stream("GET", _raw_url(stage)))
        async for piece in answer.aiter_bytes():
            received += piece


async def test_resuming_gives_the_rest_of_the_bytes(stage: Stage) -> None:
    stage.script(raw=(b"first ", b"second ", b"third"), hold_after=1)
    storage = MemoryStorage()
    async with _async_client(stage.proxy_url, storage=storage) as client:
        with session("bytes"):
            async with client.stream("GET", _raw_url(stage)) as answer:
                pieces = answer.aiter_bytes()
                assert await anext(pieces) == b"first "
        stage.upstream.release(stage.script_id)
        with resume("bytes", from_start=True):
            whole = (await client.get(_raw_url(stage))).content
    assert whole == b"first second third"
    assert stage.calls() == 1


async def test_nothing_to_resume_is_204(stage: Stage) -> None:
    async with _async_client(stage.proxy_url, storage=MemoryStorage()) as client:
        with resume("nobody"):
            answer = await client.get(_raw_url(stage))
    assert (answer.status_code, answer.content) == (204, b"")
    assert stage.calls() == 0


def _raw_url(stage: Stage) -> str:
    return f"{stage.upstream.url}/raw/{stage.script_id}"
