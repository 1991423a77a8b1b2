"""HTTP clients over the durable transports, of the library that an SDK is built on."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import httpx2

import durable_transport
from durable_transport import FileStorage, MemoryStorage, Storage

Headers = Any
"""As a durable transport takes them: a mapping, or a function that is called for every request."""
StorageOrPath = Storage | str | os.PathLike[str] | None


@dataclass(frozen=True, slots=True)
class Wiring:
    """What all of these clients are told about the proxy, and nothing about a model."""

    proxy_url: str
    session: str | None
    storage: Storage
    headers: Headers

    @classmethod
    def of(
        cls, proxy_url: str, session: str | None, storage: StorageOrPath, headers: Headers
    ) -> "Wiring":
        """As the arguments of a public function say it; a path is a `FileStorage`."""
        if storage is None:
            storage = MemoryStorage()
        elif isinstance(storage, (str, os.PathLike)):
            storage = FileStorage(storage)
        return cls(proxy_url, session, storage, headers)

    def client(self, kind: type, *, keep_connections: bool = True) -> Any:
        """A client of this kind over the durable transport.

        Without ``keep_connections`` nothing outlives an answer, so that nobody has to close the
        client, and one event loop after another may use it.
        """
        shells, of = _of_httpx2_or_httpx(kind, httpx2.Client)
        inner = None if keep_connections else of.HTTPTransport(limits=_forgetful(of))
        return kind(
            transport=shells.DurableTransport(self.proxy_url, transport=inner, **self._rest)
        )

    def async_client(self, kind: type, *, keep_connections: bool = True, **options: Any) -> Any:
        """The same for asyncio and trio; the options are the client's own."""
        shells, of = _of_httpx2_or_httpx(kind, httpx2.AsyncClient)
        inner = None if keep_connections else of.AsyncHTTPTransport(limits=_forgetful(of))
        durable = shells.AsyncDurableTransport(self.proxy_url, transport=inner, **self._rest)
        return kind(transport=durable, **options)

    @property
    def _rest(self) -> Mapping[str, Any]:
        return {"session": self.session, "storage": self.storage, "headers": self.headers}


def _forgetful(of: Any) -> Any:
    # No limit for live connections: it would be one on conversations.
    return of.Limits(max_connections=None, max_keepalive_connections=0)


def _of_httpx2_or_httpx(kind: type, base: type) -> tuple[Any, Any]:
    """The transports and the library for a kind of client; openai 2 and anthropic 1 have httpx."""
    if issubclass(kind, base):
        return durable_transport, httpx2
    return import_module("durable_transport.httpx"), import_module("httpx")


def library(name: str, *, extra: str, caller: str) -> Any:
    """Import what a caller needs.

    Raises:
        ImportError: it is not installed; the message says how to install it.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        root = name.partition(".")[0]
        if (error.name or "").partition(".")[0] != root:
            raise  # it is there, and something that it needs is not
        raise ImportError(
            f"{caller} needs {root}: pip install 'durable-ai-transport[{extra}]'", name=root
        ) from error


def refuse(options: Mapping[str, Any], *names: str, caller: str) -> None:
    """Refuse options that are made here.

    Raises:
        TypeError: there is one; the message says what to do instead.
    """
    for name in names:
        if name in options:
            raise TypeError(
                f"{caller} makes {name} itself. For an HTTP client of your own, give it the "
                f"transport: {name}=…Client(transport=durable_transport.…DurableTransport(…))"
            )
