"""Subscriptions in a store's tables, in words that every SQL database understands."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    case,
    delete,
    exists,
    func,
    insert,
    not_,
    or_,
    select,
    update,
)

from durable_streams_server import _schema as schema
from durable_streams_server._glob import Glob
from durable_streams_server._rows import STORED_END, begins_with
from durable_streams_server._subscription import Delivery, Link, Subscription
from durable_streams_server._wake import Wake

PARCEL_LINKS = 1000
"""So many streams at most are named in one wake; the others come with the next."""
_PATHS_PER_STATEMENT = 500

_subscriptions, _links, _streams = schema.subscriptions, schema.links, schema.streams
_PRESENT = and_(_links.c.path == _streams.c.path, not_(_streams.c.deleted))
_ACKED = case((_links.c.stream_id == _streams.c.id, _links.c.acked), else_=0)
"""A position belongs to an incarnation of the stream: of another one nothing is processed."""
_SELECT_LINKS = (
    select(
        _links.c.path,
        _links.c.explicit,
        _streams.c.id,
        _ACKED.label("acked"),
        _streams.c.tail,
        STORED_END,
    )
    .select_from(_links.outerjoin(_streams, _PRESENT))
    .where(or_(_links.c.explicit, _streams.c.id.is_not(None)))
    .order_by(_links.c.path)
)


# --------------------------------------------------------------------------- subscriptions


def load(connection: Connection, subscription_id: str) -> Subscription | None:
    """A subscription, locked until the end of the transaction."""
    query = select(_subscriptions).where(_subscriptions.c.id == subscription_id).with_for_update()
    row = connection.execute(query).first()
    return None if row is None else _subscription(row)


def all_patterns(connection: Connection) -> dict[tuple[str, str], str | None]:
    """The pattern of every subscription, by id and incarnation."""
    table = _subscriptions.c
    rows = connection.execute(select(table.id, table.incarnation, table.pattern))
    return {(row.id, row.incarnation): row.pattern for row in rows}


def due(connection: Connection, now: float, node: str) -> list[str]:
    """Those whose time has come: a lease is over, an attempt is due, or its node is gone."""
    table, nodes = _subscriptions.c, schema.nodes.c
    alive = exists().where(nodes.node_id == table.deliverer, nodes.expires_at > now)
    abandoned = and_(table.deliverer.is_not(None), table.deliverer != node, not_(alive))
    query = select(table.id).where(
        or_(table.lease_until <= now, table.next_attempt_at <= now, abandoned)
    )
    return list(connection.execute(query.order_by(table.next_attempt_at, table.id)).scalars())


def next_time(connection: Connection, after: float) -> float | None:
    """When the next lease ends or attempt is due, of those that were not due before."""
    table = _subscriptions.c
    times: list[float | None] = [
        connection.execute(select(func.min(column)).where(column > after)).scalar()
        for column in (table.lease_until, table.next_attempt_at)
    ]
    return min((time for time in times if time is not None), default=None)


def is_alive(connection: Connection, node: str, now: float) -> bool:
    """The node's lease holds."""
    nodes = schema.nodes.c
    query = select(nodes.node_id).where(nodes.node_id == node, nodes.expires_at > now)
    return connection.execute(query).first() is not None


def add(connection: Connection, subscription: Subscription) -> None:
    """Store a new subscription."""
    fields = asdict(subscription)
    fields |= fields.pop("wake") | {"type": fields.pop("delivery").value}
    connection.execute(insert(_subscriptions).values(fields))


def save_wake(connection: Connection, subscription_id: str, wake: Wake) -> None:
    """Store how a wake has gone on."""
    table = _subscriptions
    connection.execute(update(table).where(table.c.id == subscription_id).values(asdict(wake)))


def remove(connection: Connection, subscription_id: str) -> None:
    """Forget a subscription with its links."""
    connection.execute(delete(_links).where(_links.c.subscription_id == subscription_id))
    connection.execute(delete(_subscriptions).where(_subscriptions.c.id == subscription_id))


def _subscription(row: Row[Any]) -> Subscription:
    fields = row._asdict()
    wake = Wake(**{name: fields.pop(name) for name in Wake.__slots__})
    delivery = Delivery(fields.pop("type"))
    return Subscription(**fields, delivery=delivery, wake=wake)


# --------------------------------------------------------------------------- links


def links_of(connection: Connection, subscription_id: str) -> tuple[Link, ...]:
    """All streams of a subscription, by path. A matched stream that was deleted is none."""
    return _run(connection, _SELECT_LINKS.where(_links.c.subscription_id == subscription_id))


def links_at(connection: Connection, subscription_id: str, paths: Iterable[str]) -> dict[str, Link]:
    """Those of a subscription's streams that are named."""
    mine = _SELECT_LINKS.where(_links.c.subscription_id == subscription_id)
    return {
        link.path: link
        for part in _parts(sorted(set(paths)))
        for link in _run(connection, mine.where(_links.c.path.in_(part)))
    }


def pending_links(connection: Connection, subscription_id: str) -> tuple[Link, ...]:
    """Streams with something that is not processed: the first `PARCEL_LINKS` of them."""
    query = _SELECT_LINKS.where(
        _links.c.subscription_id == subscription_id,
        or_(_streams.c.tail > _ACKED, STORED_END.element > _ACKED),
    )
    return _run(connection, query.limit(PARCEL_LINKS))


def _run(connection: Connection, query: Select[Any]) -> tuple[Link, ...]:
    return tuple(
        Link(row.path, row.explicit, row.id, row.acked, max(row.tail or 0, row.stored_end or 0))
        for row in connection.execute(query)
    )


