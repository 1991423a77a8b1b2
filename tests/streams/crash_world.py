"""What servers are asked while they are being killed, and what has to be there afterwards.

Every actor knows all that it was promised, and the one request that it got no answer to. Its
requests may have happened as a whole or not at all; anything else is a defect.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from base64 import b64decode
from typing import TYPE_CHECKING, Any, Protocol

from streams.control import Control
from streams.event_parser import EventParser
from streams.http_model import BYTES, JSON, TEXT, Branch, Model, Post, Put, Remove, on_the_wire

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from streams.http_client import Client, Connection, Reply
    from streams.http_model import Entry, Request

SHARED = ("log/a", "log/b")
PAST = b"from before the first start|"
OLD = "old/stream"
"""A stream that was there when the file was of an older schema."""


class Actor(Protocol):
    """One party of the workload."""

    async def act(self, client: Client) -> None:
        """Ask until the connection breaks. Everything that was answered is remembered."""

    async def check(self, client: Client) -> None:
        """See that the server holds what it promised, and go on from what it holds."""


async def everything(client: Client, path: str) -> tuple[Reply, bytes]:
    """The last answer about a stream, and all bytes of it as they are on the wire."""
    data, offset = b"", "-1"
    while True:
        reply = await client.get(f"{path}?offset={offset}")
        if reply.status != 200:
            return reply, b""
        is_json = reply["content-type"] == JSON
        piece = reply.body[1:-1] + b"," if is_json and reply.body != b"[]" else reply.body
        data += b"" if is_json and reply.body == b"[]" else piece
        offset = reply["stream-next-offset"]
        assert int(offset) == len(data), f"{path}: offsets do not count bytes"
        if reply.get("stream-up-to-date"):
            return reply, data


# --------------------------------------------------------------------------- streams of one's own


class Owner:
    """Does everything that can be done to streams which nobody else writes to."""

    def __init__(self, number: int, random: Random, promised: Callable[[], None]) -> None:
        self._paths = [f"own/{number}/{name}" for name in "abcd"]
        self._random = random
        self._promised = promised
        self.model = Model()
        self.unanswered: Request | None = None
        self._seqs = 0

    async def act(self, client: Client) -> None:
        async with client.connect() as connection:
            while True:
                # Now and then what was cut off is asked for again, as a client would.
                request, self.unanswered = self.unanswered or self._next(), None
                await self._ask(connection, request)

    async def _ask(self, connection: Connection, request: Request) -> None:
        method, path, body, headers = on_the_wire(request)
        self.unanswered = request
        await connection.request(method, f"/v1/stream/{path}", body, **headers)
        reply = await connection.reply()
        self.unanswered = None
        assert reply.status == self.model.answer(request), (request, reply)
        self._promised()

    def _next(self) -> Request:
        choose = self._random.choice
        path = choose(self._paths)
        entry = self.model.streams.get(path)
        if entry is None:
            return self._creation(path)
        if entry.deleted or self._random.random() < 0.08:
            return Remove(choose(self._paths))
        if entry.closed:
            again: list[Request] = [Remove(path), Post(path, entry.kind, close=True)]
            return choose([*again, self._creation(path)])
        return self._append(path, entry)

    def _creation(self, path: str) -> Put:
        choose, sources = self._random.choice, [one for one, _ in self.model.visible()]
        if sources and self._random.random() < 0.4:
            source = choose(sources)
            places = [None, 0, *self.model.streams[source].ends]
            return Put(path, None, branch=Branch(source, choose(places)))
        kind = choose([TEXT, JSON, BYTES])
        return Put(path, kind, self._messages(kind), self._random.random() < 0.1)

    def _append(self, path: str, entry: Entry) -> Post:
        self._seqs += 1
        ways: list[dict[str, Any]] = [{}, {"seq": f"{self._seqs:09}"}]
        seen = entry.batches.get("p", [])
        epoch, seq = seen[-1] if seen else (0, -1)
        ways += [{"batch": ("p", epoch, seq + 1)}, {"batch": ("p", epoch + 1, 0)}]
        ways += [{"batch": ("p", *batch)} for batch in seen[-1:]]  # a duplicate
        close = self._random.random() < 0.1
        messages = () if close and self._random.random() < 0.5 else self._messages(entry.kind)
        return Post(path, entry.kind, messages, close=close, **self._random.choice(ways))

    def _messages(self, kind: str) -> tuple[bytes, ...]:
        size = self._random.choice([1, 20, 300, 5_000])
        letter = self._random.choice("abcdefgh")
        one = letter.encode() * size
        count = self._random.choice([1, 1, 3])
        return (json.dumps(letter * size).encode() if kind == JSON else one,) * count

    async def check(self, client: Client) -> None:
        states = [self.model]
        if self.unanswered is not None:
            states.append(self.model.after(self.unanswered))
        found = {path: await everything(client, path) for path in self._paths}
        fitting = [state for state in states if self._fits(state, found)]
        assert fitting, (self.unanswered, _told(self.model), found)
        if fitting[0] is not self.model:
            self.model = fitting[0]
            self._forget_what_cannot_be_asked_again()

    def _forget_what_cannot_be_asked_again(self) -> None:
        """A producer's batch may be sent again and is known; any other append is there twice."""
        again = self.unanswered
        if isinstance(again, Post) and again.batch is None and again.messages:
            self.unanswered = None

    def _fits(self, state: Model, found: dict[str, tuple[Reply, bytes]]) -> bool:
        return all(_is_as(state.streams.get(path), *found[path]) for path in self._paths)


