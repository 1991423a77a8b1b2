"""What the compose file describes, run from processes: a database, the log, proxies, sessions."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from openai import DefaultHttpxClient, OpenAI

import emulator
from deploy.composed import OURS, seconds
from deploy.running import UNIT, Process
from durable_ai_db import AgentSpec, SyncDurableChatClient
from durable_transport import DurableTransport, MemoryStorage, resume, session
from emulator import Script
from streams.postgres import database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from openai import Stream
    from openai.types.chat import ChatCompletionChunk

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240 * UNIT)]

VARIABLES = {
    "POSTGRES_PASSWORD": "0" * 48,
    "PROXY_SECRET": "1" * 48,
    "SESSIONS_SECRET": "2" * 48,
    "ELECTRIC_SECRET": "3" * 48,
}
CONVERSATION = ["Is it raining?", "It is raining."]


def _databases(stack: ExitStack) -> tuple[str, str]:
    """Make two on one server."""
    first = stack.enter_context(database())
    server, _, name = first.url.rpartition("/")
    first.execute(f"CREATE DATABASE {name}_2")
    stack.callback(first.execute, f"DROP DATABASE {name}_2 WITH (FORCE)")
    return first.url, f"{server}/{name}_2"


class Topology:
    """All services, well, and a model that they may call."""

    def __init__(self, folder: Path, upstream: emulator.Upstream, stack: ExitStack) -> None:
        self.upstream = upstream
        self.empty = folder / "read-only"
        self.empty.mkdir()
        self._folder = folder
        self._stack = stack
        allowed = {"PROXY_ALLOW": f"{upstream.url}/**", "SESSIONS_ALLOW": f"{upstream.url}/**"}
        self._variables = VARIABLES | allowed
        server = f"postgresql://durable:{VARIABLES['POSTGRES_PASSWORD']}@postgres:5432"
        self._addresses = {
            f"{server}/{name}": url
            for name, url in zip(("streams", "proxy"), _databases(stack), strict=True)
        }
        streams = self._start("streams")
        streams.wait_until_healthy()
        self._addresses["http://streams:3001"] = streams.url
        # Nothing but the database is shared by the two: any number of them may stand there.
        self.proxies = [self._start("proxy", number) for number in (1, 2)]
        self.sessions = self._start("sessions")
        self.all = [streams, *self.proxies, self.sessions]
        for one in self.all:
            one.wait_until_healthy()

    def _start(self, service: str, number: int = 1) -> Process:
        log = self._folder / f"{service}-{number}.log"
        process = Process(service, self._variables, self._addresses, folder=self.empty, log=log)
        self._stack.callback(process.end)
        return process

    def client(self, proxy: Process, storage: MemoryStorage) -> OpenAI:
        """A program on this machine that calls the model through a proxy."""
        transport = DurableTransport(
            proxy.url, storage=storage, headers={"X-Proxy-Secret": VARIABLES["PROXY_SECRET"]}
        )
        return OpenAI(
            api_key="sk-test",
            base_url=self.upstream.openai_url,
            http_client=DefaultHttpxClient(transport=transport),
            max_retries=0,
        )

    def ask(
        self, client: OpenAI, script: str, headers: dict[str, str]
    ) -> Stream[ChatCompletionChunk]:
        """Have the model answer."""
        return client.chat.completions.create(
            model=script,
            messages=[{"role": "user", "content": "Hello"}],
            stream=True,
            extra_headers=headers,
        )


@pytest.fixture
def topology(tmp_path: Path) -> Iterator[Topology]:
    with ExitStack() as stack:
        upstream = stack.enter_context(emulator.serve())
        yield Topology(tmp_path, upstream, stack)


def _text(events: Stream[ChatCompletionChunk]) -> str:
    return "".join(event.choices[0].delta.content or "" for event in events if event.choices)


def test_the_services_of_the_compose_file_work_together(topology: Topology) -> None:
    one, other = topology.proxies
    words = tuple(f"word{number} " for number in range(40))

    # What was left is resumed, and read whole through the other proxy; the model is asked once.
    topology.upstream.add(Script(id="left", tokens=words, pace=0.01))
    storage = MemoryStorage()
    turn = session("chat-1", request_id="turn-1")
    with topology.client(one, storage) as client:
        stream = topology.ask(client, "left", turn)
        next(stream)
        stream.close()
        assert _text(topology.ask(client, "left", resume("chat-1"))).endswith(words[-1])
    with topology.client(other, MemoryStorage()) as client:
        assert _text(topology.ask(client, "left", turn)) == "".join(words)
    assert topology.upstream.calls("left") == 1

    # A message in a session is answered by an agent; the session is on the streams server.
    topology.upstream.add(Script(id="agent", tokens=("It ", "is ", "raining.")))
    with SyncDurableChatClient(
        "support-42",
        topology.sessions.url,
        actor_id="ada",
        headers={"Authorization": f"Bearer {VARIABLES['SESSIONS_SECRET']}"},
    ) as chat:
        agent = AgentSpec(
            "bot",
            f"{topology.upstream.openai_url}/chat/completions",
            body_template={"model": "agent"},
        )
        chat.register_agents([agent])
        chat.send_message("Is it raining?")
        deadline = time.monotonic() + 30 * UNIT
        while [row.text for row in chat.messages if row.is_complete] != CONVERSATION:
            assert time.monotonic() < deadline, chat.messages
            time.sleep(0.02)

    # A proxy that is asked to stop takes leave of the balancer and finishes what it has begun.
    topology.upstream.add(Script(id="held", tokens=words, hold_after=3))
    with topology.client(one, MemoryStorage()) as client:
        stream = topology.ask(client, "held", session("chat-2"))
        next(stream)
        one.ask_to_stop()
        one.wait_until_healthy(is_so=False)
        topology.upstream.release("held")
        assert _text(stream).endswith(words[-1])
    grace = seconds(OURS["proxy"]["stop_grace_period"])
    assert one.exit_code(grace * UNIT) == 0

    for process in topology.all:
        if process is not one:
            process.ask_to_stop()
    assert [process.exit_code(grace * UNIT) for process in topology.all] == [0, 0, 0, 0]
    assert list(topology.empty.iterdir()) == [], "something was written where nothing can be"
