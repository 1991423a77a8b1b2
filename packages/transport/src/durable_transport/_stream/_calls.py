"""The operations on a stream that are one request and one answer (PROTOCOL sections 5.1 to 5.5)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

from durable_transport._effects import CLOSE, Opened, Step
from durable_transport._stream import _errors
from durable_transport._stream._encode import join
from durable_transport._stream._head import parse_head
from durable_transport._stream._link import Call, StreamLink, number
from durable_transport._stream._place import parse_place
from durable_transport.protocol import BEGINNING, StreamHeader

MAX_BATCH = 1 << 20
"""Appends share a request up to this many bytes; a longer one has a request of its own."""


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """What a server says about a stream.

    Attributes:
        content_type: What it holds.
        offset: Its end: where the next append goes.
        closed: Nothing can be appended any more.
        ttl: Seconds it lives without being read or written, None: not limited that way.
        expires_at: When it ends, None: not limited that way.
        created: This call has made it (False: it was there already).
    """

    content_type: str | None
    offset: str | None
    closed: bool
    ttl: int | None = None
    expires_at: datetime | None = None
    created: bool = False


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of an append or a close.

    Attributes:
        offset: The end of the stream after it, None when the server did not say.
        closed: The stream is closed.
    """

    offset: str | None
    closed: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """One append: encoded data (None: a close alone), ``Stream-Seq``, and whether it closes."""

    data: bytes | None
    seq: str | None = None
    close: bool = False


def create(
    link: StreamLink,
    *,
    content_type: str | None,
    ttl: float | timedelta | None,
    expires_at: datetime | None,
    closed: bool = False,
    data: bytes | None = None,
    extra: Mapping[str, str] | None = None,
) -> Step[StreamInfo]:
    """Make the stream, or make sure that it is there."""
    headers = dict(extra or {})
    if content_type is not None:
        headers["Content-Type"] = content_type
    if ttl is not None:
        headers[StreamHeader.TTL] = _seconds(ttl)
    if expires_at is not None:
        headers[StreamHeader.EXPIRES_AT] = _timestamp(expires_at)
    if closed:
        headers[StreamHeader.CLOSED] = "true"
    call = Call("PUT", headers=tuple(headers.items()), content=data)
    opened, _ = yield from link.ask(call)
    yield CLOSE
    return _info(opened, created=opened.status == HTTPStatus.CREATED)


def fork(
    link: StreamLink,
    source: StreamLink,
    *,
    offset: str | None,
    sub_offset: int,
    ttl: float | timedelta | None,
    expires_at: datetime | None,
) -> Step[StreamInfo]:
    """Make a stream out of the first part of another one (PROTOCOL section 4.2)."""
    headers = {StreamHeader.FORKED_FROM.value: source.url.path}
    if offset is not None:
        anchor, units = parse_place(offset)
        if anchor == BEGINNING:
            tail = (yield from head(source)).offset
            anchor = first_offset(tail or "")
        headers[StreamHeader.FORK_OFFSET] = anchor
        if units + sub_offset:
            headers[StreamHeader.FORK_SUB_OFFSET] = str(units + sub_offset)
    return (
        yield from create(link, content_type=None, ttl=ttl, expires_at=expires_at, extra=headers)
    )


def first_offset(tail: str) -> str:
    """The beginning as a fork has to name it: some servers take no ``-1`` there.

    A server says it only of an empty stream. All known ones count, so that it is all zeros, in
    the form of the tail; for another one it stays ``-1``.
    """
    return re.sub("[1-9]", "0", tail) if tail.replace("_", "").isdigit() else BEGINNING


def head(link: StreamLink) -> Step[StreamInfo]:
    """Ask about the stream."""
    opened, _ = yield from link.ask(Call("HEAD"))
    yield CLOSE
    if parse_head(opened.headers).offset is None:
        raise link.not_ours(opened, "an answer without Stream-Next-Offset")
    return _info(opened)


def delete(link: StreamLink) -> Step[None]:
    """Delete the stream; not found after an attempt that may have worked means that it has."""
    call, tried = Call("DELETE"), False
    while True:
        try:
            answer = yield from link.attempt(call)
        except _errors.StreamNotFound:
            if tried:
                return
            raise
        if isinstance(answer, Opened):
            yield CLOSE
            return
        tried = tried or answer.uncertain
        yield from link.back_off(answer)


def append(link: StreamLink, entries: Sequence[Entry], content_type: str) -> Step[Appended]:
    """Append, or close, or both at once. Only a close alone is sent again when in doubt.

    Args:
        link: The way to the stream.
        entries: What `take_together` has found to fit into one request.
        content_type: The stream's.
    """
    parts = [entry.data for entry in entries if entry.data is not None]
    headers = [("Content-Type", content_type)] if parts else []
    if entries[0].seq is not None:
        headers.append((StreamHeader.SEQ.value, entries[0].seq))
    if entries[0].close:
        headers.append((StreamHeader.CLOSED.value, "true"))
    content = join(parts, content_type) if parts else b""
    call = Call("POST", headers=tuple(headers), content=content)
    opened, _ = yield from link.ask(call, repeatable=not parts)
    yield CLOSE
    return appended(opened)


def take_together(waiting: Sequence[Entry], limit: int = MAX_BATCH) -> int:
    """How many of the waiting appends, from the first on, fit into one request."""
    size = count = 0
    for entry in waiting:
        alone = entry.seq is not None or entry.close
        size += len(entry.data or b"")
        if count and (alone or size > limit):
            break
        count += 1
        if alone:
            break
    return count


def appended(opened: Opened) -> Appended:
    """Read the answer to an append."""
    said = parse_head(opened.headers)
    return Appended(said.offset, said.closed)


def _info(opened: Opened, *, created: bool = False) -> StreamInfo:
    said = parse_head(opened.headers)
    return StreamInfo(
        content_type=opened.headers.get("content-type"),
        offset=said.offset,
        closed=said.closed,
        ttl=number(opened, StreamHeader.TTL),
        expires_at=_moment(opened.headers.get(StreamHeader.EXPIRES_AT)),
        created=created,
    )


def _seconds(ttl: float | timedelta) -> str:
    seconds = ttl.total_seconds() if isinstance(ttl, timedelta) else ttl
    if not 0 <= seconds <= 2**53 or seconds != int(seconds):
        raise ValueError(f"ttl must be a whole number of seconds, not {ttl!r}")
    return str(int(seconds))


def _timestamp(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise ValueError("expires_at needs a time zone, such as datetime.UTC")
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _moment(text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError:
        return None
