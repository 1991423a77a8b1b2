"""``durable-sessions materialize``: chunk rows in, the session's collections out."""

import json
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

import click

from durable_ai_db.materialize import BadRowError, ChunkRow, Materializer


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option("--session", default="sess", show_default=True, help="Id of the session.")
@click.option("--indent", default=2, show_default=True, help="Of the output; 0: in one line.")
def materialize(file: BinaryIO, session: str, indent: int) -> None:
    """Make messages, tool calls, results, approvals and counts of the chunk rows in FILE.

    FILE (- is the standard input) holds a JSON array of chunk rows, or of the messages of a
    session's stream, of which those that are no chunks are passed over. The output is one JSON
    object: messages, toolCalls, toolResults, approvals, activeGenerations, stats.
    """
    materializer = Materializer(session_id=session)
    materializer.apply(_rows(file))
    json.dump(materializer.document(), sys.stdout, indent=indent or None)
    click.echo()


def _rows(file: BinaryIO) -> Iterator[ChunkRow]:
    for place, value in enumerate(_values(file)):
        try:
            yield ChunkRow.from_json(value)
        except BadRowError as error:
            raise click.ClickException(f"{file.name}: item {place}: {error}") from None


def _values(file: BinaryIO) -> Iterator[Any]:
    try:
        whole = json.loads(file.read())
    except (ValueError, RecursionError) as error:
        raise click.ClickException(f"{file.name}: not JSON: {error}") from None
    if not isinstance(whole, list):
        raise click.ClickException(f"{file.name}: not an array of chunk rows")
    for value in whole:
        if not _is_message(value):
            yield value
        elif value.get("type") == "chunk" and "value" in value:
            yield value["value"]


def _is_message(value: Any) -> bool:
    """A message of the State Protocol, which a session's stream is made of."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("headers"), dict)
        and ("type" in value or "control" in value["headers"])
    )