def _is_as(entry: Entry | None, reply: Reply, data: bytes) -> bool:
    if entry is None:
        return reply.status == 404
    if entry.deleted:
        return reply.status == 410
    closed = reply.get("stream-closed") == "true"
    kind = reply.get("content-type")
    return (reply.status, data, closed, kind) == (200, entry.data, entry.closed, entry.kind)


def _told(model: Model) -> dict[str, object]:
    return {path: (one.data[-80:], one.closed) for path, one in model.streams.items()}


# --------------------------------------------------------------------------- shared streams

TOKEN = re.compile(rb"<(\d+):(\d+):(\d+):(x*)>")


class Shared:
    """What all producers of the shared streams were promised."""

    def __init__(self) -> None:
        self.appended: dict[str, set[bytes]] = {path: set() for path in SHARED}
        self.unanswered: dict[int, tuple[str, int, bytes]] = {}
        self.seen: dict[str, bytes] = dict.fromkeys(SHARED, b"")
        """The most that any reader has seen."""

    async def act(self, client: Client) -> None:
        """Only make sure that the streams are there; the producers do the rest."""
        for path in SHARED:
            assert (await client.put(path, Content_Type=BYTES)).status in (200, 201)

    async def check(self, client: Client) -> None:
        for path in SHARED:
            _, data = await everything(client, path)
            assert data.startswith(self.seen[path]), f"{path}: a crash took back what was read"
            found = [match.group() for match in TOKEN.finditer(data)]
            assert b"".join(found) == data, f"{path} holds a torn append"
            assert len(set(found)) == len(found), f"{path} holds an append twice"
            open_ends = {body for where, _, body in self.unanswered.values() if where == path}
            assert self.appended[path] <= set(found), f"{path} has lost an acknowledged append"
            assert set(found) <= self.appended[path] | open_ends, f"{path} holds what nobody sent"
            for writer in {one.split(b":")[0] for one in found}:
                seqs = [int(one.split(b":")[1]) for one in found if one.startswith(writer + b":")]
                assert seqs == list(range(len(seqs))), f"{path} has appends out of order"

    def saw(self, path: str, start: int, data: bytes) -> None:
        """A reader has got these bytes."""
        known = self.seen[path][start:]
        overlap = min(len(known), len(data))
        assert known[:overlap] == data[:overlap], f"{path}: two readers saw different bytes"
        if len(data) > len(known):
            assert start <= len(self.seen[path])
            self.seen[path] += data[len(known) :]


