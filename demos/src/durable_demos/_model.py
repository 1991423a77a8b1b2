"""The model and the agent of the demos: scripted without a key, a real one with it.

The agent has what a chat can have: text, a tool that is simply called, and a tool that has to be
approved first.
"""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from pydantic_ai import Agent, DeferredToolRequests
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel
from pydantic_ai.models.wrapper import WrapperModel

from durable_demos._script import Call, Fail, Say, Step, next_steps, pieces

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

    from pydantic_ai.messages import ModelMessage
    from pydantic_ai.models import Model, StreamedResponse

    Script = Callable[[Sequence[ModelMessage]], Sequence[Step]]

PACE_SECONDS = 0.12
"""Between two words of the scripted model: its long answers take about a minute."""

REAL_MODELS = {
    "OPENAI_API_KEY": ("openai:", "OPENAI_MODEL", "gpt-5.4-mini"),
    "ANTHROPIC_API_KEY": ("anthropic:", "ANTHROPIC_MODEL", "claude-sonnet-5-5"),
}
"""Which key leads to which provider, the variable that names its model, and the default."""

SCRIPTED = "scripted model"

INSTRUCTIONS = """
You are a friendly assistant in a demonstration of durable streams. Answer in Markdown, at some
length. Use your tools when they fit; an e-mail is sent with the tool, which asks the user first.
"""


class OutOfOrderError(Exception):
    """The scripted model broke down, as the user has asked it to."""


class CountedModel(WrapperModel):
    """A model that counts how often it was called: a reader who resumes must not call it."""

    def __init__(self, wrapped: Model | str, name: str) -> None:
        super().__init__(wrapped)
        self.name = name
        self.calls = 0

    @asynccontextmanager
    async def request_stream(
        self, *arguments: Any, **more: Any
    ) -> AsyncGenerator[StreamedResponse]:
        self.calls += 1
        async with super().request_stream(*arguments, **more) as response:
            yield response


def demo_model(pace: float | None) -> CountedModel:
    """The model of this machine: a real one when its key is set, else the scripted one.

    Args:
        pace: Seconds between two words of the scripted model; None is `PACE_SECONDS`. Given, the
            model is the scripted one, whatever keys there are.
    """
    if pace is None:
        for key, (provider, variable, default) in REAL_MODELS.items():
            if os.environ.get(key):
                name = os.environ.get(variable) or default
                return CountedModel(f"{provider}{name}", name)
    return CountedModel(scripted_model(pace), SCRIPTED)


def scripted_model(pace: float | None, script: Script = next_steps) -> FunctionModel:
    """A model that needs no key and does what its script says.

    Args:
        pace: Seconds between two words; None is `PACE_SECONDS`.
        script: What it does next, given the conversation so far.
    """
    seconds = PACE_SECONDS if pace is None else pace

    async def stream(
        messages: list[ModelMessage], _info: AgentInfo
    ) -> AsyncIterator[str | dict[int, DeltaToolCall]]:
        for number, step in enumerate(script(messages)):
            match step:
                case Say(text):
                    for piece in pieces(text):
                        yield piece
                        await asyncio.sleep(seconds)
                case Call(tool, arguments):
                    yield {number: DeltaToolCall(name=tool, json_args="")}
                    for piece in pieces(json.dumps(arguments)):
                        yield {number: DeltaToolCall(json_args=piece)}
                        await asyncio.sleep(seconds)
                case Fail(message):
                    raise OutOfOrderError(message)

    return FunctionModel(stream_function=stream, model_name=SCRIPTED)


def demo_agent(model: CountedModel) -> Agent[None, str | DeferredToolRequests]:
    """An assistant with a tool, and with one that a person has to approve."""
    agent = Agent(
        model, output_type=[str, DeferredToolRequests], instructions=INSTRUCTIONS, retries=1
    )

    @agent.tool_plain
    async def get_weather(city: str) -> dict[str, str]:
        """The weather in a city."""
        await asyncio.sleep(0.5)
        return {"city": city, "temperature": "17", "sky": "partly cloudy", "wind": "a light breeze"}

    @agent.tool_plain(requires_approval=True)
    async def send_email(to: str, subject: str, body: str) -> str:
        """Send an e-mail. (The demo sends none.)"""
        return f"Sent “{subject}” to {to}, {len(body)} characters."

    return agent
