"""What has to be known of a request to send it upstream. Pure."""

from typing import Protocol

from durable_proxy._urls import Target


class UpstreamRequest(Protocol):
    """One request to be sent upstream, all checks passed; `StartRequest` is one."""

    @property
    def method(self) -> str:
        """The method, in capitals."""

    @property
    def target(self) -> Target:
        """Where it goes."""

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """All but ``Host`` and those about the body's length."""

    @property
    def body(self) -> bytes:
        """The whole body."""

    @property
    def any_address(self) -> bool:
        """The host may lead to an address that is not public."""
