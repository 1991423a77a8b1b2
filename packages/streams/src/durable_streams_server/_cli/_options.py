"""Options that several commands have."""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

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
