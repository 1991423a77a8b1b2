"""What the emulator is told to answer. Pure data."""

import random
import re
from collections.abc import Iterable, Iterator

from pydantic import BaseModel, ConfigDict

DEFAULT_ID = "default"


class _Model(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64"
    )


class ToolCall(_Model):
    """One tool call of the model; ``arguments`` are the pieces of its JSON text."""

    name: str
    arguments: tuple[str, ...]
    id: str = "call_0001"


class Reject(_Model):
    """An answer that is not 2xx, for the first ``times`` calls (None: for every call)."""

    status: int
    message: str = "rejected by the script"
    headers: tuple[tuple[str, str], ...] = ()
    times: int | None = None


class Cut(_Model):
    """The connection is closed after ``packets`` packets of the body.

    With ``promise_length`` the answer had promised its full Content-Length; without, it is
    chunked and the last chunk never comes.
    """

    packets: int
    promise_length: bool = False


class Script(_Model):
    """One scripted answer.

    Attributes:
        id: Requests select the script by it (model name or ``x-emulator-script``).
        tokens: Pieces of the answer's text, one delta each.
        tool_calls: Calls that follow the text.
        after_tools: Id of the script that answers when the request brings results of tools.
        raw: Body of ``/raw/{id}``, repeated ``raw_times``; each piece is one packet.
        content_type: Of ``/raw/{id}``.
        headers_delay: Seconds before the response headers.
        pace: Seconds before each packet.
        split: Bytes per packet; 0 is one SSE event per packet. 1 splits every multi-byte
            character between packets.
        split_seed: With it, packets are 1 to ``2 * split`` bytes, drawn from this seed.
        hold_after: Wait after this many packets until somebody calls ``release(id)``.
        gzip: Send the body with ``Content-Encoding: gzip``.
        headers: Extra response headers.
    """

    id: str = DEFAULT_ID
    tokens: tuple[str, ...] = ("Hello", ",", " world", ".")
    tool_calls: tuple[ToolCall, ...] = ()
    after_tools: str | None = None
    raw: tuple[bytes, ...] = ()
    raw_times: int = 1
    content_type: str = "application/octet-stream"
    headers_delay: float = 0.0
    pace: float = 0.0
    split: int = 0
    split_seed: int | None = None
    hold_after: int | None = None
    gzip: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    reject: Reject | None = None
    cut: Cut | None = None

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(self.tokens)

    def packets(self, frames: Iterable[bytes]) -> Iterator[bytes]:
        """The body as it is written to the socket, piece by piece."""
        if not self.split:
            yield from frames
            return
        body = b"".join(frames)
        sizes = random.Random(self.split_seed)
        at = 0
        while at < len(body):
            size = self.split if self.split_seed is None else sizes.randint(1, 2 * self.split)
            yield body[at : at + size]
            at += size


def words(text: str) -> tuple[str, ...]:
    """Cut a text into token-like pieces that join to the text again."""
    return tuple(re.findall(r"\s*\S{1,6}", text) or [text])
