"""Options that several commands have."""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from durable_streams_server._logs import FORMATS, LEVELS

F = TypeVar("F", bound=Callable[..., Any])

WHERE = click.argument("where", metavar="URL")
PATH = click.argument("path", metavar="[PATH]", required=False)
HEADERS = click.option(
    "-H",
    "--header",
    "headers",
    multiple=True,
    metavar="'NAME: VALUE'",
    help="Sent with each request; may be given several times.",
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="JSON, for scripts.")


class Seconds(click.FloatRange):
    """A time within limits; `nan`, which no comparison refuses, is none."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        seconds: float = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return seconds


def http_options(command: F) -> F:
    """Options of commands that ask a server."""
    token = click.option(
        "--token",
        envvar="DURABLE_STREAMS_ADMIN_TOKEN",
        show_envvar=True,
        help="The server's admin token.",
    )
    return token(HEADERS(command))


def log_options(levels: str) -> Callable[[F], F]:
    """Options of commands that keep a log; ``levels`` says what is in it at which level."""

    def add(command: F) -> F:
        formats = click.option(
            "--log-format",
            default="text",
            show_default=True,
            type=click.Choice(FORMATS),
            help="Of the log.",
        )
        level = click.option(
            "--log-level",
            default="warning",
            show_default=True,
            type=click.Choice(LEVELS),
            help=levels,
        )
        return formats(level(command))

    return add


def all_headers(token: str | None, headers: Sequence[str]) -> list[tuple[str, str]]:
    """The header fields that `http_options` came to."""
    if token is not None and not (token.isascii() and token.isprintable()):
        raise click.UsageError("--token has characters that no header field may have")
    pairs = [] if token is None else [("Authorization", f"Bearer {token}")]
    for text in headers:
        name, separator, value = text.partition(":")
        if not separator or not name.strip():
            raise click.UsageError(f"--header {text!r} is not 'NAME: VALUE'")
        if not text.isascii() or not text.isprintable():
            raise click.UsageError(
                f"--header {text!r} has characters that no header field may have"
            )
        pairs.append((name.strip(), value.strip()))
    return pairs
