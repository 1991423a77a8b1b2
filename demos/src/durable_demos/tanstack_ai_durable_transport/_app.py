"""The backend: a chat endpoint that knows nothing of durability, and the proxy beside it.

The page sends its request to ``/durable``, which calls ``/api/chat`` once and writes the answer to
a log while it comes; the page reads the log (see `_beside`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ag_ui.core import RunAgentInput  # noqa: TC002  (FastAPI reads it)
from fastapi.responses import StreamingResponse
from pydantic_ai.ui.ag_ui import AGUIAdapter

from durable_ai_transport.tanstack import encode
from durable_demos._beside import app_with_proxy
from durable_demos._model import demo_agent
from durable_demos.tanstack_ai_durable_transport._approvals import with_answers, with_questions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI

    from durable_demos._serve import Demo


def create_app(demo: Demo) -> FastAPI:
    """The whole demo as one application: chat endpoint, proxy, page."""
    app = app_with_proxy(demo)
    agent = demo_agent(demo.model)

    async def answer(run: RunAgentInput) -> AsyncIterator[bytes]:
        adapter = AGUIAdapter(agent=agent, run_input=with_answers(run))
        async for event in adapter.run_stream():
            for one in with_questions(event):
                yield encode(one)

    async def chat(run: RunAgentInput) -> StreamingResponse:
        """Answer in AG-UI events, which is what TanStack AI speaks."""
        return StreamingResponse(answer(run), media_type="text/event-stream")

    app.post("/api/chat")(chat)
    demo.add_page(app)
    return app
