"""The client at the real session service: agents, answers, forks, and a server that dies."""

from __future__ import annotations

import asyncio
import random
import signal
import socket
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ai_db.chat_service import within
from ai_db.logs import until
from ai_db_proxy.agents import AgentServer, agent_server
from ai_db_proxy.harness import ANY_LOOPBACK, served
from durable_ai_db import AgentSpec, DurableChatClient, SessionConflict, SessionNotFound
from durable_ai_db.materialize import Materializer
from durable_ai_db_proxy._run import Run
from durable_transport import DurableStream, Timing
from streams.gate import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ai_db_proxy.agents import Call

EAGER = Timing(give_up_after=0.2, start_patience=0.2, backoff_first=0.01, backoff_limit=0.05)


def agent(agents: AgentServer, name: str = "bot", **fields: Any) -> AgentSpec:
    return AgentSpec(name, agents.url(name), **fields)


@asynccontextmanager
async def pair(url: str, session: str = "s1") -> AsyncIterator[list[DurableChatClient]]:
    """Two clients of one session."""
    options: dict[str, Any] = {"timing": EAGER}
    async with (
        DurableChatClient(session, url, actor_id="ada", **options) as ada,
        DurableChatClient(session, url, actor_id="bob", **options) as bob,
    ):
        yield [ada, bob]


def texts(client: DurableChatClient) -> list[tuple[str, str]]:
    return [(message.actor_id, message.text) for message in client.messages]


def seen(client: DurableChatClient) -> dict[str, Any]:
    """A snapshot of what all clients have in common."""
    return {name: value for name, value in client.snapshot().items() if name != "offset"}


async def from_scratch(client: DurableChatClient) -> dict[str, Any]:
    """What a materializer makes of the log, read once more."""
    async with DurableStream(client._db.url, content_type="application/json") as log:
        found = await log.read_json()
    again = DurableChatClient(client.session_id, "http://127.0.0.1:9")
    again._db.state.take(found.data)
    made = Materializer(session_id=client.session_id)
    made.apply(again.collections.chunks.values())
    assert [row.to_json() for row in made.timeline()] == again.snapshot()["messages"]
    return seen(again)


async def test_a_message_is_answered_and_everybody_sees_it() -> None:
    async with agent_server() as agents, served() as service:
        agents.answer("bot", "It is ", "raining.")
        finished: list[str] = []
        async with pair(service.url) as (ada, bob):
            bob._on_finish = lambda message: finished.append(message.text)
            await ada.register_agents([agent(agents)])
            await until(lambda: "bot" in bob.collections.agents)
            await within(ada.send_message("weather?"))
            await until(lambda: finished == ["It is raining."])
            for client in (ada, bob):
                await until(lambda client=client: len(client.messages) == 2)  # type: ignore[misc]
                assert texts(client) == [("ada", "weather?"), ("bot", "It is raining.")]
                assert not client.is_loading
            assert seen(ada) == seen(bob) == await from_scratch(ada)


async def test_an_answer_is_stopped_and_asked_for_again() -> None:
    async with agent_server() as agents, served() as service:

        async def endless(call: Call) -> None:
            await call.say("first")
            await call.gone.wait()

        agents.answers["bot"] = endless
        async with pair(service.url) as (ada, bob):
            await ada.register_agents([agent(agents)])
            await within(ada.send_message("go"))
            await until(lambda: bob.is_loading)
            await bob.stop()
            await until(lambda: not ada.is_loading and not bob.is_loading)
            assert ada.messages[-1].interrupted
            agents.answer("bot", "second")
            await ada.reload()
            wanted = [("ada", "go"), ("bot", "second")]
            for client in (ada, bob):
                await until(lambda client=client: texts(client) == wanted)  # type: ignore[misc]
            await until(lambda: not ada.is_loading)
            assert seen(ada) == await from_scratch(ada)


async def test_tools_and_approvals_are_answered_once() -> None:
    async with agent_server() as agents, served() as service:

        async def asking(call: Call) -> None:
            if any(one["role"] == "tool" for one in call.body["messages"]):
                await call.say("done it")
                await call.done()
                return
            await call.call_tool("c1", "rm", {"f": "x"})
            await call.ask_approval("q1", "c1", "rm")
            await call.done("tool_calls")

        agents.answers["bot"] = asking
        async with pair(service.url) as (ada, bob):
            await ada.register_agents([agent(agents)])
            await within(ada.send_message("delete it"))
            await until(lambda: "q1" in bob.collections.approvals and not bob.is_loading)
            await within(bob.add_tool_approval_response("q1", approved=True))
            assert bob.collections.approvals["q1"].responded_by == "bob"
            await within(ada.add_tool_approval_response("q1", approved=True))
            with pytest.raises(SessionConflict) as raised:
                await within(ada.add_tool_approval_response("q1", approved=False))
            assert raised.value.code == "already_answered"
            assert ada.collections.approvals["q1"].status == "approved"
            await within(bob.add_tool_result("c1", {"deleted": 1}))
            await until(lambda: texts(ada)[-1] == ("bot", "done it") and not ada.is_loading)
            assert ada.collections.tool_calls["c1"].state == "complete"
            await until(lambda: seen(ada) == seen(bob))
            assert seen(ada) == await from_scratch(ada)
            for write in (
                ada.add_tool_approval_response("nothing", approved=True),
                ada.add_tool_result("nothing", 1),
            ):
                with pytest.raises(SessionNotFound):
                    await within(write)
            assert ada.pending == ()


