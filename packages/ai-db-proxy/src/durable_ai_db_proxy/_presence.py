"""Who is in a session, and since when not any more. Pure.

Nobody has to say goodbye: who has not been heard of for a while is offline. A sign of life that
changes nothing is written down only when half of that time has passed, so a session's log does not
grow with every heartbeat.
"""

from collections.abc import Mapping
from datetime import datetime

from durable_ai_db_proxy._decision import NOTHING, Ask, Decision
from durable_ai_db_proxy._rows import Json, Row, without_none
from durable_ai_db_proxy._state import SessionState

OFFLINE = "offline"


def seconds_between(earlier: str, later: str) -> float:
    """Seconds between two ISO 8601 times; endless when the first one is none."""
    try:
        return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()
    except (ValueError, TypeError):
        return float("inf")


def is_stale(value: Mapping[str, object], now: str, ttl: float) -> bool:
    """The actor was there, and has not been heard of for too long."""
    last = str(value.get("lastSeenAt"))
    return value.get("status") != OFFLINE and seconds_between(last, now) > ttl


def has_stale(state: SessionState, now: str, ttl: float) -> bool:
    """Somebody has gone without a word."""
    return any(is_stale(value, now, ttl) for value in state.presence.values())


def seen(state: SessionState, ask: Ask, wanted: Json, ttl: float) -> Decision:
    """Take in a sign of life: ``actorId, actorType, name, status``."""
    value = without_none(wanted) | {"lastSeenAt": ask.now}
    before = state.presence.get(value["actorId"])
    if before is not None and before | {"lastSeenAt": ask.now} == value:
        age = seconds_between(str(before.get("lastSeenAt")), ask.now)
        if value["status"] == OFFLINE or age < ttl / 2:
            return NOTHING
    return Decision(rows=(Row("presence", value["actorId"], "upsert", value),))


def expire(state: SessionState, ask: Ask, ttl: float) -> Decision:
    """Write down who has gone without a word."""
    gone = [
        Row("presence", actor, "upsert", value | {"status": OFFLINE})
        for actor, value in state.presence.items()
        if is_stale(value, ask.now, ttl)
    ]
    return Decision(rows=tuple(gone))


def current(state: SessionState, now: str, ttl: float) -> list[Json]:
    """Everybody who is known, with the status that is true now."""
    return [
        value | {"status": OFFLINE} if is_stale(value, now, ttl) else dict(value)
        for value in state.presence.values()
    ]
