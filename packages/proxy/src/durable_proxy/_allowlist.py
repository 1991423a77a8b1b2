"""Which upstreams may be called: nothing, unless a pattern says so. Pure.

    scheme://host[:port]/path

- The scheme is ``http`` or ``https``.
- In the host, ``*`` is exactly one label: ``https://*.example.com/**`` allows
  ``https://api.example.com/`` but neither ``https://example.com/`` nor
  ``https://a.b.example.com/``. A ``*`` is never an IP address, nor a part of one: an address is
  allowed by a pattern that names it.
- Without a port it is the scheme's own; ``:*`` is any port.
- In the path, ``*`` is exactly one segment, not empty; ``**`` at the end is any rest, also none.
  Paths are compared case-sensitively; any query is allowed.
- A host that is written out may lead to any address, also to a private one. One that a ``*`` stands
  for may lead to public addresses only: somebody else says what it resolves to.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from durable_proxy._errors import Refusal
from durable_proxy._urls import (
    DEFAULT_PORTS,
    Target,
    UrlError,
    has_separator,
    is_address,
    normal_host,
    normal_port,
    normal_segment,
    split_authority,
    split_url,
)
from durable_transport.protocol import ErrorCode

ANY = "*"
REST = "**"


class PatternError(ValueError):
    """The pattern cannot be understood; the text says why and shows one that can."""

    def __init__(self, pattern: str, reason: str) -> None:
        self.pattern = pattern
        self.reason = reason
        super().__init__(pattern, reason)

    def __str__(self) -> str:
        return (
            f"{self.pattern!r} is not an upstream pattern: {self.reason}. "
            f"A pattern is scheme://host[:port]/path, for example https://api.openai.com/**"
        )


@dataclass(frozen=True, slots=True)
class Pattern:
    """One entry of an allowlist.

    Attributes:
        labels: The host's labels, `ANY` for one that may be anything; one label for an address.
        port: None for any port.
        segments: The path's segments, `ANY` for one that may be anything.
        rest: Any further segments may follow.
    """

    text: str
    scheme: str
    labels: tuple[str, ...]
    port: int | None
    segments: tuple[str, ...]
    rest: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a pattern.

        Raises:
            PatternError: it is none.
        """
        try:
            return cls._parse(text)
        except UrlError as error:
            raise PatternError(text, str(error)) from None

    @classmethod
    def _parse(cls, text: str) -> Self:
        scheme, authority, path, query = split_url(text)
        if query or "#" in text:
            raise UrlError("a pattern has no query: any is allowed")
        if not path:
            raise UrlError("it has no path: end it with /** for everything on that host")
        host, port = split_authority(authority)
        segments = path.split("/")[1:]
        rest = segments[-1] == REST
        return cls(
            text=text,
            scheme=scheme,
            labels=_pattern_labels(host),
            port=_pattern_port(port, scheme),
            segments=tuple(map(_pattern_segment, segments[:-1] if rest else segments)),
            rest=rest,
        )

    def matches(self, target: Target) -> bool:
        """The pattern allows the target."""
        return (
            self.scheme == target.scheme
            and self.port in (None, target.port)
            and self._matches_host(target)
            and self._matches_path(target.segments)
        )

    @property
    def names_host(self) -> bool:
        """The host is written out, without a `ANY`."""
        return ANY not in self.labels

    def _matches_host(self, target: Target) -> bool:
        if target.is_address:
            return self.labels == (target.host,)
        labels = target.host.split(".")
        return len(labels) == len(self.labels) and all(
            wanted in (ANY, label) for wanted, label in zip(self.labels, labels, strict=True)
        )

    def _matches_path(self, segments: tuple[str, ...]) -> bool:
        fixed = len(self.segments)
        if len(segments) <= fixed if self.rest else len(segments) != fixed:
            return False
        return all(
            (segment != "" and not has_separator(segment)) if wanted == ANY else wanted == segment
            for wanted, segment in zip(self.segments, segments, strict=False)
        )


def _pattern_labels(host: str) -> tuple[str, ...]:
    if "*" not in host:
        normal = normal_host(host)
        return (normal,) if is_address(normal) else tuple(normal.split("."))
    labels = host.lower().removesuffix(".").split(".")
    if any("*" in label and label != ANY for label in labels):
        raise UrlError("in a host, * stands for exactly one whole label")
    literal = [label for label in labels if label != ANY]
    if literal and all(label.isdigit() for label in literal):
        raise UrlError("a * cannot stand for a part of an IP address")
    # An ordinary label in place of each * leaves the rest to the rules for host names.
    normal_host(".".join("x" if label == ANY else label for label in labels))
    return tuple(labels)


def _pattern_port(port: str | None, scheme: str) -> int | None:
    if port == ANY:
        return None
    return DEFAULT_PORTS[scheme] if port is None else normal_port(port)


def _pattern_segment(text: str) -> str:
    if text == REST:
        raise UrlError("** is allowed only at the end of a path")
    if text == ANY:
        return ANY
    if "*" in text:
        raise UrlError("in a path, * stands for exactly one whole segment")
    segment = normal_segment(text)
    if segment in (".", ".."):
        raise UrlError("a path in a pattern has no . or .. segments")
    return segment


@dataclass(frozen=True, slots=True)
class Allowlist:
    """The upstreams that a proxy may call.

    Attributes:
        any_upstream: Everything is allowed, at any address: for development only.
    """

    patterns: tuple[Pattern, ...] = ()
    any_upstream: bool = False

    @classmethod
    def parse(cls, patterns: Iterable[str], *, any_upstream: bool = False) -> Self:
        """Read patterns.

        Raises:
            PatternError: one of them is none.
        """
        return cls(tuple(map(Pattern.parse, patterns)), any_upstream)

    def names_host_of(self, target: Target) -> bool:
        """A pattern that allows the target names its host; then it may have any address."""
        return self.any_upstream or any(
            pattern.names_host and pattern.matches(target) for pattern in self.patterns
        )

    def refuse(self, target: Target) -> Refusal | None:
        """Why the target may not be called; None when it may."""
        if self.any_upstream or any(pattern.matches(target) for pattern in self.patterns):
            return None
        return Refusal(
            ErrorCode.UPSTREAM_NOT_ALLOWED,
            f"{target.origin}{target.path} is not an allowed upstream; to allow it, start the"
            f" proxy with --allow '{target.origin}/**' or a narrower pattern",
        )
