"""Logs of sessions: messages of the State Protocol, and a server that has them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import durable_ai_db.state as protocol
from ai_db.sessions import stream, user_message
from durable_ai_db._session_db import stream_url
from durable_transport import DurableStream, Timing
from streams.gate import PATIENCE
from streams.serving import PATIENT, served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from durable_ai_db.materialize import ChunkRow
    from streams.serving import Served

IMPATIENT = Timing(give_up_after=0.2, start_patience=0.2, backoff_first=0.01, backoff_limit=0.05)


def logged(*rows: ChunkRow, txid: str | None = None) -> list[dict[str, Any]]:
    return [protocol.insert("chunk", row.key, row.to_json(), txid=txid).to_json() for row in rows]


def answer(message_id: str, words: Iterable[str], **fields: Any) -> list[ChunkRow]:
    """An assistant's message, word by word, and its end."""
    chunks: list[object] = [{"type": "content", "delta": word} for word in words]
    return stream(message_id, [*chunks, {"type": "done", "finishReason": "stop"}], **fields)


def conversation(turns: int, words: int = 3) -> list[dict[str, Any]]:
    rows: list[ChunkRow] = []
    for turn in range(turns):
        at = f"2026-01-01T{turn // 60:02}:{turn % 60:02}"
        rows.append(user_message(f"u{turn}", f"question {turn}", at=f"{at}:00.000Z"))
        rows += answer(f"a{turn}", ["word "] * words, at=f"{at}:30.000Z")
    return logged(*rows)


def present(actor: str, status: str = "online") -> dict[str, Any]:
    value = {"actorId": actor, "actorType": "user", "status": status, "lastSeenAt": "2026"}
    return protocol.upsert("presence", actor, value).to_json()


RESET = {"headers": {"control": "reset"}}


def reset(offset: str) -> dict[str, Any]:
    return {"headers": {"control": "reset", "offset": offset}}


class Logs:
    """A server of session logs, which tests write to."""

    def __init__(self, server: Served) -> None:
        self.server = server
        self.url = f"http://127.0.0.1:{server.port}"

    @asynccontextmanager
    async def writing(self, session: str = "s") -> AsyncIterator[DurableStream]:
        async with DurableStream(
            stream_url(self.url, session), content_type="application/json"
        ) as log:
            await log.create()
            yield log

    async def write(self, messages: list[Any], session: str = "s") -> str:
        async with self.writing(session) as log:
            offset = (await log.extend(messages)).offset
            assert offset is not None
            return offset


@asynccontextmanager
async def logs() -> AsyncIterator[Logs]:
    async with served(replace(PATIENT, body=10_000_000)) as server:
        yield Logs(server)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what has no event to wait for."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)
