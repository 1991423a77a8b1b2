"""Agents of pydantic-ai, with a scripted model, behind AG-UI and the Vercel format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic_ai import Agent, DeferredToolRequests
from pydantic_ai.messages import ModelRequest, ToolReturnPart, UserPromptPart
from pydantic_ai.models.function import DeltaToolCall, FunctionModel
from pydantic_ai.ui.ag_ui import AGUIAdapter
from pydantic_ai.ui.vercel_ai import VercelAIAdapter
from starlette.applications import Starlette
from starlette.routing import Route

from ai_db_proxy.agents import on_socket
from ai_db_proxy.harness import LOOPBACK, served, statuses

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pydantic_ai.messages import ModelMessage
    from pydantic_ai.models.function import AgentInfo
    from starlette.requests import Request
    from starlette.responses import Response

DONE: list[str] = []


async def script(messages: list[ModelMessage], _info: AgentInfo) -> AsyncIterator[Any]:
    """Call the tool that the user names, and tell what it gave."""
    last = messages[-1]
    assert isinstance(last, ModelRequest)
    returns = [part for part in last.parts if isinstance(part, ToolReturnPart)]
    if returns:
        yield "It "
        yield f"says {returns[-1].content}"
        return
    asked = [part.content for part in last.parts if isinstance(part, UserPromptPart)][-1]
    if asked in ("search", "remove"):
        call_id = f"call-{asked}-{len(messages)}"
        yield {0: DeltaToolCall(name=str(asked), json_args='{"name":', tool_call_id=call_id)}
        yield {0: DeltaToolCall(json_args='"x"}')}
        return
    yield "Hello"


def agent() -> Agent[None, Any]:
    made: Agent[None, Any] = Agent(
        FunctionModel(stream_function=script), output_type=[str, DeferredToolRequests]
    )

    @made.tool_plain
    def search(name: str) -> str:
        return f"found {name}"

    @made.tool_plain(requires_approval=True)
    def remove(name: str) -> str:
        DONE.append(name)
        return f"removed {name}"

    return made


async def ag_ui(request: Request) -> Response:
    return await AGUIAdapter.dispatch_request(request, agent=agent())


async def vercel(request: Request) -> Response:
    return await VercelAIAdapter.dispatch_request(request, agent=agent(), sdk_version=6)


APP = Starlette(
    routes=[
        Route("/ag-ui", ag_ui, methods=["POST"]),
        Route("/vercel", vercel, methods=["POST"]),
    ]
)


@pytest.mark.parametrize("style", ["ag-ui", "vercel"])
async def test_tools_and_approvals(style: str) -> None:
    DONE.clear()
    async with on_socket(APP) as port, served() as client:
        await client.create()
        spec = {"id": "bot", "endpoint": f"http://{LOOPBACK}:{port}/{style}", "format": style}
        await client.register(spec)
        await client.send("hi", actorId="ann")
        state = await client.quiet()
        assert state.messages.timeline()[-1].text == "Hello"
        await client.send("search", actorId="ann")
        state = await client.quiet()
        assert state.messages.timeline()[-1].text == "It says found x"
        await client.send("remove", actorId="ann")
        state = await client.quiet()
        (approval,) = state.messages.approvals.values()
        assert (approval.status, DONE) == ("pending", [])
        await client.post(f"/approvals/{approval.id}", 204, approved=True)
        state = await client.quiet()
        assert statuses(state) == ["completed"] * 4, state.messages.document()
        assert DONE == ["x"]
        assert state.messages.timeline()[-1].text == "It says removed x"
        assert {one.state for one in state.messages.tool_calls.values()} == {"complete"}
        await client.send("hi", actorId="ann")
        state = await client.quiet()
        assert state.messages.timeline()[-1].text == "Hello"
