"""The durable transports for ``httpx``: the same two names as in `durable_transport`.

Needs the extra: ``pip install durable-transport[httpx]``.
"""

try:
    import httpx as _httpx  # noqa: F401  (only to fail with a better message)
except ImportError as error:
    raise ImportError(
        "durable_transport.httpx needs httpx: pip install durable-transport[httpx]. "
        "For httpx2, import the transports from durable_transport itself.",
        name="httpx",
    ) from error

from durable_transport._shell._async_httpx import AsyncDurableTransport
from durable_transport._shell._sync_httpx import DurableTransport

__all__ = ["AsyncDurableTransport", "DurableTransport"]
