"""Which proxy or store, and which generation, a command line means."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

import click

from durable_streams_server.commands import HEADERS
from durable_transport.protocol import GenerationPaths, generation_paths

F = TypeVar("F", bound=Callable[..., Any])

WHERE = click.argument("where", metavar="URL")
_UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_GENERATION = re.compile(
    rf"(?P<base>.*?)/(?:api|v1/stream/generations)/(?P<session>{_UUID})/(?P<request>{_UUID})"
    r"(?:/(?:data|control|stop))?/?"
)


@dataclass(frozen=True, slots=True)
class Where:
    """A place, and the generation in it if one is meant.

    Attributes:
        url: Of a running proxy, or of a store.
        query: What a signed address has behind it; sent with every request.
    """

    url: str
    paths: GenerationPaths | None = None
    query: tuple[tuple[str, str], ...] = ()

    @property
    def is_served(self) -> bool:
        """It is a running proxy's."""
        return self.url.startswith(("http://", "https://"))


def locate(where: str, session: str | None = None, request: str | None = None) -> Where:
    """The place of a URL and of ids behind it.

    Raises:
        click.UsageError: it is no URL, an id is none, or two generations are named.
    """
    if "://" not in where:
        raise click.UsageError(
            f"{where!r} is no URL: give a proxy (http://localhost:4000) or a store (sqlite:///FILE)"
        )
    given = None if session is None else _paths(session, request)
    parts = urlsplit(where)
    if parts.scheme not in ("http", "https"):
        return Where(where, given)
    plain = parts._replace(query="", fragment="").geturl()
    found = _GENERATION.fullmatch(plain)
    if found is None:
        return Where(plain.rstrip("/"), given)
    if given is not None:
        raise click.UsageError("the URL names a generation already: leave the ids out")
    named = _paths(found["session"], found["request"])
    return Where(found["base"], named, tuple(parse_qsl(parts.query)))


def need_generation(
    where: str, session: str | None, request: str | None
) -> tuple[Where, GenerationPaths]:
    """Like `locate`, when one generation has to be named."""
    place = locate(where, session, request)
    if place.paths is None:
        raise click.UsageError("name a generation: by its URL, or by SESSION and REQUEST behind it")
    return place, place.paths


def _paths(session: str, request: str | None) -> GenerationPaths:
    if request is None:
        raise click.UsageError("a generation has two ids: SESSION and REQUEST")
    return generation_paths(parse_id(session), parse_id(request))


def parse_id(text: str) -> UUID:
    """One id of the command line.

    Raises:
        click.UsageError: it is no UUID.
    """
    if not re.fullmatch(_UUID, text):
        raise click.UsageError(f"{text!r} is no UUID")
    return UUID(text)


def generation_arguments(command: F) -> F:
    """URL, and the ids of a generation behind it."""
    request = click.argument("request", metavar="[REQUEST]", required=False)
    session = click.argument("session", metavar="[SESSION]", required=False)
    return WHERE(session(request(command)))


def proxy_options(command: F) -> F:
    """Options of commands that ask a proxy."""
    secret = click.option(
        "--secret",
        envvar="PROXY_SECRET",
        show_envvar=True,
        help="The proxy's secret. The variable keeps it out of `ps`.",
    )
    return secret(HEADERS(command))
