"""The one-liners of `durable_ai_transport.native`, each with its library's own streaming calls.

A driver hands every piece of text to a sink as it comes. The libraries are imported when they are
used, as in `e2e.drivers`. ``python -m e2e.native_drivers`` runs one in a process that gets killed.
"""

import argparse
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
import anyio.from_thread
import anyio.to_thread

from durable_ai_transport import native
from durable_transport import session, turn

if TYPE_CHECKING:
    from langchain_openai import ChatOpenAI
    from pydantic_ai import Agent

MESSAGE = "Tell me."
MESSAGES: list[Any] = [{"role": "user", "content": MESSAGE}]
Sink = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the calls go, and what the one-liner is told besides."""

    upstream: str
    proxy: str
    options: dict[str, Any] = field(default_factory=dict)

    def arguments(self, path: str = "/v1") -> dict[str, Any]:
        """What every one-liner takes."""
        base = {"base_url": f"{self.upstream}{path}", "api_key": "sk-test"}
        return base | self.options


@dataclass(frozen=True, slots=True)
class Native:
    """One way to stream an answer with one library."""

    name: str
    run: Callable[[Place, str, Sink], None] | None = None
    run_async: Callable[[Place, str, Sink], Awaitable[None]] | None = None

    async def stream(self, place: Place, model: str, sink: Sink) -> None:
        """Run the call to its end (a sync one in a thread; sinks run on the loop)."""
        if self.run_async is not None:
            await self.run_async(place, model, sink)
        else:
            assert self.run is not None

            def told(text: str) -> None:
                anyio.from_thread.run_sync(sink, text)

            await anyio.to_thread.run_sync(self.run, place, model, told)

    async def collect(self, place: Place, model: str) -> str:
        """The whole text."""
        pieces: list[str] = []
        await self.stream(place, model, pieces.append)
        return "".join(pieces)

    def __str__(self) -> str:
        return self.name


def _openai(place: Place, model: str, sink: Sink) -> None:
    with (
        native.durable_openai(place.proxy, **place.arguments()) as client,
        client.chat.completions.create(model=model, messages=MESSAGES, stream=True) as stream,
    ):
        for event in stream:
            sink(event.choices[0].delta.content or "")


async def _openai_async(place: Place, model: str, sink: Sink) -> None:
    async with (
        native.durable_async_openai(place.proxy, **place.arguments()) as client,
        client.responses.stream(model=model, input=MESSAGE) as stream,
    ):
        async for event in stream:
            if event.type == "response.output_text.delta":
                sink(event.delta)


def _anthropic(place: Place, model: str, sink: Sink) -> None:
    with (
        native.durable_anthropic(place.proxy, **place.arguments("")) as client,
        client.messages.stream(model=model, max_tokens=9, messages=MESSAGES) as stream,
    ):
        for text in stream.text_stream:
            sink(text)


async def _anthropic_async(place: Place, model: str, sink: Sink) -> None:
    async with (
        native.durable_async_anthropic(place.proxy, **place.arguments("")) as client,
        client.messages.stream(model=model, max_tokens=9, messages=MESSAGES) as stream,
    ):
        async for text in stream.text_stream:
            sink(text)


def chat_openai(place: Place, model: str) -> "ChatOpenAI":
    return native.durable_chat_openai(place.proxy, model=model, **place.arguments())


def _langchain(place: Place, model: str, sink: Sink) -> None:
    for chunk in chat_openai(place, model).stream(MESSAGE):
        sink(chunk.text)


async def _langchain_async(place: Place, model: str, sink: Sink) -> None:
    async for chunk in chat_openai(place, model).astream(MESSAGE):
        sink(chunk.text)


def agent(place: Place, model: str, kind: str = "openai-chat") -> "Agent[None, str]":
    from pydantic_ai import Agent

    path = "" if kind == "anthropic" else "/v1"
    return Agent(native.durable_model(place.proxy, f"{kind}:{model}", **place.arguments(path)))


async def _pydantic_ai(place: Place, model: str, sink: Sink) -> None:
    async with agent(place, model).run_stream(MESSAGE) as result:
        async for text in result.stream_text(delta=True, debounce_by=None):
            sink(text)


async def _pydantic_ai_iter(place: Place, model: str, sink: Sink) -> None:
    """The agent as a graph, over Anthropic's API."""
    from pydantic_ai import Agent

    async with agent(place, model, "anthropic").iter(MESSAGE) as run:
        async for node in run:
            if Agent.is_model_request_node(node):
                async with node.stream(run.ctx) as stream:
                    async for text in stream.stream_text(delta=True, debounce_by=None):
                        sink(text)


async def weather_agent(place: Place, model: str, sink: Sink) -> list[str]:
    """An agent that calls a tool and then answers; returns what its tool was asked."""
    asked: list[str] = []
    answering = agent(place, model)

    @answering.tool_plain
    def weather(city: str) -> str:
        asked.append(city)
        return "rain"

    async with answering.run_stream(MESSAGE) as result:
        async for text in result.stream_text(delta=True, debounce_by=None):
            sink(text)
    return asked


async def _weather(place: Place, model: str, sink: Sink) -> None:
    await weather_agent(place, model, sink)


OPENAI = Native("openai", run=_openai)
OPENAI_ASYNC = Native("openai-async", run_async=_openai_async)
ANTHROPIC = Native("anthropic", run=_anthropic)
ANTHROPIC_ASYNC = Native("anthropic-async", run_async=_anthropic_async)
LANGCHAIN = Native("langchain", run=_langchain)
LANGCHAIN_ASYNC = Native("langchain-async", run_async=_langchain_async)
PYDANTIC_AI = Native("pydantic-ai", run_async=_pydantic_ai)
PYDANTIC_AI_ITER = Native("pydantic-ai-iter", run_async=_pydantic_ai_iter)
WEATHER = Native("pydantic-ai-tools", run_async=_weather)

SDKS = (OPENAI, OPENAI_ASYNC, ANTHROPIC, ANTHROPIC_ASYNC)
FRAMEWORKS = (LANGCHAIN, LANGCHAIN_ASYNC, PYDANTIC_AI, PYDANTIC_AI_ITER)
EVERY = SDKS + FRAMEWORKS
BY_NAME = {one.name: one for one in (*EVERY, WEATHER)}


def _write(text: str) -> None:
    sys.stdout.write(json.dumps({"text": text}) + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("driver", "proxy", "upstream", "model", "session", "storage"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--turn")
    asked = parser.parse_args()
    place = Place(asked.upstream, asked.proxy, {"storage": asked.storage})
    which = turn(asked.session, asked.turn) if asked.turn else session(asked.session)
    with which:
        anyio.run(BY_NAME[asked.driver].stream, place, asked.model, _write)


if __name__ == "__main__":
    main()
