"""Materialized reads: a snapshot, and its changes from the offset it is valid at."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from ai_db_proxy.agents import agent_server
from ai_db_proxy.harness import eventually, served
from durable_ai_db_proxy._view import apply_delta

if TYPE_CHECKING:
    from ai_db_proxy.agents import Call
    from ai_db_proxy.harness import Client


class ThinClient:
    """Rows by type and key, and nothing of a materializer."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.offset = "-1"
        self.bytes = 0
        self.resets = 0

    def apply(self, row: Any) -> None:
        if row["headers"].get("control") == "reset":
            self.rows.clear()
            self.resets += 1
            return
        if row["type"] == "message_delta":
            value = row["value"]
            apply_delta(self.rows["message"][value["messageId"]], value)
        elif row["headers"]["operation"] == "delete":
            self.rows[row["type"]].pop(row["key"], None)
        else:
            self.rows.setdefault(row["type"], {})[row["key"]] = row["value"]

    async def follow(self, client: Client) -> None:
        url = f"{client.url}/v1/sessions/{client.session}/view"
        params = {"offset": self.offset, "live": "sse"}
        async with client.http.stream("GET", url, params=params) as answer:
            assert answer.status_code == 200
            kind = ""
            async for line in answer.aiter_lines():
                self.bytes += len(line)
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data:") and kind == "data":
                    for row in json.loads(line.removeprefix("data:")):
                        self.apply(row)
                elif line.startswith("data:"):
                    self.offset = json.loads(line.removeprefix("data:"))["streamNextOffset"]


def _without_phase(rows: dict[str, Any]) -> dict[str, Any]:
    return {
        key: {name: one for name, one in row.items() if name != "phase"}
        for key, row in rows.items()
    }


def _is_answer(message: dict[str, Any]) -> bool:
    return bool(message["isComplete"]) and message["role"] == "assistant"


async def test_a_thin_client_ends_with_the_rows_of_a_materializer() -> None:
    async with agent_server() as agents, served() as client:
        await client.create()
        await client.register(agents.spec("talk"))

        async def answer(call: Call) -> None:
            for n in range(40):
                await call.say(f"word{n} ")
                await asyncio.sleep(0.002)
            await call.call_tool("c1", "rm", {"file": "x"})
            await call.ask_approval("a1", "c1", "rm")
            await call.done("tool_calls")

        agents.answers["talk"] = answer
        thin, late = ThinClient(), ThinClient()
        following = asyncio.create_task(thin.follow(client))
        try:
            await client.send("go", actorId="ann", messageId="m1")
            await asyncio.sleep(0.03)
            snapshot = (await client.call("GET", "/messages")).json()
            late.rows["message"] = {one["id"]: one for one in snapshot["messages"]}
            late.offset = snapshot["offset"]
            later = asyncio.create_task(late.follow(client))
            state = await client.quiet()
            agents.answer("talk", "fine")
            await client.post("/approvals/a1", 204, approved=True)
            state = await client.quiet()
            want = {key: row.to_json() for key, row in state.messages.messages.items()}
            await eventually(lambda: thin.rows.get("message") == late.rows["message"] == want)
            later.cancel()
        finally:
            following.cancel()
            await asyncio.gather(following, later, return_exceptions=True)
        approvals = {key: row.to_json() for key, row in state.messages.approvals.items()}
        calls = {key: row.to_json() for key, row in state.messages.tool_calls.items()}
        assert _without_phase(thin.rows["approval"]) == approvals
        assert _without_phase(thin.rows["tool_call"]) == calls
        assert not thin.rows["active_generation"]
        assert thin.rows["stats"]["s1"] == state.messages.stats.to_json()
        assert (thin.resets, late.resets) == (0, 0)
        got = (await client.call("GET", "/tool-calls")).json()
        assert [one["phase"] for one in got["toolCalls"]] == ["requested"]
        approvals_got = (await client.call("GET", "/approvals")).json()["approvals"]
        assert [one["phase"] for one in approvals_got] == ["applied"]
        assert list(thin.rows["tool_call"].values()) == got["toolCalls"]
        assert list(thin.rows["approval"].values()) == approvals_got
        stats = (await client.call("GET", "/stats")).json()["stats"]
        assert stats["messageCount"] == 3


