"""The client that waits is the other one, in a thread."""

from __future__ import annotations

import asyncio
import inspect
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from ai_db.chat_service import ChatService, chat_service, refusal
from ai_db.logs import IMPATIENT, conversation
from durable_ai_db import (
    DurableChatClient,
    Fork,
    NotConnected,
    SessionConflict,
    SessionUnreachable,
    SyncDurableChatClient,
)
from streams.gate import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def service_in_a_thread() -> Iterator[ChatService]:
    """Serve from another thread, as the loop here does not run while a call waits."""
    ready: list[ChatService] = []
    started, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        async with chat_service() as service:
            await service.append("s", *conversation(1))
            ready.append(service)
            started.set()
            await asyncio.to_thread(stop.wait, PATIENCE)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(PATIENCE)
    try:
        yield ready[0]
    finally:
        stop.set()
        thread.join()


def test_everything_waits() -> None:
    with service_in_a_thread() as service:
        finished: list[str] = []
        with SyncDurableChatClient(
            "s",
            service.url,
            actor_id="ada",
            timing=IMPATIENT,
            on_message=lambda message: finished.append(message.id),
        ) as client:
            assert client.send_message("hello", message_id="m1") == "m1"
            assert [message.text for message in client.messages] == [
                *("question 0", "word word word ", "hello"),
            ]
            assert (client.is_loading, client.error, client.connection_status) == (
                *(False, None),
                "connected",
            )
            assert set(finished) == {"m1"}
            assert client.append({"role": "system", "content": "x", "id": "m2"}) == "m2"
            assert client.fork() == Fork("f", "7")
            client.stop()
            client.reload()
            client.register_agents([])
            client.unregister_agent("x")
            client.set_presence()
            client.pause()
            client.resume()
            users = client.read(
                lambda rows: len(rows.messages.where(lambda message: message.role == "user"))
            )
            assert users == 2
            assert client.snapshot()["stats"]["messageCount"] == 4
            service.scripted.append(refusal(409, "run_active"))
            with pytest.raises(SessionConflict):
                client.send_message("no")
            client.clear()
            assert client.messages == []
        assert client.connection_status == "disconnected"
        with pytest.raises(NotConnected):
            client.send_message("late")
        with client:
            client.send_message("again")


async def test_it_works_where_a_loop_runs() -> None:
    """A notebook has one."""
    async with chat_service() as service:

        def use() -> str:
            with SyncDurableChatClient("s", service.url, timing=IMPATIENT) as client:
                return client.send_message("hello", message_id="m1")

        assert await asyncio.to_thread(use) == "m1"


def test_a_service_that_is_away() -> None:
    client = SyncDurableChatClient("s", "http://127.0.0.1:9", timing=IMPATIENT)
    client.disconnect()
    with pytest.raises(SessionUnreachable):
        client.connect()
    assert client.connection_status == "connecting"
    client.disconnect()


def test_both_clients_have_the_same_calls() -> None:
    def calls(kind: Any) -> set[str]:
        return {
            name
            for name, value in inspect.getmembers(kind)
            if not name.startswith("_") and (callable(value) or isinstance(value, property))
        }

    assert calls(DurableChatClient) - calls(SyncDurableChatClient) == {"collections", "pending"}
    assert calls(SyncDurableChatClient) - calls(DurableChatClient) == {"read"}
