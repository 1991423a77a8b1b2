# Generated from _async_requests.py by scripts/generate_shells.py: change that file, not this one.
"""Sending the requests of one stream."""

import random
import time
from typing import TypeVar

import httpcore2  # noqa: F401  (httpx2 imports it on first use, which would stall an event loop)
import httpx2

from durable_transport._effects import Step
from durable_transport._link import Clocks
from durable_transport._shell._io_sync import HeaderSource, bounded_cleanup, evaluate
from durable_transport._shell._sync_httpx2 import _Connection as Connection
from durable_transport._stream._link import StreamLink
from durable_transport._stream._url import StreamURL
from durable_transport._timing import Timing

T = TypeVar("T")

_CLOCKS = Clocks(monotonic=time.monotonic, wall=time.time, random=random.random)


class Requests:
    """How a stream's server is reached: the address, the client, what is sent with each request."""

    def __init__(
        self,
        url: StreamURL,
        headers: HeaderSource,
        params: HeaderSource,
        client: httpx2.Client | None,
        timing: Timing,
    ) -> None:
        self.url = url
        self.headers = headers
        self.params = params
        self.timing = timing
        self._owned = client is None
        # A follower holds its connection for minutes: a limit would be one on followers.
        self.client = client or httpx2.Client(
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=20)
        )
        self._sender = _Sender(self.client, params)

    def close(self) -> None:
        """Close the connections, unless the client was given."""
        if self._owned:
            self.client.close()

    def link(self) -> StreamLink:
        """The decisions about one operation or one reader."""
        return StreamLink(self.url, timing=self.timing, clocks=_CLOCKS)

    def connection(self) -> Connection:
        """What performs them."""
        return Connection(self._sender, self.headers, blocking=False)

    def run(self, step: Step[T]) -> T:
        """Perform an operation."""
        connection = self.connection()
        try:
            return connection.run(step)
        finally:
            with bounded_cleanup(self.timing.close):
                connection.close()


class _Sender(httpx2.BaseTransport):
    """Sends through a client, so that its own headers and credentials count."""

    def __init__(self, client: httpx2.Client, params: HeaderSource) -> None:
        self._client = client
        self._params = params

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request and leave its answer open."""
        params = evaluate(self._params)
        built = self._client.build_request(
            request.method,
            request.url.copy_merge_params(dict(params)) if params else request.url,
            headers=request.headers,
            content=request.content,
            extensions=request.extensions,
        )
        return self._client.send(built, stream=True)
