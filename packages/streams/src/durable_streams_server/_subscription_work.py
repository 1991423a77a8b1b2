"""What is asked of subscriptions, each as one transaction: load, decide by the rules, store.

The functions run where `Log.control` runs them, with a connection of their own transaction. A
subscription's row is locked while it is decided on, so that two nodes never both send one wake or
both give out one lease.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from durable_streams_server import _subscription_rows as rows
from durable_streams_server import _wake as rules
from durable_streams_server._glob import Glob
from durable_streams_server._subscription import (
    Ack,
    AlreadyClaimed,
    Claimed,
    Config,
    Delivery,
    Done,
    Fenced,
    Link,
    NoPendingWork,
    NoSubscription,
    OtherConfig,
    Outcome,
    Parcel,
    Reported,
    Stored,
    Subscription,
    TokenInvalid,
    WakeReport,
    WrongDelivery,
    check_acks,
)
from durable_streams_server._tokens import Grant
from durable_streams_server._wake import Phase, Wake

MAX_EXPLICIT = 10_000
"""So many streams at most are linked by name to one subscription."""


@dataclass(frozen=True, slots=True)
class Moment:
    """When something is decided, and the chance it is decided with.

    Attributes:
        now: Epoch seconds.
        random: 0 <= random < 1, spreads retries.
        wake_id: For the wake that is issued, if one is.
    """

    now: float
    random: float
    wake_id: str


# --------------------------------------------------------------------------- what clients ask


def create(connection: Connection, subscription: Subscription, config: Config) -> Outcome:
    """Create a subscription, or confirm that it is there with the same configuration."""
    found = rows.load(connection, subscription.id)
    if found is not None:
        if found.config_hash != subscription.config_hash:
            return OtherConfig()
        return Stored(found, rows.links_of(connection, found.id))
    rows.add(connection, subscription)
    rows.link_explicitly(connection, subscription.id, config.streams)
    if subscription.pattern is not None:
        rows.link_existing(connection, subscription, Glob.parse(subscription.pattern))
    return Stored(subscription, rows.links_of(connection, subscription.id), created=True)


def show(connection: Connection, subscription_id: str) -> Outcome:
    """A subscription as it is."""
    found = rows.load(connection, subscription_id)
    if found is None:
        return NoSubscription()
    return Stored(found, rows.links_of(connection, subscription_id))


def remove(connection: Connection, subscription_id: str) -> Outcome:
    """Delete a subscription: whoever speaks of it from here on is told that there is none."""
    rows.remove(connection, subscription_id)
    return Done()


def link(connection: Connection, subscription_id: str, paths: Collection[str]) -> Outcome:
    """Add streams by name."""
    if rows.load(connection, subscription_id) is None:
        return NoSubscription()
    rows.link_explicitly(connection, subscription_id, paths)
    return Done()


def unlink(connection: Connection, subscription_id: str, path: str) -> Outcome:
    """Take a stream off those that were added by name."""
    found = rows.load(connection, subscription_id)
    if found is None:
        return NoSubscription()
    pattern = found.pattern
    keep = pattern is not None and rows.is_matched(found, Glob.parse(pattern), path)
    rows.unlink_explicitly(connection, subscription_id, path, keep=keep)
    return Done()


def claim(
    connection: Connection, subscription_id: str, worker: str, fresh: Iterable[str], moment: Moment
) -> Outcome:
    """Give a worker the lease. ``fresh``: streams just written to that may not be linked yet."""
    found = rows.load(connection, subscription_id)
    if found is None:
        return NoSubscription()
    if found.delivery is not Delivery.PULL_WAKE:
        return WrongDelivery(Delivery.PULL_WAKE)
    wake = rules.expire(found.wake, moment.now, moment.random)
    if wake.holder is not None:
        return AlreadyClaimed(wake.holder, wake.generation)
    if found.pattern is not None:
        rows.link_new(connection, found, Glob.parse(found.pattern), fresh)
    pending = rows.pending_links(connection, found.id)
    if not pending:
        rows.save_wake(connection, found.id, rules.finish(wake))
        return NoPendingWork()
    if wake.phase is Phase.IDLE:
        wake = rules.issue(wake, moment.wake_id, moment.now)
    wake = rules.claim(wake, worker, found.lease_end(moment.now))
    rows.save_wake(connection, found.id, wake)
    return Claimed(replace(found, wake=wake), pending)


def report(
    connection: Connection,
    subscription_id: str,
    *,
    needed: Delivery,
    grant: Grant,
    said: WakeReport,
    moment: Moment,
) -> Outcome:
    """Take what a worker says of the wake that its token is for: callback, ack, or release."""
    found = rows.load(connection, subscription_id)
    if found is None:
        return NoSubscription()
    if found.delivery is not needed:
        return WrongDelivery(needed)
    if grant.incarnation != found.incarnation:
        return TokenInvalid()
    wake = rules.expire(found.wake, moment.now, moment.random)
    if grant.generation != wake.generation or not wake.is_of(said.generation, said.wake_id):
        return Fenced()
    named = rows.links_at(connection, found.id, (ack.path for ack in said.acks))
    refused = check_acks(named, said.acks)
    if refused is not None:
        return refused
    _acknowledge(connection, found, named, said.acks)
    if said.done:
        wake, next_wake = _finish(connection, found, wake, moment)
    else:
        wake, next_wake = rules.extend(wake, found.lease_end(moment.now)), False
    rows.save_wake(connection, found.id, wake)
    return Reported(next_wake)


def _acknowledge(
    connection: Connection,
    subscription: Subscription,
    links: Mapping[str, Link],
    acks: Iterable[Ack],
) -> None:
    reached: dict[str, int] = {}
    for ack in acks:
        reached[ack.path] = max(ack.position, reached.get(ack.path, 0))
    for path, position in reached.items():
        rows.acknowledge(connection, subscription.id, links[path], position)


def _finish(
    connection: Connection, subscription: Subscription, wake: Wake, moment: Moment
) -> tuple[Wake, bool]:
    """The end of a wake, and the next one if there is work again."""
    wake = rules.finish(wake)
    if not rows.pending_links(connection, subscription.id):
        return wake, False
    return rules.issue(wake, moment.wake_id, moment.now), True


# --------------------------------------------------------------------------- what is delivered


def visit(
    connection: Connection,
    subscription_id: str,
    node: str,
    moment: Moment,
    *,
    everything: bool = False,
    sending: bool = True,
    under_way: bool = True,
) -> Parcel | None:
    """Bring a subscription's wake on as far as it goes by itself.

    Args:
        connection: Of the transaction.
        subscription_id: Whose.
        node: The node that sends what is to be sent.
        moment: Now.
        everything: Look for streams that were not linked when they were written to.
        sending: The node has room for one more delivery.
        under_way: What the store says that this node is sending, it is sending.

    Returns:
        A wake that the node has to send now.
    """
    found = rows.load(connection, subscription_id)
    if found is None:
        return None
    if everything and found.pattern is not None:
        glob = Glob.parse(found.pattern)
        rows.drop_dead_links(connection, found.id)
        rows.link_new(connection, found, glob, rows.unlinked(connection, found, glob))
    wake = rules.expire(found.wake, moment.now, moment.random)
    if _is_abandoned(connection, wake, node, moment.now, under_way=under_way):
        wake = rules.abandon(wake, moment.now)
    wake, parcel = _advance(connection, replace(found, wake=wake), node, moment, sending=sending)
    if wake != found.wake:
        rows.save_wake(connection, found.id, wake)
    return parcel


def _advance(
    connection: Connection, found: Subscription, node: str, moment: Moment, *, sending: bool
) -> tuple[Wake, Parcel | None]:
    wake = found.wake
    if not (wake.may_be_issued(moment.now) or wake.may_be_sent(moment.now)):
        return wake, None
    pending = rows.pending_links(connection, found.id)
    if not pending:
        return rules.finish(wake), None
    if wake.phase is Phase.IDLE:
        wake = rules.issue(wake, moment.wake_id, moment.now)
    if not sending:
        return wake, None
    leased = found.delivery is Delivery.WEBHOOK
    wake = rules.begin(wake, node, found.lease_end(moment.now) if leased else None)
    return wake, Parcel(replace(found, wake=wake), pending)


def _is_abandoned(
    connection: Connection, wake: Wake, node: str, now: float, *, under_way: bool
) -> bool:
    deliverer = wake.deliverer
    if wake.phase is not Phase.SENDING or deliverer is None:
        return False
    if deliverer == node:
        return not under_way
    return not rows.is_alive(connection, deliverer, now)


def link_fresh(
    connection: Connection, globs: Mapping[str, Glob], paths: Collection[str]
) -> set[str]:
    """Link streams that were written to where a pattern has them; gives whom it concerns."""
    for subscription_id, glob in sorted(globs.items()):
        matched = [path for path in paths if glob.matches(path)]
        if matched and len(rows.links_at(connection, subscription_id, matched)) < len(matched):
            found = rows.load(connection, subscription_id)
            if found is not None:
                rows.link_new(connection, found, glob, matched)
    return rows.subscribers(connection, paths)


def delivered(connection: Connection, parcel: Parcel, moment: Moment, *, done: bool) -> None:
    """A wake has arrived; with ``done``, all that it told of is processed."""
    found = _still(connection, parcel)
    if found is None:
        return
    wake = found.wake
    if done:
        _acknowledge_parcel(connection, parcel)
        wake, _ = _finish(connection, found, wake, moment)
    elif wake.phase is Phase.SENDING:
        wake = rules.sent(wake)
    rows.save_wake(connection, found.id, wake)


def undelivered(connection: Connection, parcel: Parcel, moment: Moment, why: str) -> None:
    """A wake has not arrived."""
    found = _still(connection, parcel)
    deliverer = parcel.subscription.wake.deliverer
    if found is not None and found.wake.deliverer == deliverer is not None:
        wake = rules.failed(found.wake, moment.now, moment.random, why)
        rows.save_wake(connection, found.id, wake)


def _still(connection: Connection, parcel: Parcel) -> Subscription | None:
    """The subscription, if the wake that was sent is its current one."""
    sent = parcel.subscription
    found = rows.load(connection, sent.id)
    if found is None or found.incarnation != sent.incarnation or sent.wake.wake_id is None:
        return None
    return found if found.wake.is_of(sent.wake.generation, sent.wake.wake_id) else None


def _acknowledge_parcel(connection: Connection, parcel: Parcel) -> None:
    subscription = parcel.subscription
    now_linked = rows.links_at(connection, subscription.id, (one.path for one in parcel.links))
    for told in parcel.links:
        current = now_linked.get(told.path)
        if current is not None and current.stream_id == told.stream_id:
            position = max(told.tail, current.acked)
            rows.acknowledge(connection, subscription.id, current, position)
