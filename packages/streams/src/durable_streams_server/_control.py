"""The reserved paths under ``__ds/`` (PROTOCOL section 6): parse, ask, render."""

from typing import assert_never

from durable_streams_server import _subscription_answer as render
from durable_streams_server._answer import Answer
from durable_streams_server._exchange import Exchange
from durable_streams_server._request import header
from durable_streams_server._subscription import Delivery, Done, Outcome, Reported
from durable_streams_server._subscription_request import (
    Action,
    Route,
    SubscriptionCode,
    SubscriptionError,
    parse_bearer,
    parse_config,
    parse_report,
    parse_route,
    parse_streams,
    parse_worker,
)
from durable_streams_server._subscriptions import Subscriptions
from durable_streams_server._webhook_policy import WebhookUrlError


async def answer_control(
    subscriptions: Subscriptions, exchange: Exchange, raw: str, root_url: str
) -> Answer:
    """Answer a request for a control path.

    Args:
        subscriptions: Whose.
        exchange: The request.
        raw: What follows ``__ds/`` in its path, as it came.
        root_url: Where the streams are, as the client knows the server.
    """
    try:
        route = parse_route(exchange.method, raw)
        if route.action is Action.KEYS:
            return render.of_keys(subscriptions.keys())
        return subscriptions.render(await _ask(subscriptions, exchange, route, root_url))
    except SubscriptionError as error:
        return render.of_error(error)
    except WebhookUrlError as error:
        return render.refusal(SubscriptionCode.WEBHOOK_URL_REJECTED, str(error))


async def _ask(  # noqa: PLR0911 - one arm per action
    subscriptions: Subscriptions, exchange: Exchange, route: Route, root_url: str
) -> Outcome:
    id_, method = route.subscription_id, exchange.method
    match route.action:
        case Action.SUBSCRIPTION if method == "PUT":
            return await subscriptions.create(id_, parse_config(await exchange.body()), root_url)
        case Action.SUBSCRIPTION if method == "DELETE":
            return await subscriptions.remove(id_)
        case Action.SUBSCRIPTION | Action.KEYS:
            return await subscriptions.show(id_)
        case Action.STREAMS:
            return await subscriptions.link(id_, parse_streams(await exchange.body()))
        case Action.STREAM:
            return await subscriptions.unlink(id_, route.stream)
        case Action.CLAIM:
            return await subscriptions.claim(id_, parse_worker(await exchange.body()))
        case Action.CALLBACK | Action.ACK | Action.RELEASE:
            return await _report(subscriptions, exchange, route)
        case _:
            assert_never(route.action)


async def _report(subscriptions: Subscriptions, exchange: Exchange, route: Route) -> Outcome:
    token = parse_bearer(header(exchange.headers, b"authorization"))
    report = parse_report(await exchange.body(), release=route.action is Action.RELEASE)
    callback = route.action is Action.CALLBACK
    needed = Delivery.WEBHOOK if callback else Delivery.PULL_WAKE
    outcome = await subscriptions.report(route.subscription_id, needed, token, report)
    if route.action is Action.RELEASE and isinstance(outcome, Reported):
        return Done()  # a release has no body to say more in
    return outcome
