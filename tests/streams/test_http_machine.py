"""Any requests, in any order and with restarts between them, do what the model says they do."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from durable_streams_server import Log, StreamsApp
from streams.event_parser import Event, EventParser
from streams.gate import PATIENCE
from streams.http_client import request_bytes
from streams.http_model import (
    BYTES,
    JSON,
    TEXT,
    Branch,
    Entry,
    Model,
    Post,
    Put,
    Remove,
    Request,
    on_the_wire,
)
from streams.serving import PATIENT, Served, serving

if TYPE_CHECKING:
    from collections.abc import Coroutine

pytestmark = pytest.mark.slow

EXAMPLES = int(os.environ.get("DURABLE_FUZZ_EXAMPLES", "10"))
"""So many sequences of requests are made up for each kind of server."""
STEPS = 30
LIMITS = replace(PATIENT, long_poll=0.005)

PATHS = st.sampled_from(["a", "b/c", "b/c/d", "%C3%A9"])
KINDS = st.sampled_from([TEXT, JSON, BYTES])
MESSAGES = {
    # No CR: its place in server-sent events has tests of its own.
    TEXT: st.sampled_from([b"a", b" b", b"\n", b"data: c\n\n", "\u2028é".encode(), b"\x00"]),
    JSON: st.sampled_from([b"1", b'"],["', b'{"a": [1, 2]}', b"[[3]]", b'"\\u2028"', b"null"]),
    BYTES: st.binary(min_size=1, max_size=5),
}
BATCHES = st.tuples(st.sampled_from("pq"), st.integers(0, 2), st.integers(0, 2))
SEQS = st.sampled_from(["0", "1", "10", "2", "a"])
MODES = st.sampled_from(["", "long-poll", "sse", "raw"])


def _messages(kind: str, count: int = 3) -> st.SearchStrategy[tuple[bytes, ...]]:
    return st.lists(MESSAGES[kind], min_size=1, max_size=count).map(tuple)


def _puts(path: str, kind: str) -> st.SearchStrategy[Request]:
    return st.builds(
        Put,
        st.just(path),
        st.just(kind),
        st.just(()) | _messages(kind),
        st.sampled_from([False, False, False, True]),
    )


def _posts(path: str, kind: str) -> st.SearchStrategy[Request]:
    return st.builds(
        Post,
        st.just(path),
        st.just(kind),
        st.just(()) | _messages(kind) | _messages(kind),
        st.sampled_from([False, False, False, True]),
        st.none() | SEQS,
        st.none() | BATCHES,
    )


class Follower:
    """A raw live reader of one stream."""

    def __init__(self, path: str, start: int, stack: AsyncExitStack, connection: Any) -> None:
        self.path, self.start = path, start
        self.stack, self.connection = stack, connection
        self.received = b""

    async def read(self, size: int) -> None:
        while len(self.received) < size:
            piece = await self.connection.chunk()
            assert piece, "a live answer ended by itself"
            self.received += piece


class Streams(RuleBasedStateMachine):
    """A server with a store file, and the model."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.model = Model()
        self.followers: list[Follower] = []

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(PATIENCE):
                await work

        self.loop.run_until_complete(bounded())

    @initialize()
    def begin(self) -> None:
        self.do(self._start())

    async def _start(self) -> None:
        self.stack = AsyncExitStack()
        log = await self.stack.enter_async_context(
            await Log.open(f"sqlite:///{Path(self.folder.name) / 'store.sqlite'}")
        )
        app = StreamsApp(log, limits=LIMITS)
        self.server: Served = await self.stack.enter_async_context(serving(app, log))

    def teardown(self) -> None:
        try:
            if hasattr(self, "stack"):
                self.do(self._end())
        finally:
            self.loop.close()
            self.folder.cleanup()

    async def _end(self) -> None:
        try:
            for follower in self.followers:
                await self._check_follower(follower)
        finally:
            for follower in self.followers:
                await follower.stack.aclose()
            self.followers.clear()
            await self.stack.aclose()

    # ------------------------------------------------------------------ writing

    @rule(data=st.data(), path=PATHS, kind=KINDS)
    def put(self, data: st.DataObject, path: str, kind: str) -> None:
        self.do(self._ask(data.draw(_puts(path, kind))))

    @rule(data=st.data(), path=PATHS, other=st.none() | KINDS)
    def post(self, data: st.DataObject, path: str, other: str | None) -> None:
        self.do(self._ask(data.draw(self._post(path, other))))

    @rule(data=st.data(), path=PATHS)
    def append(self, data: st.DataObject, path: str) -> None:
        kind = self._kind(path)
        self.do(self._ask(Post(path, kind, data.draw(_messages(kind)))))

    @rule(path=PATHS)
    def delete(self, path: str) -> None:
        self.do(self._ask(Remove(path)))

    @precondition(lambda self: self.model.streams)
    @rule(data=st.data(), path=PATHS, closed=st.sampled_from([False, False, True]))
    def fork(self, data: st.DataObject, path: str, *, closed: bool) -> None:
        source = data.draw(st.sampled_from(sorted(self.model.streams)))
        entry = self.model.streams[source]
        places = [0, 1, 2, *entry.ends, len(entry.data) + 1]
        branch = data.draw(
            st.builds(Branch, st.just(source))
            | st.builds(Branch, st.just(source), st.sampled_from(places), st.integers(0, 3))
        )
        kind = data.draw(st.none() | st.just(entry.kind) | KINDS)
        messages = data.draw(st.just(()) | _messages(kind, 1)) if kind else ()
        self.do(self._ask(Put(path, kind, messages, closed, branch)))

    @rule(data=st.data(), paths=st.lists(PATHS, min_size=2, max_size=4))
    def pipeline(self, data: st.DataObject, paths: list[str]) -> None:
        """Several requests in one piece are answered in their order."""
        requests = [
            data.draw(st.one_of(self._post(path, None), _puts(path, TEXT), st.just(Remove(path))))
            for path in paths
        ]
        self.do(self._ask(*requests))

    def _kind(self, path: str) -> str:
        entry = self.model.streams.get(path)
        return TEXT if entry is None else entry.kind

    def _post(self, path: str, other: str | None) -> st.SearchStrategy[Request]:
        return _posts(path, other or self._kind(path))

    async def _ask(self, *requests: Request) -> None:
        for request in requests:
            if isinstance(request, Remove):
                await self._let_go(request.path)
        async with self.server.connect() as connection:
            await connection.send(b"".join(map(_bytes, requests)))
            for request in requests:
                expected = self.model.answer(request)
                reply = await connection.reply()
                assert reply.status == expected, (request, reply)

    # ------------------------------------------------------------------ reading

    @rule(data=st.data(), path=PATHS, mode=MODES)
    def read(self, data: st.DataObject, path: str, mode: str) -> None:
        entry = self.model.streams.get(path)
        places = [0, 1] if entry is None else [0, *entry.ends, len(entry.data) + 1]
        position = data.draw(st.sampled_from(places))
        self.do(self._read(path, position, mode))

    async def _read(self, path: str, position: int, mode: str) -> None:
        target = f"/v1/stream/{path}?offset={position:020}" + (f"&live={mode}" if mode else "")
        entry = self.model.streams.get(path)
        async with self.server.connect() as connection:
            await connection.request("GET", target)
            if entry is None or entry.deleted or position > len(entry.data):
                expected = 404 if entry is None else 410 if entry.deleted else 416
                assert (await connection.reply()).status == expected
                return
            match mode:
                case "sse":
                    await self._read_events(connection, entry, position)
                case "raw":
                    await self._read_raw(connection, entry, position)
                case _:
                    await self._read_once(connection, entry, position, polling=bool(mode))

    async def _read_once(
        self, connection: Any, entry: Entry, position: int, *, polling: bool
    ) -> None:
        reply = await connection.reply()
        rest = entry.data[position:]
        if polling and not rest:
            assert (reply.status, reply.body) == (204, b"")
        else:
            assert (reply.status, reply.body) == (200, entry.body(position))
        assert reply["stream-next-offset"] == f"{len(entry.data):020}"
        assert reply.get("stream-up-to-date") == "true"
        assert reply.get("stream-closed") == ("true" if entry.closed else None)

    async def _read_events(self, connection: Any, entry: Entry, position: int) -> None:
        assert (await connection.head()).status == 200
        parser, got, reached = EventParser(), b"", position
        while True:
            for event in parser.feed(await connection.chunk()):
                if event.name == "data":
                    got += _payload(entry.kind, event)
                    continue
                control = event.control()
                reached = int(control["streamNextOffset"])
                if control.get("upToDate"):
                    assert got == _as_events(entry.kind, entry.data[position:])
                    assert reached == len(entry.data)
                    assert control.get("streamClosed", False) is entry.closed
                    return

    async def _read_raw(self, connection: Any, entry: Entry, position: int) -> None:
        head = await connection.head()
        assert (head.status, head["stream-next-offset"]) == (200, f"{position:020}")
        rest, got = entry.data[position:], b""
        while len(got) < len(rest):
            got += await connection.chunk()
        assert got == rest
        if entry.closed:
            assert await connection.chunk() == b""

    @precondition(lambda self: len(self.followers) < 4)
    @rule(path=PATHS)
    def follow(self, path: str) -> None:
        entry = self.model.streams.get(path)
        if entry is not None and not entry.deleted and not entry.closed:
            self.do(self._follow(path, len(entry.data)))

    async def _follow(self, path: str, start: int) -> None:
        stack = AsyncExitStack()
        connection = await stack.enter_async_context(self.server.connect())
        await connection.request("GET", f"/v1/stream/{path}?offset={start:020}&live=raw")
        assert (await connection.head()).status == 200
        self.followers.append(Follower(path, start, stack, connection))

    async def _check_follower(self, follower: Follower) -> None:
        expected = self.model.streams[follower.path].data[follower.start :]
        await follower.read(len(expected))
        assert follower.received == expected

    async def _let_go(self, path: str) -> None:
        """See what the readers of a stream have seen before it goes."""
        mine = [one for one in self.followers if one.path == path]
        self.followers = [one for one in self.followers if one.path != path]
        for follower in mine:
            try:
                await self._check_follower(follower)
            finally:
                await follower.stack.aclose()

    # ------------------------------------------------------------------ always

    @rule()
    def restart(self) -> None:
        self.do(self._restart())

    async def _restart(self) -> None:
        await self._end()
        await self._start()

    @invariant()
    def everything_is_as_the_model_says(self) -> None:
        if hasattr(self, "server"):
            self.do(self._compare())

    async def _compare(self) -> None:
        listed = {one.path: one for one in await self.server.log.list_streams("", "", 100)}
        assert {path: one.deleted for path, one in listed.items()} == {
            path: one.deleted for path, one in self.model.streams.items()
        }
        for path, entry in self.model.visible():
            assert listed[path].tail == len(entry.data)
            assert listed[path].closed is entry.closed


def _bytes(request: Request) -> bytes:
    method, path, body, headers = on_the_wire(request)
    return request_bytes(method, f"/v1/stream/{path}", body, headers)


def _payload(kind: str, event: Event) -> bytes:
    if kind == JSON:
        return b"".join(json.dumps(one).encode() + b"," for one in json.loads(event.data))
    return event.data.encode() if kind == TEXT else event.binary()


def _as_events(kind: str, data: bytes) -> bytes:
    """What `_payload` makes of them."""
    if kind != JSON:
        return data
    items = json.loads(b"[%b]" % data[:-1])
    return b"".join(json.dumps(one).encode() + b"," for one in items)


@pytest.mark.usefixtures("each_protocol")
def test_the_server_is_as_the_model() -> None:
    run_state_machine_as_test(
        Streams,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            print_blob=True,
            report_multiple_bugs=False,
            phases=[Phase.explicit, Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
