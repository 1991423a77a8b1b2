"""An endpoint that knows nothing of durability, and the proxy beside it, as one application.

In production the two are rather two services: the endpoint stays as it is, and ``durable-proxy
serve`` runs elsewhere.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI

from durable_proxy import create_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from durable_demos._serve import Demo

DRAIN_SECONDS = 2


def app_with_proxy(demo: Demo) -> FastAPI:
    """An application whose ``/durable`` calls its own ``/api/chat``, and nothing else."""
    durable = create_app(
        demo.store(), allow=[f"{demo.origin}/api/chat"], drain_seconds=DRAIN_SECONDS
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with durable.router.lifespan_context(durable):
            yield

    app = FastAPI(title=demo.name, lifespan=lifespan)
    app.mount("/durable", durable)
    app.state.drain = durable.state.proxy.drain
    return app
