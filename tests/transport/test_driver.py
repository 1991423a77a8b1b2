"""The driver against a simulated proxy, clock and network: seeded faults, and an oracle.

Whatever breaks, in whatever order, and however often the reader leaves and comes back: what was
handed out is the body, the generation is started once, the verdict is the terminal's, and a stored
offset is never ahead of what the consumer is done with. DURABLE_TEST_SEEDS runs more of them.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest

from durable_transport import GenerationError, MemoryStorage, ProxyUnreachable, Sessions, Timing
from durable_transport._effects import (
    AskHeaders,
    Breakage,
    Broke,
    Close,
    Effect,
    Emit,
    Open,
    Opened,
    Read,
    ReadAll,
    Sleep,
    Step,
    Store,
)
from durable_transport._fields import Fields
from durable_transport._generation import Generation
from durable_transport._link import Clocks
from durable_transport._request import ProxyURL, read_request
from durable_transport.protocol import format_offset, parse_offset

SEEDS = int(os.environ.get("DURABLE_TEST_SEEDS", "300"))
PROXY = "http://proxy"


class LeftError(Exception):
    """The consumer went away."""


@dataclass
class World:
    """A proxy whose generation grows with time, behind a network that fails by chance."""

    chance: Random
    fault_rate: float
    now: float = 1000.0
    starts: int = 0
    effects: int = 0
    connection: str = ""
    at: int = 0
    pending: bytes = b""
    handed: bytes = b""
    storage: MemoryStorage = field(default_factory=MemoryStorage)

    def __post_init__(self) -> None:
        size = self.chance.randrange(0, 400)
        self.body = self.chance.randbytes(size)
        self.code = self.chance.choice([None, None, "upstream_truncated", "aborted", "orphaned"])
        self.head_at = self.now + self.chance.random() * 40
        self.lasts = self.chance.random() * 200
        self.sessions = Sessions(self.storage, PROXY, clock=lambda: self.now)

    # ------------------------------------------------------------------ the generation

    def available(self) -> int:
        if not self.lasts or self.now < self.head_at:
            return 0 if self.now < self.head_at else len(self.body)
        return int(len(self.body) * min(1.0, (self.now - self.head_at) / self.lasts))

    def ended(self) -> bool:
        return self.available() == len(self.body) and self.now >= self.head_at + self.lasts

    def messages(self) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        if self.now >= self.head_at:
            messages.append({"event": "start", "payload": {"status": 200}})
        if self.ended():
            end = {"dataOffset": format_offset(len(self.body))}
            if self.code is None:
                messages.append({"event": "done", **end})
            else:
                messages.append({"event": "error", **end, "payload": {"code": self.code}})
        return messages

    # ------------------------------------------------------------------ effects

    def perform(self, effect: Effect) -> Any:
        self.effects += 1
        assert self.effects < 20_000, "a loop"
        match effect:
            case AskHeaders():
                return {}
            case Open():
                return self.open(effect)
            case Read():
                return self.read()
            case ReadAll():
                return self.broken() or self.pending
            case Close():
                self.connection = ""
            case Sleep(seconds):
                assert seconds > 0
                self.now += seconds
            case Store(function):
                return function()
            case Emit():
                raise AssertionError
        return None

    def broken(self) -> Broke | None:
        if self.chance.random() >= self.fault_rate:
            return None
        how = self.chance.choice([Breakage.NOT_CONNECTED, Breakage.DROPPED, Breakage.SILENT])
        if how is Breakage.SILENT:
            self.now += 30
        self.connection = ""
        return Broke(how, OSError(how.name))

    def open(self, effect: Open) -> Opened | Broke:
        assert not self.connection
        self.now += 0.01
        if effect.method == "POST":
            self.starts = 1  # idempotent: the proxy does it once, however often it is asked
        broke = self.broken()
        if broke is not None:
            return broke
        if self.chance.random() < self.fault_rate:
            self.pending = b'{"error": {"code": "shutting_down", "message": ""}}'
            return Opened(503, Fields([("X-Proxy-Source", "proxy")]))
        query = parse_qs(urlsplit(effect.url).query)
        if "/control" in effect.url:
            return self.open_control(query)
        if effect.method == "POST":
            if self.now < self.head_at:
                silent = effect.timeout["read"] or 30
                if self.head_at - self.now > silent:
                    self.now += silent
                    return Broke(Breakage.SILENT, OSError("silent"))
                self.now = self.head_at
            self.connection, self.at = "data", 0
            return Opened(200, Fields([("X-Proxy-Source", "upstream")]))
        self.connection = "data"
        self.at = max(0, parse_offset(query["offset"][0]) - self.chance.choice([0, 0, 3]))
        headers = [("Stream-Next-Offset", format_offset(self.at))]
        if self.ended() and self.at == len(self.body):
            headers.append(("Stream-Closed", "true"))
        return Opened(200, Fields(headers))

    def open_control(self, query: dict[str, list[str]]) -> Opened:
        known = query["offset"][0]
        have = 0 if known == "-1" else parse_offset(known)
        if "live" in query and len(self.messages()) <= have:
            self.now += 20
        messages = self.messages()
        self.pending = json.dumps(messages[have:]).encode()
        return Opened(200, Fields([("Stream-Next-Offset", format_offset(len(messages)))]))

    def read(self) -> bytes | Broke | None:
        broke = self.broken()
        if broke is not None:
            return broke
        if self.at >= self.available():
            if self.ended():
                return None
            self.now += 20  # idle: the proxy ends the answer
            if self.at >= self.available():
                return None
        size = self.chance.randrange(1, 60)
        data = self.body[self.at : min(self.at + size, self.available())]
        self.at += len(data)
        return data

    # ------------------------------------------------------------------ a client

    def generation(self, headers: dict[str, str]) -> Generation:
        request = read_request(
            method="POST",
            url="http://up",
            headers=Fields({"X-Session-ID": "s", **headers}.items()),
            body=b"",
            timeout={},
            ambient={},
            new_id=lambda: UUID(int=self.chance.getrandbits(128)),
        )
        clocks = Clocks(lambda: self.now, lambda: self.now, self.chance.random)
        return Generation(
            request,
            proxy=ProxyURL.parse(PROXY),
            sessions=self.sessions,
            timing=Timing(),
            clocks=clocks,
        )

    def run(self, step: Step[Any], consume: Any = None) -> Any:
        answer = None
        while True:
            try:
                effect = step.send(answer)
            except StopIteration as stop:
                return stop.value
            answer = consume(effect.data) if isinstance(effect, Emit) else self.perform(effect)


class Reader:
    """A consumer that starts a generation, leaves by chance, and comes back until it is over."""

    def __init__(self, world: World, leave_rate: float) -> None:
        self.world = world
        self.leave_rate = leave_rate
        self.at = 0
        self.done_with = 0  # every byte before was consumed at some time
        self.generation = world.generation({})

    def stored(self) -> int | None:
        found = self.world.sessions.active("s", ttl=1e9)
        return None if found is None else found.offset

    def live(self) -> str:
        """Return how it ended."""
        while (ended := self.visit()) is None:
            assert not self.world.connection
            self.world.now += self.world.chance.choice([0, 0, self.world.chance.random() * 60])
            self.generation = self.world.generation({"X-Resume-Active-Generation": "true"})
        assert not self.world.connection
        assert self.stored() is None
        return ended

    def visit(self) -> str | None:
        world, generation = self.world, self.generation
        try:
            answer = world.run(generation.answer())
            if answer.status == 204:
                return "204"
            if answer.status == 503:  # for as long as the transport was willing to wait
                assert self.stored() == 0
                return None
            assert answer.body is None
            self.at = generation.progress.offset
            assert self.at <= self.done_with
            world.run(generation.body(), self.consume)
        except LeftError:
            world.run(world.chance.choice([generation.settle, generation.leave])())
            world.run(generation.leave())
            return "done" if generation.progress.completed else self.over()
        except ProxyUnreachable:
            world.run(generation.leave())
            return "never reached" if self.stored() is None else None
        except GenerationError as error:
            self.check_end(error.offset)
            return error.code
        self.check_end(self.at)
        assert generation.progress.completed
        return "done"

    def over(self) -> str | None:
        """A reader that left at the very end of a failed generation need not come back."""
        return self.world.code if self.stored() is None else None

    def consume(self, data: bytes) -> None:
        assert data == self.world.body[self.at : self.at + len(data)]
        self.at += len(data)
        assert self.generation.progress.offset == self.at
        stored = self.stored()
        assert stored is not None
        assert stored <= self.done_with
        if self.world.chance.random() < self.leave_rate:
            raise LeftError
        self.done_with = max(self.done_with, self.at)

    def check_end(self, offset: int) -> None:
        assert offset == len(self.world.body)


@pytest.mark.parametrize("seed", range(0, SEEDS, 25))
def test_seeded_lives(seed: int) -> None:
    for number in range(seed, seed + 25):
        chance = Random(number)
        world = World(chance, fault_rate=chance.choice([0, 0.05, 0.2, 0.5]))
        try:
            ended = Reader(world, leave_rate=chance.choice([0, 0.1, 0.5])).live()
            assert ended in {world.code or "done", "204", "never reached"}
            # 204: all of it was consumed before, and that was noticed only then
            assert ended != "204" or (world.ended() and world.code is None)
            assert ended == "never reached" or world.starts == 1
        except BaseException as error:
            error.add_note(f"seed {number}")
            raise


def test_without_faults_nothing_is_asked_in_vain() -> None:
    world = World(Random(4), fault_rate=0)
    world.code, world.lasts, world.head_at = None, 0.0, world.now
    assert Reader(world, leave_rate=0).live() == "done"
    assert world.effects < 40
