"""The proxy protocol, by the sections of its specification: creating, and who may."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import pytest

from durable_proxy import Limits, Timeouts
from durable_transport.protocol import generation_paths
from proxy.harness import TIMEOUTS, UNIT, eventually
from proxy.test_addresses import ATTACKS, WILDCARDS
from proxy.test_headers import UPWARD_ATTACKS
from proxy.v1 import (
    BEARER,
    SECRET,
    Slow,
    bare_of,
    id_of,
    nothing_is_left,
    refusal_of,
    world,
)
from proxy.wire import whole

if TYPE_CHECKING:
    from proxy.wire import Wire

pytestmark = pytest.mark.anyio

# ---------------------------------------------------------------------- 4.1 create


async def test_create_answers_with_a_signed_address_and_no_body() -> None:
    async with world() as it:
        created = await it.create("/chat", b'{"stream": true}', Content_Type="application/json")
        assert (created.status_code, created.content) == (201, b"")
        address = created.headers["location"]
        assert address.startswith(f"{it.proxy.url}/v1/proxy/")
        assert str(UUID(id_of(address))) == id_of(address)
        assert sorted(parse_qs(urlsplit(address).query)) == ["expires", "signature"]
        assert created.headers["upstream-content-type"] == "text/plain; charset=utf-8"
        (call,) = it.up.calls
        assert (call.method, call.path, call.body) == ("POST", "/chat", b'{"stream": true}')
        assert call.values("content-type") == ["application/json"]
        assert (await it.client.get(address)).content == b"hello"


async def test_a_client_that_leaves_before_it_knows_the_id_leaves_nothing_behind() -> None:
    async with world(_silent) as it:
        creating = asyncio.create_task(it.create())
        await eventually(lambda: bool(it.up.calls))
        creating.cancel()
        await asyncio.gather(creating, return_exceptions=True)
        await eventually(it.up.left.is_set)
        await eventually(lambda: it.proxy.app.state.proxy.parts.generations.active == 0)
        await nothing_is_left(it)


async def _silent(_wire: Wire) -> None:
    await asyncio.sleep(60 * UNIT)


async def test_create_answers_before_the_upstream_has_finished() -> None:
    slow = Slow()
    async with world(slow) as it:
        address = await it.address()
        assert not slow.go_on.is_set()
        assert (await it.client.get(address)).content == b"data: one\n\n"
        slow.go_on.set()
        read = await it.client.get(f"{address}&offset=-1&live=raw")
        assert read.content == b"data: one\n\ndata: two\n\n"


async def test_every_create_is_a_stream_of_its_own() -> None:
    async with world() as it:
        assert await it.address() != await it.address()
        assert len(it.up.calls) == 2


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "delete"])
async def test_the_upstream_method(method: str) -> None:
    async with world() as it:
        assert (await it.create(Upstream_Method=method)).status_code == 201
        assert it.up.calls[0].method == method.upper()


@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        ({"Upstream_URL": ""}, (400, "MISSING_UPSTREAM_URL")),
        ({"Upstream_Method": ""}, (400, "MISSING_UPSTREAM_METHOD")),
        ({"Upstream_Method": "HEAD"}, (400, "INVALID_UPSTREAM_METHOD")),
        ({"Upstream_Method": "OPTIONS"}, (400, "INVALID_UPSTREAM_METHOD")),
        ({"Upstream_Method": "GET POST"}, (400, "INVALID_UPSTREAM_METHOD")),
        ({"Upstream_URL": "/relative"}, (403, "UPSTREAM_NOT_ALLOWED")),
        ({"Upstream_URL": "ftp://127.0.0.1/"}, (403, "UPSTREAM_NOT_ALLOWED")),
        ({"Upstream_URL": "https://elsewhere.example/"}, (403, "UPSTREAM_NOT_ALLOWED")),
        ({"Authorization": ""}, (401, "MISSING_SECRET")),
        ({"Authorization": "Bearer wrong"}, (401, "INVALID_SECRET")),
        ({"Authorization": f"Basic {SECRET}"}, (401, "MISSING_SECRET")),
        ({"Authorization": "", "X_Proxy_Secret": "wrong"}, (401, "INVALID_SECRET")),
        ({"Authorization": "", "Upstream_URL": ""}, (401, "MISSING_SECRET")),
        ({"Upstream_Authorization": f"Bearer {SECRET}"}, (400, "BAD_REQUEST")),
        ({"X_Other": "x" * 70_000}, (431, "HEADERS_TOO_LARGE")),
    ],
)
async def test_what_create_refuses(changed: dict[str, str], refused: tuple[int, str]) -> None:
    async with world() as it:
        answer = await it.create(**changed)
        assert refusal_of(answer) == refused
        assert ("www-authenticate" in answer.headers) == (refused[0] == 401)
        assert it.up.calls == []


@pytest.mark.parametrize("name", ["Upstream-URL", "Upstream-Method"])
async def test_what_to_call_is_said_once(name: str) -> None:
    async with world() as it:
        headers = [*BEARER.items(), ("Upstream-URL", it.up.url), ("Upstream-Method", "POST")]
        answer = await it.client.post("/v1/proxy", headers=[*headers, (name, "POST")])
        assert answer.status_code == 400
        assert it.up.calls == []


async def test_a_body_beyond_the_limit() -> None:
    async with world(limits=Limits(request_body_bytes=10)) as it:
        assert refusal_of(await it.create("/chat", b"x" * 11)) == (413, "BODY_TOO_LARGE")


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503, 599])
async def test_an_upstream_that_refuses_is_passed_on(status: int) -> None:
    body = b'{"error": "theirs"}'
    headers = ("Content-Type", "application/problem+json"), ("Retry-After", "7")
    async with world(whole(status, body, *headers)) as it:
        answer = await it.create()
        assert (answer.status_code, answer.content) == (502, body)
        assert answer.headers["upstream-status"] == str(status)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["retry-after"] == "7"
        assert "location" not in answer.headers
        await nothing_is_left(it)


async def test_an_error_body_is_cut() -> None:
    async with world(whole(500, b"x" * 100), limits=Limits(error_body_bytes=10)) as it:
        assert (await it.create()).content == b"x" * 10


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
async def test_a_redirect_is_refused_and_not_followed(status: int) -> None:
    """Section 6.1: even where it leads to what is allowed."""

    async def script(wire: Wire) -> None:
        await wire.head(status, ("Location", "/elsewhere"), framing="Content-Length: 0")

    async with world(script) as it:
        assert refusal_of(await it.create()) == (400, "REDIRECT_NOT_ALLOWED")
        assert [call.path for call in it.up.calls] == ["/chat"]
        await nothing_is_left(it)


async def test_an_upstream_that_is_not_there() -> None:
    async with world() as it:
        refused = await it.create(Upstream_URL="http://127.0.0.1:1/")
        assert refusal_of(refused) == (502, "UPSTREAM_ERROR")
        assert "upstream-status" not in refused.headers
        await nothing_is_left(it)


async def test_an_upstream_that_does_not_answer_in_time() -> None:
    """Section 8.1."""

    async def script(_: Wire) -> None:
        await asyncio.sleep(60 * UNIT)

    timeouts = Timeouts(connect=TIMEOUTS.connect, answer=0.1 * UNIT, idle=TIMEOUTS.idle)
    async with world(script, timeouts=timeouts) as it:
        assert refusal_of(await it.create()) == (504, "UPSTREAM_TIMEOUT")


async def test_too_many_generations() -> None:
    slow = Slow()
    async with world(slow, limits=Limits(generations_per_principal=1)) as it:
        await it.address()
        answer = await it.create()
        assert refusal_of(answer) == (429, "TOO_MANY_GENERATIONS")
        assert int(answer.headers["retry-after"]) > 0
        slow.go_on.set()


async def test_a_store_that_takes_no_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    from durable_streams_server import StorageError

    async def refuse(*_: object) -> None:
        raise StorageError("an internal text")

    async with world() as it:
        monkeypatch.setattr(it.proxy.log, "transact", refuse)
        answer = await it.create()
        assert refusal_of(answer) == (502, "STORAGE_ERROR")
        assert "internal text" not in answer.text


# ---------------------------------------------------------------------- 5 headers


async def test_headers_of_the_upstream_request() -> None:
    async with world() as it:
        await it.create(
            Upstream_Authorization="Bearer sk-theirs",
            X_Custom="kept",
            Accept="text/event-stream",
            Keep_Alive="timeout=9",
            Proxy_Authorization="Basic x",
            Proxy_Authenticate="Basic",
            TE="trailers",
            Trailers="X-Any",
            Upgrade="h2c",
            X_Proxy_Secret="",
        )
        (call,) = it.up.calls
        assert call.values("authorization") == ["Bearer sk-theirs"]
        assert call.values("x-custom") == ["kept"]
        assert call.values("accept") == ["text/event-stream"]
        assert call.values("host") == [urlsplit(it.up.url).netloc]
        names = {name.lower() for name, _ in call.headers}
        assert not names & {
            *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te"),
            *("trailers", "trailer", "transfer-encoding", "upgrade"),
            *("upstream-url", "upstream-method", "upstream-authorization", "x-proxy-secret"),
        }
        assert not any(SECRET in value for _, value in call.headers)


async def test_without_an_authorization_for_it_the_upstream_gets_none() -> None:
    async with world() as it:
        await it.address()
        assert it.up.calls[0].values("authorization") == []


@pytest.mark.parametrize(
    "attack", [*UPWARD_ATTACKS, "Upstream_URL: http://evil.example/", "Upstream_Method: DELETE"]
)
def test_a_header_attack_does_not_go_up_here_either(attack: str) -> None:
    from durable_proxy._headers import upstream_headers
    from durable_proxy._v1_request import as_start

    name, _, value = attack.partition(": ")
    headers = [
        (b"upstream-url", b"http://a.example/"),
        (b"upstream-method", b"POST"),
        (b"authorization", f"Bearer {SECRET}".encode()),
        (b"upstream-authorization", b"Bearer key"),
        (name.lower().encode(), value.encode()),
    ]
    sent = upstream_headers(as_start(headers))
    kept = [] if "Authorization" in value else [(b"authorization", b"Bearer key")]
    assert sent == [*kept, (b"accept-encoding", b"identity")]


@pytest.mark.parametrize("url", ATTACKS)
def test_an_attack_url_is_refused_here_too(url: str) -> None:
    """Section 6: nothing that the allowlist does not name is called, however it is spelled."""
    from durable_proxy._allowlist import Allowlist
    from durable_proxy._errors import RefusedError
    from durable_proxy._start_request import parse_head
    from durable_proxy._v1_errors import translate
    from durable_proxy._v1_request import as_start

    headers = [(b"upstream-url", url.encode()), (b"upstream-method", b"GET")]
    with pytest.raises(RefusedError) as refused:
        parse_head(
            str(uuid4()),
            str(uuid4()),
            as_start(headers),
            allowlist=Allowlist.parse(WILDCARDS),
            limits=Limits(),
        )
    said = translate(refused.value.refusal, secret_shown=True)
    assert (said.status, said.code) in ((403, "UPSTREAM_NOT_ALLOWED"), (400, "BAD_REQUEST"))


async def test_nothing_is_allowed_unless_it_is_said() -> None:
    async with world(allow=[]) as it:
        assert refusal_of(await it.create()) == (403, "UPSTREAM_NOT_ALLOWED")
        assert it.up.calls == []


# ---------------------------------------------------------------------- 9 who may


async def test_the_own_clients_secret_in_the_query() -> None:
    async with world() as it:
        headers = {"Upstream-URL": it.up.url, "Upstream-Method": "POST"}
        for path, status in ((f"/v1/proxy?secret={SECRET}", 201), ("/v1/proxy?secret=no", 401)):
            assert (await it.client.post(path, headers=headers)).status_code == status
        (call,) = it.up.calls
        assert SECRET not in call.path
        # Nowhere else: addresses are logged.
        assert (await it.client.get(f"/v1/stream/x?secret={SECRET}")).status_code == 401


async def test_without_a_secret_the_protocol_is_the_same() -> None:
    async with world(secret=None) as it:
        address = await it.address()
        bare = bare_of(address)
        assert (await it.client.get(address)).content == b"hello"
        assert (await it.client.get(bare)).content == b"hello"
        assert refusal_of(await it.client.patch(f"{bare}?action=abort")) == (
            401,
            "MISSING_SIGNATURE",
        )
        assert (await it.client.patch(f"{address}&action=abort")).status_code == 204
        assert (await it.client.delete(bare)).status_code == 204


async def test_with_a_dependency_and_no_secret_there_are_no_addresses() -> None:
    async with world(secret=None, authorize=lambda: "somebody") as it:
        address = await it.address()
        assert "?" not in address
        assert (await it.client.get(address)).content == b"hello"
        forged = f"{address}?expires=99999999999&signature=x&action=abort"
        assert refusal_of(await it.client.patch(forged)) == (401, "SIGNATURE_INVALID")
        from durable_proxy._signing import Signer

        guess = Signer.from_secrets(["anybody"]).query(f"{id_of(address)}/{id_of(address)}", 10**10)
        answer = await it.client.patch(f"{address}?{guess}&action=abort")
        assert refusal_of(answer) == (401, "SIGNATURE_INVALID")


async def test_a_stream_is_a_generation_on_the_other_surface() -> None:
    async with world() as it:
        address = await it.address()
        one = UUID(id_of(address))
        paths = generation_paths(one, one)
        read = await it.client.get(f"/v1/stream/{paths.data}?{urlsplit(address).query}")
        assert read.content == b"hello"


# ---------------------------------------------------------------------- 10 other origins

EXPOSED = {
    *("location", "upstream-content-type", "upstream-status"),
    *("stream-next-offset", "stream-up-to-date", "stream-closed", "stream-cursor"),
    *("stream-sse-data-encoding", "stream-ttl", "stream-expires-at"),
}
ASKS = {"upstream-url", "upstream-authorization", "upstream-method", "content-type"}


@pytest.mark.parametrize("origins", ["*", ["https://app.example"]])
async def test_preflight(origins: Any) -> None:
    asking = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": ", ".join(ASKS),
    }
    async with world(cors_origins=origins) as it:
        for path in ("/v1/proxy", f"/v1/proxy/{uuid4()}", "/v1/stream/x"):
            answer = await it.client.options(path, headers=asking)
            assert (answer.status_code, answer.content) == (204, b"")
            allowed = answer.headers["access-control-allow-origin"]
            assert allowed == ("*" if origins == "*" else "https://app.example")
            methods = set(answer.headers["access-control-allow-methods"].split(", "))
            assert {"GET", "POST", "HEAD", "PATCH", "DELETE"} <= methods
            names = answer.headers["access-control-allow-headers"].lower().split(", ")
            assert set(names) >= ASKS


async def test_options_that_are_no_preflight() -> None:
    async with world(cors_origins="*") as it:
        for path in ("/v1/proxy", f"/v1/proxy/{uuid4()}"):
            answer = await it.client.options(path)
            assert answer.status_code == 204
            assert answer.headers["access-control-allow-origin"] == "*"
            assert "POST" in answer.headers["access-control-allow-methods"]
            names = answer.headers["access-control-allow-headers"].lower().split(", ")
            assert set(names) >= ASKS


@pytest.mark.parametrize("origin", [{}, {"Origin": "https://app.example"}])
async def test_pages_may_read_the_headers_of_every_answer(origin: dict[str, str]) -> None:
    async with world(cors_origins="*") as it:
        it.client.headers.update(origin)
        created = await it.create()
        address = created.headers["location"]
        for answer in (
            created,
            await it.client.get(address),
            await it.client.get(f"{address}&offset=-1&live=sse"),
            await it.client.get(f"{address}x"),
            await it.client.post("/v1/proxy"),
            await it.client.patch(f"{address}&action=abort"),
            await it.client.delete(bare_of(address), headers=BEARER),
            await it.client.get(address),
        ):
            assert answer.headers.get_list("access-control-allow-origin") == ["*"]
            exposed = answer.headers["access-control-expose-headers"].lower().split(", ")
            assert set(exposed) >= EXPOSED


async def test_no_page_may_unless_it_is_said() -> None:
    async with world() as it:
        answer = await it.client.options("/v1/proxy", headers={"Origin": "https://app.example"})
        assert answer.status_code == 204
        assert "access-control-allow-origin" not in answer.headers


# ---------------------------------------------------------------------- 11 errors


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/proxy"),
        ("PUT", "/v1/proxy/x"),
        ("GET", "/v1/proxy/x/y"),
        ("POST", "/v1/proxy/x"),
    ],
)
async def test_no_such_route(method: str, path: str) -> None:
    async with world() as it:
        answer = await it.client.request(method, path, headers=BEARER)
        assert refusal_of(answer) == (404, "NOT_FOUND")
        assert refusal_of(await it.client.request(method, path)) == (401, "MISSING_SECRET")
        counted = it.proxy.app.state.proxy.figures.refused
        assert counted == {"not_found": 1, "unauthorized": 1}


def test_every_refusal_of_this_surface_is_counted_as_something() -> None:
    from durable_proxy._v1_errors import STATUS
    from durable_proxy._v1_proxy import COUNTED_AS

    assert set(COUNTED_AS) == set(STATUS.values())


def test_every_code_has_the_status_of_the_specification() -> None:
    from durable_proxy._v1_errors import STATUS, V1Code

    by_status: dict[int, set[str]] = {}
    for code in V1Code:
        by_status.setdefault(STATUS[code], set()).add(code)
    assert by_status == {
        400: {
            *("MISSING_UPSTREAM_URL", "MISSING_UPSTREAM_METHOD", "INVALID_UPSTREAM_METHOD"),
            *("REDIRECT_NOT_ALLOWED", "INVALID_ACTION"),
        },
        401: {
            *("MISSING_SECRET", "INVALID_SECRET", "SIGNATURE_EXPIRED", "SIGNATURE_INVALID"),
            "MISSING_SIGNATURE",
        },
        403: {"UPSTREAM_NOT_ALLOWED"},
        404: {"NOT_FOUND", "STREAM_NOT_FOUND"},
        502: {"UPSTREAM_ERROR", "STORAGE_ERROR"},
        504: {"UPSTREAM_TIMEOUT"},
    }


async def test_an_address_is_never_made_of_what_a_client_says() -> None:
    """Not of ``Host``, and not of what gateways add: it is a bearer token."""
    async with world() as it:
        created = await it.create(Host="evil.example", X_Forwarded_Host="evil.example")
        assert created.headers["location"].startswith(f"{it.proxy.url}/v1/proxy/")
    async with world(public_url="https://ai.example/base/") as it:
        created = await it.create()
        assert created.headers["location"].startswith("https://ai.example/base/v1/proxy/")
