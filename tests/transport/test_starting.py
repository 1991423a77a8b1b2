"""From the request to the head of the response, over real sockets."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from durable_transport import (
    FileStorage,
    GenerationOrphaned,
    GenerationTimedOut,
    HeaderCollision,
    MemoryStorage,
    NoDataTimeout,
    NotADurableProxy,
    ProxyUnreachable,
    Sessions,
    StorageError,
    UpstreamUnreachable,
    session,
)
from durable_transport.protocol import to_uuid
from transport.conftest import BODY
from transport.flavours import QUICK, UNIT, UPSTREAM, Flavour, quick
from transport.scripted import (
    ScriptedProxy,
    answer,
    cut_after,
    hang,
    refuse,
    reset,
    well,
)

if TYPE_CHECKING:
    from pathlib import Path

    from transport.scripted import Received, Wire

pytestmark = pytest.mark.anyio
SESSION = "0b0b0b0b-0000-4000-8000-000000000001"
REQUEST = "0b0b0b0b-0000-4000-8000-000000000002"
IDS = {"X-Session-ID": SESSION, "X-Request-ID": REQUEST}


def with_headers(*more: dict[str, str], **arguments: Any) -> dict[str, Any]:
    merged: dict[str, str] = {}
    for headers in more:
        merged |= headers
    return {"headers": merged, **arguments}


async def test_the_wire_of_a_start(proxy: ScriptedProxy, flavour: Flavour) -> None:
    sent = {
        "Authorization": "Bearer sk",
        "X-Proxy-Tenant": "t",
        "Connection": "x-hop",
        "X-Hop": "1",
    }
    outcome = await flavour.fetch(
        proxy.url + "/",
        headers={"X-Api-Gateway": "g", "X-Proxy-Authorization": "Bearer p"},
        request=with_headers(IDS, sent, method="PUT", content=b"\x00\xff"),
    )
    assert outcome.error is None
    start = proxy.requests[0]
    assert (start.method, start.target) == ("POST", f"/api/{SESSION}/{REQUEST}")
    assert start.body == b"\x00\xff"
    expected = {
        "x-proxy-url": UPSTREAM,
        "x-proxy-method": "PUT",
        "x-proxy-live": "raw",
        "x-proxy-strip": "X-Api-Gateway",
        "x-proxy-tenant": "t",
        "x-proxy-authorization": "Bearer p",
        "x-api-gateway": "g",
        "authorization": "Bearer sk",
        "accept-encoding": "identity",
        "host": f"127.0.0.1:{proxy.port}",
    }
    assert {name: start.headers.get(name) for name in expected} == expected
    gone = {"x-session-id", "x-request-id", "x-hop", "connection", "x-resume-active-generation"}
    assert not gone & set(start.headers)


async def test_the_head_of_a_live_response(proxy: ScriptedProxy, flavour: Flavour) -> None:
    proxy.status = 201
    proxy.headers = {
        "X-Vendor": "v",
        "X-Request-ID": "req_theirs",
        "Stream-X": "1",
        "Set-Cookie": "c=1",
    }
    outcome = await flavour.fetch(proxy.url, request=with_headers(IDS))
    assert (outcome.status, outcome.body, outcome.error) == (201, BODY, None)
    assert outcome.headers["x-vendor"] == "v"
    assert outcome.headers["x-session-id"] == SESSION
    assert outcome.headers["x-request-id"] == REQUEST
    assert outcome.headers["x-upstream-request-id"] == "req_theirs"
    assert outcome.headers["cache-control"] == "no-cache"
    assert outcome.headers["content-type"] == "text/plain"
    assert not {"x-proxy-source", "stream-x", "set-cookie", "transfer-encoding"} & set(
        outcome.headers
    )
    assert outcome.durable is not None
    assert (outcome.durable.session_id, outcome.durable.request_id) == (SESSION, REQUEST)
    assert outcome.durable.offset == len(BODY)
    assert outcome.durable.completed


OBS_TEXT = b"a\xffb\xc3\xa9"


async def test_header_bytes_beyond_ascii_arrive_as_they_were_sent(
    proxy: ScriptedProxy, flavour: Flavour
) -> None:
    proxy.headers = {"X-Vendor": OBS_TEXT.decode("latin-1")}
    outcome = await flavour.fetch(proxy.url, request={"headers": {b"X-Mine": OBS_TEXT}})
    assert (outcome.body, outcome.error) == (BODY, None)
    direct = flavour.library.Response(200, headers=[(b"X-Vendor", OBS_TEXT)])
    assert outcome.headers["x-vendor"] == direct.headers["x-vendor"]
    assert proxy.requests[0].headers["x-mine"].encode("latin-1") == OBS_TEXT


async def test_header_bytes_of_a_rejection_arrive_as_they_were_sent(
    proxy: ScriptedProxy, flavour: Flavour
) -> None:
    text = OBS_TEXT.decode("latin-1")
    proxy.start_acts.append(answer(400, b"no", X_Proxy_Source="upstream", X_Vendor=text))
    outcome = await flavour.fetch(proxy.url)
    assert (outcome.status, outcome.error) == (400, None)
    assert outcome.headers["x-vendor"].encode("latin-1") == OBS_TEXT


async def test_ids_are_made_up_and_texts_mapped(proxy: ScriptedProxy, flavour: Flavour) -> None:
    proxy.content_type = None
    outcome = await flavour.fetch(proxy.url, request=with_headers({"X-Session-ID": "chat-1"}))
    assert outcome.headers["x-session-id"] == "chat-1"
    assert outcome.headers["content-type"] == "application/octet-stream"
    assert proxy.requests[0].path == (f"/api/{to_uuid('chat-1')}/{outcome.headers['x-request-id']}")


async def test_the_pointer_is_stored_before_the_request_and_gone_at_the_end(
    proxy: ScriptedProxy, flavour: Flavour, tmp_path: Path
) -> None:
    storage = FileStorage(tmp_path)
    sessions = Sessions(storage, proxy.url, clock=time.time)
    seen = []

    async def act(proxy: ScriptedProxy, request: Received, wire: Wire) -> None:
        seen.append(await asyncio.to_thread(sessions.active, "chat-1", ttl=1e12))
        await well(proxy, request, wire)

    proxy.start_acts.append(act)
    outcome = await flavour.fetch(
        proxy.url, storage=storage, request=with_headers(session("chat-1", request_id="r"))
    )
    assert outcome.body == BODY
    assert [active and (active.request_id, active.offset) for active in seen] == [("r", 0)]
    assert await asyncio.to_thread(sessions.active, "chat-1", ttl=1e12) is None


async def test_a_storage_that_does_not_work_starts_nothing(
    proxy: ScriptedProxy, flavour: Flavour, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a directory")
    outcome = await flavour.fetch(proxy.url, storage=FileStorage(tmp_path / "file"))
    assert isinstance(outcome.error, StorageError)
    assert proxy.requests == []


async def test_a_drop_before_the_head_sends_the_same_request_again(
    proxy: ScriptedProxy, flavour: Flavour
) -> None:
    proxy.start_acts.extend([reset, reset, answer(502, b"<html>bad gateway"), hang])
    outcome = await flavour.fetch(proxy.url)
    assert (outcome.body, outcome.error) == (BODY, None)
    starts = [request for request in proxy.requests if request.kind == "start"]
    assert len(starts) == 5
    assert len({(start.target, start.body) for start in starts}) == 1


async def test_a_wrong_address_is_reported_soon(flavour: Flavour) -> None:
    storage = MemoryStorage()
    outcome = await flavour.fetch(
        "http://127.0.0.1:1", storage=storage, request=with_headers(session("s"))
    )
    assert isinstance(outcome.error, ProxyUnreachable)
    assert flavour.is_theirs(outcome.error, "ConnectError")
    assert isinstance(outcome.error.__cause__, flavour.library.ConnectError)
    pointer = Sessions(storage, "http://127.0.0.1:1", clock=time.time).active("s", ttl=1e12)
    assert pointer is None  # nothing was ever sent


async def test_an_upstreams_rejection_is_passed_on_whole(
    proxy: ScriptedProxy, flavour: Flavour
) -> None:
    storage = MemoryStorage()
    proxy.start_acts.append(
        answer(
            429,
            b'{"error": "slow down"}',
            Content_Type="application/json",
            X_Proxy_Source="upstream",
            X_Request_ID="req_theirs",
            Retry_After="7",
        )
    )
    outcome = await flavour.fetch(proxy.url, storage=storage, request=with_headers(session("s")))
    assert (outcome.status, outcome.body) == (429, b'{"error": "slow down"}')
    assert outcome.headers["retry-after"] == "7"
    assert outcome.headers["content-type"] == "application/json"
    assert outcome.headers["x-request-id"] == "req_theirs"
    assert Sessions(storage, proxy.url, clock=time.time).active("s", ttl=1e12) is None


@pytest.mark.parametrize(
    ("code", "kind", "theirs"),
    [
        ("upstream_unreachable", UpstreamUnreachable, "ConnectError"),
        ("upstream_timeout", GenerationTimedOut, "ReadTimeout"),
        ("generation_lost", GenerationOrphaned, "RemoteProtocolError"),
    ],
)
async def test_what_kept_the_upstream_from_answering_is_raised(
    proxy: ScriptedProxy,
    flavour: Flavour,
    code: str,
    kind: type[Exception],
    theirs: str,
) -> None:
    proxy.start_acts.append(refuse(502, code, "because"))
    outcome = await flavour.fetch(proxy.url)
    assert isinstance(outcome.error, kind)
    assert flavour.is_theirs(outcome.error, theirs)
    assert "because" in str(outcome.error)
    assert proxy.kinds() == ["start"]


async def test_other_refusals_are_answered_as_they_are(
    proxy: ScriptedProxy, flavour: Flavour
) -> None:
    proxy.start_acts.append(refuse(403, "upstream_not_allowed", "use --allow"))
    outcome = await flavour.fetch(proxy.url)
    assert outcome.status == 403
    assert json.loads(outcome.body)["error"]["message"] == "use --allow"
    assert proxy.kinds() == ["start"]


async def test_a_proxy_that_is_not_there_yet_is_tried_again(
    proxy: ScriptedProxy, flavour: Flavour
) -> None:
    proxy.start_acts.extend(
        [refuse(503, "shutting_down"), refuse(429, "too_many_generations", Retry_After="0")]
    )
    outcome = await flavour.fetch(proxy.url)
    assert outcome.body == BODY
    assert proxy.kinds()[:3] == ["start"] * 3


async def test_a_proxy_that_stays_away_answers_in_its_own_words(
    proxy: ScriptedProxy, flavour: Flavour
) -> None:
    proxy.start_acts.append(refuse(503, "storage_unavailable", "disk", Retry_After="600"))
    storage = MemoryStorage()
    outcome = await flavour.fetch(proxy.url, storage=storage, request=with_headers(session("s")))
    assert (outcome.status, outcome.headers["retry-after"]) == (503, "600")
    assert b"disk" in outcome.body
    # an earlier attempt may have got through
    assert Sessions(storage, proxy.url, clock=time.time).active("s", ttl=1e12) is not None


@pytest.mark.parametrize(
    "act",
    [
        answer(404, b"<html>not found</html>", Content_Type="text/html"),
        answer(200, b"<html>welcome</html>", Content_Type="text/html"),
        answer(200, b'{"streamUrl": ""}', Content_Type="application/json"),
        answer(302, b"", Location="/login"),
    ],
)
async def test_an_answer_of_something_else_names_the_likely_fix(
    proxy: ScriptedProxy, flavour: Flavour, act: Any
) -> None:
    proxy.start_acts.append(act)
    outcome = await flavour.fetch(proxy.url + "/api")
    assert isinstance(outcome.error, NotADurableProxy)
    assert flavour.is_theirs(outcome.error, "RemoteProtocolError")
    assert "without /api" in str(outcome.error)
    assert len(proxy.requests) == 1


async def test_a_body_compressed_on_the_way_is_an_error(
    proxy: ScriptedProxy, flavour: Flavour
) -> None:
    proxy.headers = {"Content-Encoding": "gzip"}
    outcome = await flavour.fetch(proxy.url)
    assert isinstance(outcome.error, NotADurableProxy)
    assert "compress" in str(outcome.error)


async def test_a_header_of_the_proxys_must_not_shadow_the_requests(
    proxy: ScriptedProxy, flavour: Flavour
) -> None:
    outcome = await flavour.fetch(
        proxy.url,
        headers={"authorization": "Bearer proxy"},
        request=with_headers({"Authorization": "Bearer upstream"}),
    )
    assert isinstance(outcome.error, HeaderCollision)
    assert proxy.requests == []


async def test_a_stale_token_is_refreshed_once(proxy: ScriptedProxy, flavour: Flavour) -> None:
    tokens = iter(["old", "new"])
    proxy.start_acts.extend([refuse(401, "unauthorized"), well])
    proxy.control_acts.append(well)
    last = "new"

    def headers() -> dict[str, str]:
        nonlocal last
        last = next(tokens, last)
        return {"X-Proxy-Authorization": last}

    outcome = await flavour.fetch(proxy.url, headers=headers)
    assert outcome.body == BODY
    assert [request.headers["x-proxy-authorization"] for request in proxy.requests][:2] == [
        "old",
        "new",
    ]


async def test_a_token_that_stays_bad_is_the_proxys_answer(
    proxy: ScriptedProxy, flavour: Flavour
) -> None:
    proxy.start_acts.extend([refuse(401, "unauthorized")] * 3)
    outcome = await flavour.fetch(proxy.url)
    assert outcome.status == 401
    assert len(proxy.requests) == 2


async def test_requests_that_do_not_match_go_straight_to_the_upstream(
    proxy: ScriptedProxy, flavour: Flavour
) -> None:
    outcome = await flavour.fetch(
        "http://proxy.invalid",
        match=lambda request: request.url.path.startswith("/v1/"),
        request={"url": f"{proxy.url}/other", "method": "GET", "content": None},
    )
    proxy.data_acts.append(well)
    assert [(request.method, request.path) for request in proxy.requests] == [("GET", "/other")]
    assert outcome.durable is None


async def test_the_clients_own_read_timeout_bounds_the_wait(
    proxy: ScriptedProxy, flavour: Flavour
) -> None:
    storage = MemoryStorage()
    proxy.start_acts.extend([hang] * 20)
    outcome = await flavour.fetch(
        proxy.url,
        storage=storage,
        timeout=flavour.library.Timeout(5.0 * UNIT, read=0.3 * UNIT),
        timing=quick(silence=0.04),
        request=with_headers(session("s")),
    )
    assert isinstance(outcome.error, NoDataTimeout)
    assert flavour.is_theirs(outcome.error, "ReadTimeout")
    assert len(proxy.requests) >= 3  # the watchdog asked again in between
    # it may well be running: it can be resumed
    assert Sessions(storage, proxy.url, clock=time.time).active("s", ttl=1e12) is not None


async def test_a_request_that_is_no_http_is_not_tried_again(
    proxy: ScriptedProxy, flavour: Flavour
) -> None:
    storage = MemoryStorage()
    outcome = await flavour.fetch(
        proxy.url,
        storage=storage,
        headers={"X-Gate": "two\r\nlines"},
        request=with_headers(session("s")),
    )
    assert flavour.is_theirs(outcome.error, "LocalProtocolError")
    assert proxy.requests == []
    assert Sessions(storage, proxy.url, clock=time.time).active("s", ttl=1e12) is None


@pytest.mark.parametrize(
    "url", ["localhost:4000", "/api", "ftp://x", "http://", "http://h?q=1", "http://u:secret@h"]
)
def test_base_urls_are_checked(flavour: Flavour, url: str) -> None:
    with pytest.raises(ValueError, match="proxy base URL") as caught:
        flavour.transport(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("flavour", ["async-httpx2"], indirect=False)
async def test_an_async_headers_function(proxy: ScriptedProxy, flavour: str) -> None:
    del flavour
    from transport.flavours import FLAVOURS

    async def headers() -> dict[str, str]:
        return {"X-Proxy-Authorization": "fresh"}

    proxy.data_acts.append(cut_after(10))
    outcome = await FLAVOURS[0].fetch(proxy.url, headers=headers, timing=QUICK)
    assert outcome.body == BODY
    assert {request.headers["x-proxy-authorization"] for request in proxy.requests} == {"fresh"}
