# ruff: noqa: N818  (outcomes of a generation, named like websockets' ConnectionClosed)
"""What can go wrong, as a map.

    DurableTransportError
    ├── you misused it
    │   ├── InvalidProxyURL        (ValueError)  the base URL cannot be one
    │   └── HeaderCollision        (ValueError)  headers= and the request both set a header
    ├── StorageError               the generation storage cannot be used
    └── GenerationError            code, session_id, request_id, offset, terminal
        ├── the generation ended, and not with success
        │   ├── GenerationFailed       the upstream broke off, or the log could not take all of it
        │   │   ├── GenerationTruncated    the upstream sent less than it had promised
        │   │   └── GenerationTooLarge     the upstream sent more than the proxy takes
        │   ├── GenerationAborted      somebody called stop
        │   ├── GenerationTimedOut     the upstream was silent, or did not end, for too long
        │   ├── GenerationOrphaned     the proxy node that ran it is gone
        │   └── UpstreamUnreachable    the proxy could not connect to the upstream
        ├── it cannot be read
        │   ├── GenerationNotFound     its stream was deleted
        │   └── OffsetOutOfRange       its stream ends before our offset
        └── it may well go on: resume it
            ├── NoDataTimeout          the client's own read timeout ran out
            ├── ProxyUnreachable       no answer from the proxy within the limit
            ├── ProxyRefused           the proxy answered, and said no
            ├── NotADurableProxy       something else answered
            └── ProxyProtocolError     the proxy's answer contradicts itself

What a transport raises while a request runs is in addition an instance of the HTTP library's own
class (``RemoteProtocolError``, ``ReadTimeout`` or ``ConnectError``), so that an SDK sees what it
would see without a durable transport.
"""

from typing import ClassVar

from durable_transport.protocol import ErrorCode, TerminalCode, TerminalPayload


class DurableTransportError(Exception):
    """Base of every error of this package."""


class InvalidProxyURL(DurableTransportError, ValueError):
    """The base URL given to a transport cannot be one."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(url, reason)

    def __str__(self) -> str:
        return (
            f"{self.url!r} is not a proxy base URL: {self.reason}. "
            f"Use the address the proxy serves on, for example http://localhost:4000"
        )


class HeaderCollision(DurableTransportError, ValueError):
    """A header for the proxy has the name of a header the request sends upstream."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(name)

    def __str__(self) -> str:
        return (
            f"headers= sets {self.name!r}, and so does the request itself: one of them would be "
            f"lost. Send the proxy's credentials as X-Proxy-Authorization "
            f"(x-proxy-* headers never go upstream)"
        )


class StorageError(DurableTransportError):
    """The storage of active generations cannot be used."""

    def __init__(self, where: str, reason: str) -> None:
        self.where = where
        self.reason = reason
        super().__init__(where, reason)

    def __str__(self) -> str:
        return (
            f"generation storage {self.where}: {self.reason}. Give FileStorage a directory "
            f"this process may create and write to"
        )


class GenerationError(DurableTransportError):
    """A generation did not come to a good end, or we cannot go on reading it.

    Attributes:
        detail: What was seen, in words.
        code: Stable, lower-case: an `ErrorCode`, a `TerminalCode`, or the one of the class.
        session_id: As the caller wrote it (or the UUID that was made up).
        request_id: Likewise.
        offset: Bytes of the body that were handed out, counted from the generation's start.
        terminal: The generation's last record, if it was read: state, reason, actor, bytes, timing.
    """

    default_code: ClassVar[str] = "generation_error"
    summary: ClassVar[str] = "the generation did not complete"

    def __init__(
        self,
        detail: str = "",
        *,
        code: str | None = None,
        session_id: str = "",
        request_id: str = "",
        offset: int = 0,
        terminal: TerminalPayload | None = None,
    ) -> None:
        # Cooperative: the classes the transports raise have an HTTP library's error next in line.
        super().__init__(detail)
        self.detail = detail
        self.code = str(code or self.default_code)
        self.session_id = session_id
        self.request_id = request_id
        self.offset = offset
        self.terminal = terminal

    @property
    def reason(self) -> str | None:
        """Why it ended: one word of the proxy's, or what whoever stopped it said."""
        return None if self.terminal is None else self.terminal.reason

    @property
    def actor(self) -> str | None:
        """Who stopped it."""
        return None if self.terminal is None else self.terminal.actor

    def __str__(self) -> str:
        what = f"{self.summary}: {self.detail}" if self.detail else self.summary
        return (
            f"{what} [{self.code}, session {self.session_id or '-'}, "
            f"request {self.request_id or '-'}, offset {self.offset}]"
        )


