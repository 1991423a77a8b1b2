"""``durable-streams doctor``."""

import asyncio

import click

from durable_streams_server._cli._examine import examine
from durable_streams_server._cli._findings import tell_findings
from durable_streams_server._cli._options import AS_JSON, WHERE, Seconds, all_headers, http_options
from durable_streams_server._cli._where import Served, locate


@click.command("doctor")
@WHERE
@click.option(
    "--idle",
    default=0.0,
    type=Seconds(0, 3600),
    help="Watch quiet connections for so many seconds.",
)
@AS_JSON
@http_options
def doctor_command(
    *, where: str, idle: float, as_json: bool, token: str | None, headers: tuple[str, ...]
) -> None:
    """Examine what stands between here and a server.

    Appends to a stream of its own and reads it live through the URL, in every mode: is anything
    buffered, cut, compressed, or taken off? Exits with 1 when something is wrong.
    """
    place, name = locate(where)
    if not isinstance(place, Served) or name is not None:
        raise click.UsageError("give the URL of a server: http://HOST:PORT")
    findings = asyncio.run(examine(place.streams, all_headers(token, headers), idle=idle))
    tell_findings(findings, as_json=as_json)
