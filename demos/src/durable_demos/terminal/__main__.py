"""``demo terminal``: a chat on a durable session, in as many terminals as you like."""

from __future__ import annotations

import getpass
import sys
from typing import TYPE_CHECKING, Any

import click

from durable_ai_db import InvalidSession
from durable_demos._data import DataError, ensure_folder
from durable_demos._interrupt import stopped_by_interrupt
from durable_demos._options import data_option, pace_option
from durable_demos.terminal._service import ServiceError, agent_of, ensure_service

if TYPE_CHECKING:
    from pathlib import Path


@click.command("terminal")
@click.option("--name", help="Who you are; other terminals see it.  [your login]")
@click.option("--session", default="terminal", show_default=True, help="Which chat.")
@click.option("--url", help="A session service to use, instead of one of this demo's own.")
@click.option("--agent", help="Who answers: an agent's endpoint, for --url.")
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
    from durable_demos.terminal._app import Settings, Terminal  # takes a second

    own = ensure_folder(data) if url is None else None
    service = ensure_service(own, pace) if own is not None else str(url)
    if agent is None:
        agent = agent_of(service) if service.endswith("/durable") else ""
    name = name or getpass.getuser()
    Terminal(Settings(service, session, name, agent, data=own, pace=pace)).run()


if __name__ == "__main__":
    main()
