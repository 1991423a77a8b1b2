"""``durable-proxy doctor``: what stands between here and a proxy, or how a store is."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

import click
import httpx2

from durable_proxy._cli._source import REMEDY, Generations, open_generations, request_headers
from durable_proxy._cli._where import WHERE, Where, locate, proxy_options
from durable_streams_server.commands import (
    AS_JSON,
    CommandError,
    Finding,
    Level,
    date_of,
    head_of,
    of_catch_up,
    of_clock,
    of_trial,
    tell_findings,
    trial,
)
from durable_transport.protocol import ErrorCode, ProxyHeader, generation_paths

INTERVAL_SECONDS = 0.25
REQUEST_SECONDS = 30.0
MODES = ("raw", "long-poll")
"""What is stored are bytes, which server-sent events carry in base64."""
LOOPBACK = "127.0.0.1"
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"


@click.command("doctor")
@WHERE
@AS_JSON
@proxy_options
def doctor_command(
    *, where: str, as_json: bool, secret: str | None, headers: tuple[str, ...]
) -> None:
    """Examine a proxy and what stands between, or the generations of a store.

    Of a proxy: is it well, may we in, do its headers come through; and, if it may call an upstream
    on this machine (--allow 'http://127.0.0.1:*/**'), is an answer buffered, cut or compressed? For
    that the doctor is an upstream for some seconds. Exits with 1 when something is wrong.
    """
    place = locate(where)
    if place.is_served:
        findings = asyncio.run(_examine(place, request_headers(secret, headers)))
    else:
        with open_generations(place, secret, headers) as generations:
            findings = list(_of_store(generations))
    tell_findings(findings, as_json=as_json)


# --------------------------------------------------------------------------- a store


def _of_store(generations: Generations) -> Iterator[Finding]:
    states: Counter[str] = Counter()
    for told in generations.every(None):
        states[told["state"]] += 1
        if told.get("closed"):
            text = f"{told['sessionId']} {told['requestId']} is closed and does not say how"
            yield Finding(Level.FAIL, "ends", text, "its readers see a dropped connection")
    text = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    yield Finding(Level.OK, "generations", text or "none")
    if running := states["starting"] + states["streaming"]:
        text = f"{running} have no end yet"
        yield Finding(Level.WARN, "ends", text, "the next proxy on this store ends them: orphaned")


# --------------------------------------------------------------------------- a proxy


async def _examine(place: Where, headers: Sequence[tuple[str, str]]) -> list[Finding]:
    fields = [*headers, ("Accept-Encoding", "gzip")]
    async with httpx2.AsyncClient(headers=fields, timeout=REQUEST_SECONDS) as http:
        try:
            findings = [*await _health(http, place.url)]
            listed = await _listing(http, place.url)
            findings.append(listed)
            if listed.level is Level.OK:
                findings += await _relaying(http, place.url)
        except httpx2.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise CommandError(f"{place.url} cannot be reached: {reason}") from error
    return findings


async def _health(http: httpx2.AsyncClient, base: str) -> list[Finding]:
    answer = await http.get(f"{base}/health")
    try:
        told = answer.json()
        text = f"{told['status']}, store {told['store']}, version {told['version']}"
    except (ValueError, KeyError, TypeError):
        raise CommandError(
            f"{base} answers {answer.status_code}, but is no proxy of ours"
        ) from None
    level = Level.OK if answer.is_success else Level.FAIL
    remedy = "" if answer.is_success else "see the proxy's log; a full disk needs no restart"
    clock = of_clock(date_of(answer.headers.get("date")), time.time())
    return [Finding(level, "health", text, remedy), clock]


async def _listing(http: httpx2.AsyncClient, base: str) -> Finding:
    answer = await http.get(f"{base}/api/generations")
    if answer.is_success:
        return Finding(Level.OK, "access", f"{len(answer.json()['generations'])} generations run")
    text = f"listing generations is answered with {answer.status_code}"
    return Finding(Level.FAIL, "access", text, REMEDY)


async def _relaying(http: httpx2.AsyncClient, base: str) -> list[Finding]:
    async with _own_upstream() as own:
        session, request = uuid4(), uuid4()
        answer = await http.post(
            f"{base}/api/{session}/{request}",
            headers=[(ProxyHeader.URL, own.url), (ProxyHeader.METHOD, "GET")],
        )
        code = answer.headers.get(ProxyHeader.ERROR)
        if code in (ErrorCode.UPSTREAM_NOT_ALLOWED, ErrorCode.UPSTREAM_UNREACHABLE):
            remedy = (
                "a proxy on this machine started with --allow 'http://127.0.0.1:*/**' can be"
                " examined; durable-streams doctor examines what stands between in the same way"
            )
            text = f"not examined: the proxy does not call the doctor ({code})"
            return [Finding(Level.WARN, "live", text, remedy)]
        if not answer.is_success:
            text = (
                f"a start is answered with {answer.status_code} ({code or 'and not by the proxy'})"
            )
            return [
                Finding(Level.FAIL, "start", text, "let POST and all X-Proxy-* headers through")
            ]
        data = f"{base}/v1/stream/{generation_paths(session, request).data}"
        findings = [Finding(Level.OK, "start", "headers come through in both directions")]
        findings += of_catch_up(head_of(await http.get(data, params={"offset": "-1"})))
        return [*findings, *of_trial(await trial(http, data, INTERVAL_SECONDS, own, MODES))]


class _OwnUpstream:
    """Answers one request with events, when it is told to."""

    def __init__(self, port: int) -> None:
        self.url = f"http://{LOOPBACK}:{port}/"
        self._answering: asyncio.Future[asyncio.StreamWriter] = asyncio.Future()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_HEAD)
        if not self._answering.done():
            self._answering.set_result(writer)

    async def append(self, number: int) -> None:
        """Send an event."""
        event = b"event-%d;\n" % number
        (await self._answering).write(b"%x\r\n%b\r\n" % (len(event), event))

    async def close(self) -> None:
        """End the answer."""
        (await self._answering).write(b"0\r\n\r\n")

    def leave(self) -> None:
        """Let go of whoever is connected."""
        if self._answering.done():
            self._answering.result().close()


@asynccontextmanager
async def _own_upstream() -> AsyncIterator[_OwnUpstream]:
    serving: list[_OwnUpstream] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serving[0].serve(reader, writer)

    server = await asyncio.start_server(connected, LOOPBACK, 0)
    own = _OwnUpstream(server.sockets[0].getsockname()[1])
    serving.append(own)
    try:
        yield own
    finally:
        own.leave()
        server.close()
