"""Running a demo: a FastAPI application with its page, on one port, until Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import sys
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import click
from fastapi import FastAPI

from durable_demos._data import DataError, ensure_folder, store_refusal
from durable_demos._interrupt import stopped_by_interrupt
from durable_demos._options import data_option, pace_option
from durable_demos._own_pages import OwnPages
from durable_demos._pages import PagesError, ensure_pages, page_routes
from durable_streams_server import LOOPBACK_HOSTS, BindError, LogError, bind, run, serve

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from durable_demos._model import CountedModel

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
EXIT_FAILED = 1
HOST_HELP = "0.0.0.0: for your phone, and whoever else is on the network."


@dataclass(frozen=True)
class Demo:
    """What a demo's application is made of."""

    name: str
    origin: str
    """Where this process reaches itself, ``http://127.0.0.1:5173``: the proxy calls the backend."""
    data: Path
    """The folder that its store is in; it is there."""
    model: CountedModel
    pace: float | None = None
    """Seconds between two words of a scripted model; None is its own."""

    def store(self) -> str:
        """The address of its store: one SQLite file."""
        return f"sqlite:///{self.data / 'streams.sqlite'}"

    def add_page(self, app: FastAPI, **more: object) -> None:
        """Serve the demo's page at ``/``, and at ``/api/calls`` how often the model was called.

        Args:
            app: The application, with all its other routes.
            more: What else the page's ``readConfig()`` should give.
        """

        @app.get("/api/calls")
        async def calls() -> dict[str, int]:
            return {"calls": self.model.calls}

        config = {"backend": self.origin, "model": self.model.name, **more}
        app.router.routes += page_routes(self.name, config)


CreateApp = Callable[[Demo], FastAPI]
"""Makes the application; ``app.state.drain`` says what to finish before the server leaves."""


def web_demo(name: str, port: int, create_app: CreateApp) -> click.Command:
    """The command of a demo that is a page.

    Args:
        name: The demo's name, which is that of its page in ``demos/web``.
        port: Where it listens unless told otherwise.
        create_app: Makes its application; `run_demo` says how it is run.
    """

    @click.command(name)
    @click.option("--port", type=click.IntRange(0, 65535), default=port, show_default=True)
    @click.option("--host", default="127.0.0.1", show_default=True, help=HOST_HELP)
    @data_option(name, "Folder of its store.")
    @pace_option
    @click.option("--rebuild", is_flag=True, help="Build the page in any case.")
    @click.option("--no-open", is_flag=True, help="Do not open a browser.")
    def command(**options: Any) -> None:
        try:
            with stopped_by_interrupt():
                run_demo(name, create_app, **options)
        except (PagesError, DataError, BindError, LogError) as error:
            why = store_refusal(error) if isinstance(error, LogError) else error
            click.echo(f"demo {name}: {why}", err=True)
            sys.exit(EXIT_FAILED)

    command.help = f"Run the demo {name} until Ctrl-C."
    return command


def run_demo(
    name: str,
    create_app: CreateApp,
    *,
    host: str,
    port: int,
    data: Path,
    pace: float | None,
    rebuild: bool,
    no_open: bool,
) -> None:
    """Build the page if need be, and serve the demo until it is interrupted.

    The application's lifespan is entered before, and left after, anything is served.

    Raises:
        DataError: the folder cannot be used; the text names the option.
        PagesError: the page cannot be built.
        BindError: the address is taken; the text names the option.
        LogError: the store cannot be opened, or another process has it.
    """
    from durable_demos._model import demo_model  # takes a second, and the page comes first

    data = ensure_folder(data)  # before the page, which takes longer
    ensure_pages(rebuild=rebuild)
    with bind(host, port) as listener:
        demo = Demo(name, _origin(listener), data, demo_model(pace), pace)
        app = create_app(demo)
        quiet = no_open or not sys.stdout.isatty() or "CI" in os.environ
        run(partial(_serve, app, listener, partial(_announce, demo, opens=not quiet)))
    click.echo("\nstopped")


async def _serve(app: FastAPI, listener: socket.socket, ready: Callable[[str], None]) -> None:
    async with app.router.lifespan_context(app):
        drain = getattr(app.state, "drain", partial(asyncio.sleep, 0))
        local = listener.getsockname()[0] in LOOPBACK_HOSTS
        await serve(OwnPages(app, local=local), listener, drain=drain, on_ready=ready)


def _origin(listener: socket.socket) -> str:
    host, port, *_ = listener.getsockname()
    host = EVERYWHERE.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _announce(demo: Demo, url: str, *, opens: bool) -> None:
    click.echo(f"\n  {demo.name}\n\n  {click.style(url, fg='cyan', bold=True)}   {demo.model.name}")
    click.echo(f"  {demo.data}\n\n  Ctrl-C ends it.", nl=True)
    if opens:
        webbrowser.open(demo.origin)
