"""The agents that a session can have, each an endpoint of this process.

They know nothing of sessions: the service calls them with the conversation, in AG-UI, and they
answer in AG-UI. In production they are services of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ag_ui.core import AssistantMessage, RunAgentInput, UserMessage
from fastapi import APIRouter, Request, Response
from pydantic import ValidationError
from pydantic_ai import Agent
from pydantic_ai.ui.ag_ui import AGUIAdapter

from durable_demos._model import SCRIPTED, demo_agent, scripted_model
from durable_demos.tanstack_ai_durable_session._companions import review, summarize

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_demos._serve import Demo

Json = dict[str, Any]

CRITIC = """
You are the critic in a group chat. Comment on the last message in at most four short bullet points
of Markdown: what is wrong, unclear or missing. Say so when nothing is.
"""
SUMMARIZER = """
You sum up: give the last message of a group chat in at most three short numbered points, in
Markdown.
"""


@dataclass(frozen=True)
class Known:
    """An agent that can be added to a session."""

    id: str
    name: str
    about: str
    triggers: str
    whole_history: bool
    agent: Agent[None, Any]

    def spec(self, origin: str) -> Json:
        """What the session service has to know to call it."""
        return {
            "id": self.id,
            "name": self.name,
            "endpoint": f"{origin}/agents/{self.id}",
            "format": "ag-ui",
            "triggers": self.triggers,
        }


def known_agents(demo: Demo) -> list[Known]:
    """All agents of this demo; the first one is in every new session."""
    return [
        Known(
            "assistant",
            "Assistant",
            "Answers people. Has tools; asks before it sends an e-mail.",
            "user-messages",
            whole_history=True,
            agent=demo_agent(demo.model),
        ),
        Known(
            "critic",
            "Critic",
            "Finds what is wrong or missing in what others say.",
            "all",
            whole_history=False,
            agent=_companion(demo, CRITIC, review),
        ),
        Known(
            "summarizer",
            "Summarizer",
            "Puts what was said in three points.",
            "all",
            whole_history=False,
            agent=_companion(demo, SUMMARIZER, summarize),
        ),
    ]


def _companion(demo: Demo, instructions: str, script: Callable[..., Any]) -> Agent[None, Any]:
    scripted = demo.model.name == SCRIPTED
    model = scripted_model(demo.pace, script) if scripted else demo.model
    return Agent(model, instructions=instructions)


def agent_routes(known: list[Known]) -> APIRouter:
    """``POST /agents/{id}`` for each of them."""
    router = APIRouter()
    for one in known:
        router.add_api_route(f"/agents/{one.id}", partial(_answer, one), methods=["POST"])
    return router


async def _answer(known: Known, request: Request) -> Response:
    try:
        asked = AGUIAdapter.build_run_input(await request.body())
    except ValidationError as error:
        return Response(error.json(), status_code=422, media_type="application/json")
    asked = addressed(asked, whole_history=known.whole_history)
    adapter = AGUIAdapter(known.agent, asked, accept=request.headers.get("accept"))
    return adapter.streaming_response(adapter.run_stream())


def addressed(asked: RunAgentInput, *, whole_history: bool) -> RunAgentInput:
    """The conversation as one that asks for an answer.

    To a model, what any agent has said is its own word; the last word of another agent becomes
    somebody else's here. An agent without ``whole_history`` gets that last word alone.
    """
    if not asked.messages or asked.resume:
        return asked
    *before, last = asked.messages
    if isinstance(last, AssistantMessage) and not last.tool_calls:
        last = UserMessage(id=last.id, content=last.content or "")
    messages = [*before, last] if whole_history else [last]
    return asked.model_copy(update={"messages": messages})
