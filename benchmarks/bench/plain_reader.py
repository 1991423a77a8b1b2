"""A reader that is nothing but a socket and an HTTP parser: the relay as such, without a client."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import httptools

if TYPE_CHECKING:
    from bench.records import Records


class PlainReader(asyncio.Protocol):
    """Sends one request and feeds the decoded body of its answer to the records."""

    def __init__(self, request: bytes, records: Records) -> None:
        self._request = request
        self._records = records
        self._parser = httptools.HttpResponseParser(self)
        self.done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        cast("asyncio.Transport", transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        """Parse what came; any error is the reader's result."""
        try:
            self._parser.feed_data(data)
        except Exception as error:  # noqa: BLE001
            self._fail(getattr(error, "__context__", None) or error)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the wait when the answer did not end by itself."""
        self._fail(exc or ConnectionError("the connection was closed within the answer"))

    def on_body(self, body: bytes) -> None:
        """Check the records in a piece of the body."""
        self._records.feed(body)

    def on_message_complete(self) -> None:
        """The answer ended by itself."""
        if not self.done.done():
            self.done.set_result(self._parser.get_status_code())

    def _fail(self, error: BaseException) -> None:
        if not self.done.done():
            self.done.set_exception(error)


async def read(port: int, request: bytes, records: Records) -> int:
    """Send a request, feed the body of the answer to the records and return the status."""
    loop = asyncio.get_running_loop()
    transport, reader = await loop.create_connection(
        lambda: PlainReader(request, records), "127.0.0.1", port
    )
    try:
        return await reader.done
    finally:
        transport.close()


def request_bytes(method: str, target: str, headers: dict[str, str] | None = None) -> bytes:
    """Return a request; a POST has an empty JSON object as its body."""
    body = b"{}" if method == "POST" else b""
    lines = [f"{method} {target} HTTP/1.1", "host: 127.0.0.1", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body
