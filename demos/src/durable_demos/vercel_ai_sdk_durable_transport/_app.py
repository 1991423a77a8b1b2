"""The backend: a chat endpoint that knows nothing of durability, and the proxy beside it.

The page sends its request to ``/durable``, which calls ``/api/chat`` once and writes the answer to
a log while it comes; the page reads the log (see `_beside`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import Request, Response  # noqa: TC002  (FastAPI reads them)
from pydantic_ai.ui.vercel_ai import VercelAIAdapter

from durable_demos._beside import app_with_proxy
from durable_demos._model import demo_agent

if TYPE_CHECKING:
    from fastapi import FastAPI

    from durable_demos._serve import Demo


def create_app(demo: Demo) -> FastAPI:
    """The whole demo as one application: chat endpoint, proxy, page."""
    app = app_with_proxy(demo)
    agent = demo_agent(demo.model)

    @app.post("/api/chat")
    async def chat(request: Request) -> Response:
        """Answer in the UI message stream of the AI SDK."""
        return await VercelAIAdapter.dispatch_request(request, agent=agent, sdk_version=7)

    demo.add_page(app)
    return app
