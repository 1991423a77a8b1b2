"""The address of a stream."""

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from durable_transport._http_url import split_http_url
from durable_transport._stream._errors import InvalidStreamURL


@dataclass(frozen=True, slots=True)
class StreamURL:
    """A stream's address, checked; it may have a query of its own, such as a signature."""

    text: str

    @classmethod
    def parse(cls, url: str) -> "StreamURL":
        """Check an address.

        Raises:
            InvalidStreamURL: not an absolute http(s) URL, or with parts that have no place in one.
        """
        parts = split_http_url(url, InvalidStreamURL)
        if parts.fragment:
            raise InvalidStreamURL(url, "it has a fragment")
        return cls(urlunsplit(parts))

    @property
    def path(self) -> str:
        """The path alone, as a fork names its source."""
        return urlsplit(self.text).path

    @property
    def bare(self) -> str:
        """The address without its query: for messages, and as a name of the stream."""
        return urlunsplit(urlsplit(self.text)._replace(query=""))

    def beside(self, url: str) -> "StreamURL":
        """Another stream's address, which may be relative to this one."""
        return self.parse(urljoin(self.bare, url))

    def with_query(self, fields: Iterable[tuple[str, str]]) -> str:
        """The address with more query fields, sorted by name so that caches see one spelling."""
        added = "&".join(f"{name}={quote(value, safe='')}" for name, value in sorted(fields))
        if not added:
            return self.text
        return f"{self.text}{'&' if urlsplit(self.text).query else '?'}{added}"
