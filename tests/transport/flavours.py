"""The four transports behind one asynchronous face, so that a test is written once."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import httpx
import httpx2

import durable_transport
import durable_transport.httpx
from durable_transport import Timing

if TYPE_CHECKING:
    from collections.abc import Callable

UPSTREAM = "http://upstream.example/v1/chat"

UNIT = float(os.environ.get("DURABLE_TEST_UNIT", "1"))


def quick(**seconds: float) -> Timing:
    """Times for tests, in units."""
    defaults = {
        "silence": 0.4,
        "healthy": 0.05,
        "give_up_after": 2.0,
        "start_patience": 0.2,
        "backoff_first": 0.002,
        "backoff_limit": 0.02,
        "persist_every": 0.0,
        "settle": 0.2,
        "close": 1.0,
    }
    return Timing(**{name: value * UNIT for name, value in {**defaults, **seconds}.items()})


QUICK = quick()


@dataclass
class Outcome:
    """What a client saw of one request."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    error: Exception | None = None
    durable: durable_transport.Progress | None = None


@dataclass(frozen=True)
class Flavour:
    """One of the four transports."""

    name: str
    library: Any
    transport: Callable[..., Any]
    is_async: bool

    def __str__(self) -> str:
        return self.name

    async def fetch(
        self,
        proxy_url: str,
        *,
        stop_after: int | None = None,
        request: dict[str, Any] | None = None,
        timeout: Any = 5.0 * UNIT,  # noqa: ASYNC109  (the client's own)
        **options: Any,
    ) -> Outcome:
        """Make one request, read it (or ``stop_after`` bytes of it), and close everything."""
        transport = self.transport(proxy_url, **{"timing": QUICK, **options})
        arguments = {"method": "POST", "url": UPSTREAM, "content": b"question", **(request or {})}
        arguments["timeout"] = timeout
        outcome = Outcome()
        try:
            if self.is_async:
                await self._fetch_async(transport, arguments, stop_after, outcome)
            else:
                fetch = partial(self._fetch_sync, transport, arguments, stop_after, outcome)
                await anyio.to_thread.run_sync(fetch)
        except Exception as error:  # noqa: BLE001  (what it is, is what the tests are about)
            outcome.error = error
        return outcome

    async def _fetch_async(
        self,
        transport: Any,
        arguments: dict[str, Any],
        stop_after: int | None,
        outcome: Outcome,
    ) -> None:
        async with (
            self.library.AsyncClient(transport=transport) as client,
            client.stream(**arguments) as response,
        ):
            _note(response, outcome)
            async for part in response.aiter_raw():
                outcome.body += part
                if stop_after is not None and len(outcome.body) >= stop_after:
                    break

    def _fetch_sync(
        self,
        transport: Any,
        arguments: dict[str, Any],
        stop_after: int | None,
        outcome: Outcome,
    ) -> None:
        with (
            self.library.Client(transport=transport) as client,
            client.stream(**arguments) as response,
        ):
            _note(response, outcome)
            for part in response.iter_raw():
                outcome.body += part
                if stop_after is not None and len(outcome.body) >= stop_after:
                    break

    def is_theirs(self, error: Exception | None, name: str) -> bool:
        """Whether the error is the library's own class of that name."""
        return isinstance(error, getattr(self.library, name))


def _note(response: Any, outcome: Outcome) -> None:
    outcome.status = response.status_code
    outcome.headers = dict(response.headers)
    outcome.durable = response.extensions.get("durable")


FLAVOURS = [
    Flavour("async-httpx2", httpx2, durable_transport.AsyncDurableTransport, is_async=True),
    Flavour("sync-httpx2", httpx2, durable_transport.DurableTransport, is_async=False),
    Flavour("async-httpx", httpx, durable_transport.httpx.AsyncDurableTransport, is_async=True),
    Flavour("sync-httpx", httpx, durable_transport.httpx.DurableTransport, is_async=False),
]
