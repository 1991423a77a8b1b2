"""``durable-streams copy``."""

import click

from durable_streams_server._cli._stored import stored
from durable_streams_server._copy import copy_streams


@click.command("copy")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option("--prefix", default="", help="Only streams whose names begin so.")
def copy_command(*, source: str, target: str, prefix: str) -> None:
    """Copy streams from one store to another.

    FROM and TO are URLs of stores (sqlite:///FILE, postgresql://USER@HOST/DATABASE). Bytes,
    offsets, closures, lifetimes, producers and forks stay what they are; subscriptions do not
    move. What TO has already is skipped when it is equal and left alone when it is not, so a copy
    that was broken off is run again. Nobody may write to FROM meanwhile, or what they write to
    streams that are copied already stays behind.
    """
    if source == target:
        raise click.UsageError("FROM and TO are the same store")
    with stored(source) as origin, stored(target, create=True) as destination:
        copied = copy_streams(origin, destination, prefix)
    click.echo(
        f"copied {len(copied.streams)} streams with {copied.size} bytes,"
        f" {copied.present} were there already"
    )
