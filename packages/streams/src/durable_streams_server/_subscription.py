"""What subscriptions are, what can be asked of them, and what comes of it. Pure.

Outcomes are a closed union, as those of the log are; `_subscription_answer` renders them.
"""

import json
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any

from durable_streams_server._wake import Wake

DEFAULT_LEASE_MS = 30_000
MIN_LEASE_MS = 1_000
MAX_LEASE_MS = 600_000


class Delivery(StrEnum):
    """How a subscription's workers are told of pending work."""

    WEBHOOK = "webhook"
    PULL_WAKE = "pull-wake"


@dataclass(frozen=True, slots=True)
class Config:
    """What a client asks for when it creates a subscription (PROTOCOL section 6.2).

    Attributes:
        streams: Explicit streams, canonical, sorted, each once.
        webhook_url: For `Delivery.WEBHOOK`, else None.
        wake_stream: For `Delivery.PULL_WAKE`, else None.
    """

    delivery: Delivery
    pattern: str | None
    streams: tuple[str, ...]
    webhook_url: str | None
    wake_stream: str | None
    lease_ttl_ms: int = DEFAULT_LEASE_MS
    description: str | None = None

    def hash(self) -> str:
        """The same for the same configuration, and for no other."""
        values: list[Any] = [
            self.delivery,
            self.pattern,
            self.streams,
            self.webhook_url,
            self.wake_stream,
            self.lease_ttl_ms,
            self.description,
        ]
        return sha256(json.dumps(values).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription as it is stored.

    Attributes:
        incarnation: Tells it from one of the same id that was deleted before.
        root_url: Where its control paths are, as its creator knows the server.
        created_at: Epoch seconds.
    """

    id: str
    incarnation: str
    delivery: Delivery
    pattern: str | None
    webhook_url: str | None
    wake_stream: str | None
    lease_ttl_ms: int
    description: str | None
    config_hash: str
    root_url: str
    created_at: float
    wake: Wake

    def lease_end(self, now: float) -> float:
        """When a lease ends that begins now."""
        return now + self.lease_ttl_ms / 1000


@dataclass(frozen=True, slots=True)
class Link:
    """A stream of a subscription, and how far it is processed.

    Attributes:
        stream_id: The incarnation of the stream that is there now; None when there is none.
        acked: Everything before this position is processed.
    """

    path: str
    explicit: bool
    stream_id: int | None
    acked: int
    tail: int

    @property
    def pending(self) -> bool:
        """There is something that is not processed."""
        return self.tail > self.acked


@dataclass(frozen=True, slots=True)
class Ack:
    """Everything before ``position`` of a stream is processed."""

    path: str
    position: int


@dataclass(frozen=True, slots=True)
class WakeReport:
    """What a worker says about the wake it was given (callback, ack and release)."""

    wake_id: str
    generation: int
    acks: tuple[Ack, ...] = ()
    done: bool = False


@dataclass(frozen=True, slots=True)
class Parcel:
    """A wake that is to be sent, and what it tells of."""

    subscription: Subscription
    links: tuple[Link, ...]


# --------------------------------------------------------------------------- outcomes


@dataclass(frozen=True, slots=True)
class Stored:
    """The subscription, with its links."""

    subscription: Subscription
    links: tuple[Link, ...]
    created: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """It is so now; there is nothing to say about it."""


@dataclass(frozen=True, slots=True)
class Reported:
    """What the worker said holds. ``next_wake``: there is work again, and a wake for it."""

    next_wake: bool


@dataclass(frozen=True, slots=True)
class Claimed:
    """The worker holds the subscription's work until its lease ends."""

    subscription: Subscription
    links: tuple[Link, ...]


@dataclass(frozen=True, slots=True)
class NoSubscription:
    """There is none of this id."""


@dataclass(frozen=True, slots=True)
class OtherConfig:
    """There is one of this id with another configuration."""


@dataclass(frozen=True, slots=True)
class WrongDelivery:
    """This is not for subscriptions of its kind."""

    needed: Delivery


@dataclass(frozen=True, slots=True)
class AlreadyClaimed:
    """Another worker holds the lease."""

    holder: str
    generation: int


@dataclass(frozen=True, slots=True)
class NoPendingWork:
    """Everything is processed: there is nothing to claim."""


@dataclass(frozen=True, slots=True)
class Fenced:
    """What was said is about a wake that is over."""


@dataclass(frozen=True, slots=True)
class TokenInvalid:
    """The token was not made by this server for this subscription."""


@dataclass(frozen=True, slots=True)
class TokenExpired:
    """The token is too old."""


@dataclass(frozen=True, slots=True)
class InvalidAck:
    """An acknowledgement that cannot be; nothing of the report holds."""

    reason: str


Outcome = (
    Stored
    | Done
    | Reported
    | Claimed
    | NoSubscription
    | OtherConfig
    | WrongDelivery
    | AlreadyClaimed
    | NoPendingWork
    | Fenced
    | TokenInvalid
    | TokenExpired
    | InvalidAck
)


def check_acks(links: dict[str, Link], acks: tuple[Ack, ...]) -> InvalidAck | None:
    """Why acknowledgements cannot hold: all of them do, or none."""
    for ack in acks:
        link = links.get(ack.path)
        if link is None:
            return InvalidAck(f"{ack.path} is no stream of this subscription")
        if ack.position < link.acked:
            return InvalidAck(f"the offset of {ack.path} is behind what was acknowledged before")
        if ack.position > link.tail:
            return InvalidAck(f"the offset of {ack.path} is past the end of the stream")
    return None
