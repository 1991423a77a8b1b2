"""A session service of the smallest kind, on a real log and a real socket; and it can misbehave.

It takes the calls as they are, writes the rows they stand for, and keeps no state but the log.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

import durable_ai_db.state as protocol
from ai_db.logs import IMPATIENT, logged
from ai_db.sessions import chunk_row
from durable_ai_db import AgentSpec, DurableChatClient
from durable_streams_server import Append, Create, Log, StreamsApp
from streams.gate import PATIENCE
from streams.serving import PATIENT, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from durable_ai_db.materialize import ChunkRow


@dataclass
class ChatService:
    """The service.

    Attributes:
        asked: Every call: method, path below the session, body.
        scripted: Answers to give instead of doing anything, one for each call: a response, None
            for a connection that breaks after it was done, or ``...`` for business as usual.
        held: While it is cleared, calls wait.
        silent: Calls are done and no row is written.
        headers: Of the calls.
    """

    log: Log
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    scripted: list[Any] = field(default_factory=list)
    held: asyncio.Event = field(default_factory=asyncio.Event)
    silent: bool = False
    headers: list[dict[str, str]] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    url: str = ""

    def __post_init__(self) -> None:
        self.held.set()
        self._streams = StreamsApp(self.log, limits=PATIENT)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["raw_path"].decode()
        if not path.startswith("/v1/sessions/"):
            await self._streams(scope, receive, send)
            return
        request = Request(scope, receive)
        body = json.loads(await request.body() or b"null")
        session, _, call = path.removeprefix("/v1/sessions/").partition("/")
        self.asked.append((request.method, unquote(call), body))
        self.headers.append(dict(request.headers))
        await self.held.wait()
        scripted = self.scripted.pop(0) if self.scripted else ...
        if isinstance(scripted, Response):
            await scripted(scope, receive, send)
            return
        response = await self._do(request, unquote(session), call, body)
        if scripted is None:
            raise ConnectionAbortedError  # the server closes the connection without an answer
        await response(scope, receive, send)

    async def _do(self, request: Request, session: str, call: str, body: Any) -> Response:
        actor = request.headers.get("x-actor-id", "somebody")
        match [unquote(part) for part in call.split("/")]:
            case [""]:
                await self.log.transact(Create(f"sessions/{session}", "application/json"))
                return JSONResponse({"sessionId": session}, 201)
            case ["messages"]:
                await self.write(session, _message(body), body["txid"])
                return JSONResponse({"messageId": body["messageId"]})
            case ["tool-results"]:
                chunk = {"type": "tool-result", **_some(body, "toolCallId", "output", "error")}
                await self.write(session, _answer(body["messageId"], actor, chunk), body["txid"])
            case ["approvals", approval]:
                chunk = {"type": "approval-response", "approvalId": approval}
                chunk |= _some(body, "approved")
                await self.write(session, _answer(body["txid"], actor, chunk), body["txid"])
            case ["fork"]:
                return JSONResponse({"sessionId": body["newSessionId"] or "f", "offset": "7"}, 201)
        return Response(status_code=204)

    async def write(self, session: str, row: ChunkRow, txid: str | None = None) -> None:
        if self.silent or row.message_id in self.seen:
            return
        self.seen.add(row.message_id)
        await self.append(session, protocol.insert("chunk", row.key, row.to_json(), txid=txid))

    async def append(self, session: str, *messages: Any) -> None:
        """Write to the log directly."""
        texts = [one if isinstance(one, dict) else one.to_json() for one in messages]
        data = b"".join(json.dumps(one).encode() + b"," for one in texts)
        await self.log.transact(
            Create(f"sessions/{session}", "application/json"), Append(f"sessions/{session}", data)
        )

    def calls(self, *names: str) -> list[Any]:
        return [body for _, call, body in self.asked if call in names]


def _some(body: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: body[name] for name in names}


def _message(body: dict[str, Any]) -> ChunkRow:
    parts = [{"type": "text", "content": body["content"]}]
    now = datetime.now(UTC).isoformat()
    message = {"id": body["messageId"], "role": body["role"], "parts": parts}
    chunk = {"type": "user-message", "message": message}
    return chunk_row(body["messageId"], 0, chunk, actor=body["actorId"], role=body["role"], at=now)


def _answer(message_id: str, actor: str, chunk: dict[str, Any]) -> ChunkRow:
    return chunk_row(message_id, 0, chunk, actor=actor, role="user")


def refusal(status: int, code: str, message: str = "no") -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status)


@asynccontextmanager
async def chat_service() -> AsyncIterator[ChatService]:
    async with await Log.open() as log:
        service = ChatService(log)
        async with serving(service, log) as server:
            service.url = f"http://127.0.0.1:{server.port}"
            yield service
            service.held.set()


BOT = AgentSpec("bot", "http://bot.test/chat", triggers="all", headers={"key": "k"})


def client_of(service: ChatService, **options: Any) -> DurableChatClient:
    options = {"actor_id": "ada", "timing": IMPATIENT, **options}
    return DurableChatClient("s", service.url, **options)


def tool_call(approval: str | None = None) -> list[Any]:
    """An assistant's message with a tool call, and perhaps a question."""
    call = {"id": "call_1", "function": {"name": "rm", "arguments": "{}"}}
    chunks: list[object] = [{"type": "tool_call", "toolCall": call, "index": 0}]
    if approval is not None:
        asked = {"id": approval, "needsApproval": True}
        chunks.append(
            {
                "type": "approval-requested",
                "toolCallId": "call_1",
                "toolName": "rm",
                "input": {},
                "approval": asked,
            }
        )
    chunks.append({"type": "done", "finishReason": "tool_calls"})
    return logged(*(chunk_row("a1", seq, chunk) for seq, chunk in enumerate(chunks)))


async def within(awaitable: Any) -> Any:
    async with asyncio.timeout(PATIENCE):
        return await awaitable
