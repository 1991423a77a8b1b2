"""Subscriptions over HTTP, with webhooks on real sockets."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from durable_streams_server import (
    Append,
    Create,
    Log,
    StorageError,
    StreamsApp,
    _dispatcher,
    create_app,
)
from durable_streams_server import _schema as schema
from durable_streams_server import _subscription_rows as rows
from durable_streams_server import _subscription_work as work
from durable_streams_server._subscriptions import Subscriptions, SubscriptionSettings
from durable_streams_server._webhook_policy import WebhookPolicy
from streams.control import LONG_LEASE, Control, config, eventually, wakes
from streams.gate import PATIENCE, UNIT
from streams.serving import PATIENT, Served, serving
from streams.webhook_receiver import DONE, answer, receiving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from streams.http_client import Reply

pytestmark = pytest.mark.anyio

DEVELOPMENT = WebhookPolicy.parse(["http://127.0.0.1:*", "http://localhost:*"])
JSON = "application/json"


@asynccontextmanager
async def subscribed(
    log: Log | None = None, **fields: Any
) -> AsyncIterator[tuple[Served, Control]]:
    """A server with subscriptions, on a new log or on a given one."""
    if log is None:
        async with await Log.open() as opened, subscribed(opened, **fields) as both:
            yield both
        return
    settings = SubscriptionSettings(**({"webhooks": DEVELOPMENT} | fields))
    async with Subscriptions(log, settings) as subscriptions:
        app = StreamsApp(log, limits=PATIENT, subscriptions=lambda: subscriptions)
        async with serving(app, log) as server:
            yield server, Control(server)


# --------------------------------------------------------------------------- webhooks


async def test_a_webhook_is_told_and_signed_and_its_done_acknowledges() -> None:
    async with receiving() as receiver, subscribed() as (server, control):
        created = await control.create(url=receiver.url())
        assert created.status == 201
        await server.put("e/a", b"123")
        call = await receiver.called()
        await control.at(e_a=3)
        root = "http://streams.test/v1/stream/__ds"
        assert call.first_line == "POST /hook?a=b HTTP/1.1"
        assert call.headers["host"] == f"127.0.0.1:{receiver.port}"
        assert call.headers["content-type"] == JSON
        told = call.told
        token = told.pop("callback_token")
        assert told.pop("wake_id").startswith("w_")
        assert told == {
            "subscription_id": "s",
            "generation": 1,
            "streams": [
                {
                    "path": "e/a",
                    "link_type": "glob",
                    "acked_offset": f"{0:020}",
                    "tail_offset": f"{3:020}",
                    "has_pending": True,
                }
            ],
            "callback_url": f"{root}/subscriptions/s/callback",
        }
        assert token not in json.dumps(await control.show()), "tokens are shown to nobody"
        signing = created.json()["webhook"]["signing"]
        assert signing["jwks_url"] == f"{root}/jwks.json"
        keys = await control.ask("GET", "jwks.json")
        assert keys["content-type"] == "application/jwk-set+json"
        assert keys["cache-control"] == "public, max-age=300"
        (key,) = keys.json()["keys"]
        assert set(key) == {"kty", "crv", "x", "kid", "use", "alg"}
        assert signing["kid"] == key["kid"]
        check_signature(call.headers["webhook-signature"], call.body, key)


def check_signature(text: str, body: bytes, key: dict[str, str]) -> None:
    timestamp, kid, signature = text.split(",")
    assert kid == f"kid={key['kid']}"
    point = base64.urlsafe_b64decode(key["x"] + "=")
    signed = base64.urlsafe_b64decode(signature.removeprefix("ed25519=") + "==")
    message = timestamp.removeprefix("t=").encode() + b"." + body
    Ed25519PublicKey.from_public_bytes(point).verify(signed, message)


async def test_every_append_is_told_of_sooner_or_later() -> None:
    async with receiving() as receiver, subscribed() as (server, control):
        await control.create(url=receiver.url(), pattern="**")
        for number in range(60):
            await server.put(f"e/{number % 7}", b"")
            await server.post(f"e/{number % 7}", b"x")

        async def all_told() -> bool:
            return sum((await control.positions()).values()) == 60

        await eventually(all_told)
        generations = [call.told["generation"] for call in receiver.calls]
        assert generations == list(range(1, len(generations) + 1))


async def test_a_callback_reports_and_a_stale_one_is_fenced() -> None:
    async with receiving(answer("202 Accepted")) as receiver, subscribed() as (server, control):
        await control.create(url=receiver.url())
        await server.put("e/a", b"123")
        told = (await receiver.called()).told
        said = {"wake_id": told["wake_id"], "generation": told["generation"]}
        acks = [{"stream": "e/a", "offset": f"{2:020}"}]

        async def report(token: str = told["callback_token"], **fields: Any) -> Reply:
            return await control.ask("POST", "subscriptions/s/callback", said | fields, token)

        assert (await report(acks=acks)).json() == {"ok": True, "next_wake": False}
        await control.at(e_a=2)
        assert (await report(done=True)).json() == {"ok": True, "next_wake": True}
        assert (await receiver.called(2)).told["streams"][0]["acked_offset"] == f"{2:020}"
        stale = await report(done=True)
        assert (stale.status, stale.json()["error"]["code"]) == (409, "FENCED")
        for token in ("nonsense", told["callback_token"][:-2] + "AA", "a.b.c", "é.é.é"):
            refused = await report(token)
            assert (refused.status, refused.json()["error"]["code"]) == (401, "TOKEN_INVALID")


async def test_a_failing_webhook_is_shown_and_tried_again() -> None:
    refusing = [answer("500 Oops"), answer("307 Elsewhere", b"", "Location: http://127.0.0.1/")]
    async with (
        subscribed() as (server, control),
        receiving(*refusing, answer("200 OK", DONE)) as receiver,
    ):
        await control.create(url=receiver.url())
        await server.put("e/a", b"123")
        await control.until(status="failed", failure="the webhook answered 500")
        await control.until(failure="the webhook answered 307: redirects are not followed")
        await control.at(e_a=3)
        assert (await control.show())["status"] == "active"
        told = [call.told for call in receiver.calls]
        assert len({(one["wake_id"], one["generation"]) for one in told}) == 1


@pytest.mark.parametrize(
    ("said", "failure"),
    [
        (b"garbage\r\n\r\n", "did not answer in HTTP"),
        (b"", "closed the connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", "closed the connection"),
        (None, "did not answer in"),
    ],
    ids=["garbage", "nothing", "truncated", "silence"],
)
async def test_whatever_a_webhook_does_is_a_failure_with_a_reason(
    said: bytes | None, failure: str
) -> None:
    seconds = 0.2 * UNIT if said is None else PATIENCE
    async with receiving(said) as receiver, subscribed(timeout=seconds) as (server, control):
        await control.create(url=receiver.url())
        await server.put("e/a", b"123")
        shown = await control.until(status="failed")
        assert failure in shown["failure"]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"no json", b'{"done": 1}', b"[" * 50_000, b" " * 70_000 + DONE]
)
async def test_an_answer_that_does_not_say_done_acknowledges_nothing(body: bytes) -> None:
    async with receiving(answer("200 OK", body)) as receiver, subscribed() as (server, control):
        await control.create(url=receiver.url(), lease_ttl_ms=1000)
        await server.put("e/a", b"123")
        # Woken again when the lease is over: by then the first answer has been read.
        await receiver.called(2)
        assert await control.positions() == {"e/a": 0}
        assert (await control.show())["status"] == "active"


async def test_a_host_that_resolves_to_this_machine_is_not_called() -> None:
    policy = WebhookPolicy.parse(["http://127.0.0.1:*"])
    async with receiving() as receiver, subscribed(webhooks=policy) as (server, control):
        refused = await control.create(url=receiver.url("localhost"))
        assert refused.status == 400
        error = refused.json()["error"]
        assert error["code"] == "WEBHOOK_URL_REJECTED"
        assert f"--webhook-allow 'http://localhost:{receiver.port}'" in error["message"]
        # Names that a resolver takes for addresses pass the look at the URL, not the one after.
        for host in ("2130706433", "0x7f.1", "127.1"):
            created = await control.create(url=receiver.url(host, "https"))
            assert created.status == 201, host
            await server.put("e/a", b"123")
            await server.post("e/a", b"4")
            shown = await control.until(status="failed")
            assert "public internet" in shown["failure"]
            await control.ask("DELETE", "subscriptions/s")
        assert receiver.calls == []


async def test_a_certificate_is_the_names_although_the_address_is_connected_to() -> None:
    authority = trustme.CA()
    certificate = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(certificate)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    policy = WebhookPolicy.parse(["https://localhost:*", "https://127.0.0.1:*"])
    async with (
        receiving(certificate=certificate) as receiver,
        subscribed(webhooks=policy, certificates=trust) as (server, control),
    ):
        await control.create(url=receiver.url("localhost", "https"))
        await server.put("e/a", b"123")
        assert (await receiver.called()).headers["host"] == f"localhost:{receiver.port}"
        await control.at(e_a=3)
        await control.ask("DELETE", "subscriptions/s")
        await control.create(url=receiver.url("127.0.0.1", "https"))
        await server.post("e/a", b"4")
        shown = await control.until(status="failed")
        assert "cannot be connected to" in shown["failure"]
        assert len(receiver.calls) == 1, "a certificate of another name is none"


async def test_deliveries_are_as_many_at_once_as_allowed() -> None:
    async with (
        receiving(None) as silent,
        receiving() as receiver,
        subscribed(concurrency=2, timeout=UNIT) as (server, control),
    ):
        for name in ("a", "b"):
            await control.create(name, url=silent.url())
        await server.put("e/a", b"123")
        await silent.called(2)
        await control.create(url=receiver.url())
        await server.post("e/a", b"4")
        await asyncio.sleep(0.2 * UNIT)
        assert receiver.calls == []
        await receiver.called()


# --------------------------------------------------------------------------- pull-wake


async def test_workers_are_woken_by_a_stream_and_race_to_claim() -> None:
    async with subscribed() as (server, control):
        await server.put("wake", b"", Content_Type=JSON)
        await control.create()
        await server.put("e/a", b"123")
        events = await wakes(server, 1)
        ts = events[0].pop("ts")
        assert isinstance(ts, int)
        expected = {"type": "wake", "subscription_id": "s", "stream": "e/a", "generation": 1}
        assert events == [expected]
        answers = await asyncio.gather(
            *(
                control.ask("POST", "subscriptions/s/claim", {"worker": str(number)})
                for number in range(8)
            )
        )
        assert sorted(one.status for one in answers) == [200] + [409] * 7
        (claimed,) = [one.json() for one in answers if one.status == 200]
        assert claimed["lease_ttl_ms"] == LONG_LEASE
        wake = {"wake_id": claimed["wake_id"], "generation": 1}
        released = await control.ask("POST", "subscriptions/s/release", wake, claimed["token"])
        assert (released.status, released.body) == (204, b"")
        events = await wakes(server, 2)
        assert [event["generation"] for event in events] == [1, 2]


async def test_a_wake_stream_that_is_missing_is_said_and_waited_for() -> None:
    async with subscribed() as (server, control):
        await control.create()
        await server.put("e/a", b"123")
        shown = await control.until(status="failed")
        assert "create it" in shown["failure"]
        await server.put("wake", b"")
        await control.until(status="active")
        assert (await server.get("wake")).body.count(b'"wake"') == 1


async def test_an_event_whose_note_was_lost_is_written_again_and_is_there_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    note, failures = work.delivered, iter([StorageError("the disk is full"), KeyError("defect")])

    def failing(*args: Any, **fields: Any) -> None:
        for error in failures:
            raise error
        note(*args, **fields)

    monkeypatch.setattr(work, "delivered", failing)
    monkeypatch.setattr(_dispatcher, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(_dispatcher, "SURVEY_SECONDS", 0.05)
    async with subscribed() as (server, control):
        await server.put("wake", b"", Content_Type=JSON)
        await control.create()
        await server.put("e/a", b"123")

        async def noted() -> bool:
            return await server.log.control(_unsent) == []

        await wakes(server, 1)
        await eventually(noted)
        assert next(failures, None) is None
        assert len(await wakes(server, 1)) == 1


async def test_a_failing_store_delays_deliveries_and_loses_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    link, failures = work.link_fresh, iter([StorageError("the disk is full"), KeyError("defect")])

    def failing(*args: Any) -> set[str]:
        for error in failures:
            raise error
        return link(*args)

    monkeypatch.setattr(work, "link_fresh", failing)
    monkeypatch.setattr(_dispatcher, "POLL_SECONDS", 0.05)
    async with receiving() as receiver, subscribed() as (server, control):
        await control.create(url=receiver.url())
        for number in range(3):
            await server.put(f"e/{number}", b"x")
            await asyncio.sleep(0.02)
        await control.at(e_0=1, e_1=1, e_2=1)
        assert next(failures, None) is None


async def test_a_store_that_is_away_is_asked_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    look, asked = rows.all_patterns, 0
    away = True

    def failing(connection: Any) -> Any:
        nonlocal asked
        asked += 1
        if away:
            raise StorageError("the database cannot be reached")
        return look(connection)

    monkeypatch.setattr(rows, "all_patterns", failing)
    monkeypatch.setattr(_dispatcher, "POLL_SECONDS", UNIT)
    async with subscribed():
        await asyncio.sleep(3.5 * UNIT)
        assert 1 < asked < 20, "about once in each poll"
        away, before = False, asked

        async def looked_again() -> bool:
            return asked > before

        await eventually(looked_again)


def _unsent(connection: Any) -> list[Any]:
    table = schema.subscriptions
    unsent = table.c.deliverer.is_not(None) | table.c.next_attempt_at.is_not(None)
    return list(connection.execute(table.select().where(unsent)))


# --------------------------------------------------------------------------- the surface


async def test_what_is_asked_wrongly_is_refused_with_a_remedy() -> None:
    async with subscribed() as (server, control):
        mistakes: list[Any] = [
            [],
            {"type": "push"},
            config(pattern=None),
            config(pattern=None, streams=[]),
            config(pattern="a*"),
            config(streams=["__ds/x"]),
            config(streams=["a/../b"]),
            config(streams="a"),
            config(streams=[1]),
            config(streams=["wake"]),
            config(wake_stream=None),
            config(lease_ttl_ms=999),
            config(lease_ttl_ms=600_001),
            config(lease_ttl_ms=True),
            config(lease_ttl_ms="1000"),
            config(description="x" * 5000),
            {"type": "webhook", "pattern": "a"},
            {"type": "webhook", "pattern": "a", "webhook": {"url": 1}},
        ]
        for wrong in mistakes:
            reply = await control.ask("PUT", "subscriptions/s", wrong)
            assert reply.status == 400, wrong
            assert reply.json()["error"]["code"] == "INVALID_REQUEST"
        broken = await server.ask("PUT", "__ds/subscriptions/s", b"{")
        assert broken.status == 400
        missing = await control.ask("GET", "subscriptions/s")
        assert missing.json()["error"]["code"] == "SUBSCRIPTION_NOT_FOUND"
        for path in ("", "x", "subscriptions", "subscriptions/", "subscriptions/s/x", "jwks"):
            assert (await control.ask("GET", path)).status == 404, path
        refused = await control.ask("POST", "subscriptions/s")
        assert (refused.status, refused["allow"]) == (405, "GET, PUT, DELETE")
        no_token = await control.ask("POST", "subscriptions/s/ack", {})
        assert (no_token.status, no_token["www-authenticate"]) == (401, "Bearer")
        elsewhere = await server.ask("GET", "%5F_ds/subscriptions/s")
        assert elsewhere.status == 400


async def test_names_survive_their_encoding() -> None:
    async with subscribed() as (server, control):
        created = await control.create("a%2Fb%20%C3%A9", pattern=None, streams=["x/é", "/x/y z"])
        assert created.json()["id"] == "a/b é"
        await server.put("x/%C3%A9", b"1")
        shown = await control.ask("GET", "subscriptions/a%2Fb%20%C3%A9")
        assert [one["path"] for one in shown.json()["streams"]] == ["x/%C3%A9", "x/y%20z"]
        for path in ("x%2F%C3%A9", "x/y%2520z"):
            name = f"subscriptions/a%2Fb%20%C3%A9/streams/{path}"
            assert (await control.ask("DELETE", name)).status == 204
        shown = await control.ask("GET", "subscriptions/a%2Fb%20%C3%A9")
        assert shown.json()["streams"] == []


async def test_subscriptions_are_kept_from_pages_and_caches_as_streams_are() -> None:
    async with subscribed() as (_server, control):
        for reply in (await control.create(), await control.ask("GET", "nothing")):
            assert reply["cache-control"] == "no-store"
            assert reply["x-content-type-options"] == "nosniff"
            assert reply["access-control-allow-origin"] == "*"


async def test_a_surface_without_subscriptions_says_so(server: Served) -> None:
    reply = await Control(server).create()
    assert reply.status == 404
    assert "no subscriptions" in reply.json()["error"]["message"]


async def test_the_public_url_is_what_receivers_are_told() -> None:
    root = "https://streams.example/base"
    async with receiving() as receiver, subscribed(public_url=root) as (server, control):
        created = await control.create(url=receiver.url())
        assert created.json()["webhook"]["signing"]["jwks_url"] == f"{root}/__ds/jwks.json"
        await server.put("e/a", b"1")
        told = (await receiver.called()).told
        assert told["callback_url"] == f"{root}/__ds/subscriptions/s/callback"


async def test_without_subscriptions_nobody_listens_to_commits(url: str) -> None:
    async with await Log.open(url) as log, subscribed(log) as (_server, control):

        def heard() -> bool:
            return log._listener is not None

        assert not heard()
        await control.create()
        assert heard()
        await control.ask("DELETE", "subscriptions/s")
        assert not heard()


async def test_a_server_delivers_from_startup_to_shutdown(url: str) -> None:
    settings = SubscriptionSettings(DEVELOPMENT)
    async with receiving() as receiver:
        for generation in (1, 2):
            app = create_app(url, subscriptions=settings)
            await app.startup()
            async with serving(app, app.log) as server:
                assert (await Control(server).create(url=receiver.url())).status in (200, 201)
                await app.log.transact(Create("e/a"), Append("e/a", b"x"))
                assert (await receiver.called(generation)).told["generation"] == generation
                await Control(server).at(e_a=generation)
            await app.shutdown()
        keys = {call.headers["webhook-signature"].split(",")[1] for call in receiver.calls}
        assert len(keys) == 1, "the key is kept over a restart"
