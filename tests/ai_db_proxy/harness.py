"""The session service under test: the whole of it on a socket, and a client for it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import uvicorn

from durable_ai_db_proxy import create_app
from durable_ai_db_proxy._state import SessionState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

UNIT = float(os.environ.get("DURABLE_TEST_UNIT", "1"))
LOOPBACK = "127.0.0.1"
ANY_LOOPBACK = f"http://{LOOPBACK}:*/**"


class Client:
    """A client of one service.

    Attributes:
        session: Name of the session that calls are about.
        app: The service's application, where it is in this process.
    """

    def __init__(
        self, url: str, http: httpx2.AsyncClient, session: str = "s1", app: Any = None
    ) -> None:
        self.url = url
        self.http = http
        self.session = session
        self.app = app

    def of(self, session: str) -> Client:
        """The same for another session."""
        return Client(self.url, self.http, session, self.app)

    async def call(self, method: str, path: str = "", **given: Any) -> httpx2.Response:
        return await self.http.request(
            method, f"{self.url}/v1/sessions/{self.session}{path}", **given
        )

    async def post(self, path: str, expect: int = 200, **body: Any) -> Any:
        answer = await self.call("POST", path, json=body)
        assert answer.status_code == expect, answer.text
        return answer.json() if answer.content else None

    async def refused(self, path: str, **body: Any) -> tuple[int, str]:
        """Status and code of a POST that is refused."""
        return code_of(await self.call("POST", path, json=body))

    async def create(self, **body: Any) -> Any:
        answer = await self.call("PUT", "", json=body)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    async def send(self, content: str, **fields: Any) -> str:
        sent = await self.post("/messages", content=content, **fields)
        return str(sent["messageId"])

    async def register(self, *specs: dict[str, Any]) -> None:
        await self.post("/agents", agents=list(specs))

    async def rows(self) -> list[Any]:
        """Everything in the session's stream."""
        url = f"{self.url}/v1/stream/sessions/{self.session}"
        answer = await self.http.get(url, params={"offset": "-1"})
        assert answer.status_code == 200, answer.text
        found: list[Any] = answer.json()
        return found

    async def state(self) -> SessionState:
        """What the stream comes to."""
        state = SessionState(self.session)
        state.apply(await self.rows())
        return state

    async def until(self, condition: Callable[[SessionState], Any]) -> SessionState:
        """Wait for a state of the session."""
        state = SessionState(self.session)
        try:
            async with asyncio.timeout(10 * UNIT):
                while not condition(state := await self.state()):  # noqa: ASYNC110 - over HTTP
                    await asyncio.sleep(0.01)
        except TimeoutError:
            print([run.to_row().value for run in state.runs.values()])
            print(state.messages.document())
            raise
        return state

    async def quiet(self) -> SessionState:
        """Wait until no agent speaks or is about to."""
        return await self.until(lambda state: not state.open_runs())


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait for something that has no event to wait for."""
    async with asyncio.timeout(10 * UNIT):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def code_of(answer: httpx2.Response) -> tuple[int, str]:
    """Status and error code."""
    return answer.status_code, str(answer.json()["error"]["code"])


def conversation(state: SessionState) -> list[tuple[str, str]]:
    """Who said what."""
    return [(one.actor_id, one.text) for one in state.messages.timeline()]


def statuses(state: SessionState) -> list[str]:
    """How the runs are, in the order in which they were asked for."""
    return [run.status.value for run in state.runs.values()]


@asynccontextmanager
async def served(store: Any = "sqlite://", **options: Any) -> AsyncIterator[Client]:
    """The whole service on a loopback port."""
    given: dict[str, Any] = {"allow": [ANY_LOOPBACK], "drain_seconds": 0.0} | options
    app = create_app(store, **given)
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        port = listener.getsockname()[1]
        config = uvicorn.Config(app, http="httptools", lifespan="off", ws="none", log_config=None)
        server = uvicorn.Server(config)
        server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
        async with app.state.sessions.running(), httpx2.AsyncClient(timeout=20 * UNIT) as http:
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            async with asyncio.timeout(10 * UNIT):
                while not server.started:  # noqa: ASYNC110 - it has no event for that
                    await asyncio.sleep(0.002)
            try:
                yield Client(f"http://{LOOPBACK}:{port}", http, app=app)
            finally:
                await app.state.sessions.drain()
                await http.aclose()
                server.should_exit = True
                await serving
