"""The floor of live reads: what is posted to a path goes to all who read it, and nothing is kept.

Bare ASGI on the same HTTP server. Every reader is a request of its own that waits and sends for
itself; an event is encoded once for all of them, with as many bytes as a server of streams sends.
"""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from typing import Any

from bench.bare import serve

CONTROL = (
    b'event: control\ndata:{"streamNextOffset":"%020d","streamCursor":"1","upToDate":true}\n\n'
)


class Channel:
    """The readers of one path."""

    def __init__(self) -> None:
        self.size = 0
        self._waiting: list[tuple[list[bytes], asyncio.Event]] = []

    def join(self) -> tuple[list[bytes], asyncio.Event]:
        """Return the frames of a new reader and what tells that there are some."""
        member: tuple[list[bytes], asyncio.Event] = ([], asyncio.Event())
        self._waiting.append(member)
        return member

    def leave(self, member: tuple[list[bytes], asyncio.Event]) -> None:
        """Forget a reader."""
        self._waiting.remove(member)

    def publish(self, data: bytes) -> None:
        """Hand one event to every reader."""
        self.size += len(data)
        frame = b"event: data\ndata:" + data + b"\n\n" + CONTROL % self.size
        for frames, news in self._waiting:
            frames.append(frame)
            news.set()


channels: defaultdict[str, Channel] = defaultdict(Channel)


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Serve PUT (nothing to do), POST (publish) and GET (read until the client leaves)."""
    if scope["type"] != "http":
        return
    channel = channels[scope["path"]]
    if scope["method"] == "GET":
        await _read(channel, receive, send)
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if scope["method"] == "POST":
        channel.publish(body)
    status = 204 if scope["method"] == "POST" else 201
    headers = [] if status == 204 else [(b"content-length", b"0")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _read(channel: Channel, receive: Any, send: Any) -> None:
    frames, news = member = channel.join()
    headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": CONTROL % 0, "more_body": True})
    gone = asyncio.create_task(_until_gone(receive, news))
    while not gone.done():
        await news.wait()
        news.clear()
        if frames:
            data = frames[0] if len(frames) == 1 else b"".join(frames)
            frames.clear()
            await send({"type": "http.response.body", "body": data, "more_body": True})
    channel.leave(member)


async def _until_gone(receive: Any, news: asyncio.Event) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    news.set()


if __name__ == "__main__":
    serve(app, int(sys.argv[1]))
