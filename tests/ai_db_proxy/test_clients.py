"""The clients of `durable_ai_db` and the service, through disconnects and a killed server."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

from ai_db_proxy.agents import agent_server
from ai_db_proxy.command import running
from ai_db_proxy.harness import eventually
from durable_ai_db import DurableChatClient

if TYPE_CHECKING:
    from pathlib import Path

    from ai_db_proxy.agents import Call

SEED = 20


def collections(client: DurableChatClient) -> dict[str, Any]:
    """What a client has, as JSON."""
    every = client.collections
    return {
        "messages": [one.to_json() for one in client.messages],
        "calls": {key: one.to_json() for key, one in every.tool_calls.items()},
        "results": {key: one.to_json() for key, one in every.tool_results.items()},
        "approvals": {key: one.to_json() for key, one in every.approvals.items()},
        "agents": sorted(every.agents),
    }


async def test_two_clients_end_with_the_same_whatever_happens(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    async with (
        agent_server() as agents,
        running(f"sqlite:///{tmp_path}/s.sqlite", tmp_path) as (command, http),
    ):

        async def talks(call: Call) -> None:
            for n in range(30):
                await call.say(f"w{n} ")
                await asyncio.sleep(0.005)
            await call.done()

        async def uses_tools(call: Call) -> None:
            name = f"c{len(agents.calls['tools'])}"
            await call.say("let me see")
            await call.call_tool(name, "search", {"q": name})
            await call.done("tool_calls")

        agents.answers |= {"talks": talks, "tools": uses_tools}
        ann = DurableChatClient("s1", command.url, actor_id="ann")
        bob = DurableChatClient("s1", command.url, actor_id="bob")
        clients = (ann, bob)
        try:
            await asyncio.gather(ann.connect(), bob.connect())
            await http.register(agents.spec("talks"), agents.spec("tools"))
            sending = []
            for turn in range(4):
                sender, other = chance.sample(clients, 2)
                sending.append(sender.send_message(f"turn {turn}"))
                await asyncio.sleep(chance.uniform(0, 0.1))
                await other.pause()
                if turn == 2:
                    await agents.called("talks")
                    await command.kill()
                    await asyncio.sleep(0.05)
                    await command.start()
                await other.resume()
            for one in sending:
                await one
            state = await http.quiet()
            want = state.messages
            await eventually(
                lambda: all(
                    [one.to_json() for one in client.messages]
                    == [one.to_json() for one in want.timeline()]
                    for client in clients
                )
            )
            assert collections(ann) == collections(bob)
            assert collections(ann)["calls"] == {
                key: one.to_json() for key, one in want.tool_calls.items()
            }
            assert sum(one.text.startswith("turn") for one in ann.messages) == 4
            late = DurableChatClient("s1", command.url, actor_id="late")
            await late.connect()
            assert collections(late) == collections(ann)
            await late.disconnect()
        finally:
            await asyncio.gather(ann.disconnect(), bob.disconnect())
