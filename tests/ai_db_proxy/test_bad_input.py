"""What is wrong is refused with a code, and the session stays usable."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from ai_db_proxy.agents import agent_server
from ai_db_proxy.harness import code_of, served, statuses
from durable_ai_db_proxy import AgentLimits
from durable_proxy import Timeouts

if TYPE_CHECKING:
    from ai_db_proxy.agents import Call


async def test_requests_that_are_none() -> None:
    async with served(max_body_bytes=3_000_000) as client:
        for session in ("no-such",):
            one = client.of(session)
            for method, path, body in (
                ("GET", "", None),
                ("DELETE", "", None),
                ("GET", "/messages", None),
                ("GET", "/view", None),
                ("GET", "/agents", None),
                ("POST", "/messages", {"content": "x"}),
                ("POST", "/stop", {}),
                ("POST", "/regenerate", {"fromMessageId": "m", "content": "x"}),
                ("POST", "/tool-results", {"toolCallId": "c", "output": 1}),
                ("POST", "/approvals/a", {"approved": True}),
                ("POST", "/fork", {}),
                ("POST", "/presence", {"actorId": "ann"}),
            ):
                answer = await one.call(method, path, json=body)
                assert code_of(answer) == (404, "session_not_found"), path
        assert code_of(await client.of("x" * 1000).call("PUT")) == (400, "invalid_id")
        assert code_of(await client.of("a%2Fb").call("PUT")) == (404, "not_found")
        assert code_of(await client.of("a%00b").call("PUT")) == (400, "invalid_id")
        assert code_of(await client.of("%E2%82%AC").call("PUT")) == (400, "invalid_id")
        await client.create()
        before = await client.rows()
        bad: list[dict[str, Any]] = [
            {},
            {"content": ""},
            {"content": 5},
            {"content": "x", "messageId": "m" * 1000},
            {"content": "x", "messageId": "a\nb"},
            {"content": "x", "role": "king"},
        ]
        for body in bad:
            assert await client.refused("/messages", **body) == (400, "bad_request"), body
        huge = {"content": "x" * 1_500_000}
        assert await client.refused("/messages", **huge) == (413, "body_too_large")
        huger = {"content": "x" * 4_000_000}
        assert await client.refused("/messages", **huger) == (413, "body_too_large")
        for text in (b"{", b"[]", b"\xff", b"[" * 100_000, b'"' + b"x" * 100):
            headers = {"Content-Type": "application/json"}
            answer = await client.call("POST", "/messages", content=text, headers=headers)
            assert answer.status_code == 400, text[:10]
            assert code_of(answer)[1] in ("invalid_json", "bad_request")
        assert await client.refused("/approvals/no", approved=True) == (404, "approval_not_found")
        assert await client.refused("/fork", atMessageId="no") == (404, "message_not_found")
        assert await client.refused("/fork", newSessionId="a/b") == (400, "invalid_id")
        assert await client.refused("/stop", messageId="no") == (404, "message_not_found")
        assert code_of(await client.call("DELETE", "/agents/no")) == (404, "agent_not_found")
        assert code_of(await client.call("PATCH", "/messages"))[1] == "method_not_allowed"
        assert await client.rows() == before


async def test_agents_that_may_not_be_called() -> None:
    async with agent_server() as agents, served(allow=["https://agents.example.com/**"]) as client:
        await client.create()
        spec = agents.spec("a")
        assert await client.refused("/agents", agents=[spec]) == (403, "upstream_not_allowed")
        body = {"content": "x", "agent": spec}
        assert await client.refused("/messages", **body) == (403, "upstream_not_allowed")
        for endpoint in ("nowhere", "ftp://agents.example.com/", "https://2130706433/"):
            bad: dict[str, Any] = {"id": "a", "endpoint": endpoint}
            status, _ = await client.refused("/agents", agents=[bad])
            assert status in (400, 403), endpoint
        for headers in ({"Host": "x"}, {"X": "a\r\nb"}, {"Content-Length": "5"}):
            bad = {"id": "a", "endpoint": "https://agents.example.com/", "headers": headers}
            assert await client.refused("/agents", agents=[bad]) == (400, "bad_request")


async def _html(call: Call) -> None:
    await call.start(content_type="text/html")
    await call.raw(b"<html>")


async def _refuses(call: Call) -> None:
    await call.start(status=500, content_type="application/json")
    await call.raw(b'{"error": "internal secret"}')


async def _nothing(call: Call) -> None:
    await call.start()


async def _silent(call: Call) -> None:
    await call.say("hm")
    await call.gone.wait()


async def _huge(call: Call) -> None:
    await call.say("before")
    while not call.gone.is_set():
        await call.say("x" * 50_000)
        await asyncio.sleep(0.001)


async def _breaks_off(call: Call) -> None:
    await call.say("half")
    raise ConnectionError


BAD_AGENTS = {
    "html": (_html, "failed", "agent_bad_answer"),
    "refuses": (_refuses, "failed", "upstream_rejected"),
    "nothing": (_nothing, "failed", "agent_empty_answer"),
    "silent": (_silent, "timed_out", "upstream_timeout"),
    "huge": (_huge, "failed", "agent_answer_too_large"),
}


@pytest.mark.parametrize("kind", list(BAD_AGENTS))
async def test_agents_that_misbehave_show_in_the_session(kind: str, unit: float) -> None:
    answer, status, code = BAD_AGENTS[kind]
    options: dict[str, Any] = {
        "timeouts": Timeouts(connect=5 * unit, answer=5 * unit, idle=0.4 * unit),
        "agent_limits": AgentLimits(answer_bytes=500_000),
    }
    async with agent_server() as agents, served(**options) as client:
        await client.create()
        await client.register(agents.spec("bad"))
        agents.answers["bad"] = answer
        await client.send("go", actorId="ann")
        state = await client.quiet()
        (run,) = state.runs.values()
        assert (run.status.value, run.code) == (status, code)
        message = state.messages.timeline()[-1]
        assert message.is_complete
        assert message.error is not None
        assert message.error["code"] == code
        assert "internal secret" not in str(await client.rows())
        agents.answer("bad", "better")
        await client.send("again", actorId="ann")
        state = await client.quiet()
        assert statuses(state)[-1] == "completed"


async def test_an_agent_that_nobody_serves_any_more() -> None:
    async with agent_server() as gone:
        spec = gone.spec("gone")
    async with served() as client:
        await client.create()
        await client.register(spec)
        await client.send("go", actorId="ann")
        (run,) = (await client.quiet()).runs.values()
        assert (run.status.value, run.code) == ("failed", "upstream_unreachable")


async def test_bytes_that_only_just_are_server_sent_events() -> None:
    async with agent_server() as agents, served() as client:
        await client.create()
        await client.register(agents.spec("odd"))

        async def answer(call: Call) -> None:
            euro = '{"type":"content","delta":"€"}'.encode()
            pieces = [
                b'data:{"type":"content","delta":"a"}\r\n\r\n',
                b': a comment\n\ndata: {"type":"content",\ndata: "delta":"b"}\n\n',
                b"data: not json\n\n",
                b"data: " + euro[:29],
                euro[29:] + b"\n\n",
                b'data: {"type":"done","finishReason":"stop"}\n\ndata: [DONE]\n\n',
                b'data: {"type":"done","finishReason":"stop"}',
            ]
            for piece in pieces:
                await call.raw(piece)

        agents.answers["odd"] = answer
        await client.send("go", actorId="ann")
        message = (await client.quiet()).messages.timeline()[-1]
        assert message.text == "ab€"
        assert [one.code for one in message.skipped] == ["malformed"]
