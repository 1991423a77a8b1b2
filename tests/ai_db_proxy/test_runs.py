"""When agents are called: policies, triggers, turns, and several of them at once."""

from __future__ import annotations

import asyncio
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from ai_db_proxy.agents import agent_server
from ai_db_proxy.harness import conversation, served, statuses
from durable_ai_db_proxy._policy import ACTIONS, RunPolicy, is_triggered
from durable_ai_db_proxy._run import TRANSITIONS, Status, Step

if TYPE_CHECKING:
    from ai_db_proxy.agents import AgentServer, Call


def held(agents: AgentServer, name: str) -> asyncio.Event:
    """Have an agent wait for the event before it answers."""
    go = asyncio.Event()

    async def answer(call: Call) -> None:
        waiting = [asyncio.ensure_future(one) for one in (go.wait(), call.gone.wait())]
        await call.say("I ")
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for one in waiting:
            one.cancel()
        await call.say("say")
        await call.done()

    agents.answers[name] = answer
    return go


def test_the_policy_table_has_every_case() -> None:
    assert set(ACTIONS) == set(product(RunPolicy, (False, True)))


def test_every_step_of_a_run_is_in_the_table_or_impossible() -> None:
    for status in Status:
        steps = TRANSITIONS.get(status, {})
        assert status.is_open == bool(steps)
        for step, ends in steps.items():
            assert step in Step
            assert ends <= set(Status)


def test_triggers() -> None:
    assert is_triggered(None, by_user=True, own=False)
    assert not is_triggered(None, by_user=False, own=False)
    assert is_triggered("all", by_user=False, own=False)
    assert not is_triggered("all", by_user=False, own=True)


@pytest.mark.parametrize("policy", list(RunPolicy))
async def test_two_tabs_press_send_at_once(policy: RunPolicy) -> None:
    async with agent_server() as agents, served() as client:
        await client.create(runPolicy=policy)
        await client.register(agents.spec("agent"))
        go = held(agents, "agent")
        answers = await asyncio.gather(
            *(client.call("POST", "/messages", json={"content": f"tab {n}"}) for n in (1, 2))
        )
        await agents.called("agent")
        codes = sorted(one.status_code for one in answers)
        assert codes == ([200, 409] if policy is RunPolicy.REJECT else [200, 200])
        if policy in (RunPolicy.INTERRUPT, RunPolicy.PARALLEL):
            await client.until(
                lambda state: (
                    [one for one in statuses(state) if one == "running"]
                    and "queued" not in statuses(state)
                    and "ending" not in statuses(state)
                )
            )
        go.set()
        state = await client.quiet()
        expected = {
            RunPolicy.REJECT: [["completed"]],
            RunPolicy.ENQUEUE: [["completed"] * 2],
            RunPolicy.INTERRUPT: [["aborted", "completed"]],
            RunPolicy.PARALLEL: [["completed"] * 2],
        }[policy]
        assert statuses(state) in expected
        sent = [text for actor, text in conversation(state) if actor != "agent"]
        assert len(sent) == (1 if policy is RunPolicy.REJECT else 2)
        if policy is RunPolicy.ENQUEUE:
            first, second = agents.calls["agent"]
            assert len(second.texts) > len(first.texts)
            assert [role for role, _ in second.texts] == ["user", "assistant", "user"]


async def test_several_agents_answer_at_once() -> None:
    async with agent_server() as agents, served() as client:
        await client.create()
        await client.register(agents.spec("a"), agents.spec("b"))
        go_a, go_b = held(agents, "a"), held(agents, "b")
        await client.send("hello", actorId="ann")
        await agents.called("a")
        await agents.called("b")
        go_b.set()
        await client.until(lambda state: statuses(state).count("completed") == 1)
        go_a.set()
        state = await client.quiet()
        assert sorted(conversation(state)[1:]) == [("a", "I say"), ("b", "I say")]


