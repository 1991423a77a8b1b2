"""What a proxy counts about itself: plain numbers, added up in the event loop's thread. Pure.

Names, labels and text are made when somebody asks (`_observe`).
"""

from collections import Counter

from durable_proxy._lifecycle import State
from durable_streams_server.figures import Histogram
from durable_transport.protocol import ErrorCode

FIRST_BYTE_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
DURATION_SECONDS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)


class Figures:
    """Counts since the proxy was made.

    Attributes:
        started: Generations that this node has claimed and begun.
        attached: Starts that were answered with a generation that was there already.
        resumed: Live reads that did not begin at the beginning: readers that came back.
        ended: Generations that this node has ended, its own and those of nodes that were gone.
        orphans_ended: Those of the latter.
        leases_lost: Generations that this node ran and may not write any more.
        refused: What the proxy itself refused, by code.
        received: Bytes of bodies that came from upstreams.
        stored: Bytes of them that are on disk.
        first_byte: Seconds from the start of a generation to the first byte of its body.
        durations: Seconds from the start of a generation to its end, whatever it was.
    """

    def __init__(self) -> None:
        self.started = 0
        self.attached = 0
        self.resumed = 0
        self.ended = Counter[State]()
        self.orphans_ended = 0
        self.leases_lost = 0
        self.refused = Counter[ErrorCode]()
        self.received = 0
        self.stored = 0
        self.first_byte = Histogram(FIRST_BYTE_SECONDS)
        self.durations = Histogram(DURATION_SECONDS)


def resumes(query: bytes) -> bool:
    """The query of a live read begins elsewhere than at the beginning, or now."""
    if b"live=" not in query or b"live=long-poll" in query:
        return False  # a long-poll always comes back
    _, found, rest = query.partition(b"offset=")
    return bool(found) and rest.partition(b"&")[0].strip(b"0") not in (b"", b"-1", b"now")
