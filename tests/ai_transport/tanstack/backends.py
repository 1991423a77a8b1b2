"""A chat backend on a socket, over a real server of streams."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from ai_transport.answers import streams
from ai_transport.tanstack.streams import Answer
from durable_ai_transport import drain
from durable_ai_transport.tanstack import (
    ensure_stream,
    materialize_snapshot,
    read_proxy,
    to_durable_chat_session_response,
    to_resumable_run_response,
)
from proxy.harness import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import httpx2
    from ag_ui.core import RunAgentInput

    from ai_transport.answers import Streams


@dataclass
class Backend:
    """A chat backend.

    Attributes:
        url: Where it is.
        streams: The server of streams behind it.
        asked: The ids of the runs that its agent was called for.
        client: For its routes.
    """

    url: str
    client: httpx2.AsyncClient
    streams: Streams
    asked: list[str]


@dataclass
class Chat:
    """What the application is made of."""

    streams: Streams
    asked: list[str] = field(default_factory=list)
    agent: Callable[[RunAgentInput], AsyncIterator[Any]] | None = None
    options: dict[str, Any] = field(default_factory=dict)

    async def answer(self, run: RunAgentInput) -> AsyncIterator[Any]:
        """Events that come in pieces, some of them together."""
        self.asked.append(run.run_id)
        for number, event in enumerate(events_of(run.run_id)):
            if number % 3 == 0:
                await asyncio.sleep(0)
            yield event

    def application(self) -> FastAPI:
        """Its routes, as a user would write them."""
        app = FastAPI()

        @app.api_route("/api/runs", methods=["GET", "POST"])
        async def runs(request: Request) -> Response:
            return await to_resumable_run_response(
                request,
                self.agent or self.answer,
                lambda run_id: self.streams.target(f"runs/{run_id}"),
                **self.options,
            )

        @app.post("/api/chat")
        async def chat(request: Request) -> Response:
            if "refuse" in request.query_params:
                return JSONResponse({"error": "Not today."}, 403)
            messages = (await request.json())["messages"]
            return await to_durable_chat_session_response(
                _session_answer(len(messages)),
                self.streams.target("sessions/one"),
                new_messages=messages[-1:],
            )

        @app.get("/api/chat-stream")
        async def read(request: Request) -> Response:
            target = self.streams.target("sessions/one")
            await ensure_stream(target)
            return await read_proxy(request, target)

        @app.get("/api/snapshot")
        async def snapshot() -> dict[str, Any]:
            found = await materialize_snapshot(self.streams.target("sessions/one"))
            return {"messages": found.messages, "offset": found.offset}

        return app


def events_of(run_id: str) -> list[dict[str, Any]]:
    """The events of a run: drawn by its number, with an end."""
    seed = int(run_id.rpartition("-")[2])
    events = [one for one in Answer(seed).orderly() if one["type"] != "RUN_ERROR"]
    return [*events, {"type": "RUN_FINISHED", "threadId": "t1", "runId": run_id}]


async def _session_answer(number: int) -> AsyncIterator[dict[str, Any]]:
    name, run = f"a{number}", {"threadId": "t", "runId": f"r{number}"}
    yield {"type": "RUN_STARTED", **run}
    yield {"type": "TEXT_MESSAGE_START", "messageId": name, "role": "assistant"}
    text = ""
    for piece in ("Grüß ", "Gott \u2028", f"number {number}"):
        text += piece
        content = {"type": "TEXT_MESSAGE_CONTENT", "messageId": name}
        yield {**content, "delta": piece, "content": text}
    yield {"type": "TEXT_MESSAGE_END", "messageId": name}
    yield {"type": "RUN_FINISHED", **run}


@asynccontextmanager
async def backend(
    agent: Callable[[RunAgentInput], AsyncIterator[Any]] | None = None, **options: Any
) -> AsyncIterator[Backend]:
    async with streams() as server:
        chat = Chat(server, agent=agent, options=options)
        async with serving(chat.application()) as served:
            yield Backend(served.url, served.client, server, chat.asked)
        await drain(0)


__all__ = ["Backend", "backend", "events_of"]
