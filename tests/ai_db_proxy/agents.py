"""Agents for the session service to call: a server on a socket whose answers a test decides."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.server import ServerState

from ai_db_proxy.harness import LOOPBACK, UNIT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    Answer = Callable[["Call"], Coroutine[Any, Any, None]]


class Call:
    """One call of an agent, and the way to answer it piece by piece."""

    def __init__(self, path: str, headers: dict[str, str], body: Any, send: Any) -> None:
        self.path = path
        self.headers = headers
        self.body = body
        self.gone = asyncio.Event()
        self._send = send
        self.started = False

    @property
    def texts(self) -> list[tuple[str, str]]:
        """Role and text of the messages."""
        return [(one["role"], str(one.get("content"))) for one in self.body["messages"]]

    async def start(self, status: int = 200, content_type: str = "text/event-stream") -> None:
        headers = [(b"content-type", content_type.encode())] if content_type else []
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        self.started = True

    async def raw(self, data: bytes) -> None:
        if not self.started:
            await self.start()
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def event(self, chunk: Any) -> None:
        await self.raw(b"data: " + json.dumps(chunk).encode() + b"\n\n")

    async def say(self, *deltas: str) -> None:
        """Deltas of the older TanStack format."""
        for delta in deltas:
            await self.event({"type": "content", "delta": delta, "role": "assistant"})

    async def done(self, reason: str = "stop") -> None:
        await self.event({"type": "done", "finishReason": reason})

    async def call_tool(self, call_id: str, name: str, arguments: Any) -> None:
        function = {"name": name, "arguments": json.dumps(arguments)}
        call = {"id": call_id, "type": "function", "function": function}
        await self.event({"type": "tool_call", "index": 0, "toolCall": call})

    async def ask_approval(self, approval_id: str, call_id: str, name: str) -> None:
        approval = {"id": approval_id, "needsApproval": True}
        await self.event(
            {
                "type": "approval-requested",
                "toolCallId": call_id,
                "toolName": name,
                "input": {},
                "approval": approval,
            }
        )


class AgentServer:
    """Serves agents by name.

    Attributes:
        calls: Every call so far, by the agent's name.
    """

    def __init__(self) -> None:
        self.port = 0
        self.answers: dict[str, Answer] = {}
        self.calls: dict[str, list[Call]] = {}
        self._changed = asyncio.Event()

    def url(self, name: str) -> str:
        return f"http://{LOOPBACK}:{self.port}/{name}"

    def spec(self, agent: str, **fields: Any) -> dict[str, Any]:
        """What registers an agent."""
        return {"id": agent, "endpoint": self.url(agent), **fields}

    def answer(self, name: str, *texts: str) -> None:
        """Have an agent say the same each time."""

        async def say(call: Call) -> None:
            await call.say(*texts)
            await call.done()

        self.answers[name] = say

    async def called(self, name: str, times: int = 1) -> Call:
        """Wait for a call of an agent."""
        async with asyncio.timeout(10 * UNIT):
            while len(self.calls.get(name, [])) < times:
                self._changed.clear()
                await self._changed.wait()
        return self.calls[name][times - 1]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        name = scope["path"].strip("/")
        headers = {one.decode(): value.decode() for one, value in scope["headers"]}
        call = Call(scope["path"], headers, json.loads(body), send)
        self.calls.setdefault(name, []).append(call)
        self._changed.set()

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            call.gone.set()

        watcher = asyncio.create_task(watch())
        answering = asyncio.create_task(self.answers[name](call))
        try:
            await asyncio.wait([answering, watcher], return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                answering.result()
                if not call.started:
                    await call.start()
                await send({"type": "http.response.body", "body": b""})
        finally:
            watcher.cancel()
            answering.cancel()
            await asyncio.gather(watcher, answering, return_exceptions=True)


@asynccontextmanager
async def on_socket(app: Any) -> AsyncIterator[int]:
    """Serve an application on a port of its own; the port."""
    config = uvicorn.Config(app, http="httptools", lifespan="off", ws="none", log_config=None)
    config.load()
    protocol: Any = config.http_protocol_class
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: protocol(config=config, server_state=state, app_state={}), LOOPBACK, 0
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for connection in list(state.connections):
            connection.shutdown()
        for task in list(state.tasks):
            task.cancel()
        await asyncio.gather(*state.tasks, return_exceptions=True)


@asynccontextmanager
async def agent_server() -> AsyncIterator[AgentServer]:
    """Serve agents on a port of their own."""
    agents = AgentServer()
    async with on_socket(agents) as port:
        agents.port = port
        yield agents
