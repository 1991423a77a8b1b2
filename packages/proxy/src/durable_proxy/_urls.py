"""Upstream URLs in one spelling: what is checked is what is sent. Pure.

A URL that two programs could read differently is refused, with the remedy in the message; any
other is normalised (RFC 3986 section 6.2.2), and only the normalised form is matched against the
allowlist and connected to. There is one spelling of an address: ``2130706433``, ``0x7f.1`` and
``0177.0.0.1`` are refused, because resolvers disagree about them.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address

MAX_URL_LENGTH = 8192
MAX_HOST_LENGTH = 253
MAX_PORT = 65535
DEFAULT_PORTS = {"http": 80, "https": 443}

_PARTS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)(\?[^#]*)?(#.*)?")
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::(.*))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_NOT_IN_A_SEGMENT = re.compile(r"[^A-Za-z0-9\-._~!$&'()*+,;=:@%]")
_SEPARATORS = re.compile(r"[/\\]")


class UrlError(ValueError):
    """The URL is refused; the text says what to write instead."""


def check_public_url(url: str) -> None:
    """Judge the address that this application says it has.

    Raises:
        UrlError: no client could call it.
    """
    if not url.startswith(("http://", "https://")):
        raise UrlError("the public URL (--public-url) is one that begins with https:// or http://")


@dataclass(frozen=True, slots=True)
class Target:
    """An absolute http or https URL, normalised.

    Attributes:
        host: Lower case, without a trailing dot; an IPv6 address without brackets.
        segments: The path's segments: ``("v1", "")`` for ``/v1/``.
        query: With its question mark, or empty.
    """

    scheme: str
    host: str
    port: int
    segments: tuple[str, ...]
    query: str = ""

    @property
    def is_address(self) -> bool:
        """The host is an IP address and not a name."""
        return is_address(self.host)

    @property
    def authority(self) -> str:
        """Host, and the port unless it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{host}{port}"

    @property
    def origin(self) -> str:
        """Scheme and authority."""
        return f"{self.scheme}://{self.authority}"

    @property
    def path(self) -> str:
        """The path, beginning with a slash."""
        return "/" + "/".join(self.segments)

    def __str__(self) -> str:
        return f"{self.origin}{self.path}{self.query}"


@lru_cache(maxsize=1024)  # a proxy calls few URLs, each many times
def parse_url(text: str) -> Target:
    """Read an upstream URL.

    Raises:
        UrlError: it is not absolute, not http(s), or could be read in two ways.
    """
    scheme, authority, path, query = split_url(text)
    host, port = split_authority(authority)
    return Target(
        scheme=scheme,
        host=normal_host(host),
        port=DEFAULT_PORTS[scheme] if port is None else normal_port(port),
        segments=_without_dots([normal_segment(one) for one in path.split("/")[1:] or [""]]),
        query=_normal_query(query),
    )


def split_url(text: str) -> tuple[str, str, str, str]:
    """Scheme (http or https), authority, path and query of a URL; the fragment is dropped."""
    if len(text) > MAX_URL_LENGTH:
        raise UrlError(f"the URL is longer than {MAX_URL_LENGTH} characters")
    if not text.isascii():
        raise UrlError("write the host in its ASCII form (xn--...) and percent-encode the rest")
    if any(not "!" <= character <= "~" for character in text):
        raise UrlError("the URL has white space or control characters: percent-encode them")
    if "\\" in text:
        raise UrlError("the URL has a backslash: use / or percent-encode it")
    parts = _PARTS.fullmatch(text)
    if parts is None:
        raise UrlError("the URL is not absolute: it has to be like https://host/path")
    scheme = parts[1].lower()
    if scheme not in DEFAULT_PORTS:
        raise UrlError(f"the URL's scheme is {scheme[:20]}: only http and https go upstream")
    return scheme, parts[2], parts[3], parts[4] or ""


