"""``demo terminal``: a chat on a durable session, in as many terminals as you like."""

from __future__ import annotations

import getpass
import re
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from durable_ai_db import InvalidSession
from durable_demos._data import DataError, ensure_folder
from durable_demos._interrupt import stopped_by_interrupt
from durable_demos._options import data_option, pace_option
from durable_demos.terminal._service import (
    ServiceError,
    agent_of,
    ensure_service,
    require_answer,
)

if TYPE_CHECKING:
    from pathlib import Path


SESSION = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.~:@=+,!$-]{1,200}")
"""What the service takes as a session's id."""
NEEDS_TERMINAL = 2


def _session(_context: click.Context, _option: click.Parameter, value: str) -> str:
    if not SESSION.fullmatch(value):
        allowed = "1 to 200 characters of A-Z a-z 0-9 and _ . ~ : @ = + , ! $ -"
        raise click.BadParameter(f"{value!r} cannot be a session: it has {allowed}")
    return value


def _address(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a bracket, or a port that is none
        good = False
    if not good:
        raise click.BadParameter(
            f"{value!r} is no address: it begins with http://HOST or https://HOST"
        )
    return value


@click.command("terminal")
@click.option("--name", help="Who you are; other terminals see it.  [your login]")
@click.option(
    "--session", default="terminal", show_default=True, callback=_session, help="Which chat."
)
@click.option(
    "--url", callback=_address, help="A session service to use, instead of one of this demo's own."
)
@click.option("--agent", callback=_address, help="Who answers: an agent's endpoint, for --url.")
@data_option("terminal", "Folder of the demo's own service.")
@pace_option
def main(**options: Any) -> None:
    """Chat in the terminal. Open several: they share the session. Close one, or kill it, in the
    middle of an answer, and start it again: the answer went on, and the model was called once.
    Ctrl-Q ends it.

    The session service runs in the background and leaves two minutes after the last terminal.
    """
    try:
        with stopped_by_interrupt():
            _chat(**options)
    except (DataError, ServiceError, InvalidSession) as error:
        click.echo(f"demo terminal: {error}", err=True)
        sys.exit(1)


def _chat(
    *,
    name: str | None,
    session: str,
    url: str | None,
    agent: str | None,
    data: Path,
    pace: float | None,
) -> None:
    if agent is not None and url is None:
        raise click.UsageError(
            "--agent is for the service of --url: this demo's own calls no agent but its own."
            " Give --url too, or leave --agent out"
        )
    own = ensure_folder(data) if url is None else None
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        click.echo("demo terminal: this needs a terminal, for its input and its output", err=True)
        sys.exit(NEEDS_TERMINAL)
    from durable_demos.terminal._app import Settings, Terminal  # takes a second

    service = ensure_service(own, pace) if own is not None else require_answer(str(url))
    if agent is None:
        agent = agent_of(service) if service.endswith("/durable") else ""
    name = name or getpass.getuser()
    Terminal(Settings(service, session, name, agent, data=own, pace=pace)).run()


if __name__ == "__main__":
    main()
