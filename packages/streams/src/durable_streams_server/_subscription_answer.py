"""Answers of the subscription API, and the body of a webhook (PROTOCOL sections 6 and 7). Pure."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, assert_never
from urllib.parse import quote

from durable_streams_server._answer import Answer, of_json
from durable_streams_server._subscription import (
    AlreadyClaimed,
    Claimed,
    Delivery,
    Done,
    Fenced,
    InvalidAck,
    Link,
    NoPendingWork,
    NoSubscription,
    OtherConfig,
    Outcome,
    Parcel,
    Reported,
    Stored,
    Subscription,
    TokenExpired,
    TokenInvalid,
    WrongDelivery,
)
from durable_streams_server._subscription_request import SubscriptionCode, SubscriptionError
from durable_transport.protocol import format_offset

STATUS: dict[SubscriptionCode, int] = {
    SubscriptionCode.INVALID_REQUEST: 400,
    SubscriptionCode.WEBHOOK_URL_REJECTED: 400,
    SubscriptionCode.TOKEN_INVALID: 401,
    SubscriptionCode.TOKEN_EXPIRED: 401,
    SubscriptionCode.NOT_FOUND: 404,
    SubscriptionCode.SUBSCRIPTION_NOT_FOUND: 404,
    SubscriptionCode.METHOD_NOT_ALLOWED: 405,
    SubscriptionCode.SUBSCRIPTION_ALREADY_EXISTS: 409,
    SubscriptionCode.FENCED: 409,
    SubscriptionCode.ALREADY_CLAIMED: 409,
    SubscriptionCode.NO_PENDING_WORK: 409,
    SubscriptionCode.INVALID_OFFSET: 409,
}
"""The one table from code to HTTP status of the subscription API."""

KEYS_CACHE = b"public, max-age=300"

MakeToken = Callable[[Subscription], str]


def refusal(code: SubscriptionCode, message: str, **more: Any) -> Answer:
    """The JSON error of a refused request."""
    answer = of_json({"error": {"code": code, "message": message, **more}}, STATUS[code])
    if code in (SubscriptionCode.TOKEN_INVALID, SubscriptionCode.TOKEN_EXPIRED):
        answer.add("WWW-Authenticate", "Bearer")
    return answer


def of_error(error: SubscriptionError) -> Answer:
    """A request that could not be read."""
    answer = refusal(error.code, error.message)
    if error.allow:
        answer.add("Allow", ", ".join(error.allow))
    return answer


def of_outcome(outcome: Outcome, key_id: str, make_token: MakeToken) -> Answer:  # noqa: C901, PLR0911, PLR0912 - one arm per outcome
    """What became of a request.

    Args:
        outcome: What was decided.
        key_id: Of the key that signs webhooks now.
        make_token: For the worker of a claim.
    """
    match outcome:
        case Stored(subscription, links, created):
            return of_json(_subscription(subscription, links, key_id), 201 if created else 200)
        case Done():
            return Answer(204)
        case Reported(next_wake):
            return of_json({"ok": True, "next_wake": next_wake})
        case Claimed(subscription, links):
            return of_json(_claim(subscription, links, make_token))
        case NoSubscription():
            return refusal(
                SubscriptionCode.SUBSCRIPTION_NOT_FOUND, "there is no subscription of this id"
            )
        case OtherConfig():
            return refusal(
                SubscriptionCode.SUBSCRIPTION_ALREADY_EXISTS,
                "a subscription of this id with another configuration is here already:"
                " delete it first, or choose another id",
            )
        case WrongDelivery(needed):
            return refusal(
                SubscriptionCode.INVALID_REQUEST, f"this is for {needed} subscriptions only"
            )
        case AlreadyClaimed(holder, generation):
            return refusal(
                SubscriptionCode.ALREADY_CLAIMED,
                "another worker holds the lease",
                current_holder=holder,
                generation=generation,
            )
        case NoPendingWork():
            return refusal(SubscriptionCode.NO_PENDING_WORK, "everything is processed")
        case Fenced():
            return refusal(
                SubscriptionCode.FENCED, "this wake is over: its work is somebody else's now"
            )
        case TokenInvalid():
            return refusal(
                SubscriptionCode.TOKEN_INVALID, "the token is not one of this subscription"
            )
        case TokenExpired():
            return refusal(SubscriptionCode.TOKEN_EXPIRED, "the token is too old")
        case InvalidAck(reason):
            return refusal(SubscriptionCode.INVALID_OFFSET, reason)
        case _:
            assert_never(outcome)


def of_keys(keys: list[dict[str, str]]) -> Answer:
    """The JSON Web Key Set of the keys that webhooks are signed with (PROTOCOL section 6.5)."""
    body = json.dumps({"keys": keys}).encode()
    return Answer(
        200,
        [(b"content-type", b"application/jwk-set+json"), (b"cache-control", KEYS_CACHE)],
        body,
    )


def webhook_body(parcel: Parcel, make_token: MakeToken) -> bytes:
    """What a webhook is told (PROTOCOL section 7.1)."""
    subscription = parcel.subscription
    return json.dumps(
        {
            "subscription_id": subscription.id,
            "wake_id": subscription.wake.wake_id,
            "generation": subscription.wake.generation,
            "streams": [_pending(link) for link in parcel.links],
            "callback_url": f"{_url(subscription)}/callback",
            "callback_token": make_token(subscription),
        }
    ).encode()


def wake_event(parcel: Parcel, now: float) -> bytes:
    """What is written to a wake stream, as JSON text (PROTOCOL section 7.2)."""
    subscription = parcel.subscription
    event = {
        "type": "wake",
        "subscription_id": subscription.id,
        "stream": parcel.links[0].path,
        "generation": subscription.wake.generation,
        "ts": int(now * 1000),
    }
    return json.dumps(event).encode()


def _subscription(
    subscription: Subscription, links: tuple[Link, ...], key_id: str
) -> dict[str, Any]:
    webhook = None
    if subscription.delivery is Delivery.WEBHOOK:
        keys_url = f"{subscription.root_url}/__ds/jwks.json"
        webhook = {
            "url": subscription.webhook_url,
            "signing": {"alg": "ed25519", "kid": key_id, "jwks_url": keys_url},
        }
    return {
        "id": subscription.id,
        "subscription_id": subscription.id,
        "type": subscription.delivery,
        "pattern": subscription.pattern,
        "streams": [_link(link) for link in links],
        "webhook": webhook,
        "wake_stream": subscription.wake_stream,
        "lease_ttl_ms": subscription.lease_ttl_ms,
        "created_at": _time(subscription.created_at),
        "status": "failed" if subscription.wake.retries else "active",
        "failure": subscription.wake.failure,
        "description": subscription.description,
    }


def _claim(
    subscription: Subscription, links: tuple[Link, ...], make_token: MakeToken
) -> dict[str, Any]:
    return {
        "wake_id": subscription.wake.wake_id,
        "generation": subscription.wake.generation,
        "token": make_token(subscription),
        "streams": [_pending(link) for link in links],
        "lease_ttl_ms": subscription.lease_ttl_ms,
    }


def _link(link: Link) -> dict[str, Any]:
    return {
        "path": link.path,
        "link_type": "explicit" if link.explicit else "glob",
        "acked_offset": format_offset(link.acked),
    }


def _pending(link: Link) -> dict[str, Any]:
    return _link(link) | {"tail_offset": format_offset(link.tail), "has_pending": link.pending}


def _url(subscription: Subscription) -> str:
    return f"{subscription.root_url}/__ds/subscriptions/{quote(subscription.id, safe='')}"


def _time(seconds: float) -> str:
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
