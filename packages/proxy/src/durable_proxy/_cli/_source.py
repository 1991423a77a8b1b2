"""Generations as the commands see them, of a running proxy or in a store that nobody has open."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any, Protocol

from durable_proxy._cli._where import Where
from durable_proxy._messages import messages_of
from durable_proxy._status import Json, by_generation, describe, ids_of, status_of
from durable_streams_server.commands import (
    CommandError,
    NoStreamError,
    Piece,
    Served,
    ServedStreams,
    StoredStreams,
    all_headers,
    client,
    json_lines,
    stored,
)
from durable_transport.protocol import GENERATIONS, GenerationPaths, ProxyHeader

DEFAULT_PORT = 4000
REMEDY = "Say --secret, or set PROXY_SECRET"


class Generations(Protocol):
    """What commands do with generations. All of it raises `CommandError`."""

    def every(self, session: str | None) -> Iterator[Json]:
        """Describe generations: all, or those of a session."""

    def inspect(self, paths: GenerationPaths) -> Json:
        """Tell how one is."""

    def stop(self, paths: GenerationPaths, body: Json) -> Json:
        """End one."""

    def delete(self, paths: GenerationPaths) -> None:
        """Remove one."""

    def read(self, path: str, offset: str, *, follow: bool) -> Iterator[Piece]:
        """Give the bodies of reads of one of its streams."""


@contextmanager
def open_generations(
    place: Where, secret: str | None, headers: Sequence[str]
) -> Iterator[Generations]:
    """The generations of a place, for as long as the block lasts."""
    if place.is_served:
        with client(request_headers(secret, headers), place.query) as http:
            streams = ServedStreams(Served(place.url), http, remedy=REMEDY)
            yield ServedGenerations(place.url, streams)
    else:
        with stored(place.url, port=DEFAULT_PORT) as store:
            yield StoredGenerations(StoredStreams(store))


def request_headers(secret: str | None, headers: Sequence[str]) -> list[tuple[str, str]]:
    """What is sent with each request; of several secrets the first one."""
    shown = [] if not secret else [(ProxyHeader.SECRET, secret.replace(",", " ").split()[0])]
    return [*shown, *all_headers(None, headers)]


class ServedGenerations:
    """See `Generations`. Those of a running proxy: `every` gives those that run."""

    def __init__(self, base: str, streams: ServedStreams) -> None:
        self._base = base
        self._streams = streams
        self.read = streams.read

    def every(self, session: str | None) -> Iterator[Json]:
        """See `Generations.every`."""
        path = "/api/generations" if session is None else f"/api/{session}/active"
        yield from self._told("GET", path, "list of generations")["generations"]

    def inspect(self, paths: GenerationPaths) -> Json:
        """See `Generations.inspect`."""
        return self._told("GET", _api(paths), _name(paths))

    def stop(self, paths: GenerationPaths, body: Json) -> Json:
        """See `Generations.stop`."""
        return self._told("POST", f"{_api(paths)}/stop", _name(paths), body)

    def delete(self, paths: GenerationPaths) -> None:
        """See `Generations.delete`."""
        answer = self._streams.ask("DELETE", self._base + _api(paths), {})
        self._streams.checked(answer, _name(paths))

    def _told(self, method: str, path: str, name: str, body: Json | None = None) -> Json:
        answer = self._streams.ask(method, self._base + path, {}, body)
        self._streams.checked(answer, name)
        if not answer.headers.get("content-type", "").startswith("application/json"):
            raise CommandError(f"{self._base} answers, but is no proxy of ours")
        told: Json = answer.json()
        return told


class StoredGenerations:
    """See `Generations`. Those of a store: `every` gives all, however they ended."""

    def __init__(self, streams: StoredStreams) -> None:
        self._streams = streams
        self.read = streams.read

    def every(self, session: str | None) -> Iterator[Json]:
        """See `Generations.every`."""
        infos = self._streams.infos(GENERATIONS if session is None else f"{GENERATIONS}{session}/")
        # In the order of their names, so both streams of one come together.
        for _, pair in groupby(infos, lambda info: info.path.rpartition("/")[0]):
            for paths, streams in by_generation(pair).items():
                if {"data", "control"} <= streams.keys():
                    status = status_of(paths, streams, self._messages(paths))
                    unsaid = status.end is None and status.control.closed
                    yield describe(status, time.time()) | ({"closed": True} if unsaid else {})

    def inspect(self, paths: GenerationPaths) -> Json:
        """See `Generations.inspect`."""
        _, request = ids_of(paths)
        session = str(ids_of(paths)[0])
        for told in self.every(session):
            if told["requestId"] == str(request):
                return told
        raise NoStreamError(f"there is no {_name(paths)}")

    def stop(self, paths: GenerationPaths, body: Json) -> Json:  # noqa: ARG002 - not done
        """See `Generations.stop`."""
        raise CommandError(
            f"{_name(paths)} cannot be stopped in a store: nobody runs it while this has the store"
            " open. Stopping needs a proxy's URL"
        )

    def delete(self, paths: GenerationPaths) -> None:
        """See `Generations.delete`."""
        self._streams.delete(paths.control)
        self._streams.delete(paths.data)

    def _messages(self, paths: GenerationPaths) -> list[Any]:
        pieces = self._streams.read(paths.control, "-1", follow=False)
        lines = [line for piece in pieces for line in json_lines(piece.body)]
        return messages_of(b"".join(line.rstrip(b"\n") + b"," for line in lines)) if lines else []


def _api(paths: GenerationPaths) -> str:
    session, request = ids_of(paths)
    return f"/api/{session}/{request}"


def _name(paths: GenerationPaths) -> str:
    session, request = ids_of(paths)
    return f"generation {session} {request}"
