"""Hints between nodes: who waits for a stream looks at once when another node has changed it.

They travel beside the append transactions and promise nothing. Hints that collect while one is on
its way go out together; the listener makes a new connection when its own is lost or has gone
silent, and then lets everybody look, because nobody knows what it has missed.
"""

import logging
import socket
from collections.abc import Callable, Iterable
from functools import partial
from selectors import EVENT_READ, DefaultSelector
from threading import Condition, Event, Thread
from uuid import uuid4

from durable_streams_server._errors import StorageError
from durable_streams_server._postgres_database import (
    BoundedConnection,
    Settings,
    dedicated,
    storage_errors,
)
from durable_streams_server._store import Changed

CHANNEL = "durable_streams"
INTERVAL_SECONDS = 0.005
"""At most one notification in this time."""
PROBE_SECONDS = 5.0
"""A listener that has heard nothing for so long asks whether its connection is still good."""
RETRY_SECONDS = 1.0
MAX_IDS = 400
"""More streams than this in one notification (of 8,000 bytes) are told as "any"."""

logger = logging.getLogger("durable_streams_server")


class Wakeups:
    """Tells other nodes of changes, and hears of theirs."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._name = uuid4().hex[:12]
        self._closed = Event()
        self._pending: set[int] = set()
        self._news = Condition()
        self._threads: list[Thread] = []
        self._closing, self._closer = socket.socketpair()
        self._start(self._send_forever, "durable-log-notifier")

    def _start(self, work: Callable[[], None], name: str) -> None:
        thread = Thread(target=work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def tell(self, ids: Iterable[int]) -> None:
        """Let the other nodes know, soon; waits for nothing."""
        with self._news:
            self._pending.update(ids)
            if self._pending:
                self._news.notify()

    def listen(self, changed: Changed) -> None:
        """Call ``changed`` in a thread of its own, until `close`."""
        self._start(partial(self._listen_forever, changed), "durable-log-listener")

    def close(self) -> None:
        """End the threads; what was not told yet is not told any more."""
        self._closed.set()
        self._closer.close()
        with self._news:
            self._news.notify()
        for thread in self._threads:
            thread.join()
        self._closing.close()

    def _connected(self, work: Callable[[BoundedConnection], None]) -> None:
        """Do the work on a connection of its own, again and again, until `close`."""
        while not self._closed.is_set():
            try:
                with storage_errors(), dedicated(self._settings) as connection:
                    work(connection)
            except StorageError as error:
                logger.info("wake-ups between nodes: %s", error)
                self._closed.wait(RETRY_SECONDS)

    # ------------------------------------------------------------------ telling

    def _send_forever(self) -> None:
        self._connected(self._send)

    def _send(self, connection: BoundedConnection) -> None:
        # A hint need not be on disk, and its transaction must not wait for it.
        connection.execute("SET synchronous_commit = off")
        while True:
            with self._news:
                self._news.wait_for(lambda: self._pending or self._closed.is_set())
                ids, self._pending = self._pending, set()
            if self._closed.is_set():
                return
            told = " ".join(map(str, ids)) if len(ids) <= MAX_IDS else "*"
            connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, f"{self._name} {told}"))
            self._closed.wait(INTERVAL_SECONDS)

    # ------------------------------------------------------------------ listening

    def _listen_forever(self, changed: Changed) -> None:
        self._connected(partial(self._listen, changed))

    def _listen(self, changed: Changed, connection: BoundedConnection) -> None:
        connection.execute(f"LISTEN {CHANNEL}")
        changed(None)
        with DefaultSelector() as selector:
            selector.register(connection, EVENT_READ)
            selector.register(self._closing, EVENT_READ)
            while not self._closed.is_set():
                if not selector.select(PROBE_SECONDS):
                    connection.execute("SELECT 1")
                for notification in connection.notifies(timeout=0):
                    self._pass_on(notification.payload, changed)

    def _pass_on(self, payload: str, changed: Changed) -> None:
        name, _, told = payload.partition(" ")
        if name == self._name:
            return
        ids = told.split()
        known = all(id_.isdecimal() for id_ in ids)
        changed(frozenset(map(int, ids)) if known else None)
