"""What the protocol makes of requests, as a dict: servers are compared with it over HTTP.

It is written apart from the planner, for streams without lifetimes, and says of each request which
status it is answered with and what is stored then. Wire bytes are the server's: a JSON message and
its comma.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXT, JSON, BYTES = "text/plain", "application/json", "application/octet-stream"

Batch = tuple[str, int, int]
"""Producer id, epoch, sequence number."""


@dataclass(frozen=True)
class Branch:
    """The fork headers of a PUT. ``after`` counts wire bytes, ``further`` as the protocol does."""

    source: str
    after: int | None = None
    further: int = 0


@dataclass(frozen=True)
class Put:
    """Create a stream."""

    path: str
    kind: str | None = TEXT
    messages: tuple[bytes, ...] = ()
    closed: bool = False
    branch: Branch | None = None


@dataclass(frozen=True)
class Post:
    """Append messages, close, or both."""

    path: str
    kind: str = TEXT
    messages: tuple[bytes, ...] = ()
    close: bool = False
    seq: str | None = None
    batch: Batch | None = None


@dataclass(frozen=True)
class Remove:
    """Delete a stream."""

    path: str


Request = Put | Post | Remove


def body_of(kind: str | None, messages: tuple[bytes, ...]) -> bytes:
    """The body that brings messages."""
    if kind != JSON or not messages:
        return b"".join(messages)
    # An array that is the only message would be taken for several.
    bare = len(messages) == 1 and not messages[0].startswith(b"[")
    return messages[0] if bare else b"[%b]" % b",".join(messages)


def wire_of(kind: str | None, messages: tuple[bytes, ...]) -> bytes:
    """What is stored of them."""
    return b"".join(one + b"," for one in messages) if kind == JSON else b"".join(messages)


def on_the_wire(request: Request) -> tuple[str, str, bytes | None, dict[str, str]]:
    """Method, path, body and header fields."""
    if isinstance(request, Remove):
        return "DELETE", request.path, None, {}
    headers: dict[str, str | None]
    if isinstance(request, Put):
        method, closed, headers = "PUT", request.closed, _branch_headers(request.branch)
    else:
        method, closed, headers = "POST", request.close, {"Stream_Seq": request.seq}
        names = ("Producer_Id", "Producer_Epoch", "Producer_Seq")
        if request.batch is not None:
            headers |= dict(zip(names, map(str, request.batch), strict=True))
    headers |= {"Content_Type": request.kind, "Stream_Closed": "true" if closed else None}
    sent = {name: value for name, value in headers.items() if value is not None}
    return method, request.path, body_of(request.kind, request.messages), sent


def _branch_headers(branch: Branch | None) -> dict[str, str | None]:
    if branch is None:
        return {}
    return {
        "Stream_Forked_From": f"/v1/stream/{branch.source}",
        "Stream_Fork_Offset": None if branch.after is None else f"{branch.after:020}",
        "Stream_Fork_Sub_Offset": str(branch.further) if branch.further else None,
    }


@dataclass
class Entry:
    """One stream. ``ends`` are the wire positions behind its messages; ``forks`` its children."""

    kind: str
    data: bytes = b""
    ends: list[int] = field(default_factory=list)
    closed: bool = False
    closer: Batch | None = None
    seq: str | None = None
    batches: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    source: str | None = None
    branched_at: int = 0
    forks: int = 0
    deleted: bool = False

    def add(self, messages: tuple[bytes, ...]) -> None:
        for message in messages:
            self.data += wire_of(self.kind, (message,))
            self.ends.append(len(self.data))

    def body(self, position: int = 0) -> bytes:
        """What a read from a position answers."""
        data = self.data[position:]
        return b"[%b]" % data[:-1] if self.kind == JSON else data


class Model:
    """The streams by path."""

    def __init__(self) -> None:
        self.streams: dict[str, Entry] = {}

    def visible(self) -> Iterator[tuple[str, Entry]]:
        """The streams that clients can see."""
        return ((path, one) for path, one in self.streams.items() if not one.deleted)

    def after(self, request: Request) -> Model:
        """The model as the request leaves it; this one stays what it is."""
        copy = deepcopy(self)
        copy.answer(request)
        return copy

    def answer(self, request: Request) -> int:
        """The status that a request is answered with; what it does is done."""
        match request:
            case Put():
                branch = request.branch
                return self._put(request) if branch is None else self._fork(request, branch)
            case Remove():
                return self._remove(request.path)
            case Post():
                return self._post(request)

    def _missing(self, path: str) -> int | None:
        entry = self.streams.get(path)
        if entry is None:
            return 404
        return 410 if entry.deleted else None

    def _put(self, put: Put) -> int:
        there, kind = self.streams.get(put.path), put.kind or BYTES
        if there is not None:
            plain = there.source is None and not there.deleted
            same = plain and (there.kind, there.closed) == (kind, put.closed)
            return 200 if same else 409
        self.streams[put.path] = entry = Entry(kind, closed=put.closed)
        entry.add(put.messages)
        return 201

    def _fork(self, put: Put, branch: Branch) -> int:
        source, there = self.streams.get(branch.source), self.streams.get(put.path)
        if source is None:
            return 404
        at = branch.after if source.deleted else self._place(source, branch)
        if at is None and not source.deleted:
            # Whether an offset is past the tail is asked when the path is found to be free.
            past = not branch.further and (branch.after or 0) > len(source.data)
            return 409 if past and there is not None else 400
        if there is not None:
            same = (
                not there.deleted
                and there.closed == put.closed
                and there.source == branch.source
                and (branch.after is None or there.branched_at == at)
                and put.kind in (None, there.kind)
            )
            return 200 if same else 409
        if at is None or source.deleted:
            return 409
        if put.kind not in (None, source.kind):
            return 409
        ends = [end for end in source.ends if end <= at]
        entry = Entry(source.kind, source.data[:at], ends, put.closed)
        entry.source, entry.branched_at = branch.source, at
        entry.add(put.messages)
        self.streams[put.path] = entry
        source.forks += 1
        return 201

    @staticmethod
    def _place(source: Entry, branch: Branch) -> int | None:
        """Where the fork branches off; None where it cannot."""
        if branch.after is None:
            return len(source.data)
        if source.kind != JSON:
            at = branch.after + branch.further
            return at if at <= len(source.data) else None
        if branch.after not in (0, *source.ends):
            return None
        further = [end for end in source.ends if end > branch.after][: branch.further]
        if len(further) < branch.further:
            return None
        return further[-1] if further else branch.after

    def _remove(self, path: str) -> int:
        missing = self._missing(path)
        if missing is None:
            self._erase(path)
        return missing or 204

    def _erase(self, path: str) -> None:
        entry = self.streams[path]
        entry.deleted = True
        if entry.forks:
            return
        del self.streams[path]
        if entry.source is not None:
            source = self.streams[entry.source]
            source.forks -= 1
            if source.deleted:
                self._erase(entry.source)

    def _post(self, post: Post) -> int:
        empty = None if post.messages or post.close else 400
        missing = empty or self._missing(post.path)
        if missing is not None:
            return missing
        entry = self.streams[post.path]
        if entry.closed:
            return self._post_closed(post, entry)
        if post.messages and post.kind != entry.kind:
            return 409
        if post.batch is not None:
            refused = _admit(post.batch, entry.batches.get(post.batch[0], []))
            if refused is not None:
                return refused
        return self._accept(post, entry)

    @staticmethod
    def _post_closed(post: Post, entry: Entry) -> int:
        if post.batch is None:
            return 204 if not post.messages else 409
        return 204 if post.close and post.batch == entry.closer else 409

    @staticmethod
    def _accept(post: Post, entry: Entry) -> int:
        if post.messages and post.seq is not None and (entry.seq or "") >= post.seq:
            return 409
        entry.add(post.messages)
        entry.closed = post.close
        if post.messages and post.seq is not None:
            entry.seq = post.seq
        if post.batch is None:
            return 204
        if post.close:
            entry.closer = post.batch
        entry.batches.setdefault(post.batch[0], []).append(post.batch[1:])
        return 200 if post.messages else 204


def _admit(batch: Batch, seen: list[tuple[int, int]]) -> int | None:
    """The status that a batch is turned away with; None when it is the next one."""
    _, epoch, seq = batch
    newest = max((one for one, _ in seen), default=None)
    if newest is not None and epoch < newest:
        return 403
    if (epoch, seq) in seen:
        return 204
    if seq == 0 or (epoch, seq - 1) in seen:
        return None
    return 400 if newest is not None and epoch > newest else 409
