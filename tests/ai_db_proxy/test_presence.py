"""Who is there, and who has left without a word."""

from __future__ import annotations

import asyncio

from ai_db_proxy.harness import code_of, served
from durable_ai_db_proxy._decision import Ask
from durable_ai_db_proxy._presence import seen
from durable_ai_db_proxy._state import SessionState


async def test_presence_has_routes_and_expires() -> None:
    async with served(presence_seconds=0.3, lease_seconds=0.3) as client:
        await client.create()
        await client.post("/presence", 204, actorId="ann", name="Ann")
        await client.post("/presence", 204, actorId="bob", status="away")
        who = (await client.call("GET", "/presence")).json()["presence"]
        assert {one["actorId"]: one["status"] for one in who} == {"ann": "online", "bob": "away"}
        await client.until(
            lambda state: {one["status"] for one in state.presence.values()} == {"offline"}
        )
        await client.post("/presence", 204, actorId="ann", name="Ann")
        assert (await client.call("DELETE", "/presence/ann")).status_code == 204
        state = await client.state()
        assert state.presence["ann"]["status"] == "offline"
        assert state.presence["ann"]["name"] == "Ann"
        assert code_of(await client.call("DELETE", "/presence/eve")) == (404, "actor_not_found")
        assert await client.refused("/presence", status="dancing") == (400, "bad_request")


async def test_heartbeats_do_not_fill_the_log() -> None:
    async with served(presence_seconds=60) as client:
        await client.create()
        await client.post("/presence", 204, actorId="ann")
        before = await client.rows()
        await asyncio.gather(*(client.post("/presence", 204, actorId="ann") for _ in range(10)))
        assert await client.rows() == before


def test_a_sign_of_life_is_written_when_half_the_time_has_passed() -> None:
    state = SessionState("s")
    value = {"actorId": "a", "actorType": "user", "status": "online"}
    state.presence["a"] = value | {"lastSeenAt": "2026-01-01T00:00:00.000Z"}

    def ask(second: int) -> Ask:
        return Ask(f"2026-01-01T00:00:{second:02d}.000Z", str, "node")

    assert not seen(state, ask(10), value, 60).rows
    assert seen(state, ask(31), value, 60).rows
    assert seen(state, ask(10), value | {"status": "away"}, 60).rows
