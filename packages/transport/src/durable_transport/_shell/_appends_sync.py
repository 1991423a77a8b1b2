"""Appends of a thread are sent one by one: it waits for each."""

from collections.abc import Callable, Sequence

from durable_transport._stream._calls import Appended, Entry


class Appends:
    """The appends to one stream."""

    def __init__(self, send: Callable[[Sequence[Entry]], Appended]) -> None:
        self._send = send

    def submit(self, entry: Entry) -> Appended:
        """Append; raises what became of it."""
        return self._send([entry])

    def close(self) -> None:
        """Nothing waits to be sent."""
