"""Which server or store, and which stream, a command line means."""

from dataclasses import dataclass
from urllib.parse import urlsplit

import click

from durable_streams_server._path import InvalidPathError, stream_path, typed_path

PREFIX = "/v1/stream"


@dataclass(frozen=True, slots=True)
class Served:
    """Streams of a running server: its URL, and the URL that their paths follow."""

    base: str

    @property
    def streams(self) -> str:
        """The URL under which the streams are."""
        return self.base + PREFIX


@dataclass(frozen=True, slots=True)
class Stored:
    """Streams in a store that no server has open."""

    url: str


Place = Served | Stored


def locate(where: str, path: str | None = None) -> tuple[Place, str | None]:
    """The place of a URL, and the name of the stream if one is meant.

    Args:
        where: URL of a server, of its streams, of one stream, or of a store.
        path: The stream, when ``where`` does not name it.

    Raises:
        click.UsageError: it is no URL, or two streams are named.
    """
    parts = urlsplit(where)
    if parts.scheme not in ("http", "https"):
        if "://" not in where:
            raise click.UsageError(
                f"{where!r} is no URL: give a server (http://localhost:3001) or a store"
                f" (sqlite:///FILE)"
            )
        return Stored(where), None if path is None else _name(path)
    base, found, rest = where.partition(PREFIX)
    if parts.query or parts.fragment:
        raise click.UsageError("give the URL without a query; offsets have an option")
    named = rest.strip("/") if found else ""
    if named and path is not None:
        raise click.UsageError(f"the URL names {named} already: leave {path} out")
    name = rest.removeprefix("/") if named else path
    return Served(base.rstrip("/")), None if name is None else _name(name)


def need_stream(where: str, path: str | None) -> tuple[Place, str]:
    """Like `locate`, when one stream has to be named."""
    place, name = locate(where, path)
    if name is None:
        raise click.UsageError("name a stream: by its URL, or by its path behind the URL")
    return place, name


def _name(path: str) -> str:
    try:
        return stream_path(typed_path(path))
    except InvalidPathError as error:
        raise click.UsageError(str(error)) from error
