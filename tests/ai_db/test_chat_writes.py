"""What a client writes is shown at once, and what becomes of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from ai_db.chat_service import BOT, chat_service, client_of, refusal, tool_call, within
from ai_db.logs import answer, logged, until
from ai_db.sessions import chunk_row, user_message
from durable_ai_db import (
    DurableChatClient,
    SessionClosed,
    SessionConflict,
    SessionForbidden,
    SessionGone,
    SessionNotFound,
    SessionProtocolError,
    SessionRefused,
    TxidTimeout,
    Updated,
)

if TYPE_CHECKING:
    from durable_ai_db import SessionError
    from durable_ai_db.live import Change
    from durable_ai_db.materialize import MessageRow

# ------------------------------------------------------------------ optimistic writes


class Watched:
    """All changes of the messages, by id."""

    def __init__(self, client: DurableChatClient) -> None:
        self.changes: list[Change[str, MessageRow]] = []
        client.collections.messages.subscribe(self.changes.extend)

    def of(self, key: str) -> list[str]:
        return [type(one).__name__ for one in self.changes if one.key == key]


async def test_a_message_is_there_at_once_and_is_replaced_without_a_flicker() -> None:
    async with chat_service() as service, client_of(service) as client:
        watched = Watched(client)
        service.held.clear()
        write = client.send_message("hello", message_id="m1")
        (message,) = client.messages
        assert (message.id, message.text, message.role, message.actor_id) == (
            *("m1", "hello", "user", "ada"),
        )
        assert message.is_complete
        assert (client.pending, write.done, client.is_loading) == ((write,), False, False)
        service.held.set()
        assert await within(write) == "m1"
        assert watched.of("m1") == ["Inserted", "Updated"]
        assert (len(client.messages), client.pending, write.done) == (1, (), True)
        (body,) = service.calls("messages")
        assert body == {
            "messageId": "m1",
            "content": "hello",
            "role": "user",
            "actorId": "ada",
            "actorType": "user",
            "txid": write.txid,
        }


async def test_messages_on_their_way_are_the_last_whatever_the_clocks_say() -> None:
    async with chat_service() as service, client_of(service) as client:
        service.held.clear()
        writes = [client.send_message(str(number)) for number in range(12)]
        await service.append("s", *logged(user_message("late", "late", at="2999-01-01T00:00:00Z")))
        await until(lambda: len(client.messages) == 13)
        shown = [message.text for message in client.messages]
        assert shown == ["late", *map(str, range(12))]
        service.held.set()
        for write in writes:
            await within(write)
        assert [body["content"] for body in service.calls("messages")] == list(map(str, range(12)))


async def test_an_answer_streams_in_while_a_message_is_on_its_way() -> None:
    async with chat_service() as service, client_of(service) as client:
        service.held.clear()
        write = client.send_message("hello", message_id="m1")
        first, second, end = logged(*answer("a1", ["It is ", "raining."]))
        await service.append("s", first)
        await until(lambda: client.is_loading)
        assert [message.id for message in client.messages] == ["a1", "m1"]
        service.held.set()
        await within(write)
        await service.append("s", second, end)
        await until(lambda: not client.is_loading)
        assert client.collections.messages["a1"].text == "It is raining."


@pytest.mark.parametrize(
    ("response", "kind", "code"),
    [
        (refusal(400, "bad_request"), SessionRefused, "bad_request"),
        (refusal(403, "forbidden"), SessionForbidden, "forbidden"),
        (refusal(404, "session_not_found"), SessionNotFound, "session_not_found"),
        (refusal(409, "run_active"), SessionConflict, "run_active"),
        (refusal(410, "session_gone"), SessionGone, "session_gone"),
        (refusal(413, "body_too_large"), SessionRefused, "body_too_large"),
        (JSONResponse({"error": "plain words"}, 422), SessionRefused, None),
        (HTMLResponse("<h1>Hello</h1>"), SessionProtocolError, None),
        (HTMLResponse("<h1>No</h1>" * 100, 404), SessionNotFound, None),
        (RedirectResponse("http://other.test/"), SessionProtocolError, None),
    ],
)
async def test_a_refused_message_is_taken_back_with_a_typed_error(
    response: Response, kind: type[SessionError], code: str | None
) -> None:
    errors: list[Exception] = []
    async with chat_service() as service, client_of(service, on_error=errors.append) as client:
        watched = Watched(client)
        service.scripted.append(response)
        write = client.send_message("hello", message_id="m1")
        kept = client.send_message("next")
        with pytest.raises(kind) as raised:
            await within(write)
        assert (raised.value.code, raised.value.session) == (code, "s")
        assert len(str(raised.value)) < 1000
        assert watched.of("m1") == ["Inserted", "Deleted"]
        await within(kept)
        assert [message.text for message in client.messages] == ["next"]
        assert errors == [raised.value]
        assert client.error is None, "the next one went through"


async def test_a_refusal_that_nobody_waits_for_is_told(caplog: pytest.LogCaptureFixture) -> None:
    errors: list[Exception] = []
    async with chat_service() as service, client_of(service, on_error=errors.append) as client:
        service.scripted.append(refusal(409, "run_active", "somebody is speaking"))
        client.send_message("hello")
        await until(lambda: bool(errors))
        assert client.error is errors[0]
        assert str(errors[0]) == (
            "it contradicts the state of the session: somebody is speaking "
            "[session 's', status 409, code run_active]"
        )
    assert caplog.text == ""


async def test_waiting_for_a_write_may_be_given_up() -> None:
    async with chat_service() as service, client_of(service) as client:
        service.held.clear()
        write = client.send_message("hello")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(write, 0.01)
        service.held.set()
        assert await within(write) == write.message_id


async def test_what_is_no_json_is_refused_at_once() -> None:
    async with chat_service() as service, client_of(service) as client:
        with pytest.raises(TypeError):
            client.add_tool_result("call", object())
        with pytest.raises(ValueError, match="JSON"):
            client.add_tool_result("call", float("nan"))
        assert client.pending == ()
        assert len(client.collections.tool_results) == 0


async def test_an_answer_that_is_lost_is_no_second_message() -> None:
    async with chat_service() as service, client_of(service) as client:
        service.scripted += [None, refusal(503, "storage_unavailable")]
        await within(client.send_message("hello", message_id="m1"))
        assert len(client.messages) == 1
        sent = service.calls("messages")
        assert {body["txid"] for body in sent} == {sent[0]["txid"]}, "sent again it is the same"


async def test_what_is_taken_but_never_comes_back_ends_with_an_error(unit: float) -> None:
    async with chat_service() as service:
        service.silent = True
        async with client_of(service, confirm_within=0.05 * unit) as client:
            write = client.send_message("hello")
            with pytest.raises(TxidTimeout):
                await within(write)
            assert client.messages == []


async def test_writes_on_their_way_end_with_the_connection() -> None:
    async with chat_service() as service:
        errors: list[Exception] = []
        async with client_of(service, on_error=errors.append) as client:
            service.held.clear()
            writes = [client.send_message("one"), client.send_message("two")]
            await until(lambda: len(service.calls("messages")) == 1)
        for write in writes:
            with pytest.raises(SessionClosed):
                await within(write)
        assert (client.messages, errors) == ([], [])


async def test_messages_of_all_roles_are_appended() -> None:
    async with chat_service() as service, client_of(service, agent=BOT) as client:
        await within(client.append({"role": "assistant", "content": "hello", "id": "m1"}))
        parts = [
            {"type": "text", "text": "be "},
            {"type": "image"},
            {"type": "text", "content": "k"},
        ]
        await within(client.append({"role": "system", "parts": parts}))
        await within(client.append({"role": "user", "content": [{"type": "text", "text": "hi"}]}))
        await within(client.append(client.messages[0]))
        sent = service.calls("messages")
        assert [(body["role"], body["content"]) for body in sent] == [
            *(("assistant", "hello"), ("system", "be k"), ("user", "hi"), ("assistant", "hello")),
        ]
        assert [body.get("agent") for body in sent] == [None, None, BOT.to_json(), None]
        assert sent[0]["messageId"] == sent[3]["messageId"] == "m1"
        assert sorted(message.role for message in client.messages) == [
            *("assistant", "system", "user"),
        ]


async def test_a_tool_result_completes_its_call_at_once() -> None:
    async with chat_service() as service:
        await service.append("s", *tool_call())
        async with client_of(service) as client:
            calls = client.collections.tool_calls.map(lambda call: str(call.state))
            assert calls["call_1"] != "complete"
            service.held.clear()
            write = client.add_tool_result("call_1", {"ok": True}, message_id="r1")
            assert calls["call_1"] == "complete"
            result = client.collections.tool_results["r1:call_1"]
            assert (result.output, result.error, result.actor_id) == ({"ok": True}, None, "ada")
            changes: list[Any] = []
            client.collections.tool_calls.subscribe(changes.extend)
            service.held.set()
            await within(write)
            assert calls["call_1"] == "complete"
            assert [one for one in changes if not isinstance(one, Updated)] == []
            assert client.collections.tool_results["r1:call_1"].output == {"ok": True}
            assert len(client.messages) == 1, "a result is no message"
            assert not client.is_loading
            assert service.headers[-1]["x-actor-id"] == "ada"


async def test_a_refused_tool_result_opens_its_call_again() -> None:
    async with chat_service() as service:
        await service.append("s", *tool_call())
        async with client_of(service) as client:
            service.scripted.append(refusal(404, "tool_call_not_found"))
            with pytest.raises(SessionNotFound):
                await within(client.add_tool_result("call_1", error="broken"))
            assert client.collections.tool_calls["call_1"].state != "complete"
            assert len(client.collections.tool_results) == 0


@pytest.mark.parametrize(("approved", "status"), [(True, "approved"), (False, "denied")])
async def test_an_approval_is_answered_at_once(approved: bool, status: str) -> None:  # noqa: FBT001
    async with chat_service() as service:
        await service.append("s", *tool_call("yes/no?"))
        async with client_of(service) as client:
            rows = client.collections.approvals
            pending = rows.where(lambda row: row.status == "pending")
            assert list(pending) == ["yes/no?"]
            service.held.clear()
            write = client.add_tool_approval_response("yes/no?", approved=approved)
            assert (rows["yes/no?"].status, rows["yes/no?"].responded_by) == (status, "ada")
            assert list(pending) == []
            service.held.set()
            await within(write)
            assert rows["yes/no?"].status == status
            assert list(pending) == []


async def test_an_approval_that_somebody_else_has_answered_the_same_is_answered() -> None:
    async with chat_service() as service:
        chunk = {"type": "approval-response", "approvalId": "q", "approved": True}
        other = chunk_row("x1", 0, chunk, actor="bob", role="user")
        await service.append("s", *tool_call("q"), *logged(other))
        service.silent = True
        async with client_of(service) as client:
            await within(client.add_tool_approval_response("q", approved=True))
            assert client.collections.approvals["q"].responded_by == "bob"