class GenerationFailed(GenerationError):
    """The upstream broke off, sent less than it had promised, or could not be recorded."""

    default_code = TerminalCode.UPSTREAM_ERROR
    summary = "the generation failed"


class GenerationTruncated(GenerationFailed):
    """The upstream sent less than it had promised."""

    default_code = TerminalCode.UPSTREAM_TRUNCATED
    summary = "the upstream ended its answer too early"


class GenerationTooLarge(GenerationFailed):
    """The upstream sent more than the proxy takes; what it takes was handed out."""

    default_code = TerminalCode.TOO_LARGE
    summary = "the answer is larger than the proxy takes"


class GenerationAborted(GenerationError):
    """Somebody called stop."""

    default_code = TerminalCode.ABORTED
    summary = "the generation was stopped"


class GenerationTimedOut(GenerationError):
    """The upstream was silent, or did not come to an end, for longer than the proxy allows."""

    default_code = TerminalCode.UPSTREAM_TIMEOUT
    summary = "the upstream timed out"


class GenerationOrphaned(GenerationError):
    """The proxy node that ran the generation is gone; nothing more will come."""

    default_code = TerminalCode.ORPHANED
    summary = "the proxy node that ran the generation is gone"


class UpstreamUnreachable(GenerationError):
    """The proxy could not connect to the upstream: no generation was started."""

    default_code = TerminalCode.UPSTREAM_UNREACHABLE
    summary = "the proxy cannot reach the upstream"


class GenerationNotFound(GenerationError):
    """The generation's stream does not exist (any more)."""

    default_code = ErrorCode.STREAM_NOT_FOUND
    summary = "the generation does not exist or was deleted"


class OffsetOutOfRange(GenerationError):
    """The stream ends before our offset: it was made anew, or the store was restored."""

    default_code = ErrorCode.OFFSET_OUT_OF_RANGE
    summary = "the stored offset is past the end of the stream; resume with from_start=True"


class NoDataTimeout(GenerationError):
    """No data within the client's own read timeout. The generation itself goes on."""

    default_code = "read_timeout"
    summary = "no data within the client's read timeout; the generation goes on, resume it"


class ProxyError(GenerationError):
    """The proxy, or what answers in its place. The generation itself may well go on."""

    default_code = "proxy_error"
    summary = "the proxy cannot be used"


class ProxyUnreachable(ProxyError):
    """No usable answer from the proxy for as long as the transport keeps trying."""

    default_code = "proxy_unreachable"
    summary = "the proxy cannot be reached"


class ProxyRefused(ProxyError):
    """The proxy said no to a read, for example because the credentials have expired."""

    default_code = "proxy_refused"
    summary = "the proxy refused the request"


class NotADurableProxy(ProxyError):
    """Something answered that is not a durable proxy."""

    default_code = "not_a_durable_proxy"
    summary = (
        "the answer is not from a durable proxy; check that the base URL is the proxy's own "
        "address, without /api at its end, and that nothing in between answers in its place"
    )


class ProxyProtocolError(ProxyError):
    """The proxy's answer contradicts itself or the protocol."""

    default_code = "proxy_protocol"
    summary = "the proxy broke the protocol"


_BY_CODE: dict[str, type[GenerationError]] = {
    TerminalCode.ABORTED: GenerationAborted,
    TerminalCode.UPSTREAM_TRUNCATED: GenerationTruncated,
    TerminalCode.TOO_LARGE: GenerationTooLarge,
    ErrorCode.GENERATION_ABORTED: GenerationAborted,
    TerminalCode.ORPHANED: GenerationOrphaned,
    TerminalCode.UPSTREAM_TIMEOUT: GenerationTimedOut,
    TerminalCode.UPSTREAM_UNREACHABLE: UpstreamUnreachable,
    ErrorCode.GENERATION_LOST: GenerationOrphaned,
}


def ended_as(code: str) -> type[GenerationError]:
    """The class for a terminal code; a code we do not know is a failure like any other."""
    return _BY_CODE.get(code, GenerationFailed)


def may_go_on(error: GenerationError) -> bool:
    """Whether the generation may still run, or have been started, for all we know."""
    return isinstance(error, (NoDataTimeout, ProxyError))
