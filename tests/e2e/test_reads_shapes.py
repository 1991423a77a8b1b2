"""The transports read a generation as shapes, from the log and as behind a real Electric."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx2
import pytest

from durable_transport import (
    AsyncDurableTransport,
    GenerationError,
    GenerationFailed,
    MemoryStorage,
    NotADurableProxy,
    resume,
    session,
)
from proxy.harness import UNIT, served
from proxy.wire import Wire, pieces, upstream, whole
from transport.flavours import FLAVOURS, Flavour, quick

pytestmark = pytest.mark.anyio

TEXT = "data: one €\n\ndata: \U0001f600 two\n\n"
CUT = [TEXT.encode()[at : at + 5] for at in range(0, len(TEXT.encode()), 5)]
TIMING = quick(silence=30.0)


@pytest.fixture(params=FLAVOURS, ids=str)
def flavour(request: pytest.FixtureRequest) -> Flavour:
    found: Flavour = request.param
    return found


def _to(url: str) -> dict[str, Any]:
    return {"request": {"url": url}, "reads": "shapes", "timing": TIMING}


async def test_the_whole_body_with_the_upstreams_head(flavour: Flavour) -> None:
    async with upstream(pieces(*CUT)) as up, served() as proxy:
        outcome = await flavour.fetch(proxy.url, **_to(up.url))
        assert outcome.error is None
        assert outcome.body == TEXT.encode()
        assert (outcome.status, outcome.headers["content-type"]) == (200, "text/event-stream")
        assert outcome.durable is not None
        assert outcome.durable.completed
        assert len(up.calls) == 1


async def test_nothing_at_all_is_a_body_too(flavour: Flavour) -> None:
    async with upstream(pieces()) as up, served() as proxy:
        outcome = await flavour.fetch(proxy.url, **_to(up.url))
        assert (outcome.body, outcome.error) == (b"", None)


async def test_a_refusal_of_the_upstream_is_passed_on(flavour: Flavour) -> None:
    async with upstream(whole(429, b"slow down")) as up, served() as proxy:
        outcome = await flavour.fetch(proxy.url, **_to(up.url))
        assert (outcome.status, outcome.body, outcome.error) == (429, b"slow down", None)


async def test_a_body_that_broke_off_is_an_error_after_its_last_byte(flavour: Flavour) -> None:
    async def script(wire: Wire) -> None:
        await wire.head(200)
        await wire.chunk(b"half")
        wire.reset()

    async with upstream(script) as up, served() as proxy:
        outcome = await flavour.fetch(proxy.url, **_to(up.url))
        assert outcome.body == b"half"
        assert isinstance(outcome.error, GenerationFailed)
        assert outcome.error.code == "upstream_error"


def _client(url: str, **options: Any) -> httpx2.AsyncClient:
    transport = AsyncDurableTransport(url, reads="shapes", timing=TIMING, **options)
    return httpx2.AsyncClient(transport=transport, timeout=10 * UNIT)


async def test_bytes_come_when_they_do_and_the_end_with_the_end() -> None:
    steps: asyncio.Queue[bytes] = asyncio.Queue()

    async def script(wire: Wire) -> None:
        await wire.head(200)
        while piece := await steps.get():
            await wire.chunk(piece)
        await wire.end()

    async with (
        upstream(script) as up,
        served() as proxy,
        _client(proxy.url) as client,
        client.stream("POST", up.url) as answer,
    ):
        body = answer.aiter_raw()
        # Well within what a look at the control shape would take.
        async with asyncio.timeout(4 * UNIT):
            for piece in (b"one", "€".encode(), b"three"):
                steps.put_nowait(piece)
                assert await anext(body) == piece
            steps.put_nowait(b"")
            assert [part async for part in body] == []


async def test_somebody_who_comes_back_gets_the_rest() -> None:
    second, go_on = asyncio.Event(), asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head(200, ("Content-Type", "text/plain"))
        await wire.chunk(b"one ")
        await second.wait()
        await wire.chunk(b"two ")
        await go_on.wait()
        await wire.chunk(b"and the rest")
        await wire.end()

    name, storage = str(uuid4()), MemoryStorage()
    async with upstream(script) as up, served() as proxy:
        async with _client(proxy.url, storage=storage) as client:
            headers = session(name)
            async with client.stream("POST", up.url, headers=headers) as answer:
                body = answer.aiter_raw()
                assert await anext(body) == b"one "
                second.set()
                assert await anext(body) == b"two "
        go_on.set()
        async with _client(proxy.url, storage=storage) as client:
            again = await client.post(up.url, headers=resume(name))
            # With the piece that it may not have been done with.
            assert again.content == b"two and the rest"
            assert again.headers["content-type"] == "text/plain"
            assert (await client.post(up.url, headers=resume(name))).status_code == 204
        assert len(up.calls) == 1


async def test_a_way_to_read_that_there_is_not() -> None:
    with pytest.raises(ValueError, match="'log' or 'shapes'"):
        AsyncDurableTransport("http://127.0.0.1", reads="rows")  # type: ignore[arg-type]


# ---------------------------------------------------------------------- as behind an Electric


class Electric:
    """A proxy with a real Electric behind it, as far as a reader sees: ids are any that rise.

    Each request for a shape takes the next of its answers; the last one stays.
    """

    def __init__(self, data: list[Any], control: list[Any]) -> None:
        self.answers = {"data": data, "control": control}
        self.asked: list[tuple[str, dict[str, list[str]]]] = []

    async def __call__(self, wire: Wire) -> None:
        parts = urlsplit(wire.call.path)
        if wire.call.method == "POST":
            _, _, _, request = parts.path.split("/")
            start = {
                "sessionId": parts.path.split("/")[2],
                "requestId": request,
                "streamUrl": "http://x/stream/data",
                "controlUrl": "http://x/stream/control",
                "contentType": "text/plain",
            }
            await wire.whole(200, json.dumps(start).encode())
            return
        kind = parts.path.rpartition("/")[2]
        self.asked.append((kind, parse_qs(parts.query)))
        answers = self.answers[kind]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        await (answer(wire) if callable(answer) else wire.whole(*answer))


def _rows(offset: str, *rows: dict[str, Any], handle: str = "3-1", more: bool = False) -> Any:
    messages: list[Any] = [
        {"key": str(row["id"]), "value": row, "headers": {"operation": "insert"}} for row in rows
    ]
    headers = [("electric-handle", handle), ("electric-offset", offset), ("electric-cursor", "7")]
    if not more:
        messages.append({"headers": {"control": "up-to-date"}})
        headers.append(("electric-up-to-date", ""))
    return (200, json.dumps(messages).encode(), *headers)


def _row(number: int, data: str) -> dict[str, Any]:
    return {"id": str(number), "data": data}


def _done(number: int, last: int, event: str = "done", payload: Any = None) -> dict[str, Any]:
    text = None if payload is None else json.dumps(payload)
    return {"id": str(number), "event": event, "data_row_id": f"{last:020d}", "payload": text}


async def _read(electric: Electric) -> bytes:
    body = b""
    async with (
        asyncio.timeout(10 * UNIT),
        upstream(electric) as proxy,
        _client(proxy.url) as client,
        client.stream("POST", "http://upstream.example/") as answer,
    ):
        async for part in answer.aiter_raw():
            body += part
    return body


async def test_an_end_waits_for_its_row_and_offsets_are_passed_back() -> None:
    electric = Electric(
        [
            _rows("0_0", _row(41, "one "), more=True),
            _rows("26_4", _row(57, "two ")),
            _rows("30_0"),
            _rows("31_0", _row(58, "three")),
        ],
        [_rows("0_inf", _done(9, 58))],
    )
    assert await _read(electric) == b"one two three"
    asked = [query for kind, query in electric.asked if kind == "data"]
    assert [query["offset"] for query in asked] == [["-1"], ["0_0"], ["26_4"], ["30_0"]]
    assert [query.get("live") for query in asked] == [None, None, ["true"], ["true"]]
    assert {tuple(query.get("handle", ())) for query in asked} == {(), ("3-1",)}
    assert asked[-1]["cursor"] == ["7"]


async def test_a_shape_that_is_gone_is_read_again_and_nothing_is_given_twice() -> None:
    gone = (409, b'[{"headers":{"control":"must-refetch"}}]', ("electric-handle", "4-1"))
    electric = Electric(
        [
            _rows("5_0", _row(41, "one ")),
            gone,
            _rows("9_0", _row(7, "one tw"), _row(8, "o"), handle="4-1"),
        ],
        [_rows("0_0"), _rows("1_0", _done(1, 8), handle="4-1")],
    )
    assert await _read(electric) == b"one two"


async def test_an_error_of_the_original_has_its_message() -> None:
    electric = Electric(
        [_rows("5_0", _row(41, "one "))], [_rows("1_0", _done(1, 41, "error", {"message": "lost"}))]
    )
    with pytest.raises(GenerationFailed, match="lost"):
        await _read(electric)


async def test_an_answer_that_breaks_off_is_asked_for_again() -> None:
    async def breaks(wire: Wire) -> None:
        await wire.head(200, *_rows("5_0")[2:], framing="Content-Length: 100")
        await wire.raw(b'[{"key"')
        wire.reset()

    electric = Electric([breaks, _rows("5_0", _row(41, "one"))], [_rows("1_0", _done(1, 41))])
    assert await _read(electric) == b"one"


@pytest.mark.parametrize(
    "answer",
    [
        (200, b"<html>"),
        (200, b"[]"),
        (200, b"{}", ("electric-handle", "1"), ("electric-offset", "0_0")),
        (200, b"[1]", ("electric-handle", "1"), ("electric-offset", "0_0")),
        (404, b"nothing here"),
    ],
)
async def test_what_is_no_shape_is_said(answer: Any) -> None:
    with pytest.raises(GenerationError) as failed:
        await _read(Electric([answer], [_rows("0_0")]))
    assert isinstance(failed.value, NotADurableProxy)
