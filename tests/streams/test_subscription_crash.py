"""Deliveries go on after the server was killed, from what is in its store."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from durable_streams_server import Create, Log
from streams.command import ServeProcess
from streams.control import Control
from streams.webhook_receiver import DONE, answer, receiving

if TYPE_CHECKING:
    from streams.webhook_receiver import Receiver

pytestmark = pytest.mark.anyio

ALLOW = ("--webhook-allow", "http://127.0.0.1:*")


def serving(url: str) -> ServeProcess:
    return ServeProcess(url, *ALLOW)


async def kill(server: ServeProcess) -> None:
    os.kill(server.pid, signal.SIGKILL)
    await server.ended()


async def subscribe(server: ServeProcess, receiver: Receiver, **fields: Any) -> None:
    hook = {"type": "webhook", "pattern": "e/*", "webhook": {"url": receiver.url()}}
    reply = await Control(server).ask("PUT", "subscriptions/s", hook | fields)
    assert reply.status == 201


async def test_a_call_that_the_kill_cut_is_made_again(url: str) -> None:
    async with receiving(None, answer("200 OK", DONE)) as receiver:
        async with serving(url) as server:
            await subscribe(server, receiver, lease_ttl_ms=600_000)
            await server.put("e/a", b"123")
            first = (await receiver.called()).told
            await kill(server)
        async with serving(url) as server:
            second = (await receiver.called(2)).told
            await Control(server).at(e_a=3)
    for field in ("wake_id", "generation", "streams", "callback_url"):
        assert first[field] == second[field], field


async def test_a_schedule_outlives_the_server_that_made_it(url: str) -> None:
    async with receiving(answer("503 Later")) as receiver:
        async with serving(url) as server:
            await subscribe(server, receiver)
            await server.put("e/a", b"123")
            await Control(server).until(status="failed")
            await receiver.called(2)
            await kill(server)
        calls = len(receiver.calls)
        receiver.answers = [answer("200 OK", DONE)]
        async with serving(url) as server:
            await receiver.called(calls + 1)
            await Control(server).at(e_a=3)
            assert (await Control(server).show())["status"] == "active"


async def test_what_was_written_as_the_server_died_is_told_of(url: str) -> None:
    """The hint that a commit gives dies with the process; the bytes do not."""
    async with receiving() as receiver:
        async with serving(url) as server:
            await subscribe(server, receiver)
            await kill(server)
        async with await Log.open(url) as log:
            # A log without a dispatcher: nobody hears of these commits.
            for number in range(20):
                await log.transact(Create(f"e/{number}", data=b"x"))
        async with serving(url) as server:
            await Control(server).at(**{f"e_{number}": 1 for number in range(20)})


async def test_a_worker_keeps_its_lease_and_its_token_over_a_restart(url: str) -> None:
    pull = {"type": "pull-wake", "pattern": "e/*", "wake_stream": "wake", "lease_ttl_ms": 600_000}
    async with serving(url) as server:
        control = Control(server)
        await control.ask("PUT", "subscriptions/s", pull)
        await server.put("e/a", b"123")
        claimed = (await control.ask("POST", "subscriptions/s/claim", {"worker": "w"})).json()
        await kill(server)
    async with serving(url) as server:
        control = Control(server)
        other = await control.ask("POST", "subscriptions/s/claim", {"worker": "v"})
        assert other.json()["error"]["code"] == "ALREADY_CLAIMED"
        said = {
            "wake_id": claimed["wake_id"],
            "generation": claimed["generation"],
            "acks": [{"stream": "e/a", "offset": claimed["streams"][0]["tail_offset"]}],
            "done": True,
        }
        done = await control.ask("POST", "subscriptions/s/ack", said, claimed["token"])
        assert done.json() == {"ok": True, "next_wake": False}
        await control.at(e_a=3)