async def test_an_agent_that_comes_with_a_message_answers_that_one_only() -> None:
    async with agent_server() as agents, served() as client:
        await client.create()
        agents.answer("inline", "here")
        await client.send("one", agent=agents.spec("inline"))
        await client.quiet()
        await client.send("two")
        state = await client.quiet()
        assert [actor for actor, _ in conversation(state)].count("inline") == 1


async def test_agents_answer_each_other_up_to_a_limit() -> None:
    async with agent_server() as agents, served(agent_turns=3) as client:
        await client.create()
        await client.register(agents.spec("a", triggers="all"), agents.spec("b", triggers="all"))
        agents.answer("a", "ping")
        agents.answer("b", "pong")
        await client.send("go", actorId="ann")
        state = await client.quiet()
        causes = [run.cause.value for run in state.runs.values()]
        assert causes.count("message") == 2
        refused = [run for run in state.runs.values() if run.status is Status.REFUSED]
        assert refused
        assert {run.code for run in refused} == {"loop_limit"}
        assert statuses(state).count("completed") == 2 + 3
        calls = sum(map(len, agents.calls.values()))
        assert calls == 5
        # A person speaks, and they may again.
        await client.send("more", actorId="ann")
        await client.quiet()
        assert sum(map(len, agents.calls.values())) > calls


async def test_who_answers_an_agent_is_asked_about_what_that_one_said() -> None:
    """Also when it has said something itself since the other one began to speak."""
    async with agent_server() as agents, served() as client:
        await client.create()
        await client.register(agents.spec("slow"), agents.spec("critic", triggers="all"))
        go_slow, go_critic = held(agents, "slow"), asyncio.Event()

        async def judge(call: Call) -> None:
            await go_critic.wait()
            await call.say("noted")
            await call.done()

        agents.answers["critic"] = judge
        await client.send("hello", actorId="ann")
        await client.until(lambda state: ("slow", "I ") in conversation(state))
        go_critic.set()
        await client.until(lambda state: statuses(state).count("completed") == 1)
        go_slow.set()
        await client.quiet()
        _, second = agents.calls["critic"]
        assert [text for _, text in second.texts] == ["hello", "noted", "I say"]


async def test_a_message_sent_twice_is_there_once() -> None:
    async with agent_server() as agents, served() as client:
        await client.create()
        await client.register(agents.spec("echo"))
        agents.answer("echo", "yes")
        body: dict[str, Any] = {"content": "hi", "messageId": "m1", "actorId": "ann"}
        await asyncio.gather(*(client.post("/messages", **body) for _ in range(5)))
        await client.quiet()
        assert len(agents.calls["echo"]) == 1
        changed = body | {"content": "other"}
        assert await client.refused("/messages", **changed) == (409, "message_exists")


async def test_messages_of_other_roles_keep_them() -> None:
    async with agent_server() as agents, served() as client:
        await client.create()
        await client.register(agents.spec("user-only"), agents.spec("any", triggers="all"))
        agents.answer("any", "noted")
        await client.send("be kind", role="system", actorId="boss")
        await client.send("I was", role="assistant", actorId="any", actorType="agent")
        state = await client.quiet()
        roles = [one.role for one in state.messages.timeline()]
        assert sorted(roles) == ["assistant", "assistant", "system"]
        assert "user-only" not in agents.calls
        assert len(agents.calls["any"]) == 1


async def test_a_token_is_not_a_transaction() -> None:
    async with agent_server() as agents, served() as client:
        await client.create()
        await client.register(agents.spec("fast"))

        async def answer(call: Call) -> None:
            events = b"".join(b'data: {"type":"content","delta":"%d "}\n\n' % n for n in range(500))
            await call.raw(events)
            await call.done()

        agents.answers["fast"] = answer
        log = client.app.state.sessions.service.log.log
        commits: list[object] = []
        log.on_batch(commits.append)
        await client.send("go")
        state = await client.quiet()
        assert state.messages.timeline()[-1].text.split()[-1] == "499"
        assert len(commits) < 50
