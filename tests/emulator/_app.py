"""The emulator's HTTP surface, a bare ASGI application.

Beside the vendors' paths there is a small control surface for users in another process:
``PUT /emulator/scripts``, ``GET /emulator/calls``, ``POST /emulator/release/{id}``.
"""

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from emulator import _anthropic, _openai_chat, _openai_responses
from emulator._script import Reject, Script
from emulator._state import RecordedRequest, State

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

SSE_HEADERS: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-request-id", b"req_emulator"),
]
JSON_HEADERS: Headers = [(b"content-type", b"application/json")]
APIS = {
    "/v1/chat/completions": _openai_chat,
    "/v1/responses": _openai_responses,
    "/v1/messages": _anthropic,
}
RESULTS = (b'"role":"tool"', b'"type":"function_call_output"', b'"type":"tool_result"')
"""What a request with the result of a tool has in it: chat completions, responses, messages."""
RAW_PREFIX = "/raw/"
CONTROL_PREFIX = "/emulator/"


class ClientGoneError(Exception):
    """The client closed its connection in the middle of an answer."""


def create_app(state: State) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """The emulator as an ASGI application over ``state``."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = await _read_body(receive)
        path = scope["path"]
        if path.startswith(CONTROL_PREFIX):
            await _control(state, path.removeprefix(CONTROL_PREFIX), body, send)
        elif path in APIS or path.startswith(RAW_PREFIX):
            await _answer(state, _record(scope, body), receive, send)
        else:
            await _send_json(send, 404, {"error": {"message": f"no such path: {path}"}})

    return app


async def _read_body(receive: Receive) -> bytes:
    pieces = []
    while True:
        message = await receive()
        pieces.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(pieces)


def _record(scope: Scope, body: bytes) -> RecordedRequest:
    headers = tuple(
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]
    )
    named = dict(headers).get("x-emulator-script")
    if scope["path"].startswith(RAW_PREFIX):
        named = scope["path"].removeprefix(RAW_PREFIX)
    elif named is None:
        named = str(_json_object(body).get("model", ""))
    return RecordedRequest(named, scope["method"], scope["path"], headers, body)


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _has_results(body: bytes) -> bool:
    compact = body.replace(b" ", b"")
    return any(mark in compact for mark in RESULTS)


async def _answer(state: State, request: RecordedRequest, receive: Receive, send: Send) -> None:
    call = state.record(request)
    script = state.script(request.script_id)
    if script.after_tools is not None and _has_results(request.body):
        script = state.script(script.after_tools)
    if script.headers_delay:
        await asyncio.sleep(script.headers_delay)
    if script.reject and (script.reject.times is None or call <= script.reject.times):
        await _send_reject(send, request.path, script.reject)
        return
    headers, packets = _render(script, request)
    gone = asyncio.ensure_future(_wait_until_gone(receive))
    try:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await _Body(state, script, send, gone).write(packets)
    except ClientGoneError:
        state.record_disconnect(script.id)
    finally:
        gone.cancel()


def _render(script: Script, request: RecordedRequest) -> tuple[Headers, list[bytes]]:
    headers, frames = _content(script, request)
    headers = [*headers, *((name.encode(), value.encode()) for name, value in script.headers)]
    if script.gzip:
        frames = [gzip.compress(b"".join(frames), mtime=0)]
        headers.append((b"content-encoding", b"gzip"))
    packets = list(script.packets(frames))
    if script.cut and script.cut.promise_length:
        length = sum(len(packet) for packet in packets)
        headers.append((b"content-length", str(length).encode()))
    return headers, packets


def _content(script: Script, request: RecordedRequest) -> tuple[Headers, Iterable[bytes]]:
    if request.path.startswith(RAW_PREFIX):
        return [(b"content-type", script.content_type.encode())], script.raw * script.raw_times
    api = APIS[request.path]
    asked = _json_object(request.body)
    if asked.get("stream"):
        return SSE_HEADERS, api.stream(script, asked)
    return JSON_HEADERS, [json.dumps(api.document(script, asked)).encode()]


@dataclass(slots=True)
class _Body:
    """One answer's body on its way to one client."""

    state: State
    script: Script
    send: Send
    gone: "asyncio.Future[None]"

    async def write(self, packets: Sequence[bytes]) -> None:
        """Send the packets at the script's pace; a cut leaves the response unfinished."""
        for count, packet in enumerate(packets):
            if await self._stops_at(count):
                return
            if self.script.pace:
                await self._unless_gone(asyncio.sleep(self.script.pace))
            if self.gone.done():
                raise ClientGoneError
            await self.send({"type": "http.response.body", "body": packet, "more_body": True})
        if not await self._stops_at(len(packets)):
            await self.send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _stops_at(self, count: int) -> bool:
        if self.script.hold_after == count:
            await self._unless_gone(self.state.wait_for_release(self.script.id))
        return self.script.cut is not None and self.script.cut.packets == count

    async def _unless_gone(self, awaitable: Awaitable[None]) -> None:
        task = asyncio.ensure_future(awaitable)
        await asyncio.wait({task, self.gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
            raise ClientGoneError


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _unless_gone(awaitable: Awaitable[None], gone: "asyncio.Future[None]") -> None:
    task = asyncio.ensure_future(awaitable)
    await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        task.cancel()
        raise ClientGoneError


async def _send_reject(send: Send, path: str, reject: Reject) -> None:
    error = _anthropic.error if path == "/v1/messages" else _openai_chat.error
    headers = [(name.encode(), value.encode()) for name, value in reject.headers]
    await _send_json(send, reject.status, error(reject.status, reject.message), headers)


async def _send_json(
    send: Send, status: int, value: object, headers: Headers | None = None
) -> None:
    body = json.dumps(value).encode()
    length = (b"content-length", str(len(body)).encode())
    start = {"status": status, "headers": [*JSON_HEADERS, length, *(headers or [])]}
    await send({"type": "http.response.start"} | start)
    await send({"type": "http.response.body", "body": body})


async def _control(state: State, what: str, body: bytes, send: Send) -> None:
    verb, _, name = what.partition("/")
    match verb:
        case "scripts":
            state.add(Script.model_validate_json(body))
            await _send_json(send, 200, {})
        case "calls":
            await _send_json(send, 200, {"calls": state.calls(name or None)})
        case "disconnects":
            await _send_json(send, 200, {"disconnects": state.disconnects(name)})
        case "release":
            state.release(name)
            await _send_json(send, 200, {})
        case _:
            await _send_json(send, 404, {"error": {"message": f"no such control: {verb}"}})
