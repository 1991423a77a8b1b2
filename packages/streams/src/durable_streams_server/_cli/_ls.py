"""``durable-streams ls``."""

import json
from typing import Any

import click

from durable_streams_server._cli._options import AS_JSON, WHERE, all_headers, http_options
from durable_streams_server._cli._piece import printable
from durable_streams_server._cli._source import open_streams
from durable_streams_server._cli._where import locate
from durable_streams_server._path import typed_path


@click.command("ls")
@WHERE
@click.option("--prefix", default="", help="Only streams whose names begin with this.")
@AS_JSON
@http_options
def ls_command(
    *, where: str, prefix: str, as_json: bool, token: str | None, headers: tuple[str, ...]
) -> None:
    """List the streams of a server or a store: size, state, type, name.

    URL is a running server (http://localhost:3001), or a store that no server has open
    (sqlite:///FILE). With --json, a line for each stream.
    """
    place, name = locate(where)
    prefix = prefix or name or ""
    with open_streams(place, all_headers(token, headers)) as streams:
        for stream in streams.every(typed_path(prefix)):
            click.echo(json.dumps(stream) if as_json else _line(stream))


def _line(stream: dict[str, Any]) -> str:
    state = "deleted" if stream["deleted"] else "closed" if stream["closed"] else "open"
    kind = printable(stream["contentType"])
    return f"{stream['size']:>12}  {state:<7}  {kind:<26}  {printable(stream['path'])}"
