"""The answering half, as the unmodified transport of @durable-streams for the AI SDK uses it."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from ai_transport.answers import IMPATIENT, Source, Streams, streams
from ai_transport.foreign import foreign
from ai_transport.vercel_app import ChatApp
from durable_ai_transport.vercel import DurableChats, drain, to_durable_stream_response
from durable_transport import StreamUnreachable
from streams.gate import PATIENCE
from streams.serving import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

GONE = "The server that was writing this answer is gone. Please send the message again."


@asynccontextmanager
async def chat_app(server: Streams, **options: Any) -> AsyncIterator[tuple[ChatApp, str]]:
    chat = ChatApp(f"{server.url}/chats", **options)
    async with serving(chat.app, server.server.log) as served:
        try:
            yield chat, f"http://127.0.0.1:{served.port}/api/chat"
        finally:
            await drain(0)
            await chat.chats.aclose()


def words(answer: dict[str, Any]) -> str:
    return "".join(chunk.get("delta", "") for chunk in answer["chunks"])


def types(answer: dict[str, Any]) -> list[str]:
    return [chunk["type"] for chunk in answer["chunks"]]


async def test_send_stream_and_reconnect() -> None:
    async with (
        streams() as server,
        chat_app(server) as (chat, api),
        foreign("aisdk_transport.mjs", api) as page,
        foreign("aisdk_transport.mjs", api) as tab,
    ):
        assert await page.ask(reconnect="c/1") == {"found": False}

        assert await page.ask(send="c/1", text="good morning Ada") == {"found": True}
        chat.more["c/1"].release()
        assert words(await page.ask(read=3)) == "good "

        # A second tab, and the first one after a refresh, read all of it.
        assert await tab.ask(reconnect="c/1") == {"found": True}
        assert words(await tab.ask(read=3)) == "good "
        assert await page.ask(leave=True) == {"left": True}
        assert await page.ask(reconnect="c/1") == {"found": True}
        chat.more["c/1"].release()
        chat.more["c/1"].release()
        for client in (page, tab):
            rest = await client.ask(read=None)
            assert rest["done"]
            assert types(rest)[-2:] == ["text-end", "finish"]
            assert words(rest).endswith("morning Ada ")

        assert chat.calls == 1
        assert await page.ask(reconnect="c/1") == {"found": False}


async def test_a_source_that_raises_and_one_that_is_stopped() -> None:
    async with (
        streams() as server,
        chat_app(server) as (chat, api),
        foreign("aisdk_transport.mjs", api) as page,
        httpx2.AsyncClient() as http,
    ):
        await page.ask(send="c1", text="it fails")
        chat.more["c1"].release()
        chat.more["c1"].release()
        failed = await page.ask(read=None)
        assert failed["chunks"][-1] == {"type": "error", "errorText": "An error occurred."}
        assert failed["done"]
        # Who comes back later sees it as well, until the next message.
        assert await page.ask(reconnect="c1") == {"found": True}
        assert await page.ask(read=None) == failed

        await page.ask(send="c1", text="much too long")
        chat.more["c1"].release()
        assert words(await page.ask(read=3)) == "much "
        assert (await http.post(f"{api}/c1/stop")).status_code == 204
        assert await page.ask(read=None) == {"chunks": [{"type": "abort"}], "done": True}
        assert not await chat.chats.stop("c1")
        assert await page.ask(reconnect="c1") == {"found": False}


async def test_a_server_that_is_killed_and_started_again() -> None:
    async with streams() as server, app_process(server) as (first, port):
        api = f"http://127.0.0.1:{port}/api/chat"
        async with (
            foreign("aisdk_transport.mjs", api) as page,
            foreign("aisdk_transport.mjs", api) as later,
            httpx2.AsyncClient() as http,
        ):
            await page.ask(send="c1", text="half an answer")
            await http.post(f"http://127.0.0.1:{port}/more/c1")
            assert words(await page.ask(read=3)) == "half "
            first.kill()
            await first.wait()
            async with app_process(server, port):
                assert "terminated" in (await page.ask(read=None))["error"]
                for client in (page, later):
                    assert await client.ask(reconnect="c1") == {"found": True}
                for client in (page, later):
                    rest = await client.ask(read=None)
                    assert words(rest) == "half "
                    assert rest["chunks"][-1] == {"type": "error", "errorText": GONE}
                    assert rest["done"]
                await page.ask(send="c1", text="again")
                await http.post(f"http://127.0.0.1:{port}/more/c1")
                assert words(await page.ask(read=None)) == "again "
                assert await later.ask(reconnect="c1") == {"found": False}


async def test_whoever_reconnects_to_what_was_left_behind_reads_it_with_an_error() -> None:
    async with streams() as server:
        async with app_process(server) as (first, port):
            async with httpx2.AsyncClient() as http:
                body = {"id": "c1", "messages": [{"parts": [{"text": "half an answer"}]}]}
                begun = await http.post(f"http://127.0.0.1:{port}/api/chat", json=body)
                await http.post(f"http://127.0.0.1:{port}/more/c1")
            first.kill()
            await first.wait()
        async with chat_app(server) as (chat, _):
            # Until the lease has run out nobody can know.
            async with asyncio.timeout(PATIENCE):
                while not (found := await chat.chats.active("c1")) or not found.failed:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            assert found.url == begun.headers["location"]
            assert await chat.chats.active("c1") == found
        answer = await server.read(f"chats/c1/{begun.headers['location'].rpartition('/')[2]}")
        assert answer[0][-1] == {"type": "error", "errorText": GONE}
        assert answer[1]


async def test_routes_ask_who_may_and_keep_the_credentials_of_the_log() -> None:
    def authorize(request: Request, chat_id: str) -> None:
        if request.headers.get("x-user") != chat_id:
            raise HTTPException(403, "not your chat")

    secret = {"authorization": "Bearer of-the-log"}
    async with (
        streams() as server,
        chat_app(server, authorize=authorize, headers=lambda: secret) as (chat, api),
        httpx2.AsyncClient(headers={"x-user": "ada"}) as ada,
    ):
        body = {"id": "ada", "messages": [{"parts": [{"text": "Hi"}]}]}
        begun = await ada.post(api, json=body)
        where = str(httpx2.URL(api).join(begun.headers["location"]))
        chat.more["ada"].release()
        await drain()
        for method, url in (
            ("GET", where),
            ("GET", f"{api}/ada/stream"),
            ("POST", f"{api}/ada/stop"),
        ):
            refused = await ada.request(method, url, headers={"x-user": "eve"})
            assert (refused.status_code, refused.text) == (403, "not your chat")
        read = await ada.get(where, params={"offset": "-1", "password": "hunter2"})
        assert read.json()[-1] == {"type": "finish", "finishReason": "stop"}
        assert read.headers["stream-closed"] == "true"
        assert "of-the-log" not in str(read.headers)
        assert (await ada.head(where)).headers["content-type"] == "application/json"
        assert (await ada.get(f"{api}/ada/stream/none?offset=-1")).status_code == 404


async def test_a_log_that_is_not_there_and_chats_that_cannot_be() -> None:
    chats = DurableChats("http://127.0.0.1:9/chats", api="/api/chat", timing=IMPATIENT)
    app = Starlette(routes=[*chats.routes()])
    async with (
        streams() as server,
        serving(app, server.server.log) as served,
        chats.lifespan(),
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{served.port}/api/chat") as http,
    ):
        for answer in (
            await http.get("/c1/stream"),
            await http.get("/c1/stream/a1?offset=-1"),
            await http.post("/c1/stop"),
        ):
            assert answer.status_code == 502
            assert answer.json()["error"]["code"] == "unavailable"
        for nobody in ("%2E%2E", "a%00b", "x" * 3000):
            answer = await http.get(f"/{nobody}/stream")
            assert answer.status_code == 404
            assert len(answer.content) < 200
        with pytest.raises(ValueError, match="cannot be the id"):
            await chats.respond("", Source())
        with pytest.raises(StreamUnreachable):
            await chats.respond("c1", Source())
    with pytest.raises(ValueError, match="give api="):
        DurableChats("http://127.0.0.1:9").routes()


async def test_one_stream_of_ones_own() -> None:
    async with streams() as server:
        sources = Source(b'data: {"type":"start"}\n\ndata: [DO', b"NE]\n\n").now()
        answer = await to_durable_stream_response(sources, stream=f"{server.url}/a", mode="await")
        assert answer.status_code == 200
        wrong = Source({"type": "start"}, {"text": "no type"}).now()
        await to_durable_stream_response(wrong, stream=server.target("b", read_url="/b"))
        assert await server.read() == ([{"type": "start"}], True)
        error = {"type": "error", "errorText": "An error occurred."}
        assert await server.read_to_its_end("b") == [{"type": "start"}, error]


@asynccontextmanager
async def app_process(
    server: Streams, port: int = 0
) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ai_transport.vercel_app", f"{server.url}/chats", str(port)),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parent.parent,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(2 * PATIENCE):
            port = int(await process.stdout.readline())
        yield process, port
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.parametrize("words", [["Good ", "morning."], [b"<html>login</html>\n\n"]])
async def test_text_that_is_no_stream_is_an_error_and_not_an_empty_answer(
    words: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with streams() as server:
        await to_durable_stream_response(Source(*words).now(), stream=f"{server.url}/a")
        end = await server.read_to_its_end()
    assert end == [{"type": "error", "errorText": "An error occurred."}]
    assert "give text-delta chunks" in caplog.text


async def test_a_stream_of_done_alone_is_an_empty_answer() -> None:
    async with streams() as server:
        source = Source(": hello\n\n", "data: [DONE]\n\n").now()
        await to_durable_stream_response(source, stream=f"{server.url}/a")
        assert await server.read_to_its_end() == []
