"""With a real Electric: what it is asked, what it is given to read, and that nothing is lost."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID, uuid4

import pytest

from durable_proxy._electric_url import ElectricUrl, ElectricUrlError
from durable_proxy._shape_request import parse_shape
from durable_proxy._shape_tables import FORGET, ShapeTables
from durable_streams_server import Log, StoreUrlError
from proxy.harness import UNIT, eventually, served
from proxy.shapes import Written, of
from proxy.wire import Upstream, Wire, pieces, upstream, whole

if TYPE_CHECKING:
    from proxy.harness import Served
    from streams.postgres import Database

pytestmark = pytest.mark.anyio

SECRET = "known to Electric"


# ---------------------------------------------------------------------- addresses

SESSION, REQUEST = UUID(int=1), UUID(int=2)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://electric:3000", "http://electric:3000/v1/shape"),
        ("http://electric:3000/", "http://electric:3000/v1/shape"),
        ("https://electric.example/v1/shape", "https://electric.example/v1/shape"),
        ("https://host/behind/a/path?source_id=7", "https://host/behind/a/path"),
    ],
)
def test_where_electric_is(url: str, target: str) -> None:
    shape = parse_shape("data", f"sessionId={SESSION}&offset=-1".encode())
    found = str(ElectricUrl.parse(url).target(shape))
    assert found.partition("?")[0] == target
    assert ("source_id=7" in found) is ("source_id" in url)


@pytest.mark.parametrize("url", ["", "electric:3000", "ftp://electric", "http://", "http://a b"])
def test_what_is_no_address_of_electric(url: str) -> None:
    with pytest.raises(ElectricUrlError):
        ElectricUrl.parse(url)


def test_nothing_of_a_client_takes_the_place_of_ours() -> None:
    query = f"sessionId={SESSION}&requestId={REQUEST}&offset=-1&source_id=x&secret=x&api_secret=x"
    shape = parse_shape("control", f"{query}&database_id=x&params_=x".encode())
    url = ElectricUrl.parse("http://electric:3000?source_id=7", SECRET)
    assert parse_qsl(url.target(shape).query[1:]) == [
        ("offset", "-1"),
        ("source_id", "7"),
        ("secret", SECRET),
        ("table", "control_messages"),
        ("where", f"session='{SESSION}' AND request='{REQUEST}'"),
    ]
    assert SECRET not in repr(url)


# ---------------------------------------------------------------------- passing through


def _asked(electric: Upstream) -> dict[str, str]:
    """The parameters of the last request, each of them once."""
    parts = urlsplit(electric.calls[-1].path)
    assert parts.path == "/v1/shape"
    found = parse_qsl(parts.query, keep_blank_values=True)
    assert len(dict(found)) == len(found)
    return dict(found)


ANSWER = (
    ("content-type", "application/json"),
    ("electric-handle", "38-17"),
    ("electric-offset", "26_4"),
    ("electric-schema", "{}"),
    ("electric-up-to-date", "yes"),
    ("cache-control", "public, max-age=604800, s-maxage=3600"),
    ("set-cookie", "a=b"),
    ("access-control-allow-origin", "*"),
)


async def test_a_request_goes_through_with_what_the_client_says_of_its_reading(store: Log) -> None:
    session, request = uuid4(), uuid4()
    async with (
        upstream(whole(200, b"[]", *ANSWER)) as electric,
        served(store, electric_url=electric.url, electric_secret=SECRET) as proxy,
    ):
        protocol = {
            "offset": "0_inf",
            "handle": "38-17",
            "live": "true",
            "cursor": "12",
            "log": "full",
            "expired_handle": "37-1",
            "cache-buster": "1-x",
            "replica": "full",
            "columns": "id,data",
            "subset__limit": "5",
        }
        given = of(session, request) | protocol | {"secret": "mine", "api_secret": "mine"}
        answer = await proxy.client.get(
            "/stream/data", params=given, headers={"Authorization": "Bearer x", "Cookie": "c=d"}
        )
        assert (answer.status_code, answer.json()) == (200, [])
        assert _asked(electric) == protocol | {
            "secret": SECRET,
            "table": "data_chunks",
            "where": f"session='{session}' AND request='{request}'",
        }
        headers = {name.lower() for name, _ in electric.calls[0].headers}
        assert not headers & {"authorization", "cookie", "x-forwarded-for"}
        for name, value in ANSWER[:5]:
            assert answer.headers[name] == value
        assert answer.headers.get_list("cache-control") == ["no-store, no-transform"]
        assert "set-cookie" not in answer.headers
        assert SECRET not in str(answer.headers) + answer.text

        whole_session = of(session) | {"offset": "-1"}
        answer = await proxy.client.get("/stream/control", params=whole_session)
        assert _asked(electric)["table"] == "control_messages"
        assert _asked(electric)["where"] == f"session='{session}'"
        assert answer.headers["cache-control"].startswith("private, no-cache")


async def test_a_client_cannot_choose_the_rows(store: Log) -> None:
    async with (
        upstream(whole(200, b"[]")) as electric,
        served(store, electric_url=electric.url) as proxy,
    ):
        base = of(uuid4()) | {"offset": "-1"}
        wrong = [
            {"table": "users"},
            {"where": "true"},
            {"params[1]": "x"},
            {"sessionId": "x' OR 'a'='a"},
            {"requestId": "x"},
        ]
        for given in wrong:
            answer = await proxy.client.get("/stream/data", params=base | given)
            assert answer.status_code == 400
        assert electric.calls == []


async def test_events_go_through_as_they_come(store: Log) -> None:
    go_on = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.head(200, ("Content-Type", "text/event-stream"), ("electric-handle", "1-1"))
        await wire.chunk(b"data: 1\n\n")
        await go_on.wait()
        await wire.chunk(b"data: 2\n\n")
        await wire.end()

    async with upstream(script) as electric, served(store, electric_url=electric.url) as proxy:
        live = {"offset": "1_0", "handle": "1-1", "live": "true", "live_sse": "true"}
        async with proxy.client.stream("GET", "/stream/data", params=of(uuid4()) | live) as answer:
            body = answer.aiter_raw()
            async with asyncio.timeout(5 * UNIT):
                assert await anext(body) == b"data: 1\n\n"
                go_on.set()
                assert await anext(body) == b"data: 2\n\n"
        assert electric.calls[0].values("accept") == ["text/event-stream"]


async def test_a_client_that_leaves_takes_its_question_along(store: Log) -> None:
    async def script(wire: Wire) -> None:
        await wire.head(200, ("Content-Type", "text/event-stream"))
        await wire.chunk(b"data: 1\n\n")
        await asyncio.sleep(60 * UNIT)

    async with upstream(script) as electric, served(store, electric_url=electric.url) as proxy:
        live = {"offset": "1_0", "handle": "1-1", "live": "true", "live_sse": "true"}
        given = of(uuid4()) | live
        async with proxy.client.stream("GET", "/stream/data", params=given) as answer:
            assert await anext(answer.aiter_raw()) == b"data: 1\n\n"
        async with asyncio.timeout(5 * UNIT):
            await electric.left.wait()


@pytest.mark.parametrize("status", [400, 409, 429, 503])
async def test_what_electric_refuses_is_passed_on(store: Log, status: int) -> None:
    body = b'[{"headers":{"control":"must-refetch"}}]'
    headers = (("electric-handle", "39-18"), ("retry-after", "1"))
    async with (
        upstream(whole(status, body, *headers)) as electric,
        served(store, electric_url=electric.url) as proxy,
    ):
        given = of(uuid4()) | {"offset": "-1"}
        answer = await proxy.client.get("/stream/data", params=given)
        assert (answer.status_code, answer.content) == (status, body)
        assert (answer.headers["electric-handle"], answer.headers["retry-after"]) == ("39-18", "1")
        assert answer.headers["cache-control"].startswith("no-store")


@pytest.mark.parametrize("status", [302, 307, 308])
async def test_an_electric_that_is_not_there_or_sends_elsewhere(store: Log, status: int) -> None:
    location = ("location", f"http://127.0.0.1/?secret={SECRET}")
    async with (
        upstream(whole(status, b"", location)) as electric,
        served(store, electric_url=electric.url, electric_secret=SECRET) as proxy,
    ):
        given = of(uuid4()) | {"offset": "-1"}
        elsewhere = await proxy.client.get("/stream/data", params=given)
        electric.script = _closes
        gone = await proxy.client.get("/stream/data", params=given)
        for answer in (elsewhere, gone):
            assert answer.status_code == 502
            assert answer.json()["error"]["code"] == "upstream_unreachable"
            assert SECRET not in f"{answer.text} {answer.headers}"


async def _closes(wire: Wire) -> None:
    wire.close()


# ---------------------------------------------------------------------- the tables


async def test_another_store_than_postgres_is_refused() -> None:
    with pytest.raises(StoreUrlError, match="takes a Postgres store"):
        async with served("sqlite://", electric_url="http://127.0.0.1:1"):
            pass


def _data(postgres: Database, it: Any) -> list[tuple[int, str]]:
    """The rows of a generation's data, in the order of their ids."""
    return postgres.execute(
        "SELECT id, data FROM public.data_chunks WHERE session = %s AND request = %s ORDER BY id",
        it.session,
        it.request,
    )


