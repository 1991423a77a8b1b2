"""Where a real Electric is, and the request it gets for a client's. Pure.

A client says how it reads; the table, the condition and the secret are put in here, and nothing of
a client's own can take their place: what it sends under these names never gets this far.
"""

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from durable_proxy._shape_request import ShapeRequest
from durable_proxy._urls import Target, UrlError, parse_url

DEFAULT_PATH = "/v1/shape"


class ElectricUrlError(ValueError):
    """It is no address of an Electric; the text says what one looks like."""


@dataclass(frozen=True, slots=True)
class ElectricUrl:
    """The address of a real Electric.

    Attributes:
        base: Without its query.
        query: What its address has in it already, such as a source.
    """

    base: str
    query: tuple[tuple[str, str], ...] = field(repr=False)

    @classmethod
    def parse(cls, text: str, secret: str | None = None) -> "ElectricUrl":
        """Read an address; without a path it is `DEFAULT_PATH` of that server.

        Args:
            text: ``http://electric:3000``, ``https://host/v1/shape?source_id=...``.
            secret: Electric's own, which it takes as a parameter and in no other way.

        Raises:
            ElectricUrlError: it is none.
        """
        try:
            parts = urlsplit(text)
            path = parts.path if parts.path.strip("/") else DEFAULT_PATH
            base = parts._replace(path=path, query="", fragment="").geturl()
            parse_url(base)
        except (UrlError, ValueError):
            raise ElectricUrlError("write http://electric:3000 or .../v1/shape") from None
        query = parse_qsl(parts.query, keep_blank_values=True)
        return cls(base, (*query, *([("secret", secret)] if secret else [])))

    def target(self, shape: ShapeRequest) -> Target:
        """What to ask it for a shape."""
        ours = [*self.query, ("table", shape.table), ("where", shape.where)]
        taken = {name for name, _ in ours}
        theirs = [(name, value) for name, value in shape.passed_on if name not in taken]
        return parse_url(f"{self.base}?{urlencode([*theirs, *ours], quote_via=quote)}")
