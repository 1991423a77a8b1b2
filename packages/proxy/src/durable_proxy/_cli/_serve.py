"""``durable-proxy serve``: the proxy as a command."""

import logging
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import click
from fastapi import FastAPI

from durable_proxy._allowlist import Allowlist, PatternError
from durable_proxy._app import create_app
from durable_proxy._egress import Egress, EgressError
from durable_proxy._electric_url import ElectricUrl, ElectricUrlError
from durable_proxy._guard import Access, SecretError, Secrets
from durable_proxy._hot_paths import hot_paths_first
from durable_proxy._settings import Settings, SettingsError, load_settings
from durable_proxy._start_request import Limits
from durable_proxy._upstream import Timeouts
from durable_proxy._urls import UrlError, check_public_url
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
from durable_streams_server.commands import log_options
from durable_streams_server.observing import LoggedApp, configure, fields

logger = logging.getLogger("durable_proxy")

EXIT_FAILED = 1
"""The proxy could not start; click itself exits with 2 for a wrong command line."""

WRONG_OPTIONS = (
    *(SettingsError, PatternError, EgressError, ElectricUrlError, SecretError, UrlError),
)
NOTHING_ALLOWED = (
    "no upstream is allowed yet: start with --allow 'https://api.openai.com/**'"
    " (or --allow-any-upstream for development)"
)


