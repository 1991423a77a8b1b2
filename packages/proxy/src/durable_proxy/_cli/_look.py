"""``durable-proxy ls``, ``tail``, ``inspect``, ``stop`` and ``delete``."""

import json
import sys
from collections.abc import Iterator

import click

from durable_proxy._cli._source import open_generations
from durable_proxy._cli._where import (
    WHERE,
    generation_arguments,
    locate,
    need_generation,
    parse_id,
    proxy_options,
)
from durable_proxy._status import Json
from durable_streams_server.commands import AS_JSON, CommandError, json_lines, printable

EXIT_INTERRUPTED = 130


@click.command("ls")
@WHERE
@click.option("--session", metavar="SESSION", help="Only those of a session.")
@AS_JSON
@proxy_options
def ls_command(
    *,
    where: str,
    session: str | None,
    as_json: bool,
    secret: str | None,
    headers: tuple[str, ...],
) -> None:
    """List generations: state, bytes, start, session and request.

    URL is a running proxy (http://localhost:4000), which tells those that run on all nodes, the
    oldest first; or a store that nobody has open (sqlite:///FILE), which has all there were. With
    --json, a line for each.
    """
    of = None if session is None else str(parse_id(session))
    with open_generations(locate(where), secret, headers) as generations:
        for told in generations.every(of):
            click.echo(json.dumps(told) if as_json else _line(told))


def _line(told: Json) -> str:
    state = "stopping" if told.get("stopping") else told["state"]
    ids = f"{told['sessionId']}  {told['requestId']}"
    return f"{state:<9}  {told['bytes']:>12}  {told['startedAt']}  {ids}"


@click.command("inspect")
@generation_arguments
@AS_JSON
@proxy_options
def inspect_command(
    *,
    where: str,
    session: str | None,
    request: str | None,
    as_json: bool,
    secret: str | None,
    headers: tuple[str, ...],
) -> None:
    """Tell how a generation is, or how it ended.

    URL is a generation's (of the API or of a stream, signed or not), or a proxy's or a store's with
    SESSION and REQUEST behind it.
    """
    place, paths = need_generation(where, session, request)
    with open_generations(place, secret, headers) as generations:
        told = generations.inspect(paths)
    click.echo(json.dumps(told) if as_json else "\n".join(_lines(told)))


def _lines(told: Json, prefix: str = "") -> Iterator[str]:
    """A line for each thing that is so."""
    for name, value in told.items():
        if isinstance(value, dict):
            yield from _lines(value, f"{prefix}{name}.")
        elif value is not None:
            text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
            yield f"{prefix + name:<22} {printable(text)}"


@click.command("tail")
@generation_arguments
@click.option("-f", "--follow", is_flag=True, help="Go on until the generation ends.")
@click.option("--offset", default="-1", show_default=True, help="Where to begin; now: at the tail.")
@click.option("--control", is_flag=True, help="The control messages instead, a line for each.")
@proxy_options
def tail_command(
    *,
    where: str,
    session: str | None,
    request: str | None,
    follow: bool,
    offset: str,
    control: bool,
    secret: str | None,
    headers: tuple[str, ...],
) -> None:
    """Write the answer of a generation to standard output, byte for byte.

    URL is a generation's (of the API or of a stream, signed or not), or a proxy's or a store's with
    SESSION and REQUEST behind it. Exits with 1 when the generation has ended badly.
    """
    place, paths = need_generation(where, session, request)
    out = sys.stdout.buffer
    try:
        with open_generations(place, secret, headers) as generations:
            path = paths.control if control else paths.data
            for piece in generations.read(path, offset, follow=follow):
                out.writelines(json_lines(piece.body) if control else [piece.body])
                out.flush()
            _check_end(generations.inspect(paths))
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


def _check_end(told: Json) -> None:
    """What ended badly does not look like success.

    Raises:
        CommandError: it has.
    """
    end = told.get("end")
    if end is not None and end["event"] != "done":
        message = printable(str(end.get("message") or "no more is known"))
        raise CommandError(f"the generation is {told['state']} ({end.get('code')}): {message}")


@click.command("stop")
@generation_arguments
@click.option("--reason", help="Why, for those who read it.")
@click.option("--actor", help="Who.")
@click.option("--incarnation", help="Only this attempt, and no later one with the same ids.")
@AS_JSON
@proxy_options
def stop_command(
    *,
    where: str,
    session: str | None,
    request: str | None,
    as_json: bool,
    secret: str | None,
    headers: tuple[str, ...],
    **said: str | None,
) -> None:
    """End a generation, on whichever node it runs; what was written is kept.

    URL is a generation's (of the API or of a stream, signed or not), or a proxy's with SESSION and
    REQUEST behind it. One that has ended is left as it is, and that is no error.
    """
    place, paths = need_generation(where, session, request)
    body = {name: value for name, value in said.items() if value is not None}
    with open_generations(place, secret, headers) as generations:
        told = generations.stop(paths, body)
    click.echo(json.dumps(told) if as_json else _outcome(told))


def _outcome(told: Json) -> str:
    if told["stopped"]:
        state = told["state"] if "end" in told else "about to end: its node has not confirmed it"
        return f"stopped: {state}, {told['bytes']} bytes are kept"
    return f"not stopped: it is {told['state']}, or somebody has stopped it before"


@click.command("delete")
@generation_arguments
@proxy_options
def delete_command(
    *,
    where: str,
    session: str | None,
    request: str | None,
    secret: str | None,
    headers: tuple[str, ...],
) -> None:
    """Remove a generation with all that was written of it, and stop it first if it runs.

    URL is a generation's (of the API or of a stream), or a proxy's or a store's with SESSION and
    REQUEST behind it.
    """
    place, paths = need_generation(where, session, request)
    with open_generations(place, secret, headers) as generations:
        generations.delete(paths)
    click.echo("deleted")
