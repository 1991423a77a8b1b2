"""The admin surface and the probes, over sockets."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from durable_streams_server import (
    AdminAccess,
    Append,
    Create,
    Delete,
    Fork,
    Log,
    Producer,
    StorageError,
    StoreBrokenError,
    StoreFullError,
    create_app,
)
from durable_streams_server._probes import ready
from streams.gate import Gate
from streams.serving import PATIENT, Served, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

LOCAL = {"Host": "127.0.0.1"}
TOKEN = {"Authorization": "Bearer s3cret"}
PATHS = ["_admin", "_admin/streams", "_admin/streams/s", "metrics"]


@asynccontextmanager
async def running(admin: AdminAccess | None, log: Log) -> AsyncIterator[Served]:
    async with serving(create_app(log, admin=admin, limits=PATIENT), log) as server:
        server.prefix = "/"
        yield server


@pytest.fixture
async def server(log: Log) -> AsyncIterator[Served]:
    async with running(AdminAccess("s3cret"), log) as served:
        yield served


async def ask(server: Served, path: str) -> Any:
    reply = await server.get(path, **TOKEN)
    assert reply.status == 200, reply.body
    assert reply["cache-control"] == "no-store"
    return reply.json()


async def figures(server: Served, **headers: str) -> dict[tuple[str, ...], float]:
    """Every sample: its name and the values of its labels."""
    reply = await server.get("metrics", **TOKEN, **headers)
    assert reply.status == 200
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(reply.body.decode())
        for sample in family.samples
    }


# --------------------------------------------------------------------------- access


@pytest.mark.parametrize("path", PATHS)
async def test_nothing_is_told_without_the_token(server: Served, path: str) -> None:
    await server.log.transact(Create("s"))
    for headers in ({}, {"Authorization": "Bearer wrong"}, LOCAL):
        reply = await server.get(path, **headers)
        assert (reply.status, reply["www-authenticate"]) == (401, "Bearer")
        assert reply.json()["error"]["code"] == "unauthorized"
        assert "admin token" in reply.json()["error"]["message"]
    assert (await server.get(path, **TOKEN)).status == 200


@pytest.mark.parametrize("path", PATHS)
async def test_without_a_token_only_this_machine_is_told(log: Log, path: str) -> None:
    await log.transact(Create("s"))
    async with running(AdminAccess(), log) as server, server.connect() as connection:
        reply = await server.get(path)  # its Host is streams.test
        assert (reply.status, reply.json()["error"]["code"]) == (403, "forbidden")
        assert "--admin-token" in reply.json()["error"]["message"]
        await connection.send(f"GET /{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        assert (await connection.reply()).status == 200


@pytest.mark.parametrize("path", PATHS)
async def test_it_is_not_there_unless_it_was_asked_for(log: Log, path: str) -> None:
    await log.transact(Create("s"))
    async with running(None, log) as server:
        assert (await server.get(path, **TOKEN)).status == 404


async def test_pages_of_other_origins_cannot_read_it(server: Served) -> None:
    for path in PATHS:
        reply = await server.get(path, **TOKEN, Origin="https://elsewhere.example")
        assert reply.get("access-control-allow-origin") is None


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_it_only_looks(server: Served, method: str) -> None:
    await server.log.transact(Create("s"))
    reply = await server.ask(method, "_admin/streams/s", b"", **TOKEN)
    assert (reply.status, reply["allow"]) == (405, "GET, HEAD")
    assert await server.log.stat("s") is not None


@pytest.mark.parametrize("path", ["%5Fadmin/streams", "_admin/stream", "_adminx", "metrics/"])
async def test_other_spellings_are_nothing(server: Served, path: str) -> None:
    assert (await server.get(path, **TOKEN)).status == 404


async def test_streams_may_have_such_names(server: Served) -> None:
    reply = await server.put("v1/stream/_admin/streams", b"x")
    assert reply.status == 201
    assert (await server.get("v1/stream/_admin/streams")).body == b"x"


# --------------------------------------------------------------------------- streams


async def test_a_list(server: Served) -> None:
    await server.log.transact(
        Create("a", "text/plain", data=b"abc", closed=True),
        Create("b/%C3%A9", "application/json", ttl_seconds=60),
        Create("b/2", fork=Fork("a", 2)),
        Delete("a"),
    )
    listed = (await ask(server, "_admin/streams"))["streams"]
    assert [one["path"] for one in listed] == ["a", "b/%C3%A9", "b/2"]
    assert listed[0] | {"createdAt": None} == {
        "path": "a",
        "contentType": "text/plain",
        "earliestOffset": "00000000000000000000",
        "nextOffset": "00000000000000000003",
        "size": 3,
        "closed": True,
        "deleted": True,
        "createdAt": None,
        "ttlSeconds": None,
        "expiresAt": None,
        "retainBytes": None,
        "retainSeconds": None,
        "owner": None,
        "forkedFrom": None,
        "forkCount": 1,
    }
    assert (listed[1]["ttlSeconds"], listed[2]["forkedFrom"]) == (60, "a")
    for prefix in ("b/%C3%A9", "b/%25C3"):
        found = await ask(server, f"_admin/streams?prefix={prefix}")
        assert [one["path"] for one in found["streams"]] == ["b/%C3%A9"], prefix


async def test_pages(server: Served) -> None:
    await server.log.transact(*[Create(f"s/{number}") for number in range(5)])
    seen: list[str] = []
    after: str | None = ""
    pages = 0
    while after is not None:
        page = await ask(server, f"_admin/streams?prefix=s/&limit=2&after={after}")
        seen += [one["path"] for one in page["streams"]]
        after, pages = page["next"], pages + 1
    assert (seen, pages) == ([f"s/{number}" for number in range(5)], 3)


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "x", "٣", "1" * 5000])
async def test_a_limit_that_is_none(server: Served, limit: str) -> None:
    quoted = "".join(f"%{byte:02X}" for byte in limit.encode())[:3000]
    reply = await server.get(f"_admin/streams?limit={quoted}", **TOKEN)
    assert (reply.status, reply.json()["error"]["code"]) == (400, "bad_request")
    assert "1 to 1000" in reply.json()["error"]["message"]


async def test_everything_about_one(server: Served) -> None:
    log = server.log
    await log.transact(
        Create("s", data=b"abc", ttl_seconds=60, owner=log.node_id),
        Append("s", b"d", owner=log.node_id, producer=Producer("p", 2, 0), seq="x"),
        Create("f", fork=Fork("s")),
    )
    async with log.reader("s", 1):
        told = await ask(server, "_admin/streams/s")
    assert told["producers"] == [{"id": "p", "epoch": 2, "seq": 0}]
    assert (told["forks"], told["streamSeq"], told["ownerAlive"]) == (["f"], "x", True)
    assert (told["storedBytes"], told["owner"]) == (4, log.node_id)
    assert told["readers"] == [{"mode": "program", "lag": 3}]
    assert told["slidesUntil"] > told["lastUsedAt"]
    assert told["leaseExpiresAt"].endswith("Z")
    fork = await ask(server, "_admin/streams/f")
    assert (fork["forkedFrom"], fork["forkOffset"]) == ("s", "00000000000000000004")
    assert (fork["storedBytes"], fork["ownerAlive"], fork["closedBy"]) == (0, None, None)


async def test_who_closed_it(server: Served) -> None:
    await server.log.transact(
        Create("s"), Append("s", b"", close=True, producer=Producer("p", 0, 0))
    )
    assert (await ask(server, "_admin/streams/s"))["closedBy"] == {"id": "p", "epoch": 0, "seq": 0}


@pytest.mark.parametrize(("path", "status"), [("nowhere", 404), ("", 400), ("../x", 400)])
async def test_a_stream_that_is_none(server: Served, path: str, status: int) -> None:
    assert (await server.get(f"_admin/streams/{path}", **TOKEN)).status == status


async def test_a_store_that_fails(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise StorageError("secret words of the driver")

    monkeypatch.setattr(server.log._store, "list_streams", fail)
    reply = await server.get("_admin/streams", **TOKEN)
    assert (reply.status, reply["retry-after"]) == (503, "1")
    assert b"secret" not in reply.body


# --------------------------------------------------------------------------- figures


async def test_figures(server: Served) -> None:
    await server.put("v1/stream/s", b"0123456789")
    await server.put("v1/stream/s", b"other", Content_Type="a/b")
    await server.get("v1/stream/none")
    async with server.live("v1/stream/s?offset=now&live=sse"), server.log.reader("s", 4):
        await server.settled(lambda: len(server.log.readers()) == 2)
        found = await figures(server)
    prefix = "durable_streams_"
    assert found[prefix + "appended_bytes_total",] == 10
    assert found[prefix + "batch_requests_count",] >= 2
    assert found[prefix + "batch_requests_bucket", "+Inf"] >= 2
    assert 0 < found[prefix + "commit_seconds_sum",] < found[prefix + "uptime_seconds",] + 60
    assert found[prefix + "readers", "sse"] == 1
    assert found[prefix + "readers_behind", "sse"] == 0
    assert found[prefix + "readers_behind", "program"] == 1
    assert found[prefix + "reader_lag_bytes", "program"] == 6
    assert found[prefix + "reader_lag_max_bytes", "program"] == 6
    assert found[prefix + "http_responses_total", "2xx"] == 1, "the live answer goes on"
    assert found[prefix + "http_responses_total", "4xx"] == 2
    assert found[prefix + "store_up",] == 1
    assert found[prefix + "store_bytes",] > 0
    assert found[prefix + "store_errors_total",] == 0
    assert found["process_resident_memory_bytes",] > 0


async def test_buckets_grow_with_their_bounds(server: Served) -> None:
    await asyncio.gather(*[server.log.transact(Create(f"s/{number}")) for number in range(20)])
    found = await figures(server)
    counts = [value for name, value in found.items() if name[0].endswith("requests_bucket")]
    assert counts == sorted(counts)
    assert counts[-1] == found["durable_streams_batch_requests_count",]


async def test_figures_in_open_metrics(server: Served) -> None:
    accept = "application/openmetrics-text; version=1.0.0"
    reply = await server.get("metrics", **TOKEN, Accept=accept)
    assert reply["content-type"].startswith("application/openmetrics-text")
    assert reply.body.endswith(b"# EOF\n")


async def test_two_servers_in_one_process_have_figures_of_their_own(server: Served) -> None:
    async with await Log.open() as other_log, running(AdminAccess("s3cret"), other_log) as other:
        await other_log.transact(Create("s", data=b"12345"))
        name = ("durable_streams_appended_bytes_total",)
        assert (await figures(server))[name] == 0
        assert (await figures(other))[name] == 5


async def test_figures_of_a_failing_store(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise StorageError("no disk")

    monkeypatch.setattr(server.log._store, "commit", fail)
    monkeypatch.setattr(server.log._store, "size", fail)
    with pytest.raises(StorageError):
        await server.log.transact(Create("s"))
    found = await figures(server)
    assert found["durable_streams_store_up",] == 0
    assert ("durable_streams_store_bytes",) not in found
    assert found["durable_streams_store_errors_total",] >= 1


# --------------------------------------------------------------------------- probes


@pytest.mark.parametrize(
    ("error", "health", "readiness"),
    [
        (StoreFullError(), 200, 503),
        (StorageError("the database went away"), 200, 503),
        (StoreBrokenError("disk I/O error"), 503, 503),
    ],
)
async def test_probes_tell_what_to_do(
    server: Served,
    monkeypatch: pytest.MonkeyPatch,
    error: StorageError,
    health: int,
    readiness: int,
) -> None:
    def fail(*_: object) -> None:
        raise error

    assert (await server.get("health")).json()["status"] == "ok"
    assert (await server.get("ready")).json() == {"status": "ready"}
    monkeypatch.setattr(server.log._store, "commit", fail)
    with pytest.raises(StorageError):
        await server.log.transact(Create("s"))
    assert (await server.get("health")).status == health
    reply = await server.get("ready")
    assert (reply.status, reply.json()["error"]["code"]) == (readiness, "storage_unavailable")
    monkeypatch.undo()
    await server.log.transact(Create("s"))
    assert (await server.get("ready")).status == 200


async def test_a_store_that_does_not_answer_is_not_ready(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    monkeypatch.setattr(server.log._store, "size", gate.before(server.log._store.size))
    try:
        assert (await ready(server.log, patience=0.01)).status == 503
    finally:
        gate.open()


async def test_who_takes_leave_is_alive_and_not_ready(server: Served) -> None:
    server.log.release_readers()
    reply = await server.get("ready")
    assert (reply.status, reply.json()["error"]["code"]) == (503, "shutting_down")
    assert (await server.get("health")).status == 200


async def test_a_broken_file_asks_for_a_restart(tmp_path: Any) -> None:
    async with await Log.open(f"sqlite:///{tmp_path}/store") as log, running(None, log) as server:

        class Driver(sqlite3.OperationalError):
            sqlite_errorname = "SQLITE_IOERR_FSYNC"

        def fail(*_: object) -> None:
            raise Driver

        log._store._write = fail  # type: ignore[attr-defined]
        with pytest.raises(StorageError):
            await log.transact(Create("s"))
        with pytest.raises(StoreBrokenError, match="restart"):
            await log.transact(Create("s"))
        assert (await server.get("health")).status == 503
