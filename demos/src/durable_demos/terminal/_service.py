"""The session service of the terminal demo, and its agent, in a process of their own.

So that an answer goes on when the terminal that asked for it is closed, or killed. The first
terminal starts it, others find it by a file in the data folder, and it ends by itself when nobody
has been there for a while.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import httpx2
from fastapi import FastAPI, Request, Response
from pydantic import ValidationError

from durable_ai_db_proxy import create_app as create_sessions
from durable_demos._data import store_refusal
from durable_demos._options import Pace
from durable_streams_server import BindError, LogError, bind, run, serve

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator

ADDRESS = "service.json"
LOG = "service.log"
START_SECONDS = 60.0
POLL_SECONDS = 0.1
DRAIN_SECONDS = 2
PRESENCE_SECONDS = 30
IDLE_SECONDS = 120.0
"""A service that was started by a terminal leaves after so long without a request."""


class ServiceError(Exception):
    """The service cannot be started; the text says why."""


def agent_of(url: str) -> str:
    """Where the agent of a service of this demo is."""
    return f"{url.removesuffix('/durable')}/agents/assistant"


def ensure_service(data: Path, pace: float | None = None) -> str:
    """The address of the service of this folder; it is started when it is not there.

    Raises:
        ServiceError: it does not start.
    """
    data.mkdir(parents=True, exist_ok=True)
    url = running(data)
    if url:
        return url
    command = [sys.executable, "-m", __name__, "--data", str(data), "--idle", str(IDLE_SECONDS)]
    command += [] if pace is None else ["--pace", str(pace)]
    log = data / LOG
    with log.open("ab") as out:
        before = out.tell()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,  # the terminal's Ctrl-C, and its end, are not the service's
        )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if url := running(data):  # also when another terminal has started it at the same time
            return url
        if process.poll() is not None and not running(data):
            break
        time.sleep(POLL_SECONDS)
    process.kill()
    process.wait()
    said = log.read_bytes()[before:].decode(errors="replace").splitlines()
    raise ServiceError(f"the session service does not start: {said[-1] if said else 'see'} [{log}]")


def require_answer(url: str) -> str:
    """The address of a service of somebody else, if anything answers there.

    Raises:
        ServiceError: nothing does; the text names the address and what to do.
    """
    try:
        httpx2.get(f"{url.rstrip('/')}/health", timeout=5)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise ServiceError(
            f"nothing answers at {url} ({error}): start a session service there"
            f" (`durable-sessions serve`), or leave --url out for one of this demo's own"
        ) from error
    return url


def running(data: Path) -> str | None:
    """The address of the service of this folder, if it answers."""
    try:
        url = str(json.loads((data / ADDRESS).read_text())["url"])
        answer = httpx2.get(f"{url}/health", timeout=2, trust_env=False)
    except (OSError, ValueError, KeyError, httpx2.HTTPError):
        return None
    return url if answer.is_success else None


def create_app(store: str, origin: str, pace: float | None) -> FastAPI:
    """The session service at ``/durable`` and the agent it calls, as one application."""
    from pydantic_ai.ui.ag_ui import AGUIAdapter

    from durable_demos._model import demo_agent, demo_model

    sessions = create_sessions(
        store,
        allow=[f"{origin}/agents/*"],
        presence_seconds=PRESENCE_SECONDS,
        drain_seconds=DRAIN_SECONDS,
    )
    model = demo_model(pace)
    agent = demo_agent(model)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with sessions.router.lifespan_context(sessions):
            yield

    app = FastAPI(title="terminal", lifespan=lifespan)
    app.state.drain = sessions.state.sessions.drain
    app.mount("/durable", sessions)

    @app.post("/agents/assistant")
    async def assistant(request: Request) -> Response:
        """Answer in AG-UI; knows nothing of sessions."""
        try:
            asked = AGUIAdapter.build_run_input(await request.body())
        except ValidationError as error:
            return Response(error.json(), status_code=422, media_type="application/json")
        adapter = AGUIAdapter(agent, asked, accept=request.headers.get("accept"))
        return adapter.streaming_response(adapter.run_stream())

    @app.get("/api/calls")
    async def calls() -> dict[str, int]:
        return {"calls": model.calls}

    return app


class Idle:
    """Counts requests, and tells how long there has been none."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._running = 0
        self._since = time.monotonic()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._running += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._running -= 1
            self._since = time.monotonic()

    async def leave_after(self, seconds: float) -> None:
        """Ask this process to end when there was no request for so long."""
        left = seconds
        while self._running or left > 0:
            await asyncio.sleep(max(POLL_SECONDS, min(left, 1.0)))
            left = self._since + seconds - time.monotonic()
        os.kill(os.getpid(), signal.SIGTERM)


@click.command()
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), required=True)
@click.option("--host", default="127.0.0.1")
@click.option("--port", type=click.IntRange(0, 65535), help="As the last time, when absent.")
@click.option("--pace", type=Pace())
@click.option("--idle", type=click.FloatRange(0.1), help="Leave after so many seconds of nothing.")
def main(data: Path, host: str, port: int | None, pace: float | None, idle: float | None) -> None:
    """Serve until Ctrl-C."""
    data.mkdir(parents=True, exist_ok=True)
    address = data / ADDRESS
    with _listen(host, port, last_port(address)) as listener:
        try:
            run(partial(_serve, listener, address, pace, idle))
        except LogError as error:
            click.echo(store_refusal(error), err=True)
            sys.exit(1)


def _listen(host: str, port: int | None, last: int) -> socket.socket:
    """On the port; without one, where it was the last time, or anywhere when that is taken."""
    if port is not None:
        return bind(host, port)
    try:
        return bind(host, last)
    except BindError:
        return bind(host, 0)


def last_port(address: Path) -> int:
    """Where it was the last time: terminals that are open find it there again."""
    with suppress(OSError, ValueError, KeyError):
        return int(str(json.loads(address.read_text())["url"]).split(":")[2].partition("/")[0])
    return 0


async def _serve(
    listener: socket.socket, address: Path, pace: float | None, idle: float | None
) -> None:
    host, port, *_ = listener.getsockname()
    origin = f"http://{host}:{port}"
    app = create_app(f"sqlite:///{address.parent / 'streams.sqlite'}", origin, pace)
    watched = Idle(app)

    def ready(_: str) -> None:
        told = {"url": f"{origin}/durable", "pid": os.getpid()}
        fresh = address.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps(told))
        fresh.replace(address)
        print(f"sessions at {told['url']}", flush=True)

    async with app.router.lifespan_context(app), asyncio.TaskGroup() as group:
        leaving = group.create_task(watched.leave_after(idle)) if idle else None
        await serve(watched, listener, drain=app.state.drain, on_ready=ready)
        if leaving is not None:
            leaving.cancel()


if __name__ == "__main__":
    main()
