"""A session log in this process: the same lease, owner and producer rules as the proxy's."""

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from durable_ai_db_proxy._ids import NODES
from durable_ai_db_proxy._log import (
    FencedError,
    LogUnavailableError,
    Lost,
    MissingError,
    Outpaced,
    Rows,
    Stored,
    number_text,
)
from durable_streams_server import (
    Append,
    ConfigMismatch,
    Create,
    Created,
    Delete,
    Exists,
    Fork,
    ForkSourceGone,
    Gone,
    Limits,
    Log,
    LogError,
    NotFound,
    NotOwner,
    OffsetGoneError,
    OffsetOutOfRangeError,
    Outcome,
    Producer,
    SequenceConflict,
    SequenceGap,
    StaleEpoch,
    StreamClosed,
    StreamGoneError,
    StreamNotFoundError,
    StreamsApp,
    json_items,
    json_prefix_length,
    json_record,
)
from durable_transport.protocol import BEGINNING, format_offset, parse_offset

JSON = "application/json"


class EmbeddedLog:
    """A `SessionLog` on a `Log` of this process.

    Args:
        log: The caller's to close.
        limits: Of live reads.
    """

    def __init__(self, log: Log, limits: Limits | None = None) -> None:
        self.log = log
        self.node = log.node_id
        self.lease_seconds = log.lease_seconds
        self._noted: set[str] = set()
        self._streams = StreamsApp(
            log, prefix="", read_only=True, replaceable=True, cors=False, limits=limits
        )

    # ------------------------------------------------------------------ streams

    async def create(self, path: str) -> bool:
        """See `SessionLog.create`."""
        with _driver(path):
            (outcome,) = await self.log.transact(Create(path, JSON))
        match outcome:
            case Created():
                return True
            case Exists():
                return False
            case ConfigMismatch(stream) if stream.deleted:
                raise MissingError(path, gone=True)
            case ConfigMismatch(stream) if stream.content_type == JSON and not stream.closed:
                return False  # a fork: made in another way, and a session all the same
            case _:
                raise _refused(path, outcome)

    async def fork(self, path: str, source: str, count: int) -> bool:
        """See `SessionLog.fork`."""
        with _driver(source):
            stream = await self.log.stat(source)
            if stream is None or stream.deleted:
                raise MissingError(source)
            position = await self._after(source, count)
            (outcome,) = await self.log.transact(
                Create(path, JSON, fork=Fork(source, position, stream.id))
            )
        match outcome:
            case Created():
                return True
            case NotFound() | ForkSourceGone():
                raise MissingError(source)
            case Gone():
                raise MissingError(path, gone=True)
            case _:
                return False

    async def _after(self, path: str, count: int) -> int:
        async with self.log.reader(path) as reader:
            while count:
                chunk = await reader.read()
                if not chunk.data:
                    break
                length, found = json_prefix_length(chunk.data, count)
                count -= found
                if not count:
                    return chunk.start + length
            return reader.position

    async def delete(self, path: str) -> bool:
        """See `SessionLog.delete`."""
        with _driver(path):
            (outcome,) = await self.log.transact(Delete(path))
        return outcome.ok

    async def append(self, path: str, records: Sequence[bytes], number: int) -> Stored | Outpaced:
        """See `SessionLog.append`."""
        outcome = await self._append(Append(path, _data(records), seq=number_text(number)))
        return Outpaced() if isinstance(outcome, SequenceConflict) else Stored()

    async def add(self, path: str, records: Sequence[bytes]) -> None:
        """See `SessionLog.add`."""
        await self._append(Append(path, _data(records)))

    async def _append(self, append: Append) -> Outcome:
        with _driver(append.path):
            (outcome,) = await self.log.transact(append)
        if outcome.ok or isinstance(outcome, SequenceConflict | StaleEpoch | SequenceGap):
            return outcome
        raise _refused(append.path, outcome)

    @asynccontextmanager
    async def writer(self, path: str, name: str, epoch: int) -> AsyncIterator["EmbeddedWriter"]:
        """See `SessionLog.writer`."""
        yield EmbeddedWriter(self, path, name, epoch)

    async def read(self, path: str, offset: str) -> Rows:
        """See `SessionLog.read`."""
        items: list[Any] = []
        with _driver(path):
            async with self.log.reader(path, _position(offset)) as reader:
                while True:
                    chunk = await reader.read()
                    if chunk.data:
                        items += json_items(chunk.data)
                    if not chunk.data or chunk.up_to_date:
                        break
                return Rows(items, format_offset(reader.position), str(reader.stream.id))

    async def wait(self, path: str, offset: str, seconds: float) -> None:
        """See `SessionLog.wait`."""
        with _driver(path):
            async with self.log.reader(path, _position(offset)) as reader:
                await reader.next(seconds)

    # ------------------------------------------------------------------ nodes

    async def note(self, session: str) -> None:
        """See `SessionLog.note`."""
        if session in self._noted:
            return
        path = NODES + self.node
        data = _data([json.dumps(session).encode()])
        with _driver(path):
            outcomes = await self.log.transact(
                Create(path, JSON, owner=self.node), Append(path, data, owner=self.node)
            )
        if not all(outcome.ok for outcome in outcomes):
            # Somebody took this node for dead, and has ended what it was doing. Begin again.
            self._noted.clear()
            with _driver(path):
                outcomes = await self.log.transact(
                    Delete(path),
                    Create(path, JSON, owner=self.node),
                    Append(path, data, owner=self.node),
                )
            if not all(outcome.ok for outcome in outcomes):
                raise LogUnavailableError("this node's journal cannot be written")
        self._noted.add(session)

    async def lost(self) -> list[Lost]:
        """See `SessionLog.lost`."""
        await self._look_at_own_journal()
        with _driver(NODES):
            orphans = await self.log.orphans()
            paths = [
                one.path for one in orphans if one.path.startswith(NODES) and one.owner != self.node
            ]
            return [
                Lost(
                    path.removeprefix(NODES), list(dict.fromkeys((await self.read(path, "-1"))[0]))
                )
                for path in paths
            ]

    async def bury(self, node: str) -> None:
        """See `SessionLog.bury`."""
        await self.delete(NODES + node)

    async def _look_at_own_journal(self) -> None:
        """Forget what was noted when somebody has taken this node for dead."""
        with _driver(NODES):
            if self._noted and await self.log.stat(NODES + self.node) is None:
                self._noted.clear()

    # ------------------------------------------------------------------ serving

    async def serve_stream(self, scope: Any, receive: Any, send: Any) -> None:
        """See `SessionLog.serve_stream`."""
        await self._streams(scope, receive, send)

    def check(self) -> None:
        """See `SessionLog.check`."""
        with _driver(""):
            self.log.check()

    async def leave(self) -> None:
        """See `SessionLog.leave`."""
        self.log.release_readers()


