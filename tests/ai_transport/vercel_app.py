"""A chat application: its answers come word by word, as somebody asks for them.

``python -m ai_transport.vercel_app STREAMS PORT`` serves it as a process that can be killed; it
prints the port when it is ready.
"""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from durable_ai_transport.vercel import DurableChats

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

LEASE = 1.0


class ChatApp:
    """The application.

    Attributes:
        app: For a server.
        calls: How often the model was called.
        more: A word of a chat's answer is waited for in each.
        asked: The bodies of all requests.
    """

    def __init__(self, streams: str, **options: Any) -> None:
        self.chats = DurableChats(streams, api="/api/chat", lease=LEASE, **options)
        self.calls = 0
        self.more: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(0))
        self.asked: list[Any] = []
        self.app = Starlette(
            routes=[
                Route("/api/chat", self._chat, methods=["POST"]),
                Route("/more/{chat}", self._more, methods=["POST"]),
                *self.chats.routes(),
            ]
        )

    async def answer(self, chat: str, text: str) -> AsyncIterator[dict[str, Any]]:
        self.calls += 1
        yield {"type": "start", "messageId": f"m{self.calls}"}
        yield {"type": "text-start", "id": "t"}
        for word in text.split():
            await self.more[chat].acquire()
            if word == "fails":
                raise RuntimeError("the model's password is hunter2")
            yield {"type": "text-delta", "id": "t", "delta": f"{word} "}
        yield {"type": "text-end", "id": "t"}
        yield {"type": "finish", "finishReason": "stop"}

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append(body)
        text = body["messages"][-1]["parts"][0]["text"]
        return await self.chats.respond(body["id"], self.answer(body["id"], text))

    async def _more(self, request: Request) -> Response:
        self.more[request.path_params["chat"]].release()
        return Response(status_code=204)


class _Server(uvicorn.Server):
    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        print(self.servers[0].sockets[0].getsockname()[1], flush=True)


if __name__ == "__main__":
    application = ChatApp(sys.argv[1]).app
    port = int(sys.argv[2])
    _Server(uvicorn.Config(application, port=port, log_config=None, lifespan="off")).run()
