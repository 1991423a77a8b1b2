"""Observing the path to a server: events through it, quiet connections, what becomes of headers."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from email.utils import parsedate_to_datetime
from typing import Protocol
from uuid import uuid4

import httpx2

from durable_streams_server._cli._diagnosis import (
    Finding,
    Head,
    Idle,
    Level,
    Listening,
    Trial,
    of_catch_up,
    of_clock,
    of_idle,
    of_trial,
)
from durable_streams_server._cli._errors import CommandError
from durable_transport.protocol import StreamHeader

MODES = ("sse", "raw", "long-poll")
EVENTS = 8
INTERVAL_SECONDS = 0.25
GRACE_SECONDS = 2.0
"""How long the last event may take before the stream is closed, and its end after that."""
REQUEST_SECONDS = 30.0
LIFETIME_SECONDS = 600
"""The doctor's streams remove themselves, whatever becomes of the doctor."""
ORIGIN = "https://doctor.example"
_MARK = re.compile(rb"event-(\d+);")
_TEXT = {"Content-Type": "text/plain"}


async def examine(
    streams: str,
    headers: Sequence[tuple[str, str]],
    *,
    idle: float = 0.0,
    interval: float = INTERVAL_SECONDS,
) -> list[Finding]:
    """Examine the path to the streams under a URL.

    Args:
        streams: URL that the streams' paths follow.
        headers: Sent with each request.
        idle: Watch quiet connections for so many seconds; 0 for not at all.
        interval: Seconds between two events.

    Raises:
        CommandError: there is nothing to examine: no server, or one that lets nobody write.
    """
    timeout = httpx2.Timeout(max(REQUEST_SECONDS, idle + GRACE_SECONDS))
    fields = [*headers, ("Accept-Encoding", "gzip")]
    findings: list[Finding] = []
    async with httpx2.AsyncClient(headers=fields, timeout=timeout) as http:
        try:
            async with _stream(http, streams, findings) as url:
                findings += await _ordinary(http, url)
                findings += of_trial(await trial(http, url, interval, _Appending(http, url)))
            if idle:
                async with _stream(http, streams, findings) as url:
                    watches = [_watch(http, url, mode, idle) for mode in ("sse", "long-poll")]
                    findings += [of_idle(one, idle) for one in await asyncio.gather(*watches)]
        except httpx2.HTTPError as error:
            raise CommandError(f"{streams} cannot be reached: {_words(error)}") from error
    return findings


@asynccontextmanager
async def _stream(
    http: httpx2.AsyncClient, streams: str, findings: list[Finding]
) -> AsyncIterator[str]:
    """A stream for a while; the finding is about its removal."""
    url = f"{streams}/durable-streams-doctor/{uuid4().hex}"
    answer = await http.put(url, headers=_TEXT | {StreamHeader.TTL: str(LIFETIME_SECONDS)})
    if answer.status_code != httpx2.codes.CREATED:
        raise CommandError(f"creating a stream at {url} was answered with {answer.status_code}")
    try:
        yield url
    finally:
        answer = await http.delete(url)
        if not answer.is_success:
            words = (
                f"DELETE is answered with {answer.status_code}; the doctor's stream goes by its TTL"
            )
            remedy = "let GET, HEAD, PUT, POST, DELETE and OPTIONS through"
            findings.append(Finding(Level.WARN, "methods", words, remedy))


async def _ordinary(http: httpx2.AsyncClient, url: str) -> list[Finding]:
    answer = await http.get(url, params={"offset": "-1"}, headers={"Origin": ORIGIN})
    head = head_of(answer)
    now = time.time()
    return [*of_catch_up(head), of_clock(date_of(head.headers.get("date")), now)]


# --------------------------------------------------------------------------- live


