"""Real processes that are really killed, and two of them on one Postgres."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from ai_db_proxy.agents import agent_server
from ai_db_proxy.command import running
from ai_db_proxy.harness import conversation, eventually, served, statuses
from ai_db_proxy.test_answers import twice
from ai_db_proxy.test_log_contract import remote
from streams.postgres import database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ai_db_proxy.agents import Call
    from streams.postgres import Database


@pytest.fixture
def postgres() -> Iterator[Database]:
    with database() as own:
        yield own


async def _half(call: Call) -> None:
    await call.say("half ")
    await call.gone.wait()


async def test_a_killed_server_leaves_nothing_open(tmp_path: Path) -> None:
    async with (
        agent_server() as agents,
        running(f"sqlite:///{tmp_path}/s.sqlite", tmp_path) as (command, client),
    ):
        await client.create()
        await client.register(agents.spec("slow"))
        agents.answers["slow"] = _half
        await client.send("one", actorId="ann")
        await client.until(lambda state: len(state.messages.messages) == 2)
        await client.send("two", actorId="ann")  # waits for its turn
        await command.kill()
        agents.answer("slow", "whole")
        await command.start()
        state = await client.quiet()
        # What was being said is orphaned; what nobody had begun is done.
        assert statuses(state) == ["orphaned", "completed"]
        assert sorted(conversation(state)) == [
            ("ann", "one"),
            ("ann", "two"),
            ("slow", "half "),
            ("slow", "whole"),
        ]
        assert await command.terminate() == 0


async def test_an_answer_is_gone_on_from_once_whenever_the_server_dies(tmp_path: Path) -> None:
    async with (
        agent_server() as agents,
        running(f"sqlite:///{tmp_path}/s.sqlite", tmp_path) as (command, client),
    ):
        await client.create()
        await client.register(agents.spec("tool"))

        async def asks(call: Call) -> None:
            await call.call_tool("c1", "search", {})
            await call.done("tool_calls")

        agents.answers["tool"] = twice(asks)
        await client.send("go", actorId="ann")
        await client.quiet()
        await client.post("/tool-results", 204, toolCallId="c1", output=1)
        await command.kill()
        await command.start()
        await client.post("/tool-results", 204, toolCallId="c1", output=1)
        state = await client.quiet()
        going_on = [run for run in state.runs.values() if run.cause.value == "answer"]
        assert len(going_on) == 1
        assert len(agents.calls["tool"]) <= 2
        assert going_on[0].status.value in ("completed", "orphaned")


async def test_two_servers_on_one_postgres_are_one(postgres: Database, tmp_path: Path) -> None:
    async with (
        agent_server() as agents,
        running(postgres.url, tmp_path) as (first, one),
        running(postgres.url, tmp_path) as (_, two),
    ):
        await one.create(runPolicy="reject")
        await two.register(agents.spec("slow"))
        agents.answers["slow"] = _half
        # Two tabs, two servers: one run.
        answers = await asyncio.gather(
            *(
                client.call("POST", "/messages", json={"content": f"tab {n % 2}"})
                for n, client in enumerate((one, two) * 4)
            )
        )
        assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
        call = await agents.called("slow")
        await two.until(lambda state: len(state.messages.messages) == 2)
        assert len(agents.calls["slow"]) == 1
        # Either stops what the other runs, at once in the log and soon at the agent.
        await asyncio.gather(*(client.post("/stop", 204) for client in (one, two)))
        assert statuses(await one.state()) == ["aborted"]
        await eventually(call.gone.is_set)
        # One dies in the middle of an answer; the other puts an end to it.
        await one.send("again", actorId="ann")
        await two.until(lambda state: len(state.messages.messages) == 4)
        await first.kill()
        state = await two.quiet()
        assert statuses(state) == ["aborted", "orphaned"]
        agents.answer("slow", "fine")
        await two.send("and again", actorId="ann")
        state = await two.quiet()
        assert conversation(state)[-1] == ("slow", "fine")
        keys = [row["key"] for row in await two.rows() if row["type"] == "chunk"]
        assert len(set(keys)) == len(keys)


async def test_sessions_on_a_remote_server_survive_their_service() -> None:
    async with agent_server() as agents, remote() as url:
        agents.answers["slow"] = _half
        async with served(url, lease_seconds=1.0) as client:
            await client.create()
            await client.register(agents.spec("slow"))
            await client.send("one", actorId="ann", messageId="m1")
            await client.until(lambda state: len(state.messages.messages) == 2)
            await client.post("/stop", 204)
            assert statuses(await client.state()) == ["aborted"]
            agents.answer("slow", "whole")
            await client.post("/fork", 201, atMessageId="m1", newSessionId="branch")
            branch = client.of("branch")
            assert conversation(await branch.state()) == [("ann", "one")]
            await branch.send("two", actorId="ann")
            await branch.quiet()
            agents.answers["slow"] = _half
            await client.send("three", actorId="ann")
            await client.until(lambda state: len(state.messages.messages) == 4)
        async with served(url, lease_seconds=1.0) as client:
            state = await client.quiet()
            assert statuses(state) == ["aborted", "orphaned"]
            assert len(conversation(await client.of("branch").state())) == 3
