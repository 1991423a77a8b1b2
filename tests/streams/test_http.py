"""The HTTP surface over real sockets: every method and status, and the headers with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from durable_streams_server._sqlite import SqliteStore
from durable_transport.protocol import format_offset
from streams.builders import NOW
from streams.serving import PATIENT, served
from streams.test_store_faults import full_disk

if TYPE_CHECKING:
    from streams.http_client import Reply
    from streams.serving import Served

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("each_protocol")]

ALWAYS = {
    "access-control-allow-origin": "*",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "cross-origin",
}
PRODUCER = {"Producer_Id": "p", "Producer_Epoch": "0"}


def well_formed(reply: Reply) -> Reply:
    """The headers that are on every answer, whatever it says."""
    for name, value in ALWAYS.items():
        assert reply[name] == value
    assert "stream-next-offset" in reply["access-control-expose-headers"].split(", ")
    if reply.status in (204, 304):
        assert reply.get("content-length") is None
        assert reply.get("transfer-encoding") is None
    if reply.status >= 400:
        assert reply["content-type"] == "application/json"
        assert reply["cache-control"] == "no-store"
    return reply


def refused(reply: Reply, status: int, code: str) -> Reply:
    well_formed(reply)
    assert reply.status == status
    error = reply.json()["error"]
    assert error["code"] == code
    assert len(error["message"]) > 10
    return reply


# --------------------------------------------------------------------------- creating


async def test_create_again_and_otherwise(server: Served) -> None:
    created = well_formed(await server.put("a/b", b"abc"))
    assert created.status == 201
    assert created["location"] == "http://streams.test/v1/stream/a/b"
    assert created["stream-next-offset"] == format_offset(3)
    assert created["content-type"] == "text/plain"
    again = well_formed(await server.put("a/b", b"ignored", Content_Type="Text/Plain; charset=x"))
    assert (again.status, again["stream-next-offset"]) == (200, format_offset(3))
    assert again["content-type"] == "text/plain"
    refused(await server.put("a/b", Content_Type="text/html"), 409, "stream_exists")
    refused(await server.put("a/b", Stream_TTL="5"), 409, "stream_exists")
    refused(await server.put("a/b", Stream_Closed="true"), 409, "stream_exists")
    assert (await server.get("a/b")).body == b"abc"


async def test_create_closed(server: Served) -> None:
    created = await server.put("s", b"all of it", Stream_Closed="true")
    assert (created.status, created["stream-closed"]) == (201, "true")
    assert (await server.put("s", Stream_Closed="true")).status == 200
    refused(await server.put("s"), 409, "stream_exists")


async def test_create_without_a_content_type_or_body(server: Served) -> None:
    created = await server.ask("PUT", "s")
    assert (created.status, created["content-type"]) == (201, "application/octet-stream")


@pytest.mark.parametrize(
    ("headers", "body", "code"),
    [
        ({"Stream_TTL": "01"}, b"", "bad_request"),
        ({"Stream_Expires_At": "tomorrow"}, b"", "bad_request"),
        ({"Stream_TTL": "1", "Stream_Expires_At": "2030-01-01T00:00:00Z"}, b"", "bad_request"),
        ({"Content_Type": "nonsense"}, b"", "bad_request"),
        ({"Content_Type": "application/json"}, b"{", "invalid_json"),
    ],
)
async def test_what_cannot_be_created(
    server: Served, headers: dict[str, str], body: bytes, code: str
) -> None:
    refused(await server.put("s", body, **headers), 400, code)
    refused(await server.get("s"), 404, "stream_not_found")


# --------------------------------------------------------------------------- appending


async def test_append(server: Served) -> None:
    await server.put("s")
    for n in range(1, 4):
        reply = well_formed(await server.post("s", b"\x00\xff"))
        assert (reply.status, reply["stream-next-offset"]) == (204, format_offset(2 * n))
        assert reply.get("stream-closed") is None
    assert (await server.get("s")).body == b"\x00\xff" * 3


async def test_append_json(server: Served) -> None:
    await server.put("s", b"[1, 2]", Content_Type="application/json")
    reply = await server.post("s", b' {"a": "\xe2\x82\xac"} ', Content_Type="application/json")
    assert reply.status == 204
    read = await server.get("s")
    assert read.json() == [1, 2, {"a": "€"}]
    rest = await server.get(f"s?offset={read['stream-next-offset']}")
    assert rest.json() == []


async def test_what_cannot_be_appended(server: Served) -> None:
    refused(await server.post("nowhere", b"x"), 404, "stream_not_found")
    await server.put("s", b"kept")
    refused(await server.post("s"), 400, "empty_body")
    refused(await server.ask("POST", "s", b"x"), 400, "bad_request")
    refused(await server.post("s", b"x", Content_Type="text/html"), 409, "content_type_mismatch")
    await server.put("j", Content_Type="application/json")
    for body, code in ((b"[]", "empty_body"), (b"{", "invalid_json"), (b"", "empty_body")):
        refused(await server.post("j", body, Content_Type="application/json"), 400, code)
    assert (await server.get("s")).body == b"kept"


async def test_close(server: Served) -> None:
    await server.put("s", b"abc")
    for _ in range(2):
        reply = well_formed(await server.close("s"))
        assert reply.status == 204
        assert (reply["stream-closed"], reply["stream-next-offset"]) == ("true", format_offset(3))
    for headers in ({}, {"Stream_Closed": "true"}, {"Content_Type": "text/html"}):
        reply = refused(await server.post("s", b"x", **headers), 409, "stream_closed")
        assert (reply["stream-closed"], reply["stream-next-offset"]) == ("true", format_offset(3))
    refused(await server.close("nowhere"), 404, "stream_not_found")


async def test_append_and_close_in_one_step(server: Served) -> None:
    await server.put("s")
    reply = await server.post("s", b"end", Stream_Closed="True")
    assert (reply.status, reply["stream-closed"]) == (204, "true")
    assert (await server.get("s"))["stream-closed"] == "true"


async def test_stream_seq(server: Served) -> None:
    await server.put("s")
    assert (await server.post("s", b"a", Stream_Seq="09")).status == 204
    for seq in ("09", "08", "0"):
        refused(await server.post("s", b"b", Stream_Seq=seq), 409, "sequence_conflict")
    assert (await server.post("s", b"c", Stream_Seq="1")).status == 204
    assert (await server.get("s")).body == b"ac"


async def test_idempotent_producer(server: Served) -> None:
    await server.put("s")
    first = well_formed(await server.post("s", b"a", **PRODUCER, Producer_Seq="0"))
    assert (first.status, first["producer-epoch"], first["producer-seq"]) == (200, "0", "0")
    assert (await server.post("s", b"b", **PRODUCER, Producer_Seq="1")).status == 200
    again = well_formed(await server.post("s", b"a", **PRODUCER, Producer_Seq="0"))
    assert (again.status, again["producer-seq"]) == (204, "1")
    assert again["stream-next-offset"] == format_offset(2)
    gap = refused(await server.post("s", b"d", **PRODUCER, Producer_Seq="3"), 409, "producer_gap")
    assert (gap["producer-expected-seq"], gap["producer-received-seq"]) == ("2", "3")
    newer = {"Producer_Id": "p", "Producer_Epoch": "2"}
    refused(await server.post("s", b"x", **newer, Producer_Seq="1"), 400, "bad_request")
    assert (await server.post("s", b"c", **newer, Producer_Seq="0")).status == 200
    stale = refused(await server.post("s", b"x", **PRODUCER, Producer_Seq="2"), 403, "stale_epoch")
    assert stale["producer-epoch"] == "2"
    refused(await server.post("s", b"x", Producer_Id="p"), 400, "bad_request")
    closing = {**newer, "Producer_Seq": "1", "Stream_Closed": "true"}
    assert (await server.post("s", b"!", **closing)).status == 200
    assert (await server.post("s", b"!", **closing)).status == 204
    refused(await server.post("s", b"?", **{**closing, "Producer_Seq": "2"}), 409, "stream_closed")
    assert (await server.get("s")).body == b"abc!"


# --------------------------------------------------------------------------- reading


async def test_catch_up(server: Served) -> None:
    await server.put("s", b"abc")
    await server.post("s", b"def")
    for query, body in (("", b"abcdef"), ("?offset=-1", b"abcdef"), (f"?offset={3:020}", b"def")):
        reply = well_formed(await server.get(f"s{query}"))
        assert (reply.status, reply.body) == (200, body)
        assert reply["stream-next-offset"] == format_offset(6)
        assert reply["stream-up-to-date"] == "true"
        assert reply["content-type"] == "text/plain"
        assert reply["cache-control"].startswith("private")
        assert reply.get("stream-closed") is None
    tail = well_formed(await server.get(f"s?offset={6:020}"))
    assert (tail.status, tail.body, tail["stream-next-offset"]) == (200, b"", format_offset(6))
    refused(await server.get("nowhere"), 404, "stream_not_found")


async def test_a_long_stream_comes_in_parts(server: Served) -> None:
    await server.put("s")
    body = b""
    for n in range(15):
        body += bytes([n]) * 99_999
        await server.post("s", body[-99_999:])
    await server.close("s")
    read, offset, parts = b"", "-1", 0
    while True:
        reply = await server.get(f"s?offset={offset}")
        read, offset, parts = read + reply.body, reply["stream-next-offset"], parts + 1
        assert (reply.get("stream-up-to-date") is None) is (len(read) < len(body))
        if reply.get("stream-closed"):
            break
    assert read == body
    assert parts > 1


@pytest.mark.parametrize("query", ["offset=0", "offset=abc", "offset=-1&offset=-1", "live=sse"])
async def test_bad_offsets(server: Served, query: str) -> None:
    await server.put("s", b"abc")
    refused(await server.get(f"s?{query}"), 400, "invalid_offset")


async def test_other_bad_queries(server: Served) -> None:
    await server.put("s", b"abc")
    refused(await server.get("s?offset=-1&live=fast"), 400, "bad_request")
    refused(await server.get("s?" + "x=1&" * 200), 400, "bad_request")
    past = refused(await server.get(f"s?offset={4:020}"), 416, "offset_out_of_range")
    assert past["stream-next-offset"] == format_offset(3)


async def test_etags(server: Served) -> None:
    await server.put("s", b"abc")
    etag = (await server.get("s"))["etag"]
    unchanged = well_formed(await server.get("s", If_None_Match=etag))
    assert (unchanged.status, unchanged.body, unchanged["etag"]) == (304, b"", etag)
    await server.close("s")
    closed = await server.get("s", If_None_Match=etag)
    assert (closed.status, closed["stream-closed"]) == (200, "true")
    assert (await server.get("s", If_None_Match=closed["etag"])).status == 304
    await server.ask("DELETE", "s")
    await server.put("s", b"abc", Stream_Closed="true")
    assert (await server.get("s", If_None_Match=closed["etag"])).status == 200


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize(
    ("body", "content_type"), [(b"", "text/plain"), (b"[1]", "application/json")]
)
async def test_now(server: Served, body: bytes, content_type: str, *, closed: bool) -> None:
    headers = {"Stream_Closed": "true"} if closed else {}
    created = await server.put("s", body, Content_Type=content_type, **headers)
    reply = well_formed(await server.get("s?offset=now"))
    assert reply.status == 200
    assert reply.body == (b"[]" if content_type == "application/json" else b"")
    assert reply["stream-next-offset"] == created["stream-next-offset"]
    assert reply["stream-up-to-date"] == "true"
    assert reply.get("stream-closed") == ("true" if closed else None)
    assert reply.get("etag") is None
    assert reply["cache-control"] == "no-store"


@pytest.mark.parametrize("live", ["", "&live=long-poll", "&live=sse", "&live=raw"])
async def test_now_of_nothing(server: Served, live: str) -> None:
    refused(await server.get("nowhere?offset=now" + live), 404, "stream_not_found")


# --------------------------------------------------------------------------- head, delete, others


async def test_head(server: Served) -> None:
    await server.put("s", b"abc", Stream_TTL="60")
    async with server.connect() as connection:
        await connection.request("HEAD", "/v1/stream/s")
        head = await connection.head()
        assert head.status == 200
        assert head["stream-next-offset"] == format_offset(3)
        assert head["stream-ttl"] == "60"
        assert head["content-type"] == "text/plain"
        assert head["cache-control"] == "no-store"
        # No body, no promise of one: the next answer follows at once on this connection.
        await connection.request("HEAD", "/v1/stream/nowhere")
        assert (await connection.head()).status == 404
        await connection.request("GET", "/v1/stream/s")
        assert (await connection.reply()).body == b"abc"


async def test_head_tells_of_close_and_expiry(server: Served) -> None:
    await server.put("s", Stream_Expires_At="9999-12-31T23:59:59Z", Stream_Closed="true")
    head = well_formed(await server.ask("HEAD", "s"))
    assert (head.status, head["stream-closed"]) == (200, "true")
    assert head["stream-expires-at"] == "9999-12-31T23:59:59Z"


@pytest.mark.parametrize(
    ("method", "query", "slides"),
    [
        ("HEAD", "", False),
        ("OPTIONS", "", False),
        ("GET", "", True),
        ("GET", "?offset=now", True),
        ("GET", "?offset=-1&live=long-poll", True),
        ("GET", "?offset=-1&live=sse", True),
        ("GET", "?offset=-1&live=raw", True),
        ("GET", "?offset=wrong", False),
    ],
)
async def test_what_keeps_a_stream_alive(method: str, query: str, *, slides: bool) -> None:
    now = NOW
    async with served(store_clock=lambda: now) as server:
        await server.put("s", b"x", Stream_TTL="1000")
        now += 900
        async with server.connect() as connection:
            await connection.request(method, f"/v1/stream/s{query}")
            await connection.head()
            await server.put("barrier")  # comes after the touch, if there is one
        now += 200
        assert (await server.get("s")).status == (200 if slides else 404)


async def test_delete(server: Served) -> None:
    await server.put("s", b"abc")
    deleted = well_formed(await server.ask("DELETE", "s"))
    assert (deleted.status, deleted.body) == (204, b"")
    for method in ("GET", "DELETE"):
        refused(await server.ask(method, "s"), 404, "stream_not_found")
    assert (await server.ask("HEAD", "s")).status == 404
    assert (await server.put("s")).status == 201
    assert (await server.get("s")).body == b""


async def test_preflight(server: Served) -> None:
    reply = well_formed(await server.ask("OPTIONS", "s", Origin="http://a", X="y"))
    assert reply.status == 204
    assert "PUT" in reply["access-control-allow-methods"]
    assert "stream-closed" in reply["access-control-allow-headers"].lower()


@pytest.mark.parametrize("method", ["PATCH", "TRACE", "PROPFIND"])
async def test_unknown_methods(server: Served, method: str) -> None:
    await server.put("s", b"kept")
    reply = refused(await server.ask(method, "s", b"x"), 405, "method_not_allowed")
    assert "PUT" in reply["allow"].split(", ")
    assert (await server.get("s")).body == b"kept"


async def test_a_read_only_surface() -> None:
    async with served(read_only=True) as server:
        for method in ("PUT", "POST", "DELETE"):
            reply = refused(await server.ask(method, "s", b"x"), 405, "method_not_allowed")
            assert reply["allow"] == "GET, HEAD, OPTIONS"
        refused(await server.get("s"), 404, "stream_not_found")
        assert (await server.ask("OPTIONS", "s")).status == 204


async def test_a_url_that_is_no_stream(server: Served) -> None:
    server.prefix = "/"
    refused(await server.get("elsewhere"), 404, "not_found")
    refused(await server.get("v1/stream/"), 400, "bad_request")


async def test_a_log_that_is_closed(server: Served) -> None:
    await server.put("s", b"x")
    await server.log.close()
    reply = refused(await server.post("s", b"x"), 503, "shutting_down")
    assert reply["retry-after"] == "1"


# --------------------------------------------------------------------------- limits


async def test_a_body_that_declares_too_much(server: Served) -> None:
    await server.put("s", b"kept")
    async with server.connect() as connection:
        size = PATIENT.body + 1
        await connection.request("POST", "/v1/stream/s", Content_Length=str(size))
        refused(await connection.reply(), 413, "body_too_large")
    assert (await server.get("s")).body == b"kept"


async def test_a_body_of_the_largest_size(server: Served) -> None:
    await server.put("s")
    assert (await server.post("s", bytes(PATIENT.body))).status == 204


async def test_chunked_bodies(server: Served) -> None:
    await server.put("s")
    async with server.connect() as connection:
        headers = {"Transfer_Encoding": "chunked", "Content_Type": "text/plain"}
        await connection.request("POST", "/v1/stream/s", **headers)
        await connection.send(b"3\r\nabc\r\n")
        await connection.send(b"2\r\nde\r\n0\r\n\r\n")
        assert (await connection.reply()).status == 204
        await connection.request("POST", "/v1/stream/s", **headers)
        piece = b"2710\r\n" + bytes(10_000) + b"\r\n"
        await connection.send(piece * 11)
        refused(await connection.reply(), 413, "body_too_large")
    assert (await server.get("s")).body == b"abcde"


async def test_a_body_that_does_not_come(unit: float) -> None:
    async with served(PATIENT.__class__(body_wait=0.1 * unit)) as server:
        await server.put("s")
        for framing in ({"Content_Length": "5"}, {"Transfer_Encoding": "chunked"}):
            async with server.connect() as connection:
                await connection.request(
                    "POST", "/v1/stream/s", Content_Type="text/plain", **framing
                )
                await connection.send(b"ab" if "Content_Length" in framing else b"2\r\nab\r\n")
                refused(await connection.reply(), 408, "request_timeout")
        assert (await server.get("s")).body == b""


async def test_a_client_that_leaves_while_sending(server: Served) -> None:
    await server.put("s")
    async with server.connect() as connection:
        await connection.request("POST", "/v1/stream/s", Content_Length="5", Content_Type="a/b")
        await connection.send(b"ab")
        await server.settled(server.is_receiving)
    await server.settled(lambda: not server.state.tasks and not server.state.connections)
    assert (await server.get("s")).body == b""


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE", "HEAD"])
async def test_headers_that_are_too_large(server: Served, method: str) -> None:
    await server.put("s", b"kept")
    reply = await server.ask(method, "s", **{f"X_{n}": "y" * 1000 for n in range(5)})
    if method == "HEAD":
        assert well_formed(reply).status == 431
    else:
        refused(reply, 431, "headers_too_large")
    assert (await server.get("s")).body == b"kept"


# --------------------------------------------------------------------------- who may read


async def test_without_cors_no_page_of_another_origin_is_told_anything() -> None:
    async with served(PATIENT, cors=False) as server:
        await server.put("s", b"secret")
        for reply in (
            await server.get("s"),
            await server.get("none"),
            await server.ask("OPTIONS", "s"),
        ):
            assert reply.get("access-control-allow-origin") is None
            assert reply.get("access-control-allow-methods") is None
            assert reply["x-content-type-options"] == "nosniff"


async def test_a_full_disk_is_named_and_is_one_line_of_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with served(PATIENT) as server:
        await server.put("s", b"kept")
        store = server.log._store
        assert isinstance(store, SqliteStore)
        with full_disk(store):
            reply = refused(await server.put("t", b"x" * 90_000), 503, "storage_unavailable")
        assert "full" in reply.json()["error"]["message"]
        assert [record.exc_info for record in caplog.records] == [None]
        assert "full" in caplog.text
        assert (await server.put("t", b"x")).status == 201
        assert (await server.get("s")).body == b"kept"