@click.command("serve")
@click.option("--host", help="Address to listen on.  [PROXY_HOST; 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="0: any.  [PROXY_PORT; 4000]")
@click.option(
    "--store",
    help="sqlite:///FILE or postgresql://...  [DATABASE_URL; sqlite:///durable-proxy.sqlite]",
)
@click.option(
    "--allow",
    multiple=True,
    metavar="PATTERN",
    help="Upstreams that may be called: scheme://host[:port]/path, * for one host label, port or "
    "path segment, ** for any rest. Repeatable.  [PROXY_ALLOW]",
)
@click.option(
    "--allow-any-upstream",
    is_flag=True,
    help="Call anything, at any address: for development only.",
)
@click.option(
    "--egress-proxy",
    metavar="URL",
    help="Call upstreams through this HTTP proxy: http://[user:password@]host:port."
    "  [PROXY_EGRESS]",
)
@click.option(
    "--cors-origin",
    "cors_origins",
    multiple=True,
    metavar="ORIGIN",
    help="Web pages that may use the proxy: scheme://host[:port], or * for all. Repeatable; "
    "without it none may.  [PROXY_CORS_ORIGIN]",
)
@click.option(
    "--electric-url",
    metavar="URL",
    help="Shapes are read from this Electric, out of tables that are written for it: takes a"
    " Postgres store. Its secret is in ELECTRIC_SECRET.  [ELECTRIC_URL]",
)
@click.option("--public-url", help="Where clients reach the proxy.  [PROXY_URL]")
@click.option("--lease", type=float, help="Seconds after which a dead node is one.  [10]")
@click.option("--drain", type=float, help="Seconds a shutdown waits for generations.  [20]")
@click.option("--answer-timeout", type=float, help="Seconds to the upstream's headers.  [600]")
@click.option("--idle-timeout", type=float, help="Seconds between pieces of its body.  [300]")
@click.option("--total-timeout", type=float, help="Seconds to the end of its body.  [21600]")
@click.option("--max-response", type=int, help="Largest answer in bytes.  [1073741824]")
@click.option("--max-body", type=int, help="Largest request body in bytes.  [33554432]")
@click.option(
    "--secret",
    "secrets",
    multiple=True,
    metavar="SECRET",
    help="Only who sends this, or has a signed address, may come in. Better said in the"
    " environment, where other users of this machine do not see it. Repeatable, to replace one:"
    " the first signs, all are accepted.  [PROXY_SECRET]",
)
@click.option(
    "--metrics-secret",
    "metrics_secrets",
    multiple=True,
    metavar="SECRET",
    help="Who sends this may read /metrics and nothing else; for Prometheus. Takes a secret of the"
    " proxy beside it. Repeatable, to replace one.  [PROXY_METRICS_SECRET]",
)
@click.option("--url-ttl", type=float, help="Seconds a signed address is good.  [86400]")
@click.option(
    "--keep-days",
    type=float,
    help="Days after which an answer is deleted.  [PROXY_KEEP_DAYS; never]",
)
@click.option(
    "--max-generations", type=int, help="Of one principal on a node; 0: no limit.  [1000]"
)
@click.option("--max-readers", type=int, help="Of one principal on a node; 0: no limit.  [10000]")
@click.option(
    "--insecure",
    is_flag=True,
    help="Without any secret, listen beyond this machine, and answer whoever gets here.",
)
@log_options("info: each generation's end; debug: every request, at a price.")
@click.option(
    "--otel",
    is_flag=True,
    help="OpenTelemetry spans of requests, generations and upstream calls; needs the extra otel.",
)
def serve_command(
    *,
    allow_any_upstream: bool,
    insecure: bool,
    log_format: str,
    log_level: str,
    otel: bool,
    **given: Any,
) -> None:
    """Serve until interrupted."""
    try:
        settings = load_settings(**given)
        secrets = Secrets.parse(settings.secrets)
        Access(secrets, metrics=Secrets.parse(settings.metrics_secrets))
        _check_host(settings.host, insecure=insecure or bool(secrets))
        Allowlist.parse(settings.allow)
        if settings.public_url is not None:
            check_public_url(settings.public_url)
        if settings.egress_proxy is not None:
            Egress.parse(settings.egress_proxy)
        if settings.electric_url is not None:
            ElectricUrl.parse(settings.electric_url)
        configure(log_format, log_level)
        observe = _observer(otel=otel, requests=log_level == "debug")
        options = {"allow_any_upstream": allow_any_upstream, "local_only": not insecure}
        run(lambda: _serve(settings, observe, **options))
    except WRONG_OPTIONS as error:
        raise click.UsageError(str(error)) from None
    except (BindError, LogError) as error:
        click.echo(f"durable-proxy: {error}", err=True)
        sys.exit(EXIT_FAILED)


def _check_host(host: str, *, insecure: bool) -> None:
    if host not in LOOPBACK_HOSTS and not insecure:
        raise click.UsageError(
            f"--host {host} would let anybody on the network call the allowed upstreams and read"
            f" every answer. Set a secret (PROXY_SECRET in the environment, or --secret), or put a"
            f" gateway in front and say --insecure"
        )


Observe = Callable[[FastAPI], None]
"""Puts what looks on at each request around an application."""


def _observer(*, otel: bool, requests: bool) -> Observe:
    trace = _tracing() if otel else None

    def observe(app: FastAPI) -> None:
        if trace is not None:
            trace(app)
        if requests:
            app.add_middleware(LoggedApp)

    return observe


def _tracing() -> Observe:
    try:
        trace = import_module("durable_proxy.otel").trace
        tracer = import_module("opentelemetry.trace").get_tracer("durable_proxy")
    except ImportError as error:
        raise click.UsageError("--otel needs OpenTelemetry: install durable-proxy[otel]") from error
    return lambda app: trace(app, tracer)


async def _serve(
    settings: Settings, observe: Observe, *, allow_any_upstream: bool, local_only: bool
) -> None:
    # The listener first: a store that is opened is a store whose generations are ended.
    with bind(settings.host, settings.port) as listener:
        async with await Log.open(settings.store, lease_seconds=settings.lease) as log:
            app = _make_app(log, settings, allow_any_upstream=allow_any_upstream)
            app.state.guard.local_only = local_only
            observe(app)
            # Here and not by the server's lifespan: a failure is said without a traceback.
            async with app.state.proxy.running():
                nothing_allowed = not (settings.allow or allow_any_upstream)
                ready = partial(_announce, store=settings.store, nothing_allowed=nothing_allowed)
                await serve(
                    hot_paths_first(app), listener, drain=app.state.proxy.drain, on_ready=ready
                )


def _announce(url: str, *, store: str, nothing_allowed: bool) -> None:
    name = store_name(store)
    click.echo(f"durable-proxy: {url} on {name}")
    logger.info("serving", extra=fields(url=url, store=name.partition(":")[0]))
    if nothing_allowed:
        click.echo(f"durable-proxy: {NOTHING_ALLOWED}", err=True)


def _make_app(log: Log, settings: Settings, *, allow_any_upstream: bool) -> FastAPI:
    return create_app(
        log,
        allow=settings.allow,
        allow_any_upstream=allow_any_upstream,
        cors_origins=settings.cors_origins,
        public_url=settings.public_url,
        secret=settings.secrets,
        metrics_secret=settings.metrics_secrets,
        url_seconds=settings.url_ttl,
        keep_days=settings.keep_days,
        limits=Limits(
            request_body_bytes=settings.max_body,
            response_bytes=settings.max_response,
            generations_per_principal=settings.max_generations,
            readers_per_principal=settings.max_readers,
        ),
        egress_proxy=settings.egress_proxy,
        electric_url=settings.electric_url,
        electric_secret=settings.electric_secret,
        timeouts=Timeouts(
            answer=settings.answer_timeout,
            idle=settings.idle_timeout,
            total=settings.total_timeout,
        ),
        drain_seconds=settings.drain,
    )