class EmbeddedWriter:
    """A `Writer` on a `Log` of this process."""

    def __init__(self, log: EmbeddedLog, path: str, name: str, epoch: int) -> None:
        self._log = log
        self._path = path
        self._name = name
        self._epoch = epoch
        self._seq = 0

    async def write(self, records: Sequence[bytes]) -> None:
        """See `Writer.write`."""
        producer = Producer(self._name, self._epoch, self._seq)
        outcome = await self._log._append(  # noqa: SLF001 - one of its own
            Append(self._path, _data(records), producer=producer)
        )
        if not outcome.ok:
            raise FencedError(self._name)
        self._seq += 1


def _data(records: Sequence[bytes]) -> bytes:
    return b"".join(map(json_record, records))


def _position(offset: str) -> int:
    return -1 if offset == BEGINNING else parse_offset(offset)


def _refused(path: str, outcome: Outcome) -> Exception:
    match outcome:
        case NotFound() | StreamClosed() | NotOwner():
            return MissingError(path)
        case Gone():
            return MissingError(path, gone=True)
        case _:
            return LogUnavailableError(f"{path}: {type(outcome).__name__}")


@contextmanager
def _driver(path: str) -> Iterator[None]:
    """The one place where errors of the log become ours."""
    try:
        yield
    except StreamGoneError as error:
        raise MissingError(path, gone=True) from error
    except (StreamNotFoundError, OffsetOutOfRangeError, OffsetGoneError) as error:
        raise MissingError(path) from error
    except LogError as error:
        raise LogUnavailableError(str(error)) from error