class Producer:
    """One idempotent producer: goes on where the last generation cut it off."""

    def __init__(
        self, number: int, shared: Shared, random: Random, promised: Callable[[], None]
    ) -> None:
        self._number = number
        self._shared = shared
        self._random = random
        self._promised = promised
        self._seqs = dict.fromkeys(SHARED, 0)

    async def act(self, client: Client) -> None:
        async with client.connect() as connection:
            unanswered = self._shared.unanswered.get(self._number)
            if unanswered is not None:
                await self._append(connection, *unanswered)
            while True:
                path = self._random.choice(SHARED)
                size, seq = self._random.choice([0, 10, 3000, 40_000]), self._seqs[path]
                body = b"<%d:%d:%d:%s>" % (self._number, seq, size, b"x" * size)
                await self._append(connection, path, seq, body)

    async def _append(self, connection: Connection, path: str, seq: int, body: bytes) -> None:
        self._shared.unanswered[self._number] = (path, seq, body)
        await connection.request(
            "POST",
            f"/v1/stream/{path}",
            body,
            Content_Type=BYTES,
            Producer_Id=str(self._number),
            Producer_Epoch="0",
            Producer_Seq=str(seq),
        )
        reply = await connection.reply()
        assert reply.status in (200, 204), reply
        self._shared.appended[path].add(body)
        del self._shared.unanswered[self._number]
        self._seqs[path] = seq + 1
        self._promised()

    async def check(self, client: Client) -> None:
        """The shared streams are checked as a whole."""


class Reader:
    """Follows a shared stream and remembers what it has seen of it."""

    def __init__(self, path: str, mode: str, shared: Shared) -> None:
        self._path = path
        self._mode = mode
        self._shared = shared
        self._position = 0

    async def act(self, client: Client) -> None:
        while True:
            target = f"{client.prefix}{self._path}?offset={self._position:020}&live={self._mode}"
            async with client.connect() as connection:
                await connection.request("GET", target)
                if self._mode == "long-poll":
                    self._took((await connection.reply()).body)
                else:
                    assert (await connection.head()).status == 200
                    await self._follow(connection)

    async def _follow(self, connection: Connection) -> None:
        parser = EventParser()
        while piece := await connection.chunk():
            if self._mode == "raw":
                self._took(piece)
                continue
            for event in parser.feed(piece):
                if event.name == "data":
                    self._took(b64decode(event.data.replace("\n", "")))
                else:
                    assert int(event.control()["streamNextOffset"]) == self._position

    def _took(self, data: bytes) -> None:
        self._shared.saw(self._path, self._position, data)
        self._position += len(data)

    async def check(self, client: Client) -> None:
        """It goes on from its offset as it is: what it saw is compared with what is there."""


# --------------------------------------------------------------------------- lifetimes, wakes


class Mortal:
    """Makes streams that live for a second, and sees that the dead stay dead."""

    MARGIN = 0.5

    def __init__(self, promised: Callable[[], None]) -> None:
        self._promised = promised
        self._number = 0
        self.ends: dict[str, float] = {}

    async def act(self, client: Client) -> None:
        async with client.connect() as connection:
            while True:
                self._number += 1
                path = f"mortal/{self._number}"
                await connection.request("PUT", f"/v1/stream/{path}", b"brief", Stream_TTL="1")
                self.ends[path] = float("inf")  # it has begun, nobody knows when
                assert (await connection.reply()).status == 201
                self.ends[path] = time.time() + 1 + self.MARGIN
                self._promised()
                await asyncio.sleep(0.01)

    async def check(self, client: Client) -> None:
        for path, end in self.ends.items():
            over = end < time.time()
            reply = await client.ask("HEAD", path)  # does not prolong it
            assert reply.status in ((404,) if over else (200, 404)), f"{path} outlived its end"