def acknowledge(connection: Connection, subscription_id: str, link: Link, position: int) -> None:
    """Store how far a stream is processed."""
    connection.execute(
        update(_links)
        .where(_links.c.subscription_id == subscription_id, _links.c.path == link.path)
        .values(stream_id=link.stream_id, acked=position)
    )


def link_explicitly(connection: Connection, subscription_id: str, paths: Iterable[str]) -> None:
    """Add streams by name: at their tails, or, if the pattern has them already, where they are."""
    for part in _parts(sorted(set(paths))):
        mine = and_(_links.c.subscription_id == subscription_id, _links.c.path.in_(part))
        connection.execute(update(_links).where(mine).values(explicit=True))
        known = set(connection.execute(select(_links.c.path).where(mine)).scalars())
        missing = [path for path in part if path not in known]
        tails = _tails(connection, _streams.c.path.in_(missing))
        rows = [(path, *tails.get(path, (None, 0))) for path in missing]
        _insert_links(connection, subscription_id, rows, explicit=True)


def unlink_explicitly(
    connection: Connection, subscription_id: str, path: str, *, keep: bool
) -> None:
    """Take a stream off the named ones; ``keep`` it where the pattern has it as well."""
    mine = and_(_links.c.subscription_id == subscription_id, _links.c.path == path)
    if keep:
        connection.execute(update(_links).where(mine).values(explicit=False))
    else:
        connection.execute(delete(_links).where(mine))


def link_existing(connection: Connection, subscription: Subscription, glob: Glob) -> None:
    """Link the streams that are there when a subscription is created, at their tails."""
    known = {link.path for link in links_of(connection, subscription.id)}
    tails = _tails(connection, begins_with(glob.prefix))
    rows = [
        (path, stream_id, tail)
        for path, (stream_id, tail) in tails.items()
        if path not in known and is_matched(subscription, glob, path)
    ]
    _insert_links(connection, subscription.id, rows, explicit=False)


def link_new(
    connection: Connection, subscription: Subscription, glob: Glob, paths: Iterable[str]
) -> None:
    """Link streams that have come since, from their beginning on."""
    wanted = [path for path in paths if is_matched(subscription, glob, path)]
    for part in _parts(sorted(set(wanted))):
        mine = and_(_links.c.subscription_id == subscription.id, _links.c.path.in_(part))
        known = set(connection.execute(select(_links.c.path).where(mine)).scalars())
        rows = [(path, None, 0) for path in part if path not in known]
        _insert_links(connection, subscription.id, rows, explicit=False)


def unlinked(connection: Connection, subscription: Subscription, glob: Glob) -> list[str]:
    """Streams that the pattern may match and that have no link yet."""
    mine = exists().where(
        _links.c.subscription_id == subscription.id, _links.c.path == _streams.c.path
    )
    query = select(_streams.c.path).where(
        begins_with(glob.prefix), not_(_streams.c.deleted), not_(mine)
    )
    return list(connection.execute(query).scalars())


def drop_dead_links(connection: Connection, subscription_id: str) -> None:
    """Forget matched streams that were deleted."""
    present = exists().where(_PRESENT).correlate(_links)
    connection.execute(
        delete(_links).where(
            _links.c.subscription_id == subscription_id, not_(_links.c.explicit), not_(present)
        )
    )


def subscribers(connection: Connection, paths: Iterable[str]) -> set[str]:
    """Subscriptions that have a link to one of the streams."""
    return {
        subscription_id
        for part in _parts(sorted(paths))
        for subscription_id in connection.execute(
            select(_links.c.subscription_id).where(_links.c.path.in_(part)).distinct()
        ).scalars()
    }


def is_matched(subscription: Subscription, glob: Glob, path: str) -> bool:
    """The pattern has the stream. The wake stream is never work: each wake would make the next."""
    return path != subscription.wake_stream and glob.matches(path)


def _tails(connection: Connection, which: ColumnElement[bool]) -> dict[str, tuple[int, int]]:
    """Incarnation and tail of streams."""
    query = select(_streams.c.path, _streams.c.id, _streams.c.tail, STORED_END)
    rows = connection.execute(query.where(which, not_(_streams.c.deleted)))
    return {row.path: (row.id, max(row.tail, row.stored_end or 0)) for row in rows}


def _insert_links(
    connection: Connection,
    subscription_id: str,
    rows: Sequence[tuple[str, int | None, int]],
    *,
    explicit: bool,
) -> None:
    if not rows:
        return
    connection.execute(
        insert(_links),
        [
            {
                "subscription_id": subscription_id,
                "path": path,
                "explicit": explicit,
                "stream_id": stream_id,
                "acked": acked,
            }
            for path, stream_id, acked in rows
        ],
    )


def _parts(paths: Sequence[str]) -> Iterable[Sequence[str]]:
    return (
        paths[start : start + _PATHS_PER_STATEMENT]
        for start in range(0, len(paths), _PATHS_PER_STATEMENT)
    )


# --------------------------------------------------------------------------- secrets


def secret(connection: Connection, name: str, value: bytes, now: float) -> bytes:
    """The secret of that name; ``value`` becomes it if there is none yet."""
    table = schema.secrets
    found = connection.execute(select(table.c.value).where(table.c.id == name)).scalar()
    if found is not None:
        return bytes(found)
    row = {"id": name, "purpose": "subscriptions", "value": value, "created_at": now}
    connection.execute(insert(table).values(row))
    return value
