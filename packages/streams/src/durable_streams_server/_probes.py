"""What an orchestrator asks: whether to restart this process, and whether to send it requests."""

import asyncio
from importlib.metadata import version

from durable_streams_server._answer import Answer, of_json, refusal
from durable_streams_server._errors import LogClosedError, StorageError, StoreBrokenError
from durable_streams_server._log import Log
from durable_transport.protocol import ErrorCode

VERSION = version("durable-streams-server")
READY_SECONDS = 5.0
"""How long the store may take to answer before the server counts as not ready."""


def health(log: Log) -> Answer:
    """Liveness: fails when, and only when, a restart would help."""
    try:
        log.check()
    except StoreBrokenError:
        return refusal(ErrorCode.STORAGE_UNAVAILABLE, "the store is broken; restart to recover")
    except StorageError:
        pass  # no matter of a restart; readiness tells it
    return of_json({"status": "ok", "version": VERSION})


async def ready(log: Log, patience: float = READY_SECONDS) -> Answer:
    """Readiness: the last write passed, the store answers now, and nobody is taking leave."""
    if log.leaving:
        return refusal(ErrorCode.SHUTTING_DOWN, "the server is shutting down")
    try:
        log.check()
        async with asyncio.timeout(patience):
            await log.store_size()
    except StorageError:
        return refusal(ErrorCode.STORAGE_UNAVAILABLE, "the store fails; see the server's log")
    except TimeoutError:
        return refusal(ErrorCode.STORAGE_UNAVAILABLE, "the store does not answer in time")
    except LogClosedError:
        return refusal(ErrorCode.SHUTTING_DOWN, "the server is shutting down")
    return of_json({"status": "ready"})