async def test_a_token_costs_a_delta_on_the_wire() -> None:
    async with agent_server() as agents, served() as client:
        await client.create()
        await client.register(agents.spec("talk"))

        async def answer(call: Call) -> None:
            await call.say("x" * 20_000)
            for _ in range(100):
                await call.say("y")
                await asyncio.sleep(0.001)
            await call.done()

        agents.answers["talk"] = answer
        thin = ThinClient()
        following = asyncio.create_task(thin.follow(client))
        await client.send("go")
        await client.quiet()
        await eventually(lambda: any(map(_is_answer, thin.rows.get("message", {}).values())))
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        assert thin.bytes < 4 * 20_000 + 100 * 1500


async def test_an_offset_that_nobody_remembers_begins_anew() -> None:
    async with agent_server() as agents, served() as client:
        await client.create()
        await client.send("one", messageId="m1")
        answer = await client.call("GET", "/view", params={"offset": "00000000000000000003"})
        rows = answer.json()
        assert rows[0] == {"headers": {"control": "reset"}}
        assert [row["key"] for row in rows if row.get("type") == "message"] == ["m1"]
        offset = answer.headers["stream-next-offset"]
        empty = await client.call("GET", "/view", params={"offset": offset})
        assert empty.json() == []
        polling = asyncio.create_task(
            client.call("GET", "/view", params={"offset": offset, "live": "long-poll"})
        )
        await asyncio.sleep(0.02)
        await client.send("two", messageId="m2")
        rows = (await polling).json()
        assert [row["key"] for row in rows if row["type"] == "message"] == ["m2"]
        assert agents.calls == {}


async def test_a_view_has_everything_about_a_session() -> None:
    """Also who is there, who answers, what is running; live as in a snapshot."""
    async with agent_server() as agents, served() as client:
        await client.create(runPolicy="reject")

        async def ask(call: Call) -> None:
            await call.call_tool("c1", "rm", {"file": "x"})
            await call.call_tool("c2", "ls", {})
            await call.done("tool_calls")

        agents.answers["talk"] = ask
        phases: list[str] = []

        class Watching(ThinClient):
            def apply(self, row: Any) -> None:
                super().apply(row)
                if row.get("type") == "tool_call" and row["key"] == "c1":
                    phases.append(row["value"]["phase"])

        live = Watching()
        following = asyncio.create_task(live.follow(client))
        try:
            await client.register(agents.spec("talk", name="Talk"), agents.spec("other"))
            await client.call("DELETE", "/agents/other")
            await client.post("/presence", 204, actorId="ann", name="Ann")
            await client.send("go", actorId="ann")
            await client.quiet()
            agents.answer("talk", "fine")
            await client.post("/tool-results", 204, toolCallId="c1", output=1)
            await eventually(lambda: phases[-1:] == ["answered"])
            await client.post("/tool-results", 204, toolCallId="c2", output=2)
            state = await client.quiet()
            snapshot = ThinClient()
            for row in (await client.call("GET", "/view")).json():
                snapshot.apply(row)
            await eventually(lambda: {k: v for k, v in live.rows.items() if v} == snapshot.rows)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        assert phases == ["requested", "answered", "applied"]
        assert list(snapshot.rows["agent"]) == ["talk"]
        assert snapshot.rows["presence"]["ann"]["status"] == "online"
        assert [one["status"] for one in snapshot.rows["run"].values()] == ["completed"] * 2
        assert list(snapshot.rows["run"]) == list(state.runs)
        assert snapshot.rows["session"]["s1"]["runPolicy"] == "reject"
        assert live.resets == 0
