"""``durable-streams serve``: the server as a command."""

import logging
import socket
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from importlib import import_module
from typing import Any

import click

from durable_streams_server._access import AdminAccess
from durable_streams_server._cli._options import Seconds, log_options
from durable_streams_server._errors import LogError
from durable_streams_server._exchange import Limits
from durable_streams_server._log import Log
from durable_streams_server._logs import LoggedApp, configure, fields
from durable_streams_server._model import Retention
from durable_streams_server._server import StreamsServer, create_app
from durable_streams_server._serving import LOOPBACK_HOSTS, BindError, bind, run, serve
from durable_streams_server._subscriptions import SubscriptionSettings
from durable_streams_server._url import is_shared, store_name
from durable_streams_server._webhook_policy import OriginPatternError, WebhookPolicy
from durable_streams_server._workers import run_workers

logger = logging.getLogger("durable_streams_server")

EXIT_FAILED = 1
"""The server could not start; click itself exits with 2 for a wrong command line."""


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=3001,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="0: any free one.",
)
@click.option(
    "--store",
    default="sqlite:///durable-streams.sqlite",
    show_default=True,
    envvar="DATABASE_URL",
    show_envvar=True,
    help="sqlite:///FILE, sqlite:// for one in memory, or postgresql://USER@HOST/DATABASE.",
)
@click.option(
    "--long-poll-timeout",
    default=Limits.long_poll,
    show_default=True,
    type=Seconds(0.01, 600),
    help="Seconds a long-poll waits for news.",
)
@click.option(
    "--max-body",
    default=Limits.body,
    show_default=True,
    type=click.IntRange(1),
    help="Largest request body in bytes.",
)
@click.option(
    "--retain-bytes",
    type=click.IntRange(1),
    help="Keep so many of a stream's newest bytes at least. Without it, all.",
)
@click.option(
    "--retain-seconds",
    type=click.IntRange(1),
    help="Keep a stream's bytes for so long at least. Without it, for ever.",
)
@click.option(
    "--cors/--no-cors",
    default=True,
    show_default=True,
    help="Let web pages of any origin read and write streams.",
)
@click.option(
    "--admin/--no-admin",
    default=None,
    help="Tell which streams there are, /metrics, /_inspector; by default to this machine only.",
)
@click.option(
    "--admin-token",
    envvar="DURABLE_STREAMS_ADMIN_TOKEN",
    show_envvar=True,
    help="Secret that lets others use all that too. The variable keeps it out of `ps`.",
)
@click.option(
    "--webhook-allow",
    multiple=True,
    metavar="PATTERN",
    help="Call webhooks at scheme://host[:port] although it is not https or not public;"
    " http://localhost:* is any port of this machine. May be repeated.",
)
@click.option(
    "--public-url",
    help="URL of the stream root as webhook receivers reach it, such as"
    " https://streams.example/v1/stream. By default where the subscription was created.",
)
@log_options("info: starts and ends; debug: every request, at a price.")
@click.option(
    "--otel",
    is_flag=True,
    help="OpenTelemetry spans of requests and commits; needs the extra otel.",
)
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=click.IntRange(1, 64),
    help="Server processes on one port; several need a Postgres store.",
)
@click.option("--insecure", is_flag=True, help="Listen beyond this machine, without any secret.")
def serve_command(
    *,
    host: str,
    port: int,
    store: str,
    long_poll_timeout: float,
    max_body: int,
    retain_bytes: int | None,
    retain_seconds: int | None,
    cors: bool,
    admin: bool | None,
    admin_token: str | None,
    webhook_allow: tuple[str, ...],
    public_url: str | None,
    log_format: str,
    log_level: str,
    otel: bool,
    workers: int,
    insecure: bool,
) -> None:
    """Serve streams until interrupted."""
    _check_workers(workers, store)
    if host not in LOOPBACK_HOSTS and not insecure:
        raise click.UsageError(
            f"--host {host} would let anybody on the network write and delete streams: there is no"
            f" secret to protect them yet. Put a gateway in front, or say --insecure"
        )
    access = _access(host, admin, admin_token)
    limits = Limits(long_poll=long_poll_timeout, body=max_body)
    settings = SubscriptionSettings(_webhook_policy(webhook_allow), _public_url(public_url))
    make_app = partial(create_app, cors=cors, limits=limits, admin=access, subscriptions=settings)
    open_log = partial(Log.open, store, retention=Retention(retain_bytes, retain_seconds))
    configure(log_format, log_level)
    observe = _observer(otel=otel, requests=log_level == "debug")
    try:
        listener = bind(host, port)
    except BindError as error:
        sys.exit(_failed(error))

    def work(number: int) -> int:
        name = store_name(store) + (f" (worker {number} of {workers})" if workers > 1 else "")
        try:
            run(lambda: _serve(listener, open_log, name, make_app, observe))
        except LogError as error:
            return _failed(error)
        return 0

    with listener:
        sys.exit(run_workers(workers, work) if workers > 1 else work(1))


