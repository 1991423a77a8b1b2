"""``durable-sessions serve``: the session service as a command."""

import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import click

from durable_ai_db_proxy._app import create_app
from durable_ai_db_proxy._auth import SecretError, with_secret
from durable_ai_db_proxy._embedded import EmbeddedLog
from durable_ai_db_proxy._log import LogUnavailableError, SessionLog
from durable_ai_db_proxy._remote import RemoteLog
from durable_ai_db_proxy._settings import Settings, SettingsError, load_settings
from durable_proxy.targets import Allowlist, PatternError
from durable_proxy.upstream import Timeouts
from durable_streams_server import (
    LOOPBACK_HOSTS,
    BindError,
    Log,
    LogError,
    bind,
    run,
    serve,
    store_name,
)

EXIT_FAILED = 1
NOTHING_ALLOWED = (
    "no agent may be called yet: start with --allow 'https://agents.example.com/**'"
    " (or --allow-any-agent for development)"
)


@click.command("serve")
@click.option("--host", help="Address to listen on.  [SESSIONS_HOST; 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="0: any.  [SESSIONS_PORT; 4001]")
@click.option(
    "--store",
    help="sqlite:///FILE or postgresql://...  [DATABASE_URL; sqlite:///durable-sessions.sqlite]",
)
@click.option(
    "--allow",
    multiple=True,
    metavar="PATTERN",
    help="Agents that may be called: scheme://host[:port]/path, * for one host label, port or path"
    " segment, ** for any rest. Repeatable.  [SESSIONS_ALLOW]",
)
@click.option("--allow-any-agent", is_flag=True, help="Call anything: for development only.")
@click.option("--run-policy", help="reject, enqueue, interrupt or parallel.  [enqueue]")
@click.option(
    "--cors-origin",
    "cors_origins",
    multiple=True,
    metavar="ORIGIN",
    help="Web pages that may use the service, or * for all. Repeatable.  [SESSIONS_CORS_ORIGIN]",
)
@click.option("--lease", type=float, help="Seconds after which a dead node is one.  [10]")
@click.option("--drain", type=float, help="Seconds a shutdown waits for agents.  [20]")
@click.option("--presence", type=float, help="Seconds after which the silent are offline.  [60]")
@click.option("--answer-timeout", type=float, help="Seconds to an agent's headers.  [600]")
@click.option("--idle-timeout", type=float, help="Seconds between pieces of its answer.  [300]")
@click.option("--insecure", is_flag=True, help="Listen beyond this machine, without any secret.")
def serve_command(*, allow_any_agent: bool, insecure: bool, **given: Any) -> None:
    """Serve chat sessions until interrupted.

    SESSIONS_SECRET is what every request has to carry as a bearer token. DURABLE_STREAMS_URL keeps
    the sessions on a server of the Durable Streams protocol in place of a store.
    """
    try:
        settings = load_settings(**given)
        if settings.secret is not None:
            with_secret(settings.secret)
        _check_host(settings.host, insecure=insecure or settings.secret is not None)
        Allowlist.parse(settings.allow)
        logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
        run(lambda: _serve(settings, allow_any_agent=allow_any_agent))
    except (SettingsError, PatternError, SecretError) as error:
        raise click.UsageError(str(error)) from None
    except (BindError, LogError, LogUnavailableError) as error:
        click.echo(f"durable-sessions: {error}", err=True)
        sys.exit(EXIT_FAILED)


def _check_host(host: str, *, insecure: bool) -> None:
    if host not in LOOPBACK_HOSTS and not insecure:
        raise click.UsageError(
            f"--host {host} would let anybody on the network read and write every session: set"
            " SESSIONS_SECRET, put a gateway in front, or say --insecure"
        )


async def _serve(settings: Settings, *, allow_any_agent: bool) -> None:
    # The listener first: a store that is opened is a store whose runs are ended.
    with bind(settings.host, settings.port) as listener:
        async with _open(settings) as (log, name):
            app = create_app(
                log,
                allow=settings.allow,
                allow_any_agent=allow_any_agent,
                secret=settings.secret,
                run_policy=settings.run_policy,
                cors_origins=settings.cors_origins,
                timeouts=Timeouts(answer=settings.answer_timeout, idle=settings.idle_timeout),
                presence_seconds=settings.presence,
                drain_seconds=settings.drain,
            )
            async with app.state.sessions.running():
                nothing = not (settings.allow or allow_any_agent)
                ready = partial(_announce, store=name, nothing_allowed=nothing)
                await serve(app, listener, drain=app.state.sessions.drain, on_ready=ready)


@asynccontextmanager
async def _open(settings: Settings) -> AsyncIterator[tuple[SessionLog, str]]:
    if settings.streams_url is not None:
        token = settings.streams_token
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        remote = RemoteLog(settings.streams_url, headers=headers, lease_seconds=settings.lease)
        async with remote:
            yield remote, settings.streams_url
        return
    async with await Log.open(settings.store, lease_seconds=settings.lease) as log:
        yield EmbeddedLog(log), store_name(settings.store)


def _announce(url: str, *, store: str, nothing_allowed: bool) -> None:
    click.echo(f"durable-sessions: {url} on {store}")
    if nothing_allowed:
        click.echo(f"durable-sessions: {NOTHING_ALLOWED}", err=True)