async def test_a_fork_has_the_messages_and_goes_its_own_way() -> None:
    async with served() as service, pair(service.url) as (ada, _):
        await within(ada.send_message("one", message_id="m1"))
        await within(ada.send_message("two", message_id="m2"))
        fork = await ada.fork(at_message_id="m1")
        async with pair(service.url, fork.session_id) as (other, _):
            assert texts(other) == [("ada", "one")]
            await within(other.send_message("elsewhere"))
            assert [text for _, text in texts(ada)] == ["one", "two"]
        with pytest.raises(SessionNotFound) as raised:
            await ada.fork(at_message_id="nothing")
        assert raised.value.code == "message_not_found"


async def test_who_is_there_is_seen() -> None:
    async with served() as service, pair(service.url) as (ada, bob):
        await ada.set_presence("online", name="Ada")
        await until(lambda: "ada" in bob.collections.presence)
        assert bob.collections.presence["ada"].name == "Ada"
        await ada.disconnect()
        await until(lambda: bob.collections.presence["ada"].status == "offline")


async def test_everything_may_be_said_and_sent_twice() -> None:
    async with served() as service, pair(service.url) as (ada, bob):
        strange = "\x00 ü \U0001f600 \u2028 " + "x" * 100_000
        await within(ada.send_message(strange, message_id="m1"))
        await within(ada.append({"role": "system", "content": "be kind"}))
        await until(lambda: len(bob.messages) == 2)
        assert bob.messages[0].text == strange
        assert [message.role for message in bob.messages] == ["user", "system"]
        await within(ada.send_message(strange, message_id="m1"))
        with pytest.raises(SessionConflict):
            await within(ada.send_message("other", message_id="m1"))
        assert (len(ada.messages), ada.messages[0].text) == (2, strange)
        assert ada.collections.messages["m1"].actor_id == "ada"


class Serving:
    """The service as a process that is killed and started again at the same address."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        command = Path(sys.executable).with_name("durable-sessions")
        store = f"sqlite:///{self._folder / 'sessions.sqlite'}"
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220  (a process takes no time to start)
                [
                    *(str(command), "serve", "--port", str(self.port), "--store", store),
                    *("--lease", "1", "--allow", ANY_LOOPBACK),
                ],
                stdout=log,
                stderr=log,
            )
        await until(self._answers)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    async def kill(self, by: signal.Signals = signal.SIGKILL) -> None:
        assert self._process is not None
        self._process.send_signal(by)
        await asyncio.to_thread(self._process.wait, PATIENCE)


def _are_over(client: DurableChatClient, count: int) -> bool:
    """Whether all runs of agents have been, and have ended."""
    runs = [value for (kind, _), value in client.collections.others.items() if kind == "run"]
    return len(runs) == count and not any(Run.from_json(run).status.is_open for run in runs)


@pytest.mark.slow
async def test_two_clients_two_agents_and_a_server_that_is_killed(tmp_path: Path) -> None:
    chance = random.Random(20260101)
    serving = Serving(tmp_path)
    await serving.start()
    try:
        async with agent_server() as agents:
            for name in ("one", "two"):
                agents.answer(name, "I am ", name, " and I say so.")
            async with pair(serving.url) as clients:
                await clients[0].register_agents([agent(agents, name) for name in ("one", "two")])
                writes = []
                for turn in range(24):
                    client = chance.choice(clients)
                    writes.append(client.send_message(f"turn {turn}", message_id=f"t{turn}"))
                    if turn % 5 == 2:
                        await client.pause()
                        await asyncio.sleep(0.02)
                        await client.resume()
                    if turn == 11:
                        await asyncio.sleep(0.03)
                        await serving.kill()
                        await serving.start()
                    await asyncio.sleep(0.01 * chance.random())
                for write in writes:
                    await within(write)
                ada, bob = clients
                # Two runs for each turn; one that the kill has ended is over too.
                await until(lambda: _are_over(ada, 48) and ada._db.offset == bob._db.offset)
                shown = seen(ada)
                assert shown == seen(bob) == await from_scratch(ada)
                sent = [m for m in shown["messages"] if m["actorId"] in ("ada", "bob")]
                assert {m["id"] for m in sent} == {f"t{turn}" for turn in range(24)}
                assert len(sent) == 24
    finally:
        await serving.kill(signal.SIGTERM)
