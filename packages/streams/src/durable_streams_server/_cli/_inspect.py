"""``durable-streams inspect``."""

import json
from collections.abc import Iterator
from typing import Any

import click

from durable_streams_server._cli._options import AS_JSON, PATH, WHERE, all_headers, http_options
from durable_streams_server._cli._piece import printable
from durable_streams_server._cli._source import open_streams
from durable_streams_server._cli._where import need_stream


@click.command("inspect")
@WHERE
@PATH
@AS_JSON
@http_options
def inspect_command(
    *,
    where: str,
    path: str | None,
    as_json: bool,
    token: str | None,
    headers: tuple[str, ...],
) -> None:
    """Tell everything about one stream.

    URL is a stream's (http://localhost:3001/v1/stream/PATH), or a server's or a store's with PATH
    behind it.
    """
    place, name = need_stream(where, path)
    with open_streams(place, all_headers(token, headers)) as streams:
        told = streams.inspect(name)
    click.echo(json.dumps(told) if as_json else "\n".join(_lines(told)))


def _lines(told: dict[str, Any]) -> Iterator[str]:
    """A line for each thing that is so; what does not apply to the stream is left out."""
    for name, value in told.items():
        match value:
            case None | []:
                continue
            case list():
                yield from (f"{name:<15} {_text(one)}" for one in value)
            case _:
                yield f"{name:<15} {_text(value)}"


def _text(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case dict():
            return printable("  ".join(f"{name} {one}" for name, one in value.items()))
        case _:
            return printable(str(value))
