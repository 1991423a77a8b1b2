"""Clients of the two shapes: plain requests, and an unmodified client of Electric in Node."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from durable_proxy._lifecycle import Account, Ending, Event
from durable_streams_server import Append, Create, Delete, Log, json_record
from durable_transport.protocol import ControlMessage, StartPayload, generation_paths
from proxy.harness import UNIT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import httpx2

    from proxy.harness import Served

SCRIPT = Path(__file__).parent.parent / "conformance" / "shape_client.mjs"
PATIENCE = 15 * UNIT


def of(session: UUID, request: UUID | None = None) -> dict[str, str]:
    """Parameters that name a shape."""
    named = {"sessionId": str(session)}
    return named if request is None else named | {"requestId": str(request)}


class Rows:
    """A client that asks by hand: it remembers the rows, and where it is."""

    def __init__(self, proxy: Served, kind: str, shape: dict[str, str]) -> None:
        self._client = proxy.client
        self._url = f"/stream/{kind}"
        self._shape = shape
        self.handle: str | None = None
        self.offset = "-1"
        self.rows: list[dict[str, Any]] = []
        self.up_to_date = False

    async def ask(self, **more: str) -> httpx2.Response:
        """One request from where the last one ended."""
        given = self._shape | {"offset": self.offset} | more
        if self.handle is not None:
            given = {"handle": self.handle} | given
        answer = await self._client.get(self._url, params=given)
        if answer.status_code == 200:
            self._take(answer)
        return answer

    async def catch_up(self) -> list[dict[str, Any]]:
        """Ask until nothing else is there."""
        await self.ask()
        while not self.up_to_date:
            await self.ask()
        return self.rows

    @property
    def place(self) -> dict[str, str]:
        """The parameters of a request from where the last one ended."""
        assert self.handle is not None
        return self._shape | {"offset": self.offset, "handle": self.handle}

    async def live(self) -> httpx2.Response:
        return await self.ask(live="true")

    def _take(self, answer: httpx2.Response) -> None:
        messages = answer.json()
        self.handle = answer.headers["electric-handle"]
        self.offset = answer.headers["electric-offset"]
        self.up_to_date = "electric-up-to-date" in answer.headers
        is_last = [message["headers"].get("control") == "up-to-date" for message in messages]
        assert is_last == [False] * (len(messages) - self.up_to_date) + [True] * self.up_to_date
        self.rows += [message["value"] for message in messages if "value" in message]

    @property
    def text(self) -> str:
        return text(self.rows)


def text(rows: list[dict[str, Any]]) -> str:
    """The data of rows, whose ids rise."""
    ids = [int(row["id"]) for row in rows]
    assert ids == sorted(set(ids))
    return "".join(row["data"] for row in rows)


class NodeClient:
    """What a client in Node says that it sees.

    Attributes:
        said: Everything so far.
        rows: Values of the rows since the last ``must-refetch``.
        refetches: How often it was told to begin anew.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.said: list[dict[str, Any]] = []
        self.rows: list[dict[str, Any]] = []
        self.up_to_date = False
        self.refetches = 0

    @property
    def text(self) -> str:
        return text(self.rows)

    @property
    def requests(self) -> list[str]:
        return [one["request"] for one in self.said if "request" in one]

    @property
    def place(self) -> dict[str, str]:
        """Handle and offset after the last batch."""
        last = [one for one in self.said if "messages" in one][-1]
        return {"handle": last["handle"], "offset": last["offset"]}

    async def until(self, met: Callable[[], bool]) -> None:
        """Listen until something is so."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while not met():
                line = await self._process.stdout.readline()
                assert line, f"the client ended: {self.said}"
                self._hear(json.loads(line))

    async def has(self, wanted: str) -> None:
        """Listen until the rows are this text."""
        await self.until(lambda: self.text == wanted)

    def _hear(self, said: dict[str, Any]) -> None:
        self.said.append(said)
        assert "error" not in said, said
        for message in said.get("messages", ()):
            match message["headers"].get("control"):
                case "must-refetch":
                    self.rows, self.up_to_date = [], False
                    self.refetches += 1
                case "up-to-date":
                    self.up_to_date = True
                case None:
                    self.rows.append(message["value"])


@asynccontextmanager
async def node(url: str, **options: Any) -> AsyncIterator[NodeClient]:
    """A client in Node, ended by its input's end."""
    given = json.dumps({"url": url} | options)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        "node", str(SCRIPT), given, stdin=pipe, stdout=pipe, limit=2**24
    )
    try:
        yield NodeClient(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(5 * UNIT):
                await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()


class Written:
    """A generation that the test writes by itself, as a relay does."""

    def __init__(self, log: Log, session: UUID, request: UUID | None = None) -> None:
        self.session, self.request = session, request or uuid4()
        self.paths = generation_paths(self.session, self.request)
        self._log = log
        self._position = 0

    async def begin(self) -> None:
        start = ControlMessage.start(StartPayload(status=200))
        await self._do(
            Create(self.paths.control, "application/json", json_record(start.to_json())),
            Create(self.paths.data),
        )

    async def add(self, data: bytes) -> None:
        self._position += len(data)
        await self._do(Append(self.paths.data, data))

    async def end(self, data: bytes = b"") -> None:
        self._position += len(data)
        record = json_record(
            Ending(Event.ENDED).record(self._position, Account(1.0, 2.0)).to_json()
        )
        await self._do(
            Append(self.paths.data, data, close=True),
            Append(self.paths.control, record, close=True),
        )

    async def remove(self) -> None:
        await self._do(Delete(self.paths.data), Delete(self.paths.control))

    async def _do(self, *operations: Any) -> None:
        outcomes = await self._log.transact(*operations)
        assert all(outcome.ok for outcome in outcomes), outcomes

    @classmethod
    async def whole(cls, log: Log, session: UUID, *pieces: bytes) -> Written:
        written = cls(log, session)
        await written.begin()
        for piece in pieces:
            await written.add(piece)
        await written.end()
        return written
