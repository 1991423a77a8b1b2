"""The seam for whoever looks on at generations, such as a tracer (`durable_proxy.otel`)."""

from typing import TYPE_CHECKING, Protocol

from durable_proxy._lifecycle import Ending
from durable_proxy._start_request import StartRequest

if TYPE_CHECKING:
    from durable_streams_server import Log


class Watch(Protocol):
    """Looks on at one generation; made in the task that runs it. It must not block or raise."""

    def sending(self, request: StartRequest) -> StartRequest:
        """The request is about to go upstream; gives it as it is to be sent."""

    def answered(self, status: int) -> None:
        """The upstream's headers are in."""

    def first_byte(self) -> None:
        """The first byte of the body is in."""

    def let_go(self) -> None:
        """The upstream is not needed any more."""

    def ended(self, ending: Ending | None, stored: int) -> None:
        """It is over. None: it is not ours any more."""


class Watcher(Protocol):
    """Looks on at a proxy."""

    def opened(self, log: "Log") -> None:
        """The proxy is about to serve."""

    def watch(self, request: StartRequest) -> Watch:
        """Begin to look on at a generation that has just been claimed."""


class Unwatched:
    """Nobody looks on."""

    def sending(self, request: StartRequest) -> StartRequest:
        """See `Watch`."""
        return request

    def answered(self, status: int) -> None:
        """See `Watch`."""

    def first_byte(self) -> None:
        """See `Watch`."""

    def let_go(self) -> None:
        """See `Watch`."""

    def ended(self, ending: Ending | None, stored: int) -> None:
        """See `Watch`."""


UNWATCHED = Unwatched()