def split_authority(authority: str) -> tuple[str, str | None]:
    """Host and port (None when there is none) as they are written."""
    if "@" in authority:
        raise UrlError("the URL has a user name or password: send them in a header")
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None or not parts[1]:
        raise UrlError("the URL has no host, or one that is not written as host:port")
    return parts[1], parts[2] or None


def normal_port(text: str) -> int:
    """A port number."""
    if not (text.isdigit() and len(text) <= len(str(MAX_PORT)) and 0 < int(text) <= MAX_PORT):
        raise UrlError(f"the URL's port is not a number from 1 to {MAX_PORT}")
    return int(text)


def normal_host(text: str) -> str:
    """A host name or an IP address, in its one spelling."""
    if text.startswith("["):
        return _normal_ipv6(text[1:-1])
    host = text.lower().removesuffix(".")
    if _ends_in_a_number(host):
        return _normal_ipv4(host)
    labels = host.split(".")
    if len(host) > MAX_HOST_LENGTH or not all(_LABEL.fullmatch(label) for label in labels):
        raise UrlError("the URL's host is not a host name")
    return host


def is_address(host: str) -> bool:
    """A host in its one spelling is an IP address and not a name."""
    return ":" in host or _ends_in_a_number(host)


def _ends_in_a_number(host: str) -> bool:
    # The rule of the WHATWG URL standard: such a host is meant as an IPv4 address, however it
    # is spelled, and resolvers treat it as one.
    return _NUMBER.fullmatch(host.rpartition(".")[2]) is not None


def _normal_ipv4(text: str) -> str:
    try:
        return str(IPv4Address(text))
    except AddressValueError:
        raise UrlError(
            "the URL's host is a number: write an IPv4 address as four decimal numbers, 192.0.2.1"
        ) from None


def _normal_ipv6(text: str) -> str:
    if "%" in text:
        raise UrlError("the URL's IPv6 address has a zone")
    try:
        return str(IPv6Address(text))
    except AddressValueError:
        raise UrlError("the URL's host in brackets is not an IPv6 address") from None


def normal_segment(text: str) -> str:
    """One path segment: needless escapes undone, needed ones made, hexadecimal in upper case."""
    if _STRAY_PERCENT.search(text):
        raise UrlError("the URL's path has a % that is not followed by two hexadecimal digits")
    segment = _ESCAPE.sub(_keep_or_decode, text)
    segment = _NOT_IN_A_SEGMENT.sub(lambda found: f"%{ord(found[0]):02X}", segment)
    if segment not in (".", "..") and _hides_dots(segment):
        raise UrlError("the URL's path hides a . or .. segment behind an escape or a parameter")
    return segment


def _keep_or_decode(escape: re.Match[str]) -> str:
    character = chr(int(escape[1], 16))
    return character if character in _UNRESERVED else escape[0].upper()


def has_separator(segment: str) -> bool:
    """The segment has an escaped slash or backslash: some servers will see two segments."""
    return _SEPARATORS.search(_decoded(segment)) is not None


def _hides_dots(segment: str) -> bool:
    # Some servers decode before they split, some decode twice, some drop ";parameters" first.
    pieces = _SEPARATORS.split(_decoded(segment))
    return any(piece.partition(";")[0] in (".", "..") for piece in pieces)


def _decoded(segment: str) -> str:
    while (decoded := _ESCAPE.sub(lambda found: chr(int(found[1], 16)), segment)) != segment:
        segment = decoded
    return segment


def _without_dots(segments: list[str]) -> tuple[str, ...]:
    """Remove dot segments (RFC 3986 section 5.2.4)."""
    kept: list[str] = []
    for index, segment in enumerate(segments):
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
        if segment in (".", "..") and index == len(segments) - 1:
            kept.append("")
    return tuple(kept) or ("",)


def _normal_query(query: str) -> str:
    return re.sub(r"[\"<>^`{|}]", lambda found: f"%{ord(found[0]):02X}", query)
