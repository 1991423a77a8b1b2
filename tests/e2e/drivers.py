"""The SDK calls a user makes, each reduced to the list of events it yields.

A driver knows one API of one SDK in one colour (sync or async). All run on unmodified clients; the
only thing that differs between "direct" and "through the proxy" is the ``http_client``.

The SDKs are imported when they are used: it takes seconds, and processes that use one are started
by the dozen.
"""

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.from_thread
import anyio.to_thread
import httpx2

if TYPE_CHECKING:
    import anthropic
    import openai

Event = dict[str, Any]
Sink = Callable[[Event], None]
MESSAGE = "Tell me."
UNIT = float(os.environ.get("DURABLE_TEST_UNIT", "1"))
"""Every time limit of these tests is a multiple of this many seconds."""
TIMEOUT = 30 * UNIT


def plain_transport() -> httpx2.BaseTransport:
    """What an SDK uses by itself, without the certificates that loopback does not need."""
    return httpx2.HTTPTransport(verify=False)


def plain_async_transport() -> httpx2.AsyncBaseTransport:
    """The same for asyncio."""
    return httpx2.AsyncHTTPTransport(verify=False)


@dataclass(frozen=True, slots=True)
class Target:
    """Where an SDK call goes and over which transport.

    Every request the SDK makes, retries included, is noted in ``attempts``.
    """

    url: str
    transport: Callable[[], httpx2.BaseTransport] = plain_transport
    async_transport: Callable[[], httpx2.AsyncBaseTransport] = plain_async_transport
    headers: tuple[tuple[str, str], ...] = ()
    max_retries: int = 0
    attempts: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Driver:
    """One way to stream an answer: hands every event to a sink as it comes."""

    name: str
    path: str
    run: Callable[[Target, str, Sink], None] | None = None
    run_async: Callable[[Target, str, Sink], Awaitable[None]] | None = None

    async def stream(self, target: Target, model: str, sink: Sink) -> None:
        """Run the call to its end (a sync one in a thread)."""
        if self.run_async is not None:
            await self.run_async(target, model, sink)
        else:
            assert self.run is not None
            await anyio.to_thread.run_sync(partial(self.run, target, model, sink))

    async def collect(self, target: Target, model: str) -> list[Event]:
        """Run the call to its end and return its events."""
        events: list[Event] = []
        await self.stream(target, model, events.append)
        return events

    def __str__(self) -> str:
        return self.name


def _dump(event: Any) -> Event:
    dumped: Event = event.model_dump(mode="json")
    return dumped


def sync_http(target: Target) -> httpx2.Client:
    """The ``http_client`` of a sync SDK client."""

    def note(request: httpx2.Request) -> None:
        target.attempts.append(request.method)

    return httpx2.Client(
        transport=target.transport(),
        timeout=TIMEOUT,
        trust_env=False,
        headers=dict(target.headers),
        event_hooks={"request": [note]},
    )


def async_http(target: Target) -> httpx2.AsyncClient:
    """The ``http_client`` of an async SDK client."""

    async def note(request: httpx2.Request) -> None:
        target.attempts.append(request.method)

    return httpx2.AsyncClient(
        transport=target.async_transport(),
        timeout=TIMEOUT,
        trust_env=False,
        headers=dict(target.headers),
        event_hooks={"request": [note]},
    )


def openai_client(target: Target) -> "openai.OpenAI":
    import openai

    return openai.OpenAI(
        base_url=f"{target.url}/v1",
        api_key="sk-test",
        max_retries=target.max_retries,
        http_client=sync_http(target),
    )


def async_openai_client(target: Target) -> "openai.AsyncOpenAI":
    import openai

    return openai.AsyncOpenAI(
        base_url=f"{target.url}/v1",
        api_key="sk-test",
        max_retries=target.max_retries,
        http_client=async_http(target),
    )


def anthropic_client(target: Target) -> "anthropic.Anthropic":
    import anthropic

    return anthropic.Anthropic(
        base_url=target.url,
        api_key="sk-test",
        max_retries=target.max_retries,
        http_client=sync_http(target),
    )


def async_anthropic_client(target: Target) -> "anthropic.AsyncAnthropic":
    import anthropic

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


def _chat(target: Target, model: str, sink: Sink) -> None:
    with (
        openai_client(target) as client,
        client.chat.completions.create(**_chat_arguments(model)) as stream,
    ):
        for event in stream:
            sink(_dump(event))


async def _chat_async(target: Target, model: str, sink: Sink) -> None:
    async with (
        async_openai_client(target) as client,
        await client.chat.completions.create(**_chat_arguments(model)) as stream,
    ):
        async for event in stream:
            sink(_dump(event))


def _chat_whole(target: Target, model: str, sink: Sink) -> None:
    messages: list[Any] = [{"role": "user", "content": MESSAGE}]
    with openai_client(target) as client:
        sink(_dump(client.chat.completions.create(model=model, messages=messages)))


# ------------------------------------------------------------------------ responses


def _responses(target: Target, model: str, sink: Sink) -> None:
    with (
        openai_client(target) as client,
        client.responses.create(model=model, input=MESSAGE, stream=True) as stream,
    ):
        for event in stream:
            sink(_dump(event))


async def _responses_async(target: Target, model: str, sink: Sink) -> None:
    async with (
        async_openai_client(target) as client,
        await client.responses.create(model=model, input=MESSAGE, stream=True) as stream,
    ):
        async for event in stream:
            sink(_dump(event))


# ------------------------------------------------------------------------ messages


def _messages_arguments(model: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": MESSAGE}]
    return {"model": model, "max_tokens": 1000, "messages": messages, "stream": True}


def _messages(target: Target, model: str, sink: Sink) -> None:
    with (
        anthropic_client(target) as client,
        client.messages.create(**_messages_arguments(model)) as stream,
    ):
        for event in stream:
            sink(_dump(event))


async def _messages_async(target: Target, model: str, sink: Sink) -> None:
    async with (
        async_anthropic_client(target) as client,
        await client.messages.create(**_messages_arguments(model)) as stream,
    ):
        async for event in stream:
            sink(_dump(event))


CHAT = Driver("openai-chat-sync", "/v1/chat/completions", run=_chat)
CHAT_ASYNC = Driver("openai-chat-async", "/v1/chat/completions", run_async=_chat_async)
CHAT_WHOLE = Driver("openai-chat-unstreamed", "/v1/chat/completions", run=_chat_whole)
RESPONSES = Driver("openai-responses-sync", "/v1/responses", run=_responses)
RESPONSES_ASYNC = Driver("openai-responses-async", "/v1/responses", run_async=_responses_async)
MESSAGES = Driver("anthropic-messages-sync", "/v1/messages", run=_messages)
MESSAGES_ASYNC = Driver("anthropic-messages-async", "/v1/messages", run_async=_messages_async)

STREAMING = (CHAT, CHAT_ASYNC, RESPONSES, RESPONSES_ASYNC, MESSAGES, MESSAGES_ASYNC)
EVERY = (*STREAMING, CHAT_WHOLE)
BY_NAME = {driver.name: driver for driver in EVERY}


def notifying(driver: Driver, events: list[Event], count: int, reached: anyio.Event) -> Sink:
    """A sink that keeps the events and tells the test's loop when it has ``count`` of them."""

    def keep(event: Event) -> None:
        events.append(event)
        if len(events) >= count:
            reached.set()

    if driver.run_async is not None:
        return keep
    return lambda event: anyio.from_thread.run_sync(keep, event)
