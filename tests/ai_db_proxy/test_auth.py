"""Who may do what: a secret, and an application's own dependency with bearer tokens."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from fastapi import Header, HTTPException

from ai_db_proxy.agents import agent_server
from ai_db_proxy.harness import code_of, served
from durable_ai_db_proxy import Principal, Right, SecretError, create_app

TOKENS = {"t-ann": "ann", "t-bob": "bob"}
MEMBERS = {"s1": {"ann": frozenset(Right) - {Right.ACT_AS}, "bob": frozenset({Right.READ})}}


async def members_only(
    session_id: str, authorization: Annotated[str, Header()] = ""
) -> Principal | None:
    """Bearer tokens, and a list of who is in which session."""
    user = TOKENS.get(authorization.removeprefix("Bearer "))
    if user is None:
        return None
    rights = MEMBERS.get(session_id, {}).get(user)
    if rights is None:
        raise HTTPException(403, "you are not in this session")
    return Principal(user, rights)


def as_(token: str) -> dict[str, Any]:
    return {"headers": {"Authorization": f"Bearer {token}"}}


async def test_a_dependency_decides_who_may_do_what_in_which_session() -> None:
    async with agent_server() as agents, served(authorize=members_only) as client:
        assert code_of(await client.call("PUT")) == (401, "unauthorized")
        assert code_of(await client.call("PUT", **as_("t-bob"))) == (403, "forbidden")
        assert (await client.call("PUT", **as_("t-ann"))).status_code == 201
        other = client.of("s2")
        assert code_of(await other.call("PUT", **as_("t-ann"))) == (403, "forbidden")
        message = {"content": "hi"}
        sent = await client.call("POST", "/messages", json=message, **as_("t-ann"))
        assert sent.status_code == 200
        forged = message | {"actorId": "bob"}
        answer = await client.call("POST", "/messages", json=forged, **as_("t-ann"))
        assert code_of(answer) == (403, "forbidden")
        for method, path, body in (
            ("POST", "/messages", message),
            ("POST", "/stop", {}),
            ("POST", "/agents", {"agents": [agents.spec("a")]}),
            ("POST", "/fork", {}),
            ("DELETE", "", None),
        ):
            answer = await client.call(method, path, json=body, **as_("t-bob"))
            assert code_of(answer) == (403, "forbidden"), path
        url = f"{client.url}/v1/stream/sessions/s1?offset=-1"
        assert (await client.http.get(url)).status_code == 401
        rows = (await client.http.get(url, **as_("t-bob"))).json()
        assert [row["value"]["actorId"] for row in rows if row["type"] == "chunk"] == ["ann"]
        messages = await client.call("GET", "/messages", **as_("t-bob"))
        assert len(messages.json()["messages"]) == 1


async def test_a_secret_lets_the_service_in_and_nobody_else() -> None:
    secret = "a-secret-of-a-service"
    async with served(secret=secret) as client:
        assert code_of(await client.call("PUT")) == (401, "unauthorized")
        assert code_of(await client.call("PUT", **as_("wrong"))) == (401, "unauthorized")
        assert (await client.call("PUT", **as_(secret))).status_code == 201
        assert (await client.http.get(f"{client.url}/health")).status_code == 200
    with pytest.raises(SecretError):
        create_app("sqlite://", secret="short")
