"""A stream as JSON, the same from the admin surface and from the commands. Pure."""

from datetime import UTC, datetime
from typing import Any

from durable_streams_server._model import Inspection, Producer, StreamInfo
from durable_transport.protocol import format_offset

Json = dict[str, Any]


def describe(stream: StreamInfo) -> Json:
    """What a list tells about each stream. Times are RFC 3339, sizes bytes."""
    return {
        "path": stream.path,
        "contentType": stream.content_type,
        "earliestOffset": format_offset(stream.start),
        "nextOffset": format_offset(stream.tail),
        "size": stream.tail - stream.start,
        "closed": stream.closed,
        "deleted": stream.deleted,
        "createdAt": _time(stream.created_at),
        "ttlSeconds": stream.ttl_seconds,
        "expiresAt": _time(stream.expires_at),
        "retainBytes": stream.retain_bytes,
        "retainSeconds": stream.retain_seconds,
        "owner": stream.owner,
        "forkedFrom": stream.forked_from,
        "forkCount": stream.forks,
    }


def describe_fully(inspection: Inspection, now: float) -> Json:
    """Everything there is to know about one stream; ``now`` in epoch seconds."""
    stream, lease = inspection.stream, inspection.lease_expires_at
    sliding = stream.touched_at + (stream.ttl_seconds or 0)
    return describe(stream) | {
        "incarnation": stream.id,
        "lastUsedAt": _time(stream.touched_at),
        "slidesUntil": None if stream.ttl_seconds is None else _time(sliding),
        "streamSeq": stream.seq,
        "closedBy": None if stream.closed_by is None else _producer(stream.closed_by),
        "forkOffset": None if stream.forked_from is None else format_offset(stream.fork_position),
        "forks": list(inspection.forks),
        "producers": [_producer(one) for one in inspection.producers],
        "leaseExpiresAt": _time(lease),
        "ownerAlive": None if stream.owner is None else lease is not None and lease > now,
        "storedBytes": inspection.stored_bytes,
        "storedRows": inspection.rows,
    }


def _producer(producer: Producer) -> Json:
    return {"id": producer.id, "epoch": producer.epoch, "seq": producer.seq}


def _time(epoch_seconds: float | None) -> str | None:
    if epoch_seconds is None:
        return None
    time = datetime.fromtimestamp(epoch_seconds, UTC)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
