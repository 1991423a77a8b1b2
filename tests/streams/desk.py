"""Subscriptions of a store, asked directly, with a clock that is moved by hand."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from durable_streams_server import Append, Create, Heartbeat
from durable_streams_server import _subscription_rows as rows
from durable_streams_server import _subscription_work as work
from durable_streams_server._glob import Glob
from durable_streams_server._subscription import (
    Ack,
    Config,
    Delivery,
    Link,
    Subscription,
    WakeReport,
)
from durable_streams_server._subscription_work import Moment
from durable_streams_server._tokens import Grant
from durable_streams_server._wake import Wake
from streams.builders import NOW
from streams.test_store import one

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from durable_streams_server._sqlite import SqliteStore

LEASE = 30.0


@dataclass
class Desk:
    """A store, a clock that is moved by hand, and two nodes that are alive."""

    store: SqliteStore
    now: float = NOW
    ids: Iterator[int] = field(default_factory=lambda: iter(range(1, 1000)))

    def moment(self) -> Moment:
        return Moment(self.now, 0.5, f"w{next(self.ids)}")

    def alive(self, *nodes: str) -> None:
        for node in nodes:
            one(self.store, Heartbeat(node, self.now + 1000), self.now)

    def do(self, function: Callable[..., Any], *args: Any, **fields: Any) -> Any:
        return self.store.control(lambda connection: function(connection, *args, **fields))

    def create(self, subscription_id: str = "s", **fields: Any) -> Any:
        config = config_of(**fields)
        subscription = Subscription(
            id=subscription_id,
            incarnation=uuid4().hex,
            delivery=config.delivery,
            pattern=config.pattern,
            webhook_url=config.webhook_url,
            wake_stream=config.wake_stream,
            lease_ttl_ms=config.lease_ttl_ms,
            description=config.description,
            config_hash=config.hash(),
            root_url="http://root",
            created_at=self.now,
            wake=Wake(),
        )
        return self.do(work.create, subscription, config)

    def write(self, path: str, data: bytes = b"x") -> None:
        """Append, and link the stream as the dispatcher would."""
        one(self.store, Create(path), self.now)
        one(self.store, Append(path, data), self.now)
        self.do(work.link_fresh, self.globs(), [path])

    def globs(self) -> dict[str, Glob]:
        patterns = self.do(rows.all_patterns)
        return {key[0]: Glob.parse(pattern) for key, pattern in patterns.items() if pattern}

    def visit(self, node: str = "a", subscription_id: str = "s", **fields: Any) -> Any:
        return self.do(work.visit, subscription_id, node, self.moment(), **fields)

    def claim(self, worker: str = "worker", fresh: tuple[str, ...] = ()) -> Any:
        return self.do(work.claim, "s", worker, fresh, self.moment())

    def report(self, of: Subscription, *acks: Ack, done: bool = False, **fields: Any) -> Any:
        wake = of.wake
        said = WakeReport(wake.wake_id or "", wake.generation, acks, done=done)
        return self.do(
            work.report,
            of.id,
            needed=fields.get("needed", of.delivery),
            grant=fields.get("grant", Grant(of.incarnation, wake.generation)),
            said=replace(said, **fields.get("said", {})),
            moment=self.moment(),
        )

    def stored(self) -> Subscription:
        found = self.do(rows.load, "s")
        assert isinstance(found, Subscription)
        return found

    def links(self) -> dict[str, Link]:
        return {link.path: link for link in self.do(rows.links_of, "s")}

    def positions(self) -> dict[str, int]:
        return {path: link.acked for path, link in self.links().items()}


def config_of(**fields: Any) -> Config:
    defaults: dict[str, Any] = {
        "delivery": Delivery.PULL_WAKE,
        "pattern": "e/*",
        "streams": (),
        "webhook_url": None,
        "wake_stream": "wake",
        "lease_ttl_ms": int(LEASE * 1000),
    }
    return Config(**(defaults | fields))


WEBHOOK: dict[str, Any] = {
    "delivery": Delivery.WEBHOOK,
    "webhook_url": "https://hook",
    "wake_stream": None,
}
