"""Sessions: made, branched, taken back, deleted; over restarts too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ai_db_proxy.agents import agent_server
from ai_db_proxy.harness import code_of, conversation, served, statuses

if TYPE_CHECKING:
    from pathlib import Path

    from ai_db_proxy.agents import Call


async def test_a_fork_has_the_messages_up_to_a_point_and_goes_its_own_way() -> None:
    async with agent_server() as agents, served() as client:
        await client.create(runPolicy="reject")
        await client.register(agents.spec("echo"))
        agents.answer("echo", "yes")
        for n in (1, 2):
            await client.send(f"question {n}", actorId="ann", messageId=f"m{n}")
            await client.quiet()
        second = (await client.state()).messages.timeline()[1].id
        forked = await client.post("/fork", 201, atMessageId=second, newSessionId="branch")
        assert forked["sessionId"] == "branch"
        branch = client.of("branch")
        assert conversation(await branch.state()) == [("ann", "question 1"), ("echo", "yes")]
        info = (await branch.call("GET")).json()
        assert (info["forkedFrom"], info["runPolicy"]) == ("s1", "reject")
        before = await client.rows()
        await branch.send("elsewhere", actorId="bob")
        await branch.quiet()
        assert agents.calls["echo"][-1].texts[-1] == ("user", "elsewhere")
        assert len(agents.calls["echo"][-1].texts) == 3
        assert await client.rows() == before
        assert await client.refused("/fork", newSessionId="branch") == (409, "session_exists")
        assert await client.refused("/fork", atMessageId="no") == (404, "message_not_found")
        # The branch outlives what it came from.
        assert (await client.call("DELETE")).status_code == 204
        assert code_of(await client.call("GET")) == (410, "session_gone")
        assert code_of(await client.call("PUT")) == (410, "session_gone")
        assert len(conversation(await branch.state())) == 4


async def test_a_fork_ends_what_was_being_said() -> None:
    async with agent_server() as agents, served() as client:
        await client.create()
        await client.register(agents.spec("slow"))

        async def answer(call: Call) -> None:
            await call.say("half ")
            await call.gone.wait()

        agents.answers["slow"] = answer
        await client.send("go", actorId="ann")
        await client.until(lambda state: len(state.messages.messages) == 2)
        await client.post("/fork", 201, newSessionId="branch")
        state = await client.of("branch").state()
        half = state.messages.timeline()[-1]
        assert (half.text, half.is_complete, half.interrupted) == ("half ", True, True)
        assert state.runs == {}
        assert len((await client.state()).open_runs()) == 1


async def test_regenerating_lets_go_of_what_follows() -> None:
    async with agent_server() as agents, served() as client:
        await client.create()
        await client.register(agents.spec("echo"))
        agents.answer("echo", "first")
        await client.send("one", actorId="ann", messageId="m1")
        await client.quiet()
        await client.send("two", actorId="ann", messageId="m2")
        await client.quiet()
        agents.answer("echo", "second")
        await client.post("/regenerate", fromMessageId="m1", content="one, again")
        state = await client.quiet()
        assert conversation(state) == [("ann", "one, again"), ("echo", "second")]
        assert agents.calls["echo"][-1].texts == [("user", "one, again")]
        # From an answer: the question stays.
        answer = state.messages.timeline()[-1].id
        agents.answer("echo", "third")
        await client.post("/regenerate", fromMessageId=answer)
        state = await client.quiet()
        assert conversation(state) == [("ann", "one, again"), ("echo", "third")]
        assert await client.refused("/regenerate", fromMessageId="no", content="x") == (
            404,
            "message_not_found",
        )


async def test_regenerating_stops_what_is_being_said() -> None:
    async with agent_server() as agents, served() as client:
        await client.create()
        await client.register(agents.spec("echo"))

        async def answer(call: Call) -> None:
            await call.say("wrong ")
            await call.gone.wait()

        agents.answers["echo"] = answer
        await client.send("one", actorId="ann", messageId="m1")
        await client.until(lambda state: len(state.messages.messages) == 2)
        agents.answer("echo", "right")
        await client.post("/regenerate", fromMessageId="m1", content="one")
        state = await client.quiet()
        assert conversation(state) == [("ann", "one"), ("echo", "right")]
        assert statuses(state) == ["aborted", "completed"]


async def test_a_deleted_session_is_gone_with_everything(tmp_path: Path) -> None:
    async with agent_server() as agents, served(f"sqlite:///{tmp_path}/s.sqlite") as client:
        await client.create()
        await client.register(agents.spec("echo", headers={"X-Key": "secret"}))
        agents.answer("echo", "yes")
        await client.send("one")
        await client.quiet()
        assert (await client.call("DELETE")).status_code == 204
        assert code_of(await client.call("DELETE")) == (404, "session_not_found")
        stream = await client.http.get(f"{client.url}/v1/stream/sessions/s1?offset=-1")
        assert stream.status_code == 404
        answer = await client.call("PUT")
        assert answer.status_code == 201
        assert (await client.call("GET", "/agents")).json() == {"agents": []}
        assert conversation(await client.state()) == []


async def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/s.sqlite"
    async with agent_server() as agents:
        agents.answer("echo", "yes")
        async with served(store) as client:
            await client.create(runPolicy="parallel")
            await client.register(agents.spec("echo", name="Echo"))
            await client.send("one", actorId="ann")
            await client.quiet()
            before = await client.rows()
        async with served(store) as client:
            assert await client.rows() == before
            assert (await client.call("PUT")).status_code == 200
            assert (await client.call("GET")).json()["runPolicy"] == "parallel"
            assert (await client.call("GET", "/agents")).json()["agents"][0]["name"] == "Echo"
            await client.send("two", actorId="ann")
            state = await client.quiet()
            assert len(agents.calls["echo"][-1].texts) == 3
            keys = [row["key"] for row in await client.rows() if row["type"] == "chunk"]
            assert len(set(keys)) == len(keys)
            assert statuses(state) == ["completed", "completed"]


async def test_what_a_process_left_running_ends_as_orphaned(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/s.sqlite"
    async with agent_server() as agents:

        async def answer(call: Call) -> None:
            await call.say("half ")
            await call.call_tool("c1", "search", {})
            await call.gone.wait()

        agents.answers["slow"] = answer
        async with served(store) as client:
            await client.create()
            await client.register(agents.spec("slow"))
            await client.send("go", actorId="ann")
            await client.until(lambda state: state.messages.tool_calls)
        async with served(store) as client:
            state = await client.quiet()
            assert statuses(state) == ["orphaned"]
            message = state.messages.timeline()[-1]
            assert (message.text, message.is_complete) == ("half ", True)
            assert message.error is not None
            assert message.error["code"] == "orphaned"
            assert [one.state for one in state.messages.tool_calls.values()] == ["complete"]
            agents.answer("slow", "again")
            await client.send("once more", actorId="ann")
            await client.quiet()
            texts = agents.calls["slow"][-1].body["messages"]
            assert [one["role"] for one in texts][-1] == "user"
