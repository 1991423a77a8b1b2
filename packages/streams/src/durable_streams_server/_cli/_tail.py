"""``durable-streams tail``."""

import sys

import click

from durable_streams_server._cli._errors import CommandError
from durable_streams_server._cli._options import PATH, WHERE, all_headers, http_options
from durable_streams_server._cli._piece import Piece, json_lines
from durable_streams_server._cli._source import open_streams
from durable_streams_server._cli._where import need_stream

EXIT_INTERRUPTED = 130


@click.command("tail")
@WHERE
@PATH
@click.option("-f", "--follow", is_flag=True, help="Go on as the stream grows, until it is closed.")
@click.option("--offset", default="-1", show_default=True, help="Where to begin; now: at the tail.")
@click.option("--json", "as_json", is_flag=True, help="A line for each message of a JSON stream.")
@http_options
def tail_command(
    *,
    where: str,
    path: str | None,
    follow: bool,
    offset: str,
    as_json: bool,
    token: str | None,
    headers: tuple[str, ...],
) -> None:
    """Write a stream to standard output, byte for byte.

    URL is a stream's (http://localhost:3001/v1/stream/PATH), or a server's or a store's with PATH
    behind it. Without --json the reads of a JSON stream are arrays, as the server sends them.
    """
    place, name = need_stream(where, path)
    out = sys.stdout.buffer
    try:
        with open_streams(place, all_headers(token, headers)) as streams:
            for piece in streams.read(name, offset, follow=follow):
                out.writelines(_lines(piece) if as_json else [piece.body])
                out.flush()
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


def _lines(piece: Piece) -> list[bytes]:
    if not piece.is_json:
        raise CommandError(f"--json is for JSON streams, and this one is {piece.content_type}")
    return list(json_lines(piece.body))
