"""Runs over server-sent events that the unmodified npm client resumes and joins."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from ai_transport.tanstack import node
from ai_transport.tanstack.backends import Backend, backend, events_of
from durable_ai_transport.tanstack import ChunkDecoder, decode
from durable_transport import DurableStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx2
    from ag_ui.core import RunAgentInput

RUNS = 6
END = {"type": "RUN_FINISHED", "threadId": "t1", "runId": "r"}
TEXT = {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "Hi"}


def body(run_id: str = "r") -> dict[str, Any]:
    user = {"id": "u", "role": "user", "content": "Hello"}
    return {"threadId": "t1", "runId": run_id, "messages": [user], "state": {}}


async def ask(server: Backend, run_id: str = "r", **headers: str) -> httpx2.Response:
    given = {"X-Run-Id": run_id, **headers}
    return await server.client.post("/api/runs", json=body(run_id), headers=given)


async def join(server: Backend, **query: str) -> httpx2.Response:
    return await server.client.get("/api/runs", params=query)


def ids(answer: httpx2.Response) -> list[str]:
    return [line[4:] for line in answer.text.splitlines() if line.startswith("id: ")]


async def test_the_npm_client_gets_every_chunk_once_wherever_it_is_cut(unit: float) -> None:
    async with backend() as server:
        url = f"{server.url}/api/runs"
        runs = await node.run_beside("tanstack_runs.mjs", url, str(RUNS), "7", limit=60 * unit)
        assert server.asked == [f"run-{number}" for number in range(RUNS)]
    for number, run in enumerate(runs):
        given = [(one["type"], one.get("delta")) for one in events_of(f"run-{number}")]
        assert [(one["type"], one.get("delta")) for one in run["whole"]] == given
        assert once(run["sent"]) == run["whole"], number
        assert once(run["joined"]) == run["whole"], number
    assert sum(run["resumed"] for run in runs) > RUNS


def once(chunks: list[Any]) -> list[Any]:
    """Without the end that is told again to a client that lost its connection behind it."""
    return chunks[:-1] if chunks[-2:-1] == chunks[-1:] else chunks


async def test_every_id_is_a_place_from_which_exactly_the_rest_comes() -> None:
    async with backend() as server:
        whole = await ask(server, "run-3")
        chunks = decode([whole.content])
        assert chunks == events_of("run-3")
        for number, place in enumerate(ids(whole), 1):
            rest = await ask(server, "run-3", **{"Last-Event-ID": place})
            assert decode([rest.content]) == (chunks[number:] or chunks[-1:])
        assert server.asked == ["run-3"]


async def test_the_agent_goes_on_without_a_reader() -> None:
    more = asyncio.Event()

    async def agent(_run: RunAgentInput) -> AsyncIterator[dict[str, Any]]:
        yield TEXT
        await more.wait()
        yield {**TEXT, "delta": " there"}

    async with backend(agent) as server:
        headers = {"X-Run-Id": "r"}
        stream = server.client.stream("POST", "/api/runs", json=body(), headers=headers)
        async with stream as answer:
            decoder = ChunkDecoder()
            async for data in answer.aiter_raw():
                if decoder.feed(data):
                    break
        more.set()
        told = decode([(await join(server, runId="r", offset="-1")).content])
    assert [one.get("delta") for one in told] == ["Hi", " there", None]
    assert told[-1] == END


async def test_an_agent_that_fails_is_told_and_its_text_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def agent(_run: RunAgentInput) -> AsyncIterator[dict[str, Any]]:
        yield TEXT
        raise RuntimeError("the password is 1234")

    async with backend(agent) as server:
        told = decode([(await ask(server)).content])
    assert told[0] == TEXT
    assert (told[1]["type"], told[1]["message"]) == ("RUN_ERROR", "An error occurred.")
    assert "1234" in caplog.text


async def test_a_run_that_nobody_writes_any_more_has_an_end() -> None:
    async with backend(idle=0.05, keep_alive=0.02) as server:
        async with DurableStream(server.streams.target("runs/lost").write_url) as stream:
            await stream.create(content_type="application/json")
            await stream.append(TEXT)
        answer = await join(server, runId="lost", offset="-1")
    assert ": keep-alive\n\n" in answer.text
    told = decode([answer.content])
    assert told[0] == TEXT
    assert told[-1]["message"] == "The run is lost: nothing has come of it for too long."
    assert len(ids(answer)) == 1


async def test_a_run_that_was_closed_half_way_has_an_end() -> None:
    async with backend() as server:
        async with DurableStream(server.streams.target("runs/cut").write_url) as stream:
            await stream.create(content_type="application/json")
            await stream.close(TEXT)
        told = decode([(await join(server, runId="cut", offset="-1")).content])
    assert [one["type"] for one in told] == ["TEXT_MESSAGE_CONTENT", "RUN_ERROR"]


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ({"runId": "none", "offset": "-1"}, 404, "no such run"),
        ({"runId": "../x", "offset": "-1"}, 400, "a run id is"),
        ({"offset": "-1"}, 400, "say which run"),
        ({"runId": "r"}, 400, "where to read from"),
        ({"runId": "run-1", "offset": "nonsense"}, 400, "not a place in this run"),
    ],
)
async def test_what_cannot_be_read_is_refused(
    query: dict[str, str], status: int, said: str
) -> None:
    async with backend() as server:
        await ask(server, "run-1")
        answer = await join(server, **query)
    assert answer.status_code == status
    assert said in answer.json()["error"]


@pytest.mark.parametrize("content", ["", "<html>", "[]", '{"threadId": "t"}'])
async def test_what_is_no_request_of_a_chat_client_is_refused(content: str) -> None:
    async with backend() as server:
        answer = await server.client.post("/api/runs", content=content)
    assert answer.status_code == 400
    assert "not the body of a chat client" in json.loads(answer.text)["error"]
    assert server.asked == []
