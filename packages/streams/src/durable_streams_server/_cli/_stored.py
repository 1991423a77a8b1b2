"""Streams of a store that no server has open."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from durable_streams_server._cli._errors import CommandError, NoStreamError
from durable_streams_server._cli._piece import Piece
from durable_streams_server._describe import describe, describe_fully
from durable_streams_server._errors import LogError, OffsetGoneError, StoreLockedError
from durable_streams_server._json_mode import is_json, json_array
from durable_streams_server._model import Delete, Deleted, Gone, StreamInfo
from durable_streams_server._store import Store
from durable_streams_server._url import open_store
from durable_transport.protocol import BEGINNING, NOW, InvalidOffsetError, parse_offset

PAGE_LENGTH = 500
READ_BYTES = 1024 * 1024


@contextmanager
def stored(url: str, *, create: bool = False, port: int = 3001) -> Iterator[Store]:
    """The open store of a URL; every error of a store becomes a command's.

    Only with ``create`` a file that is not there becomes a new store: elsewhere it is a slip.
    ``port`` is where servers of such stores listen by default.
    """
    scheme, _, file = url.partition(":///")
    if not create and scheme == "sqlite" and file and not Path(file).is_file():
        raise CommandError(f"there is no store file {file}")
    try:
        store = open_store(url)
        try:
            yield store
        finally:
            store.close()
    except StoreLockedError as error:
        raise CommandError(
            f"{error.file} is in use by {error.owner}. Ask that server instead, by its URL:"
            f" http://127.0.0.1:{port} if it listens where servers do by default"
        ) from error
    except LogError as error:
        raise CommandError(str(error)) from error


class StoredStreams:
    """See `Streams`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def every(self, prefix: str) -> Iterator[dict[str, Any]]:
        """See `Streams.every`."""
        return map(describe, self.infos(prefix))

    def infos(self, prefix: str) -> Iterator[StreamInfo]:
        """The streams themselves, in order."""
        after, more = "", True
        while more:
            page = self._store.list_streams(prefix, after, PAGE_LENGTH, time.time())
            yield from page
            more = len(page) == PAGE_LENGTH
            after = page[-1].path if page else ""

    def inspect(self, path: str) -> dict[str, Any]:
        """See `Streams.inspect`."""
        now = time.time()
        inspection = self._store.inspect(path, now)
        if inspection is None:
            raise NoStreamError(f"there is no stream {path}")
        return describe_fully(inspection, now)

    def delete(self, path: str) -> None:
        """See `Streams.delete`."""
        ((outcome,),) = self._store.commit([[Delete(path)]], time.time()).outcomes
        if isinstance(outcome, Gone):
            raise NoStreamError(f"{path} was deleted before; forks of it keep its bytes")
        if not isinstance(outcome, Deleted):
            raise NoStreamError(f"there is no stream {path}")

    def read(self, path: str, offset: str, *, follow: bool) -> Iterator[Piece]:
        """See `Streams.read`."""
        if follow:
            raise CommandError(
                "nobody can write to a store while this has it open: --follow needs a server's URL"
            )
        stream = self._store.stat(path, time.time())
        if stream is None or stream.deleted:
            raise NoStreamError(f"there is no stream {path}")
        position = _position(offset, stream)
        while position < stream.tail:
            data = self._store.read(stream, position, READ_BYTES)
            position += len(data)
            body = json_array(data) if is_json(stream.content_type) else data
            yield Piece(body, stream.content_type)


def _position(offset: str, stream: StreamInfo) -> int:
    if offset == BEGINNING:
        return stream.start
    if offset == NOW:
        return stream.tail
    try:
        position = parse_offset(offset)
    except InvalidOffsetError as error:
        raise CommandError(str(error)) from error
    if position > stream.tail:
        raise CommandError(f"offset {offset} is past the tail of {stream.path}")
    if position < stream.start:
        raise OffsetGoneError(stream.path, position, stream.start)
    return position
