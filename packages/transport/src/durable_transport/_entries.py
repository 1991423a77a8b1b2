"""What is remembered of a session, and for how long.

A `Storage` keeps bytes under keys; what the bytes mean is decided here, once for every storage.
Bytes that are no entry of ours, of another version, of another key, too old or from the future
count as absent.
No headers, bodies or credentials are ever stored.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol, runtime_checkable

from durable_transport._errors import StorageError
from durable_transport._headers import header_text
from durable_transport.protocol import MAX_POSITION

ACTIVE_TTL = 3600.0
"""Seconds an active generation is remembered after its last sign of life."""
MESSAGES_TTL = 7 * 24 * 3600.0
"""Seconds persisted messages are remembered."""

_VERSION = 1
_CLOCKS_APART = 60.0
"""Seconds by which the clock of another who shares the storage may be ahead of ours."""
_log = logging.getLogger("durable_transport")


@runtime_checkable
class Storage(Protocol):
    """Bytes under keys, shared by everybody who uses the same place.

    Attributes:
        blocking: Calls may wait for a disk or a network; async transports make them in a thread.
    """

    blocking: bool

    def read(self, key: str) -> bytes | None:
        """The bytes under ``key``, None when there are none."""

    def update(self, key: str, change: Callable[[bytes | None], bytes | None]) -> None:
        """Replace the bytes under ``key`` by ``change(the present bytes)``, None: none.

        Nobody else may see or change the key in between. A crash leaves the old bytes or the new.
        """


@dataclass(frozen=True, slots=True)
class ActiveGeneration:
    """A generation that somebody may want to go on reading.

    Attributes:
        request_id: As the caller wrote it, or the UUID that was made up.
        offset: Where a later reader takes over: the consumer is done with every byte before.
        updated_at: Last sign of life, epoch seconds.
        ttl: Seconds after that for which it can be resumed.
    """

    request_id: str
    offset: int
    updated_at: float
    ttl: float = ACTIVE_TTL


class Sessions:
    """Sessions of one proxy in a storage."""

    def __init__(self, storage: Storage, proxy: str, *, clock: Callable[[], float]) -> None:
        self._storage = storage
        self._proxy = proxy
        self._clock = clock

    # ------------------------------------------------------------------ the active generation

    def active(self, session_id: str, *, ttl: float | None = None) -> ActiveGeneration | None:
        """The session's active generation, if it showed a sign of life within ``ttl`` seconds."""
        found = self._active(self._storage.read(self._key("active", session_id)), session_id)
        if found is None or self._clock() - found.updated_at > (found.ttl if ttl is None else ttl):
            return None
        return found

    def begin(self, session_id: str, request_id: str, *, ttl: float | None = None) -> None:
        """Make a generation the session's active one, at offset 0."""
        new = ActiveGeneration(request_id, 0, self._clock(), ACTIVE_TTL if ttl is None else ttl)
        packed = self._pack("active", session_id, asdict(new))
        self._storage.update(self._key("active", session_id), lambda _: packed)

    def advance(self, session_id: str, request_id: str, offset: int) -> None:
        """Move the offset, if the generation is still the session's active one.

        A storage that fails here is logged and must not cost the reader its stream: what is
        stored is an older offset, from which a resume repeats some bytes and misses none.
        """

        def change(data: bytes | None) -> bytes | None:
            old = self._active(data, session_id)
            if old is None or old.request_id != request_id:
                return data
            new = replace(old, offset=offset, updated_at=self._clock())
            return self._pack("active", session_id, asdict(new))

        self._update_or_log(session_id, change)

    def finish(self, session_id: str, request_id: str) -> None:
        """Forget the generation, if it is still the session's active one."""

        def change(data: bytes | None) -> bytes | None:
            old = self._active(data, session_id)
            return data if old is not None and old.request_id != request_id else None

        self._update_or_log(session_id, change)

    # ------------------------------------------------------------------ persisted messages

    def messages(self, session_id: str, *, ttl: float = MESSAGES_TTL) -> list[Any]:
        """The messages last saved for the session (an empty list when absent or too old)."""
        data = self._storage.read(self._key("messages", session_id))
        entry = self._unpack("messages", session_id, data)
        if entry is None or not isinstance(entry.get("messages"), list):
            return []
        saved_at: Any = entry.get("saved_at")
        if not self._is_past(saved_at) or self._clock() - saved_at > ttl:
            return []
        return list(entry["messages"])

    def save_messages(self, session_id: str, messages: list[Any]) -> None:
        """Remember JSON-serializable messages, in place of those saved before."""
        entry = {"messages": messages, "saved_at": self._clock()}
        packed = self._pack("messages", session_id, entry)
        self._storage.update(self._key("messages", session_id), lambda _: packed)

    def clear(self, session_id: str) -> None:
        """Forget everything about the session."""
        for kind in ("active", "messages"):
            self._storage.update(self._key(kind, session_id), lambda _: None)

    # ------------------------------------------------------------------ bytes

    def _update_or_log(
        self, session_id: str, change: Callable[[bytes | None], bytes | None]
    ) -> None:
        try:
            self._storage.update(self._key("active", session_id), change)
        except StorageError as error:
            _log.warning("could not record the progress of session %s: %s", session_id, error)

    def _key(self, kind: str, session_id: str) -> str:
        return json.dumps([kind, self._proxy, session_id])

    def _pack(self, kind: str, session_id: str, entry: dict[str, Any]) -> bytes:
        # The key is in the entry, so that a file copied or renamed is not taken for another's.
        whole = {"version": _VERSION, "key": self._key(kind, session_id), **entry}
        return json.dumps(whole).encode()

    def _unpack(self, kind: str, session_id: str, data: bytes | None) -> dict[str, Any] | None:
        try:
            entry = json.loads(data or b"null")
        except (ValueError, RecursionError):
            return None
        if not isinstance(entry, dict) or entry.get("version") != _VERSION:
            return None
        return entry if entry.get("key") == self._key(kind, session_id) else None

    def _active(self, data: bytes | None, session_id: str) -> ActiveGeneration | None:
        entry = self._unpack("active", session_id, data)
        match entry:
            case {
                "request_id": str(request_id),
                "offset": int(offset),
                "updated_at": updated_at,
                "ttl": int() | float() as ttl,
            } if (
                _is_id(request_id)
                and not isinstance(offset, bool)
                and 0 <= offset <= MAX_POSITION
                and self._is_past(updated_at)
                and not isinstance(ttl, bool)
                and ttl >= 0  # no NaN either, which JSON of Python's can hold
            ):
                return ActiveGeneration(request_id, offset, updated_at, ttl)
        return None

    def _is_past(self, moment: Any) -> bool:
        return (
            isinstance(moment, int | float)
            and not isinstance(moment, bool)
            and 0 <= moment <= self._clock() + _CLOCKS_APART
        )


def _is_id(text: str) -> bool:
    """A request id as it is stored: a UUID, or a text that stands for one."""
    try:
        return header_text(text) == text
    except ValueError:
        return False