class Bounded:
    """Appends to a stream of which only the end is kept."""

    PATH = "bounded"
    KEPT_BYTES = 3_000
    RECORD = b"%09d;"

    def __init__(self, promised: Callable[[], None]) -> None:
        self._promised = promised
        self._count = 0
        self._start = 0

    async def act(self, client: Client) -> None:
        kept = str(self.KEPT_BYTES)
        created = await client.put(self.PATH, Content_Type=BYTES, Stream_Retain_Bytes=kept)
        assert created.status in (200, 201)
        async with client.connect() as connection:
            while True:
                records = b"".join(self.RECORD % (self._count + one) for one in range(50))
                target = f"/v1/stream/{self.PATH}"
                await connection.request("POST", target, records, Content_Type=BYTES)
                assert (await connection.reply()).status == 204
                self._count += 50
                self._promised()
                await asyncio.sleep(0.005)

    async def check(self, client: Client) -> None:
        reply = await client.get(f"{self.PATH}?offset=-1")
        if reply.status == 404 and not self._count:
            return
        assert reply.status == 200
        data = reply.body
        while not reply.get("stream-up-to-date"):
            reply = await client.get(f"{self.PATH}?offset={reply['stream-next-offset']}")
            data += reply.body
        tail = int(reply["stream-next-offset"])
        whole = len(self.RECORD % 0)
        count = tail // whole
        assert count in (self._count, self._count + 50), "an acknowledged append was lost"
        self._count, start = count, tail - len(data)
        everything = b"".join(self.RECORD % one for one in range(start // whole, count))
        assert data == everything[start % whole :], "what is left is not the end of it"
        assert start >= self._start, "what was let go of came back"
        assert len(data) >= min(tail, self.KEPT_BYTES), "too much was let go of"
        self._start = start
        if start:
            gone = await client.get(f"{self.PATH}?offset={0:020}")
            assert gone.status == 410
            assert int(gone["stream-earliest-offset"]) >= start


class Worker:
    """Claims and acknowledges the work of a subscription."""

    PATH = "work/items"

    def __init__(self, promised: Callable[[], None]) -> None:
        self._promised = promised
        self._written = 0
        self._generation = 0
        self.acked = 0
        self.acking: int | None = None

    async def act(self, client: Client) -> None:
        control = Control(client)
        for path in (self.PATH, "work-wakes"):
            assert (await client.put(path, Content_Type=BYTES)).status in (200, 201)
        created = await control.create(
            "w", pattern="work/*", wake_stream="work-wakes", lease_ttl_ms=1000
        )
        assert created.status in (200, 201), created
        while True:
            await client.post(self.PATH, b"item", Content_Type=BYTES)
            reply = await control.ask("POST", "subscriptions/w/claim", {"worker": "me"})
            if reply.status == 200:
                await self._work(control, reply.json())
            else:
                assert reply.json()["error"]["code"] in ("ALREADY_CLAIMED", "NO_PENDING_WORK")
                await asyncio.sleep(0.02)

    async def _work(self, control: Control, wake: dict[str, Any]) -> None:
        assert wake["generation"] > self._generation, "two claims of one generation"
        self._generation = wake["generation"]
        tail = next(one["tail_offset"] for one in wake["streams"] if one["path"] == self.PATH)
        self.acking = int(tail)
        said = {"wake_id": wake["wake_id"], "generation": wake["generation"], "done": True}
        said["acks"] = [{"stream": self.PATH, "offset": tail}]
        reply = await control.ask("POST", "subscriptions/w/ack", said, wake["token"])
        if reply.status == 200:
            self.acked = self.acking
            self._promised()
        else:  # the lease ran out first
            assert reply.json()["error"]["code"] in ("FENCED", "TOKEN_EXPIRED"), reply
        self.acking = None

    async def check(self, client: Client) -> None:
        if not self._generation:
            return
        shown = await Control(client).show("w")
        acked = next(one["acked_offset"] for one in shown["streams"] if one["path"] == self.PATH)
        assert max(0, int(acked)) in (self.acked, self.acking), "an acknowledgement was lost"
        self.acked, self.acking = max(0, int(acked)), None


class Past:
    """What was there before, in a file of an older version, stays."""

    async def act(self, client: Client) -> None:
        """Look at it again and again."""
        while True:
            await self.check(client)
            await asyncio.sleep(0.05)

    async def check(self, client: Client) -> None:
        reply = await client.get(OLD)
        assert (reply.status, reply.body) == (200, PAST)
