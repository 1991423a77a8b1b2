"""Tool calls and approvals: several at once, answered once, and the agent goes on once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ai_db_proxy.agents import agent_server
from ai_db_proxy.harness import served, statuses

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from ai_db_proxy.agents import Call
    from ai_db_proxy.harness import Client


def twice(
    first: Callable[[Call], Coroutine[Any, Any, None]],
) -> Callable[[Call], Coroutine[Any, Any, None]]:
    """One answer for the first call, and plain text after that."""
    calls = 0

    async def answer(call: Call) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            await first(call)
        else:
            await call.say("thanks")
            await call.done()

    return answer


async def _two_calls(call: Call) -> None:
    await call.call_tool("c1", "search", {"q": 1})
    await call.call_tool("c2", "search", {"q": 2})
    await call.done("tool_calls")


async def _two_approvals(call: Call) -> None:
    for n in (1, 2):
        await call.call_tool(f"c{n}", "rm", {"f": n})
        await call.ask_approval(f"a{n}", f"c{n}", "rm")
    await call.done("tool_calls")


async def test_the_agent_goes_on_when_all_calls_have_results() -> None:
    async with agent_server() as agents, served() as client:
        await client.create()
        await client.register(agents.spec("tool"))
        agents.answers["tool"] = twice(_two_calls)
        await client.send("go", actorId="ann")
        state = await client.quiet()
        assert len(state.messages.tool_calls) == 2
        result = {"toolCallId": "c1", "output": {"found": 1}}
        await client.post("/tool-results", 204, **result)
        await asyncio.sleep(0.05)
        assert len(agents.calls["tool"]) == 1
        second = {"toolCallId": "c2", "output": {"found": 2}}
        # Five browsers answer at once.
        await asyncio.gather(*(client.post("/tool-results", 204, **second) for _ in range(5)))
        await client.post("/tool-results", 204, **result)
        state = await client.quiet()
        assert len(agents.calls["tool"]) == 2
        roles = [one["role"] for one in agents.calls["tool"][1].body["messages"]]
        assert roles == ["user", "assistant", "tool", "tool"]
        assert [one.text for one in state.messages.timeline()][-1] == "thanks"
        assert [run.cause.value for run in state.runs.values()] == ["message", "answer"]
        assert list(state.runs.values())[-1].answers == ("c1", "c2")
        other = {"toolCallId": "c1", "output": "something else"}
        assert await client.refused("/tool-results", **other) == (409, "already_answered")
        unknown = {"toolCallId": "c9", "output": 1}
        assert await client.refused("/tool-results", **unknown) == (404, "tool_call_not_found")


async def test_the_agent_goes_on_when_all_approvals_are_answered() -> None:
    async with agent_server() as agents, served() as client:
        await client.create()
        await client.register(agents.spec("tool"))
        agents.answers["tool"] = twice(_two_approvals)
        await client.send("go", actorId="ann")
        await client.quiet()
        await client.post("/approvals/a1", 204, approved=True)
        assert await client.refused("/approvals/a1", approved=False) == (409, "already_answered")
        await asyncio.gather(*(client.post("/approvals/a2", 204, approved=False) for _ in range(4)))
        state = await client.quiet()
        assert len(agents.calls["tool"]) == 2
        assert {one.id: one.status for one in state.messages.approvals.values()} == {
            "a1": "approved",
            "a2": "denied",
        }
        assert await client.refused("/approvals/a9", approved=True) == (
            404,
            "approval_not_found",
        )
        assert statuses(state) == ["completed", "completed"]


async def _phases(client: Client, what: str) -> list[str]:
    name = {"/approvals": "approvals", "/tool-calls": "toolCalls"}[what]
    return [one["phase"] for one in (await client.call("GET", what)).json()[name]]


async def test_an_answer_is_applied_when_the_agent_goes_on_from_it() -> None:
    async with agent_server() as agents, served() as client:
        await client.create()
        await client.register(agents.spec("tool"))
        agents.answers["tool"] = twice(_two_approvals)
        await client.send("go")
        await client.quiet()
        await client.post("/approvals/a1", 204, approved=True)
        assert await _phases(client, "/approvals") == ["answered", "requested"]
        await client.post("/approvals/a2", 204, approved=True)
        await client.quiet()
        assert await _phases(client, "/approvals") == ["applied", "applied"]


async def test_a_fork_goes_on_from_all_that_was_answered_in_it() -> None:
    async with agent_server() as agents, served() as client:
        await client.create()
        await client.register(agents.spec("tool"))
        agents.answers["tool"] = twice(_two_approvals)
        await client.send("go")
        await client.quiet()
        await client.post("/fork", 201, newSessionId="branch")
        branch = client.of("branch")
        await branch.post("/approvals/a1", 204, approved=True)
        await branch.post("/approvals/a2", 204, approved=True)
        state = await branch.quiet()
        assert [run.answers for run in state.runs.values()] == [("a1", "a2")]


async def test_a_call_that_is_allowed_after_others_have_spoken_is_carried_out() -> None:
    async with agent_server() as agents, served() as client:
        await client.create()
        await client.register(agents.spec("tool"))

        async def first(call: Call) -> None:
            await _two_approvals_open(call)
            await call.done("tool_calls")

        agents.answers["tool"] = twice(first)
        await client.send("go", actorId="ann")
        await client.quiet()
        await client.send("by the way", actorId="bob")
        await client.quiet()
        await client.post("/approvals/a1", 204, approved=True)
        await client.quiet()
        *before, asked = agents.calls["tool"][2].body["messages"]
        assert [one["content"] for one in before] == ["go", "by the way", "thanks"]
        assert [one["id"] for one in asked["tool_calls"]] == ["c1"]


async def test_an_answer_that_comes_while_the_agent_speaks_counts_at_its_end() -> None:
    async with agent_server() as agents, served() as client:
        await client.create()
        await client.register(agents.spec("tool"))
        go = asyncio.Event()

        async def first(call: Call) -> None:
            await call.call_tool("c1", "search", {})
            await go.wait()
            await call.done("tool_calls")

        agents.answers["tool"] = twice(first)
        await client.send("go")
        await client.until(lambda state: state.messages.tool_calls)
        await client.post("/tool-results", 204, toolCallId="c1", output=1)
        assert await _phases(client, "/tool-calls") == ["answered"]
        go.set()
        await agents.called("tool", 2)
        state = await client.quiet()
        assert await _phases(client, "/tool-calls") == ["applied"]
        assert len(agents.calls["tool"]) == 2
        assert statuses(state) == ["completed", "completed"]


async def test_calls_of_a_stopped_run_are_closed() -> None:
    async with agent_server() as agents, served() as client:
        await client.create()
        await client.register(agents.spec("tool"))

        async def first(call: Call) -> None:
            await _two_approvals_open(call)
            await call.gone.wait()

        agents.answers["tool"] = twice(first)
        await client.send("go", actorId="ann")
        await client.until(lambda state: state.messages.approvals)
        await client.post("/stop", 204)
        state = await client.state()
        assert {one.state for one in state.messages.tool_calls.values()} == {"complete"}
        assert [one.status for one in state.messages.approvals.values()] == ["denied"]
        assert await client.refused("/approvals/a1", approved=True) == (409, "already_answered")
        await client.send("never mind", actorId="ann")
        await client.quiet()
        roles = [one["role"] for one in agents.calls["tool"][-1].body["messages"]]
        assert roles == ["user", "assistant", "tool", "user"]


async def _two_approvals_open(call: Call) -> None:
    await call.call_tool("c1", "rm", {})
    await call.ask_approval("a1", "c1", "rm")


async def test_answers_bring_their_txid() -> None:
    async with agent_server() as agents, served() as client:
        await client.create()
        await client.register(agents.spec("tool"))
        agents.answers["tool"] = twice(_two_approvals)
        await client.send("go")
        await client.quiet()
        await client.post("/approvals/a1", 204, approved=True, txid="tx-a1")
        await client.post("/tool-results", 204, toolCallId="c2", output=1, txid="tx-c2")
        txids = [row["headers"].get("txid") for row in await client.rows()]
        assert "tx-a1" in txids
        assert "tx-c2" in txids