class _Ear:
    """What one live reader has heard so far."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.head: Head | None = None
        self.arrivals: dict[int, float] = {}
        self.broke: str | None = None
        self.is_open = asyncio.Event()
        self.has_all = asyncio.Event()

    async def hear(self, answer: httpx2.Response) -> None:
        """Note when events come, until the answer ends."""
        text = b""
        async for piece in answer.aiter_bytes():
            text += piece
            for number in map(int, _MARK.findall(text)):
                self.arrivals.setdefault(number, time.monotonic())
            text = text[-64:]
            if len(self.arrivals) == EVENTS:
                self.has_all.set()


class Talker(Protocol):
    """Makes the events of a trial."""

    async def append(self, number: int) -> None:
        """Make the event ``event-NUMBER;`` and a line end."""

    async def close(self) -> None:
        """Make no more, so that every live answer ends."""


class _Appending:
    """Appends them to the stream."""

    def __init__(self, http: httpx2.AsyncClient, url: str) -> None:
        self._http = http
        self._url = url

    async def append(self, number: int) -> None:
        await self._http.post(self._url, content=b"event-%d;\n" % number, headers=_TEXT)

    async def close(self) -> None:
        await self._http.post(self._url, headers=[(StreamHeader.CLOSED, "true")])


async def trial(
    http: httpx2.AsyncClient,
    url: str,
    interval: float,
    talker: Talker,
    modes: Sequence[str] = MODES,
) -> Trial:
    """Have events made, and see who hears of them in each live mode.

    Args:
        http: Asks.
        url: Of the stream.
        interval: Seconds between two events.
        talker: Makes them.
        modes: Live modes; events of a stream that is no text cannot be read.
    """
    ears = [_Ear(mode) for mode in modes]
    listeners = [asyncio.create_task(_listen(http, url, ear)) for ear in ears]
    try:
        # A reader whose answer is held back never tells that it is there: do not wait for it long.
        await _all_set([ear.is_open for ear in ears])
        sent = {}
        for number in range(EVENTS):
            sent[number] = time.monotonic()
            await talker.append(number)
            await asyncio.sleep(interval)
        await _all_set([ear.has_all for ear in ears])
        closed_at = time.monotonic()
        await talker.close()
        await asyncio.wait(listeners, timeout=2 * GRACE_SECONDS)
    finally:
        for listener in listeners:
            listener.cancel()
        await asyncio.wait(listeners)
    heard = [Listening(ear.mode, ear.head, ear.arrivals, ear.broke) for ear in ears]
    return Trial(sent, closed_at, interval, heard)


async def _all_set(events: Sequence[asyncio.Event]) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(GRACE_SECONDS):
            for event in events:
                await event.wait()


async def _listen(http: httpx2.AsyncClient, url: str, ear: _Ear) -> None:
    """Read live until the stream ends, the connection breaks, or the doctor has heard enough."""
    query = {"offset": "-1", "live": ear.mode}
    ended = False
    try:
        while not ended:
            if ear.mode == "long-poll":
                ear.is_open.set()  # its answer comes with the first event
            async with http.stream("GET", url, params=query) as answer:
                ear.head = ear.head or head_of(answer)
                ear.is_open.set()
                await ear.hear(answer)
            ended = (
                ear.mode != "long-poll"
                or not answer.is_success
                or StreamHeader.CLOSED in answer.headers
                or StreamHeader.NEXT_OFFSET not in answer.headers
            )
            query["offset"] = answer.headers.get(StreamHeader.NEXT_OFFSET, "-1")
            query["cursor"] = answer.headers.get(StreamHeader.CURSOR, "0")
    except httpx2.HTTPError as error:
        ear.broke = _words(error)


# --------------------------------------------------------------------------- quiet


async def _watch(http: httpx2.AsyncClient, url: str, mode: str, patience: float) -> Idle:
    """Keep a quiet connection open, and see who ends it."""
    started, broke = time.monotonic(), None
    try:
        async with asyncio.timeout(patience):
            async with http.stream(
                "GET", url, params={"offset": "now", "live": mode, "cursor": "0"}
            ) as answer:
                if not answer.is_success:
                    broke = f"answered {answer.status_code}"
                async for _ in answer.aiter_bytes():
                    pass
    except httpx2.HTTPError as error:
        broke = _words(error)
    except TimeoutError:
        return Idle(mode, None, None)
    return Idle(mode, time.monotonic() - started, broke)


# --------------------------------------------------------------------------- words


def head_of(answer: httpx2.Response) -> Head:
    """What is judged of an answer besides its body."""
    return Head(answer.status_code, answer.http_version, {**answer.headers})


def date_of(text: str | None) -> float | None:
    """The time of a ``Date``, in epoch seconds."""
    try:
        return None if text is None else parsedate_to_datetime(text).timestamp()
    except ValueError:
        return None


def _words(error: httpx2.HTTPError) -> str:
    return str(error) or type(error).__name__
