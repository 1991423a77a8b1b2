"""The backend of `tanstack-ai-durable-session`: sessions with agents in them, on a real socket."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from ag_ui.core import AssistantMessage, RunAgentInput, UserMessage
from fastapi import FastAPI

from ai_db_proxy.agents import on_socket
from durable_demos._model import demo_model
from durable_demos._serve import Demo
from durable_demos.tanstack_ai_durable_session._agents import addressed
from durable_demos.tanstack_ai_durable_session._app import create_app
from durable_demos.tanstack_ai_durable_session._companions import quote, sentences

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from starlette.types import Receive, Scope, Send

NAME = "tanstack-ai-durable-session"
UNIT = float(os.environ.get("DURABLE_TEST_UNIT", "1"))


@asynccontextmanager
async def running(data: Path) -> AsyncIterator[httpx2.AsyncClient]:
    """The demo on a port, and a client of it."""
    app = FastAPI()

    async def on_port(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)

    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(on_socket(on_port))
        origin = f"http://127.0.0.1:{port}"
        app = create_app(Demo(NAME, origin, data, demo_model(0), 0))
        await stack.enter_async_context(app.router.lifespan_context(app))
        client = httpx2.AsyncClient(base_url=origin, timeout=20 * UNIT)
        yield await stack.enter_async_context(client)


async def ask(client: httpx2.AsyncClient, content: str) -> None:
    body = {"content": content, "actorId": "ada"}
    (await client.post("/durable/v1/sessions/s/messages", json=body)).raise_for_status()


async def messages(client: httpx2.AsyncClient, count: int) -> list[dict[str, Any]]:
    """The messages, once there are so many and all are complete."""
    async with asyncio.timeout(20 * UNIT):
        while True:
            found = (await client.get("/durable/v1/sessions/s/messages")).json()["messages"]
            if len(found) >= count and all(one["isComplete"] for one in found):
                return list(found)
            await asyncio.sleep(0.02 * UNIT)


def text(message: dict[str, Any]) -> str:
    return "".join(part["content"] for part in message["parts"] if part["type"] == "text")


async def test_a_session_is_made_with_an_agent_that_answers(tmp_path: Path) -> None:
    async with running(tmp_path) as client:
        missing = await client.post("/api/sessions/s", json={"create": False})
        assert (missing.status_code, missing.json()["detail"]["code"]) == (404, "session_not_found")
        assert (await client.post("/api/sessions/s", json={"create": True})).is_success
        await ask(client, "hello")
        _, answer = await messages(client, 2)
        assert (answer["actorId"], "I am a scripted model" in text(answer)) == ("assistant", True)
        assert (await client.get("/api/calls")).json() == {"calls": 1}


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize("named", ["%00", "a%3Fb", "a%23b", "%C3%A9", "a%20b", "%ff"])
async def test_what_cannot_be_a_session_is_refused(
    tmp_path: Path, named: str, *, create: bool
) -> None:
    async with running(tmp_path) as client:
        refused = await client.post(f"/api/sessions/{named}", json={"create": create})
        assert (refused.status_code, refused.json()["detail"]["code"]) == (400, "invalid_id")


async def test_a_critic_answers_people_and_agents(tmp_path: Path) -> None:
    async with running(tmp_path) as client:
        await client.post("/api/sessions/s", json={"create": True})
        endpoint = f"{str(client.base_url).rstrip('/')}/agents/critic"
        critic = {"id": "critic", "endpoint": endpoint, "format": "ag-ui", "triggers": "all"}
        agents = {"agents": [critic]}
        (await client.post("/durable/v1/sessions/s/agents", json=agents)).raise_for_status()
        await ask(client, "Plan a weekend in Lisbon")
        said = [one for one in await messages(client, 4) if one["actorId"] == "critic"]
        assert "No objection" in text(said[0])
        assert "words in" in text(said[1])


async def test_after_a_start_on_another_port_agents_are_where_they_are_now(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as client:
        await client.post("/api/sessions/s", json={"create": True})
        before = str(client.base_url)
    async with running(tmp_path) as client:
        assert str(client.base_url) != before
        await client.post("/api/sessions/s", json={"create": False})
        await ask(client, "hello")
        _, answer = await messages(client, 2)
        assert "error" not in answer


async def test_an_agent_says_what_it_cannot_read(tmp_path: Path) -> None:
    async with running(tmp_path) as client:
        assert (await client.post("/agents/critic", content=b"no JSON")).status_code == 422


def asked(*messages: Any, **more: Any) -> RunAgentInput:
    empty: dict[str, Any] = {"state": {}, "tools": [], "context": [], "forwarded_props": {}}
    return RunAgentInput(thread_id="t", run_id="r", messages=list(messages), **empty, **more)


def test_the_last_word_of_another_agent_is_a_question() -> None:
    user, agent = UserMessage(id="1", content="hi"), AssistantMessage(id="2", content="ho")
    whole = addressed(asked(user, agent), whole_history=True).messages
    assert [(one.role, one.content) for one in whole] == [("user", "hi"), ("user", "ho")]
    (last,) = addressed(asked(user, agent), whole_history=False).messages
    assert (last.role, last.content) == ("user", "ho")
    assert addressed(asked(), whole_history=True).messages == []


@pytest.mark.parametrize(
    ("markdown", "found"),
    [
        ("", []),
        ("# Head\n\nOne thing. Another *thing*!", ["One thing.", "Another thing!"]),
        ("- [a link](http://x.example) here\n\n```py\ncode here\n```", ["a link here"]),
        ("| a | b |\n|---|---|\n\nAfter the table.", ["After the table."]),
    ],
)
def test_sentences_of_markdown(markdown: str, found: list[str]) -> None:
    assert sentences(markdown) == found


def test_a_quotation_ends_with_a_word() -> None:
    assert quote("short") == "short"
    long = quote("word " * 40)
    assert long.endswith("word …")
    assert len(long) < 100
