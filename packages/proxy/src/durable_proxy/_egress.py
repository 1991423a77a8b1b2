"""The proxy that all upstream calls are to go through, where a network wants that. Pure."""

from base64 import b64encode
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote, urlsplit

from durable_proxy._urls import UrlError, normal_host


class EgressError(ValueError):
    """The address of the egress proxy cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Egress:
    """An HTTP proxy that is asked for a tunnel (``CONNECT``, RFC 9110 section 9.3.6).

    Attributes:
        authorization: The value of ``Proxy-Authorization``, if it wants one.
    """

    host: str
    port: int
    authorization: bytes | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``http://[user:password@]host:port``.

        Raises:
            EgressError: it is something else. The text does not repeat it: it may hold a password.
        """
        try:
            parts = urlsplit(text)
            host, port = normal_host(_bracketed(parts.hostname or "")), parts.port
        except (ValueError, UrlError):
            host, port, parts = "", None, urlsplit("")
        if parts.scheme != "http" or port is None or parts.path not in ("", "/"):
            raise EgressError("an egress proxy is written as http://[user:password@]host:port")
        authorization = None
        if parts.username is not None:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorization = b"Basic " + b64encode(login.encode())
        return cls(host, port, authorization)

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """What the proxy is told besides where to."""
        if self.authorization is None:
            return ()
        return ((b"Proxy-Authorization", self.authorization),)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
