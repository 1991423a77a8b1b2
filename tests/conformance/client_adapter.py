#!/usr/bin/env python3
"""Lets the client conformance suite of the protocol's authors drive our client.

Commands come as JSON lines on standard input, one answer goes out for each. The suite is not
published as a package: docs/CONTRIBUTING.md says how to run it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from typing import Any

from durable_transport import (
    DurableStream,
    DurableTransportError,
    IdempotentProducer,
    InvalidOffset,
    SequenceConflict,
    StreamClosed,
    StreamConflict,
    StreamError,
    StreamNotFound,
    StreamProtocolError,
    StreamUnreachable,
    Timing,
)

FEATURES = {
    "batching": True,
    "sse": True,
    "longPoll": True,
    "auto": True,
    "streaming": True,
    "dynamicHeaders": True,
    "strictZeroValidation": True,
}
CODES: list[tuple[type[StreamError], str]] = [
    (StreamNotFound, "NOT_FOUND"),
    (InvalidOffset, "INVALID_OFFSET"),
    (StreamClosed, "STREAM_CLOSED"),
    (SequenceConflict, "SEQUENCE_CONFLICT"),
    (StreamConflict, "CONFLICT"),
    (StreamProtocolError, "PARSE_ERROR"),
    (StreamUnreachable, "NETWORK_ERROR"),
]
READ_SECONDS = 5.0

Command = dict[str, Any]
Answer = dict[str, Any]


class Dynamic:
    """Headers or query fields whose value is made anew for every request."""

    def __init__(self) -> None:
        self._rules: dict[str, Command] = {}
        self._counters: dict[str, int] = {}
        self.sent: dict[str, str] = {}

    def set(self, rule: Command) -> None:
        self._rules[rule["name"]] = rule
        self._counters[rule["name"]] = 0

    def clear(self) -> None:
        self._rules.clear()

    def values(self) -> dict[str, str]:
        self.sent = {name: self._value(name, rule) for name, rule in self._rules.items()}
        return dict(self.sent)

    def _value(self, name: str, rule: Command) -> str:
        match rule["valueType"]:
            case "counter":
                self._counters[name] += 1
                return str(self._counters[name])
            case "timestamp":
                return str(time.time_ns() // 1_000_000)
            case _:
                return str(rule.get("initialValue") or "")


class Adapter:
    """One run of the suite."""

    def __init__(self) -> None:
        self._base = ""
        self._types: dict[str, str] = {}
        self._headers = Dynamic()
        self._params = Dynamic()
        self._producers: dict[tuple[str, str, int], IdempotentProducer] = {}

    async def answer(self, command: Command) -> Answer:
        kind = command["type"]
        try:
            found = await getattr(self, f"do_{kind.replace('-', '_')}")(command)
        except (DurableTransportError, ValueError, TypeError) as error:
            return {"type": "error", "success": False, "commandType": kind, **_described(error)}
        return {"type": kind, "success": True, **found}

    def _stream(self, command: Command) -> DurableStream:
        own = command.get("headers") or {}
        return DurableStream(
            self._base + command["path"],
            headers=lambda: {**self._headers.values(), **own},
            params=self._params.values,
            content_type=self._types.get(command["path"]),
            timing=Timing(give_up_after=15),
        )

    def _sent(self) -> Answer:
        return {"headersSent": self._headers.sent, "paramsSent": self._params.sent}

    # ------------------------------------------------------------------ streams

    async def do_init(self, command: Command) -> Answer:
        self._base = command["serverUrl"]
        return {"clientName": "durable-transport", "clientVersion": "0", "features": FEATURES}

    async def do_shutdown(self, _: Command) -> Answer:
        return {}

    async def do_create(self, command: Command) -> Answer:
        data, kind = command.get("data"), command.get("contentType")
        async with self._stream(command) as stream:
            info = await stream.create(
                content_type=kind,
                ttl=command.get("ttlSeconds"),
                closed=command.get("closed") or False,
                data=None if data is None else data.encode(),
            )
        self._types[command["path"]] = info.content_type or "application/octet-stream"
        return {"status": 201 if info.created else 200, "offset": info.offset}

    async def do_connect(self, command: Command) -> Answer:
        return await self.do_head(command)

    async def do_head(self, command: Command) -> Answer:
        async with self._stream(command) as stream:
            info = await stream.head()
        self._types[command["path"]] = info.content_type or ""
        return {
            "status": 200,
            "offset": info.offset,
            "contentType": info.content_type,
            "ttlSeconds": info.ttl,
            "streamClosed": info.closed,
        }

    async def do_delete(self, command: Command) -> Answer:
        async with self._stream(command) as stream:
            await stream.delete()
        return {"status": 200}

    async def do_append(self, command: Command) -> Answer:
        data = command["data"]
        encoded = base64.b64decode(data) if command.get("binary") else data.encode()
        seq = command.get("seq")
        async with self._stream(command) as stream:
            if not encoded:
                return {"status": 400}  # refused before anything is sent
            done = await stream.append(encoded, seq=None if seq is None else str(seq))
        return {"status": 200, "offset": done.offset, **self._sent()}

    async def do_close(self, command: Command) -> Answer:
        data = command.get("data")
        async with self._stream(command) as stream:
            done = await stream.close(None if data is None else data.encode())
        return {"finalOffset": done.offset}

    # ------------------------------------------------------------------ reading

    async def do_read(self, command: Command) -> Answer:
        live: Any = {True: "auto", False: None, None: None}.get(
            command.get("live"), command.get("live")
        )
        offset = command.get("offset") or "-1"
        seconds = (command.get("timeoutMs") or READ_SECONDS * 1000) / 1000
        async with self._stream(command) as stream:
            is_json = self._types.get(command["path"], "").startswith("application/json")
            follow = stream.follow_json if is_json else stream.follow
            reader: Any = follow(offset, live=live)
            chunks = await self._chunks(reader, command, seconds)
        return {
            # The client has no notion of the statuses it saw on the way.
            "status": 204 if live == "long-poll" and not chunks else 200,
            "chunks": chunks,
            "offset": reader.offset,
            "upToDate": reader.up_to_date,
            "streamClosed": reader.closed,
            **self._sent(),
        }

    async def _chunks(self, reader: Any, command: Command, seconds: float) -> list[Answer]:
        chunks: list[Answer] = []
        most = command.get("maxChunks") or 100
        try:
            async with asyncio.timeout(seconds):
                async for batch in reader.batches():
                    if batch.items:
                        chunks.append({"data": _text(batch.items), "offset": batch.offset})
                    if len(chunks) >= most:
                        break
                    if command.get("waitForUpToDate") and batch.up_to_date:
                        break
        except TimeoutError:
            pass
        return chunks

    # ------------------------------------------------------------------ producers

    def _producer(self, command: Command, **options: Any) -> IdempotentProducer:
        return IdempotentProducer(
            self._stream(command),
            command["producerId"],
            epoch=command["epoch"],
            auto_claim=command.get("autoClaim") or False,
            **options,
        )

    def _kept_producer(self, command: Command) -> IdempotentProducer:
        key = (command["path"], command["producerId"], command["epoch"])
        if key not in self._producers:
            self._producers[key] = self._producer(command)
        return self._producers[key]

    async def do_idempotent_append(self, command: Command) -> Answer:
        producer = self._kept_producer(command)
        producer.append(command["data"].encode())
        await producer.flush()
        return {"status": 200, "offset": producer.offset}

    async def do_idempotent_append_batch(self, command: Command) -> Answer:
        many = (command.get("maxInFlight") or 1) > 1
        options = {"max_in_flight": command.get("maxInFlight") or 1}
        if many:
            options["max_batch_bytes"] = 1
        async with self._producer(command, **options) as producer:
            for item in command["items"]:
                producer.append(item.encode())
        return {"status": 200}

    async def do_idempotent_close(self, command: Command) -> Answer:
        data = command.get("data")
        done = await self._kept_producer(command).close(None if data is None else data.encode())
        return {"status": 200, "finalOffset": done.offset}

    async def do_idempotent_detach(self, command: Command) -> Answer:
        await self._kept_producer(command).aclose()
        del self._producers[command["path"], command["producerId"], command["epoch"]]
        return {"status": 200}

    # ------------------------------------------------------------------ the rest

    async def do_set_dynamic_header(self, command: Command) -> Answer:
        self._headers.set(command)
        return {}

    async def do_set_dynamic_param(self, command: Command) -> Answer:
        self._params.set(command)
        return {}

    async def do_clear_dynamic(self, _: Command) -> Answer:
        self._headers.clear()
        self._params.clear()
        return {}

    async def do_validate(self, command: Command) -> Answer:
        target = command["target"]
        options = {
            name: target[key]
            for key, name in (("epoch", "epoch"), ("maxBatchBytes", "max_batch_bytes"))
            if key in target
        }
        stream = DurableStream("http://localhost/test-validate")
        IdempotentProducer(stream, target.get("producerId", "test-producer"), **options)
        await stream.aclose()
        return {}


def _text(items: tuple[Any, ...]) -> str:
    if isinstance(items[0], bytes):
        return b"".join(items).decode("utf-8", "replace")
    return json.dumps(items, separators=(",", ":"), ensure_ascii=False)


def _described(error: Exception) -> Answer:
    if not isinstance(error, StreamError):
        # The suite knows our option by the name it has in TypeScript.
        message = str(error).replace("max_batch_bytes", "maxBatchBytes")
        return {"errorCode": "INVALID_ARGUMENT", "message": message}
    code = next((code for kind, code in CODES if isinstance(error, kind)), "UNEXPECTED_STATUS")
    return {"status": error.status, "errorCode": code, "message": str(error)}


async def main() -> None:
    """Answer until told to shut down."""
    adapter = Adapter()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
        command = json.loads(line)
        answer = await adapter.answer(command)
        print(json.dumps({key: value for key, value in answer.items() if value is not None}))
        sys.stdout.flush()
        if command["type"] == "shutdown":
            return


if __name__ == "__main__":
    asyncio.run(main())
