"""The SDK calls a user makes, each reduced to the list of events it yields.

A driver knows one API of one SDK in one colour (sync or async). All run on unmodified clients; the
only thing that differs between "direct" and "through the proxy" is the ``http_client``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import anthropic
import anyio.to_thread
import httpx2
import openai

Event = dict[str, Any]
MESSAGE = "Tell me."
TOOL_PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
UNIT = 1.0
"""Every time limit of these tests is a multiple of this many seconds."""
TIMEOUT = 30 * UNIT


@dataclass(frozen=True, slots=True)
class Target:
    """Where an SDK call goes and over which transport."""

    url: str
    transport: httpx2.BaseTransport | None = None
    async_transport: httpx2.AsyncBaseTransport | None = None
    headers: tuple[tuple[str, str], ...] = ()
    max_retries: int = 0


@dataclass(frozen=True, slots=True)
class Driver:
    """One way to stream an answer; calling `collect` gives its events."""

    name: str
    path: str
    run: Callable[[Target, str], list[Event]] | None = None
    run_async: Callable[[Target, str], Any] | None = None

    async def collect(self, target: Target, model: str) -> list[Event]:
        """Run the call to its end."""
        if self.run_async is not None:
            events: list[Event] = await self.run_async(target, model)
            return events
        assert self.run is not None
        return await anyio.to_thread.run_sync(partial(self.run, target, model))

    def __str__(self) -> str:
        return self.name


def _dump(event: Any) -> Event:
    dumped: Event = event.model_dump(mode="json")
    return dumped


def sync_http(target: Target) -> httpx2.Client:
    """The ``http_client`` of a sync SDK client."""
    return httpx2.Client(
        transport=target.transport, timeout=TIMEOUT, trust_env=False, headers=dict(target.headers)
    )


def async_http(target: Target) -> httpx2.AsyncClient:
    """The ``http_client`` of an async SDK client."""
    return httpx2.AsyncClient(
        transport=target.async_transport,
        timeout=TIMEOUT,
        trust_env=False,
        headers=dict(target.headers),
    )


def openai_client(target: Target) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"{target.url}/v1",
        api_key="sk-test",
        max_retries=target.max_retries,
        http_client=sync_http(target),
    )


def async_openai_client(target: Target) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url=f"{target.url}/v1",
        api_key="sk-test",
        max_retries=target.max_retries,
        http_client=async_http(target),
    )


def anthropic_client(target: Target) -> anthropic.Anthropic:
    return anthropic.Anthropic(
        base_url=target.url,
        api_key="sk-test",
        max_retries=target.max_retries,
        http_client=sync_http(target),
    )


def async_anthropic_client(target: Target) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(
        base_url=target.url,
        api_key="sk-test",
        max_retries=target.max_retries,
        http_client=async_http(target),
    )


# ------------------------------------------------------------------------ chat completions


def _chat_arguments(model: str) -> dict[str, Any]:
    return {
        "model": model,
        "messages": [{"role": "user", "content": MESSAGE}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def _chat(target: Target, model: str) -> list[Event]:
    with (
        openai_client(target) as client,
        client.chat.completions.create(**_chat_arguments(model)) as stream,
    ):
        return [_dump(event) for event in stream]


async def _chat_async(target: Target, model: str) -> list[Event]:
    async with (
        async_openai_client(target) as client,
        await client.chat.completions.create(**_chat_arguments(model)) as stream,
    ):
        return [_dump(event) async for event in stream]


def _chat_whole(target: Target, model: str) -> list[Event]:
    messages: list[Any] = [{"role": "user", "content": MESSAGE}]
    with openai_client(target) as client:
        return [_dump(client.chat.completions.create(model=model, messages=messages))]


# ------------------------------------------------------------------------ responses


def _responses(target: Target, model: str) -> list[Event]:
    with (
        openai_client(target) as client,
        client.responses.create(model=model, input=MESSAGE, stream=True) as stream,
    ):
        return [_dump(event) for event in stream]


async def _responses_async(target: Target, model: str) -> list[Event]:
    async with (
        async_openai_client(target) as client,
        await client.responses.create(model=model, input=MESSAGE, stream=True) as stream,
    ):
        return [_dump(event) async for event in stream]


# ------------------------------------------------------------------------ messages


def _messages_arguments(model: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": MESSAGE}]
    return {"model": model, "max_tokens": 1000, "messages": messages, "stream": True}


def _messages(target: Target, model: str) -> list[Event]:
    with (
        anthropic_client(target) as client,
        client.messages.create(**_messages_arguments(model)) as stream,
    ):
        return [_dump(event) for event in stream]


async def _messages_async(target: Target, model: str) -> list[Event]:
    async with (
        async_anthropic_client(target) as client,
        await client.messages.create(**_messages_arguments(model)) as stream,
    ):
        return [_dump(event) async for event in stream]


CHAT = Driver("openai-chat-sync", "/v1/chat/completions", run=_chat)
CHAT_ASYNC = Driver("openai-chat-async", "/v1/chat/completions", run_async=_chat_async)
CHAT_WHOLE = Driver("openai-chat-unstreamed", "/v1/chat/completions", run=_chat_whole)
RESPONSES = Driver("openai-responses-sync", "/v1/responses", run=_responses)
RESPONSES_ASYNC = Driver("openai-responses-async", "/v1/responses", run_async=_responses_async)
MESSAGES = Driver("anthropic-messages-sync", "/v1/messages", run=_messages)
MESSAGES_ASYNC = Driver("anthropic-messages-async", "/v1/messages", run_async=_messages_async)

STREAMING = (CHAT, CHAT_ASYNC, RESPONSES, RESPONSES_ASYNC, MESSAGES, MESSAGES_ASYNC)
EVERY = (*STREAMING, CHAT_WHOLE)