def _control(postgres: Database, it: Any) -> list[tuple[str, str, dict[str, Any]]]:
    return postgres.execute(
        "SELECT event, data_row_id, payload FROM public.control_messages"
        " WHERE session = %s AND request = %s ORDER BY id",
        it.session,
        it.request,
    )


async def _is_copied(postgres: Database, it: Any, event: str = "done") -> bool:
    found = await asyncio.to_thread(_control, postgres, it)
    return [row[0] for row in found] == [event]


class _Ids:
    def __init__(self) -> None:
        self.session, self.request = uuid4(), uuid4()


async def _start(proxy: Served, up: Upstream, it: _Ids) -> int:
    headers = {"X-Proxy-Url": up.url}
    path = proxy.path(it.session, it.request)
    answer = await proxy.client.post(path, headers=headers, content=b"{}")
    return answer.status_code


async def test_rows_are_there_while_they_come_and_end_with_a_record(postgres: Database) -> None:
    go_on, it = asyncio.Event(), _Ids()

    async def script(wire: Wire) -> None:
        await wire.head(200)
        await wire.chunk("one €".encode()[:-1])
        await go_on.wait()
        await wire.chunk("one €".encode()[-1:] + b"\0\xff")
        await wire.end()

    async with (
        upstream(script) as up,
        served(postgres.url, electric_url="http://127.0.0.1:1") as proxy,
    ):
        assert await _start(proxy, up, it) == 200

        async def first() -> bool:
            found = await asyncio.to_thread(_data, postgres, it)
            return [text for _, text in found] == ["one "]

        await eventually(first)
        go_on.set()
        await eventually(lambda: _is_copied(postgres, it))
    rows = _data(postgres, it)
    # Postgres takes no U+0000.
    assert "".join(text for _, text in rows) == "one €\ufffd\ufffd"
    ((event, last, payload),) = _control(postgres, it)
    assert (event, last) == ("done", f"{rows[-1][0]:020d}")
    assert payload["finishReason"] == "complete"


