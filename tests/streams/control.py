"""The subscription API of a server, asked over HTTP."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from streams.gate import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from streams.http_client import Client, Reply

LONG_LEASE = 600_000


class Control:
    """The subscription API of a server."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def ask(
        self, method: str, path: str, value: Any = None, token: str | None = None
    ) -> Reply:
        body = None if value is None else json.dumps(value).encode()
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return await self.client.ask(method, f"__ds/{path}", body, **headers)

    async def create(self, name: str = "s", **fields: Any) -> Reply:
        return await self.ask("PUT", f"subscriptions/{name}", config(**fields))

    async def show(self, name: str = "s") -> Any:
        return (await self.ask("GET", f"subscriptions/{name}")).json()

    async def positions(self) -> dict[str, int]:
        return {one["path"]: int(one["acked_offset"]) for one in (await self.show())["streams"]}

    async def until(self, **expected: Any) -> Any:
        """Wait until the subscription shows these fields; what it shows then."""
        async with asyncio.timeout(PATIENCE):
            while True:
                shown = await self.show()
                if shown.items() >= expected.items():
                    return shown
                await asyncio.sleep(0.01)

    async def at(self, **positions: int) -> None:
        """Wait until streams are acknowledged up to there (``_`` is a slash)."""
        wanted = {path.replace("_", "/"): position for path, position in positions.items()}

        async def reached() -> bool:
            return await self.positions() == wanted

        await eventually(reached)


async def eventually(condition: Callable[[], Awaitable[Any]]) -> Any:
    """Wait for what has no event to wait for; what the condition gave in the end."""
    async with asyncio.timeout(PATIENCE):
        while not (given := await condition()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return given


async def wakes(server: Client, count: int) -> list[Any]:
    """So many events of the wake stream."""

    async def written() -> list[Any]:
        events: list[Any] = (await server.get("wake")).json()
        return events if len(events) >= count else []

    events: list[Any] = await eventually(written)
    return events


def config(url: str | None = None, **fields: Any) -> dict[str, Any]:
    if url is not None:
        kind: dict[str, Any] = {"type": "webhook", "webhook": {"url": url}}
    else:
        kind = {"type": "pull-wake", "wake_stream": "wake"}
    return kind | {"pattern": "e/*", "lease_ttl_ms": LONG_LEASE} | fields
