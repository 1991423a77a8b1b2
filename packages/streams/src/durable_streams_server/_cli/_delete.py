"""``durable-streams delete``."""

import click

from durable_streams_server._cli._options import PATH, WHERE, all_headers, http_options
from durable_streams_server._cli._source import open_streams
from durable_streams_server._cli._where import need_stream


@click.command("delete")
@WHERE
@PATH
@click.option("--yes", is_flag=True, help="Do not ask.")
@http_options
def delete_command(
    *, where: str, path: str | None, yes: bool, token: str | None, headers: tuple[str, ...]
) -> None:
    """Delete a stream with all its bytes, for good.

    URL is a stream's (http://localhost:3001/v1/stream/PATH), or a server's or a store's with PATH
    behind it. Bytes that forks of the stream need are kept for them.
    """
    place, name = need_stream(where, path)
    if not yes:
        click.confirm(f"Delete {name} with all its bytes?", abort=True, err=True)
    with open_streams(place, all_headers(token, headers)) as streams:
        streams.delete(name)
    click.echo(f"deleted {name}", err=True)
