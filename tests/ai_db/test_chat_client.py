"""A client of a session: what it shows, and what becomes of what it writes."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from starlette.responses import JSONResponse

from ai_db.chat_service import BOT, chat_service, client_of, refusal, tool_call, within
from ai_db.logs import IMPATIENT, answer, conversation, logged, present, until
from durable_ai_db import (
    Deleted,
    DurableChatClient,
    Fork,
    InvalidSession,
    NotConnected,
    SessionClosed,
    SessionForbidden,
    SessionGone,
    SessionNotFound,
    SessionProtocolError,
    SessionUnreachable,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from durable_ai_db import SessionError

# ------------------------------------------------------------------ before and after


async def test_before_it_is_connected_everything_is_there_and_empty() -> None:
    client = DurableChatClient("s", "http://127.0.0.1:9")
    assert (client.messages, client.is_loading, client.error) == ([], False, None)
    assert client.connection_status == "disconnected"
    assert len(client.collections.session_stats) == 1
    assert len(client.actor.id) == 32
    assert client.actor.type == "user"
    writes: list[Callable[[], object]] = [
        lambda: client.send_message("hello"),
        lambda: client.append({"role": "user", "content": "x"}),
        lambda: client.add_tool_result("call"),
        lambda: client.add_tool_approval_response("a", approved=True),
    ]
    for write in writes:
        with pytest.raises(NotConnected, match=r"await connect\(\) first"):
            write()
    for ask in (client.stop(), client.fork(), client.pause(), client.resume()):
        with pytest.raises(NotConnected):
            await ask
    await client.disconnect()


@pytest.mark.parametrize(("session", "url"), [("", "http://a.test"), ("s", "a.test")])
def test_what_cannot_be_a_session(session: str, url: str) -> None:
    with pytest.raises(InvalidSession):
        DurableChatClient(session, url)


async def test_connecting_creates_the_session_and_loads_it() -> None:
    async with chat_service() as service:
        await service.append("s", *conversation(2))
        client = client_of(service)
        statuses: list[str] = []
        client.collections.session_meta.subscribe(
            lambda _: statuses.append(client.connection_status)
        )
        async with client:
            await client.connect()
            assert len(client.messages) == 4
            assert client.connection_status == "connected"
        assert service.asked == [("PUT", "", None)]
        assert list(dict.fromkeys(statuses)) == [
            *("connecting", "connected", "disconnected"),
        ]


async def test_a_client_may_connect_again() -> None:
    async with chat_service() as service:
        client = client_of(service)
        for turn in range(3):
            async with client:
                await within(client.send_message(f"turn {turn}"))
            assert client.connection_status == "disconnected"
        assert [message.text for message in client.messages] == ["turn 0", "turn 1", "turn 2"]


async def test_who_may_not_create_a_session_may_read_it() -> None:
    async with chat_service() as service:
        await service.append("s", *conversation(1))
        service.scripted.append(refusal(403, "forbidden"))
        async with client_of(service) as client:
            assert len(client.messages) == 2


async def test_a_service_that_is_busy_when_one_connects_is_asked_again() -> None:
    async with chat_service() as service:
        service.scripted += [refusal(503, "storage_unavailable"), None]
        async with client_of(service) as client:
            assert client.connection_status == "connected"
        assert len(service.asked) == 3


async def test_a_client_of_ones_own_stays_open() -> None:
    async with chat_service() as service, httpx2.AsyncClient(headers={"x-mine": "1"}) as http:
        async with client_of(service, client=http) as client:
            await within(client.send_message("hello"))
        assert not http.is_closed
        assert all(headers["x-mine"] == "1" for headers in service.headers)


async def test_headers_are_asked_for_with_every_request_and_once_more_after_401() -> None:
    tokens = iter(range(100))

    async def headers() -> dict[str, str]:
        return {"authorization": f"Bearer {next(tokens)}"}

    async with chat_service() as service, client_of(service, headers=headers) as client:
        service.scripted.append(refusal(401, "unauthorized"))
        await within(client.send_message("hello"))
        sent = [headers["authorization"] for headers in service.headers]
        assert len(set(sent)) == len(sent) == 3
        service.scripted += [refusal(401, "unauthorized")] * 2
        with pytest.raises(SessionForbidden):
            await within(client.send_message("hello"))


# ------------------------------------------------------------------ offline


async def test_what_is_written_offline_is_sent_in_order_when_the_service_is_back() -> None:
    async with chat_service() as service, client_of(service) as client:
        service.scripted += [refusal(503, "shutting_down")] * 3
        writes = [client.send_message(str(number)) for number in range(5)]
        assert [message.text for message in client.messages] == list("01234")
        for write in writes:
            await within(write)
        assert client.pending == ()
        stored = [row.chunk for row in client.collections.chunks.values()]
        assert [f'"content": "{n}"' in chunk for n, chunk in enumerate(stored)] == [True] * 5


async def test_starting_without_a_network(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    nowhere = f"http://127.0.0.1:{port}"
    client = DurableChatClient("s", nowhere, timing=IMPATIENT)
    with pytest.raises(SessionUnreachable):
        await within(client.connect())
    assert client.connection_status == "connecting"
    write = client.send_message("later")
    assert [message.text for message in client.messages] == ["later"]
    assert isinstance(client.error, SessionUnreachable)
    await client.disconnect()
    with pytest.raises(SessionClosed):
        await within(write)
    cache = tmp_path / "cache"
    async with chat_service() as service:
        await service.append("s", *conversation(1))
        async with client_of(service, cache=cache):
            pass
        url = service.url
    offline = DurableChatClient("s", url, cache=cache, timing=IMPATIENT)
    async with offline:
        assert len(offline.messages) == 2
        assert offline.connection_status == "connecting"


# ------------------------------------------------------------------ reading


async def test_callbacks_tell_what_happens_after_connecting() -> None:
    heard: list[Any] = []
    async with chat_service() as service:
        await service.append("s", *conversation(1))
        async with client_of(
            service,
            on_message=lambda message: heard.append(("message", message.id, message.text)),
            on_chunk=lambda row: heard.append(("chunk", row.key)),
            on_finish=lambda message: heard.append(("finish", message.id)),
        ):
            assert heard == []
            for one in logged(*answer("a1", ["It is ", "raining."])):
                seen = len(heard)
                await service.append("s", one)
                await until(lambda seen=seen: len(heard) > seen)  # type: ignore[misc]
        assert heard == [
            *(("chunk", "a1:0"), ("message", "a1", "It is ")),
            *(("chunk", "a1:1"), ("message", "a1", "It is raining.")),
            *(("chunk", "a1:2"), ("message", "a1", "It is raining."), ("finish", "a1")),
        ]


async def test_a_session_that_goes_away_is_an_error() -> None:
    errors: list[Exception] = []
    async with chat_service() as service, client_of(service, on_error=errors.append) as client:
        async with httpx2.AsyncClient() as http:
            await http.delete(f"{service.url}/v1/stream/sessions/s")
        await until(lambda: client.connection_status == "error")
        assert isinstance(client.error, (SessionNotFound, SessionGone))
        assert errors == [client.error]


async def test_pausing_and_resuming() -> None:
    async with chat_service() as service, client_of(service) as client:
        await client.pause()
        assert client.connection_status == "paused"
        write = client.send_message("hello")
        await service.append("s", *conversation(1))
        await until(lambda: len(service.calls("messages")) == 1)
        assert [message.text for message in client.messages] == ["hello"]
        assert not write.done
        await client.resume()
        await within(write)
        assert len(client.messages) == 3


async def test_clearing_hides_what_is_there_and_nothing_that_comes() -> None:
    async with chat_service() as service:
        await service.append("s", *conversation(2), *logged(answer("a9", ["half"])[0]))
        async with client_of(service) as client:
            assert client.is_loading
            client.clear()
            assert (client.messages, client.is_loading) == ([], False)
            assert client.collections.session_stats["s"].message_count == 5
            await within(client.send_message("new"))
            await service.append("s", *logged(*answer("a9", ["half", " more"])))
            await until(lambda: client.collections.session_stats["s"].message_count == 6)
            assert [message.text for message in client.messages] == ["new"]


async def test_a_query_of_ones_own_in_three_lines() -> None:
    async with chat_service() as service:
        await service.append("s", *tool_call("q1"))
        async with client_of(service) as client:
            approvals = client.collections.approvals
            pending = approvals.where(lambda row: row.status == "pending")
            mine = pending.where(lambda row: row.requested_by == "agent-1")
            told: list[Any] = []
            mine.subscribe(told.extend)
            await within(client.add_tool_approval_response("q1", approved=True))
            assert [type(one) for one in told] == [Deleted]


def test_snapshots_are_json() -> None:
    client = DurableChatClient("s", "http://127.0.0.1:9")
    client._db.state.take([*conversation(1), *tool_call("q"), present("bob")])
    snapshot = client.snapshot()
    assert json.loads(json.dumps(snapshot)) == snapshot
    assert [message["id"] for message in snapshot["messages"]] == ["a1", "u0", "a0"]
    assert snapshot["approvals"][0]["status"] == "pending"
    assert snapshot["presence"][0]["actorId"] == "bob"
    assert snapshot["stats"]["messageCount"] == 3
    assert (snapshot["sessionId"], snapshot["offset"]) == ("s", "-1")


# ------------------------------------------------------------------ asking the service


async def test_what_is_asked_of_the_service() -> None:
    async with chat_service() as service, client_of(service) as client:
        await client.reload()  # nothing to answer again
        await within(client.send_message("hello", message_id="m1"))
        await client.reload()
        await client.stop()
        await client.stop("a1")
        assert await client.fork(at_message_id="m1") == Fork("f", "7")
        await client.register_agents([BOT])
        await client.unregister_agent("b/t")
        assert [one for one in service.asked if one[1] not in ("", "messages")] == [
            (
                "POST",
                "regenerate",
                {
                    "fromMessageId": "m1",
                    "content": "hello",
                    "actorId": "ada",
                    "actorType": "user",
                },
            ),
            ("POST", "stop", {"messageId": None}),
            ("POST", "stop", {"messageId": "a1"}),
            ("POST", "fork", {"atMessageId": "m1", "newSessionId": None}),
            ("POST", "agents", {"agents": [BOT.to_json()]}),
            ("DELETE", "agents/b/t", None),
        ]
        errors: list[SessionError] = []
        service.scripted.append(refusal(404, "message_not_found"))
        with pytest.raises(SessionNotFound) as raised:
            await client.fork(at_message_id="x")
        errors.append(raised.value)
        assert client.error is raised.value
        service.scripted.append(JSONResponse({"sessionId": 5}, 201))
        with pytest.raises(SessionProtocolError, match="without sessionId"):
            await client.fork()
        await client.stop()
        assert client.error is None


async def test_presence_is_told_again_and_taken_back(unit: float) -> None:
    async with chat_service() as service:
        async with client_of(service, presence_every=0.01 * unit) as client:
            await client.set_presence("away", name="Ada")
            await until(lambda: len(service.calls("presence")) >= 3)
            service.scripted.append(refusal(503, "shutting_down"))
            before = len(service.calls("presence"))
            await until(lambda: len(service.calls("presence")) > before + 1)
            await client.set_presence("online")
        bodies = service.calls("presence")
        assert bodies[0] == {
            "actorId": "ada",
            "actorType": "user",
            "status": "away",
            "name": "Ada",
        }
        assert bodies[-1]["status"] == "offline"
        async with client_of(service) as client:
            await client.set_presence("offline")
        assert [body["status"] for body in service.calls("presence")][-2:] == ["offline"] * 2
