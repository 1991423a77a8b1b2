"""The backend: a chat endpoint that knows nothing of durability, and the proxy beside it.

The page sends its request to ``/durable``, which calls ``/api/chat`` once and writes the answer to
a log while it comes; the page reads the log. In production the two are rather two services: the
endpoint stays as it is, and ``durable-proxy serve`` runs elsewhere.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request, Response
from pydantic_ai.ui.vercel_ai import VercelAIAdapter

from durable_demos._model import demo_agent
from durable_proxy import create_app as create_proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from durable_demos._serve import Demo

DRAIN_SECONDS = 2


def create_app(demo: Demo) -> FastAPI:
    """The whole demo as one application: chat endpoint, proxy, page."""
    durable = create_proxy(
        demo.store(), allow=[f"{demo.origin}/api/chat"], drain_seconds=DRAIN_SECONDS
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with durable.router.lifespan_context(durable):
            yield

    app = FastAPI(title=demo.name, lifespan=lifespan)
    app.mount("/durable", durable)
    app.state.drain = durable.state.proxy.drain

    agent = demo_agent(demo.model)

    @app.post("/api/chat")
    async def chat(request: Request) -> Response:
        """Answer in the UI message stream of the AI SDK."""
        return await VercelAIAdapter.dispatch_request(request, agent=agent, sdk_version=7)

    demo.add_page(app)
    return app
