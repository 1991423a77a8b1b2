"""What a client of a session costs: in this process, then through a service. Prints JSON."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import time
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.figures import percentile
from durable_ai_db import DurableChatClient, SessionDB
from durable_ai_db._session_db import SLICE
from durable_ai_db._session_state import SessionState
from durable_ai_db.materialize import ChunkRow, Materializer

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNKS = 2000
MESSAGES, WORDS = 200, 50
COLD = 20_000
EDGE = 50
ROUNDS = 5


def chunk(message: int, seq: int) -> dict[str, Any]:
    """One chunk of an assistant's message, as the log has it."""
    at = f"2026-01-01T{message // 60 % 24:02}:{message % 60:02}:00.000Z"
    row = ChunkRow(
        f"m{message}",
        "agent",
        "assistant",
        json.dumps({"type": "content", "id": f"m{message}", "delta": f"word{seq} "}),
        seq,
        at,
    )
    headers = {"operation": "insert"}
    return {"type": "chunk", "key": row.key, "value": row.to_json(), "headers": headers}


def watched() -> SessionState:
    """A session of which everything is live, and followed, and something derived."""
    state = SessionState("bench")
    rows = state.collections
    pending = rows.approvals.where(lambda row: row.status == "pending")
    texts = rows.messages.where(lambda row: row.role == "assistant").count()
    for one in (*vars(rows).values(), pending, texts):
        one.subscribe(lambda _: None)
    return state


def timed(work: Callable[[], object]) -> float:
    """Seconds of processor time."""
    gc.collect()
    began = time.process_time()
    work()
    return time.process_time() - began


def one_by_one() -> tuple[float, float]:
    """Seconds for a message of many chunks, and the last ones' share of the first ones' cost."""
    rows = [chunk(0, seq) for seq in range(CHUNKS)]
    state = watched()
    costs = []
    gc.collect()
    before = time.process_time()
    for row in rows:
        began = time.perf_counter()
        state.take([row])
        costs.append(time.perf_counter() - began)
    spent = time.process_time() - before
    assert len(state.collections.messages["m0"].text) > CHUNKS
    return spent, median(costs[-EDGE:]) / median(costs[:EDGE])


def one_more(messages: int) -> float:
    """Seconds for one more chunk in a session of so many messages."""
    state = watched()
    state.take([chunk(message, seq) for message in range(messages) for seq in range(WORDS)])
    rows = [chunk(messages - 1, WORDS + seq) for seq in range(EDGE)]
    costs = []
    for row in rows:
        began = time.perf_counter()
        state.take([row])
        costs.append(time.perf_counter() - began)
    return median(costs)


def recomputed() -> float:
    """The floor: seconds for one more chunk when everything is materialized again."""
    rows = [
        ChunkRow.from_json(chunk(message, seq)["value"])
        for message in range(MESSAGES)
        for seq in range(WORDS)
    ]
    return timed(lambda: Materializer(session_id="bench").apply(rows))


def at_once() -> float:
    """Seconds for a whole session, that is there, as one piece of its log."""
    rows = [chunk(message, seq) for message in range(MESSAGES) for seq in range(WORDS)]
    state = watched()
    return timed(lambda: state.take(rows))


def cold() -> float:
    """Seconds from the text of a log to its collections."""
    rows = [chunk(number // WORDS, number % WORDS) for number in range(COLD)]
    pages = [json.dumps(rows[begin : begin + SLICE]) for begin in range(0, COLD, SLICE)]
    state = watched()

    def load() -> None:
        for page in pages:
            state.take(json.loads(page))

    seconds = timed(load)
    assert len(state.collections.chunks) == COLD
    return seconds


async def through_a_service(url: str, sends: int) -> dict[str, Any]:
    """How long a message takes from one client to another, and a session to be loaded."""
    arrived: dict[str, float] = {}
    seen = asyncio.Event()

    def note(message: Any) -> None:
        arrived.setdefault(message.id, time.perf_counter())
        seen.set()

    late, confirmed = [], []
    async with (
        DurableChatClient("pair", url, actor_id="ada") as one,
        DurableChatClient("pair", url, actor_id="bob", on_message=note),
    ):
        for number in range(sends):
            began = time.perf_counter()
            write = one.send_message(f"message {number}", message_id=f"m{number}")
            while f"m{number}" not in arrived:
                seen.clear()
                await asyncio.wait_for(seen.wait(), 10)
            late.append(arrived[f"m{number}"] - began)
            await write
            confirmed.append(time.perf_counter() - began)
    began = time.perf_counter()
    async with SessionDB("pair", url) as db:
        loaded = time.perf_counter() - began
        assert len(db.collections.messages) == sends
    return {
        "visible_ms": {share: 1e3 * percentile(late, float(share)) for share in ("0.5", "0.99")},
        "confirmed_ms": 1e3 * percentile(confirmed, 0.5),
        "load_ms": 1e3 * loaded,
        "sends": sends,
    }


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--sends", type=int, default=200)
    options = parser.parse_args()
    one_more(2)  # what is made once is made before it counts
    message = [one_by_one() for _ in range(ROUNDS)]
    result = {
        "message_ms": 1e3 * median(seconds for seconds, _ in message),
        "message_growth": median(growth for _, growth in message),
        "one_more_ms": 1e3 * median(one_more(MESSAGES) for _ in range(ROUNDS)),
        "one_more_of_few_ms": 1e3 * median(one_more(10) for _ in range(ROUNDS)),
        "recomputed_ms": 1e3 * median(recomputed() for _ in range(ROUNDS)),
        "at_once_ms": 1e3 * median(at_once() for _ in range(ROUNDS)),
        "cold_ms": 1e3 * median(cold() for _ in range(ROUNDS)),
        **asyncio.run(through_a_service(options.url, options.sends)),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
