"""Who may use the admin surface. Pure.

It tells the names of all streams, and a name is all that it takes to read one. With a token,
whoever has it may; without one, only programs of this machine. That a server listens on the
loopback address is not enough for that: a gateway beside it passes the requests of anybody on,
and a page in a browser of this machine can make a name of its own resolve to that address. So the
request itself has to say that it is for this machine, and must not have been passed on.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hmac import compare_digest
from ipaddress import ip_address
from urllib.parse import urlsplit

from durable_streams_server._request import Headers, header

_PASSED_ON = frozenset(
    {
        *(b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"),
        *(b"x-real-ip", b"cf-connecting-ip", b"true-client-ip", b"x-amzn-trace-id"),
    }
)
"""Header fields by which gateways tell that they stand between."""
_OWN_PAGES = (None, "same-origin", "none")


@dataclass(frozen=True, slots=True)
class AdminAccess:
    """Lets into the admin surface whoever sends ``Authorization: Bearer`` with the token.

    Args:
        token: The secret; None lets in programs of this machine only, and nobody else.
    """

    token: str | None = None

    def __post_init__(self) -> None:
        if self.token is not None and not (self.token.isascii() and self.token.strip()):
            raise ValueError("an admin token is ASCII text, and not empty")

    def refusal(self, headers: Headers, peer: str | None) -> str | None:
        """Why a request may not come in, for whoever sent it; None when it may.

        Args:
            headers: Of the request.
            peer: Address of the other end of the connection; None for a socket of this machine.
        """
        if self.token is not None:
            scheme, _, given = (header(headers, b"authorization") or "").partition(" ")
            if scheme.lower() == "bearer" and compare_digest(given.encode(), self.token.encode()):
                return None
            return "send the server's admin token: Authorization: Bearer TOKEN"
        if was_passed_on(headers):
            return "a gateway has passed this on: start the server with --admin-token to allow it"
        if not (_is_local(peer) and _is_for_this_machine(headers)):
            return "without --admin-token only programs of the server's own machine may ask"
        if header(headers, b"sec-fetch-site") not in _OWN_PAGES:
            return "pages of other sites may not ask"
        return None


def was_passed_on(names: Iterable[bytes]) -> bool:
    """Whether a gateway has passed a request on; ``names``: of its headers, in lower case."""
    return not _PASSED_ON.isdisjoint(names)


def _is_local(peer: str | None) -> bool:
    if peer is None:
        return True
    try:
        return ip_address(peer).is_loopback
    except ValueError:
        return False


def _is_for_this_machine(headers: Headers) -> bool:
    try:
        host = urlsplit(f"//{header(headers, b'host') or ''}").hostname
    except ValueError:
        return False
    return host == "localhost" or (host is not None and _is_local(host))
