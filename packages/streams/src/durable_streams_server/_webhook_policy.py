"""Which webhook URLs may be called (PROTOCOL section 12.8). Pure.

``https`` to public addresses is allowed. Anything else, such as a server on the same machine, needs
a pattern ``scheme://host[:port]`` that names the host; ``*`` is any port.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Self
from urllib.parse import urlsplit

from durable_streams_server.addresses import why_not_public

SETTING = "--webhook-allow"
_PORTS = {"http": 80, "https": 443}
_MAX_HOST_LENGTH = 253

Address = IPv4Address | IPv6Address


class WebhookError(Exception):
    """The webhook was not delivered; the text is for the subscription's owner."""


class WebhookUrlError(ValueError):
    """The URL may not be called; the text says why and names the remedy."""


class OriginPatternError(ValueError):
    """The text is no pattern of an origin."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(text)

    def __str__(self) -> str:
        return (
            f"{self.text!r} is not a webhook pattern: it is scheme://host[:port],"
            f" for example http://localhost:* or https://hooks.internal"
        )


@dataclass(frozen=True, slots=True)
class Target:
    """Where a webhook is.

    Attributes:
        host: Lower case, without brackets.
        address: The host, when it is an address and no name.
    """

    scheme: str
    host: str
    port: int
    address: Address | None


@dataclass(frozen=True, slots=True)
class OriginPattern:
    """An origin that may be called although the rules forbid it. ``port`` None is any."""

    scheme: str
    host: str
    port: int | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a pattern.

        Raises:
            OriginPatternError: it is none.
        """
        any_port = text.endswith(":*")
        try:
            origin = text.removesuffix(":*")
            target = _target(origin)
        except ValueError as error:
            raise OriginPatternError(text) from error
        if "*" in origin or any(mark in origin.partition("://")[2] for mark in "/?#"):
            raise OriginPatternError(text)
        return cls(target.scheme, target.host, None if any_port else target.port)

    def matches(self, target: Target) -> bool:
        """The pattern names the target."""
        return (self.scheme, self.host) == (target.scheme, target.host) and (
            self.port in (None, target.port)
        )


@dataclass(frozen=True, slots=True)
class WebhookPolicy:
    """What may be called."""

    allowed: tuple[OriginPattern, ...] = ()

    @classmethod
    def parse(cls, patterns: Iterable[str]) -> Self:
        """Read patterns (`OriginPatternError` when one is none)."""
        return cls(tuple(map(OriginPattern.parse, patterns)))

    def check(self, url: str) -> Target:
        """What can be said about a URL without asking for its host's addresses.

        Raises:
            WebhookUrlError: it may not be called.
        """
        try:
            target = _target(url)
        except ValueError as error:
            raise WebhookUrlError(f"webhook.url cannot be called: {error}") from error
        if self._is_allowed(target):
            return target
        if target.scheme != "https":
            raise _refused(target, "webhooks are called over https only")
        if target.host == "localhost" or target.host.endswith(".localhost"):
            raise _refused(target, "it is this machine")
        if target.address is not None:
            self.check_address(target, target.address)
        return target

    def check_address(self, target: Target, address: Address) -> None:
        """What an address of the target's host says about it.

        Raises:
            WebhookUrlError: it may not be connected to.
        """
        if why_not_public(str(address)) is not None and not self._is_allowed(target):
            raise _refused(target, "its address is not one of the public internet")

    def _is_allowed(self, target: Target) -> bool:
        return any(pattern.matches(target) for pattern in self.allowed)


def _target(url: str) -> Target:
    if any(not character.isprintable() or character == " " for character in url):
        raise ValueError("it has spaces or control characters")
    parts = urlsplit(url)
    if parts.scheme not in _PORTS:
        raise ValueError("it does not begin with https://")
    if parts.username is not None or parts.password is not None:
        raise ValueError("it has a user name or password, which would be stored and shown")
    host = (parts.hostname or "").removesuffix(".")
    if not host or len(host) > _MAX_HOST_LENGTH or not host.isascii():
        raise ValueError("it names no host (write an international name in its ASCII form)")
    port = parts.port  # raises ValueError when it is no number
    return Target(
        parts.scheme, host, _PORTS[parts.scheme] if port is None else port, _address(host)
    )


def _address(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        # Resolvers take more for addresses than is written as one: 0x7f.1, 2130706433, 127.1.
        # They are names here; what they resolve to is checked before it is connected to.
        return None


def _refused(target: Target, reason: str) -> WebhookUrlError:
    host = f"[{target.host}]" if ":" in target.host else target.host
    return WebhookUrlError(
        f"webhook.url may not be called: {reason}. If it is meant to be, start the server with"
        f" {SETTING} '{target.scheme}://{host}:{target.port}'"
    )