async def test_an_attempt_after_a_refusal_takes_the_place_of_its_rows(postgres: Database) -> None:
    it = _Ids()
    async with (
        upstream(whole(429, b"slow down")) as up,
        served(postgres.url, electric_url="http://127.0.0.1:1") as proxy,
    ):
        assert await _start(proxy, up, it) == 429
        await eventually(lambda: _is_copied(postgres, it, "error"))
        up.script = pieces(b"wel", b"come")
        assert await _start(proxy, up, it) == 200
        await eventually(lambda: _is_copied(postgres, it))
        assert "".join(text for _, text in _data(postgres, it)) == "welcome"


async def test_what_a_node_left_is_copied_by_the_next(postgres: Database, store: Log) -> None:
    it = Written(store, uuid4())
    tables = ShapeTables(store)
    await tables.open()
    await tables.expect(it.session, it.request)
    await it.begin()
    await it.add(b"one ")
    tables.copy(it.session, it.request)
    await eventually(lambda: bool(_data(postgres, it)))
    await tables.close()
    await it.end(b"two")
    async with served(postgres.url, electric_url="http://127.0.0.1:1"):
        await eventually(lambda: _is_copied(postgres, it))
    assert [text for _, text in _data(postgres, it)] == ["one ", "two"]


async def test_one_whose_upstream_took_its_time_to_answer(postgres: Database, store: Log) -> None:
    tables = ShapeTables(store)
    await tables.open()
    it = await _begun(store)
    await tables.expect(it.session, it.request)
    postgres.execute("UPDATE durable_proxy.shape_copies SET expected_at = NOW() - INTERVAL '1 day'")
    await store.control(lambda connection: connection.exec_driver_sql(FORGET))
    tables.copy(it.session, it.request)
    await it.end(b"two")
    await eventually(lambda: _is_copied(postgres, it))
    assert "".join(text for _, text in _data(postgres, it)) == "one two"
    await tables.close()


async def test_a_copy_ends_with_its_readers_and_is_taken_up_again(
    postgres: Database, store: Log
) -> None:
    """They are sent home when the log takes no end of the generation."""
    it = await _begun(store)
    tables = ShapeTables(store)
    await tables.open()
    await tables.expect(it.session, it.request)
    tables.copy(it.session, it.request)
    await eventually(lambda: bool(_data(postgres, it)))
    async with asyncio.timeout(2 * UNIT):
        for reader in store.readers():
            reader.stop()
        await eventually(lambda: store.readers() == [])
    await it.end(b"two")
    tables.copy(it.session, it.request)
    await eventually(lambda: _is_copied(postgres, it))
    assert [text for _, text in _data(postgres, it)] == ["one ", "two"]
    await tables.close()


async def _begun(store: Log) -> Written:
    it = Written(store, uuid4())
    await it.begin()
    await it.add(b"one ")
    return it


async def test_whoever_copies_no_row_is_there_twice(postgres: Database, store: Log) -> None:
    session = uuid4()
    async with await Log.open(postgres.url) as other:
        copiers = [ShapeTables(log) for log in (store, other)]
        for tables in copiers:
            await tables.open()
        written = [Written(store, session) for _ in range(4)]
        for it in written:
            await copiers[0].expect(it.session, it.request)
            await it.begin()
        for number in range(10):
            for it in written:
                await it.add(f"{number} ".encode())
                for tables in copiers:
                    tables.copy(it.session, it.request)
        for it in written:
            await it.end()
        for it in written:
            for tables in copiers:
                tables.copy(it.session, it.request)
            await eventually(partial(_is_copied, postgres, it))
            assert "".join(text for _, text in _data(postgres, it)) == "0 1 2 3 4 5 6 7 8 9 "
        for tables in copiers:
            await tables.close()
