"""Messages and agents, end to end over sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ai_db_proxy.agents import agent_server
from ai_db_proxy.harness import conversation, served, statuses

if TYPE_CHECKING:
    from ai_db_proxy.agents import Call


async def test_an_agent_answers_with_the_whole_history() -> None:
    async with agent_server() as agents, served() as client:
        assert (await client.create())["streamUrl"] == "/v1/stream/sessions/s1"
        await client.register(agents.spec("echo", headers={"X-Key": "secret"}))
        agents.answer("echo", "Hel", "lo")
        await client.send("Hi", actorId="ann", messageId="m1", txid="t1")
        await client.quiet()
        await client.send("Again", actorId="bob")
        state = await client.quiet()
        said = [("ann", "Hi"), ("echo", "Hello"), ("bob", "Again"), ("echo", "Hello")]
        assert conversation(state) == said
        assert agents.calls["echo"][1].texts == [
            ("user", "Hi"),
            ("assistant", "Hello"),
            ("user", "Again"),
        ]
        assert agents.calls["echo"][0].headers["x-key"] == "secret"
        rows = await client.rows()
        assert "secret" not in str(rows)
        first = next(row for row in rows if row["key"] == "m1:0")
        assert first["headers"]["txid"] == "t1"
        assert statuses(state) == ["completed", "completed"]


async def test_stop_ends_the_answer_before_it_returns() -> None:
    async with agent_server() as agents, served() as client:
        await client.create()
        await client.register(agents.spec("slow"))

        async def answer(call: Call) -> None:
            await call.say("one ")
            await call.gone.wait()

        agents.answers["slow"] = answer
        await client.send("go", actorId="ann")
        call = await agents.called("slow")
        await client.until(lambda state: len(state.messages.messages) == 2)
        await client.post("/stop", 204, messageId=None)
        state = await client.state()
        assert statuses(state) == ["aborted"]
        message = state.messages.timeline()[-1]
        assert (message.text, message.interrupted, message.is_complete) == ("one ", True, True)
        await call.gone.wait()
        before = await client.rows()
        await client.post("/stop", 204)
        assert await client.rows() == before