def _failed(error: Exception) -> int:
    click.echo(f"durable-streams: {error}", err=True)
    return EXIT_FAILED


def _check_workers(workers: int, store: str) -> None:
    if workers > 1 and not is_shared(store):
        raise click.UsageError(
            f"--workers {workers}: a SQLite store belongs to one process. Run one worker, or give"
            f" them a database with --store postgresql://USER@HOST/DATABASE"
        )


def _access(host: str, admin: bool | None, token: str | None) -> AdminAccess | None:  # noqa: FBT001 - three answers to one question
    if admin is False:
        return None
    if token is not None:
        try:
            return AdminAccess(token)
        except ValueError as error:
            raise click.UsageError(f"--admin-token: {error}") from error
    if host in LOOPBACK_HOSTS:
        return AdminAccess()
    if admin:
        raise click.UsageError(
            f"--admin on --host {host} would tell anybody on the network which streams there are:"
            f" give it an --admin-token"
        )
    return None


Observe = Callable[[StreamsServer], Any]
"""Gives the application that looks on at each request, around the server's own."""


def _observer(*, otel: bool, requests: bool) -> Observe | None:
    """What looks on; None when nobody does, and appends may go the short way."""
    wrap = _tracing() if otel else None
    if not requests:
        return wrap
    return lambda app: LoggedApp(app if wrap is None else wrap(app))


def _tracing() -> Observe:
    try:
        otel = import_module("durable_streams_server.otel")
        tracer = import_module("opentelemetry.trace").get_tracer("durable_streams_server")
    except ImportError as error:
        raise click.UsageError(
            "--otel needs OpenTelemetry: install durable-streams-server[otel]"
        ) from error

    def wrap(app: StreamsServer) -> Any:
        otel.trace_commits(app.log, tracer)
        return otel.TracedApp(app, tracer)

    return wrap


def _webhook_policy(patterns: tuple[str, ...]) -> WebhookPolicy:
    try:
        return WebhookPolicy.parse(patterns)
    except OriginPatternError as error:
        raise click.UsageError(f"--webhook-allow: {error}") from error


def _public_url(url: str | None) -> str | None:
    if url is not None and not url.startswith(("http://", "https://")):
        raise click.UsageError("--public-url is a URL that begins with https:// or http://")
    return None if url is None else url.rstrip("/")


async def _serve(
    listener: socket.socket,
    open_log: Callable[[], Coroutine[Any, Any, Log]],
    name: str,
    make_app: Callable[[Log], StreamsServer],
    observe: Observe | None,
) -> None:
    def announce(url: str) -> None:
        click.echo(f"durable-streams: {url}/v1/stream/ on {name}")
        logger.info("serving", extra=fields(url=url, store=name.partition(":")[0]))

    async with await open_log() as log:

        async def send_readers_home() -> None:
            logger.info("taking leave", extra=fields(readers=len(log.readers())))
            log.release_readers()

        app = make_app(log)
        await app.startup()
        try:
            await serve(
                app if observe is None else observe(app),
                listener,
                drain=send_readers_home,
                on_ready=announce,
                appends=app.streams if observe is None else None,
            )
        finally:
            await app.shutdown()
    logger.info("stopped")
