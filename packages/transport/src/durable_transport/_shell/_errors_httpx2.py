"""The package's errors as errors of httpx2: what an SDK already catches still catches them."""

import httpx2

from durable_transport import _errors
from durable_transport._effects import Breakage, Broke


class GenerationError(_errors.GenerationError, httpx2.RemoteProtocolError):
    """See `durable_transport.GenerationError`."""


class GenerationFailed(_errors.GenerationFailed, httpx2.RemoteProtocolError):
    """See `durable_transport.GenerationFailed`."""


class GenerationTruncated(_errors.GenerationTruncated, httpx2.RemoteProtocolError):
    """See `durable_transport.GenerationTruncated`."""


class GenerationTooLarge(_errors.GenerationTooLarge, httpx2.RemoteProtocolError):
    """See `durable_transport.GenerationTooLarge`."""


class GenerationAborted(_errors.GenerationAborted, httpx2.RemoteProtocolError):
    """See `durable_transport.GenerationAborted`."""


class GenerationTimedOut(_errors.GenerationTimedOut, httpx2.ReadTimeout):
    """See `durable_transport.GenerationTimedOut`."""


class GenerationOrphaned(_errors.GenerationOrphaned, httpx2.RemoteProtocolError):
    """See `durable_transport.GenerationOrphaned`."""


class UpstreamUnreachable(_errors.UpstreamUnreachable, httpx2.ConnectError):
    """See `durable_transport.UpstreamUnreachable`."""


class GenerationNotFound(_errors.GenerationNotFound, httpx2.RemoteProtocolError):
    """See `durable_transport.GenerationNotFound`."""


class OffsetOutOfRange(_errors.OffsetOutOfRange, httpx2.RemoteProtocolError):
    """See `durable_transport.OffsetOutOfRange`."""


class NoDataTimeout(_errors.NoDataTimeout, httpx2.ReadTimeout):
    """See `durable_transport.NoDataTimeout`."""


class ProxyUnreachable(_errors.ProxyUnreachable, httpx2.ConnectError):
    """See `durable_transport.ProxyUnreachable`."""


class ProxyRefused(_errors.ProxyRefused, httpx2.RemoteProtocolError):
    """See `durable_transport.ProxyRefused`."""


class NotADurableProxy(_errors.NotADurableProxy, httpx2.RemoteProtocolError):
    """See `durable_transport.NotADurableProxy`."""


class ProxyProtocolError(_errors.ProxyProtocolError, httpx2.RemoteProtocolError):
    """See `durable_transport.ProxyProtocolError`."""


_FLAVOURED: dict[type[_errors.GenerationError], type[_errors.GenerationError]] = {
    _errors.GenerationError: GenerationError,
    _errors.GenerationFailed: GenerationFailed,
    _errors.GenerationTruncated: GenerationTruncated,
    _errors.GenerationTooLarge: GenerationTooLarge,
    _errors.GenerationAborted: GenerationAborted,
    _errors.GenerationTimedOut: GenerationTimedOut,
    _errors.GenerationOrphaned: GenerationOrphaned,
    _errors.UpstreamUnreachable: UpstreamUnreachable,
    _errors.GenerationNotFound: GenerationNotFound,
    _errors.OffsetOutOfRange: OffsetOutOfRange,
    _errors.NoDataTimeout: NoDataTimeout,
    _errors.ProxyUnreachable: ProxyUnreachable,
    _errors.ProxyRefused: ProxyRefused,
    _errors.NotADurableProxy: NotADurableProxy,
    _errors.ProxyProtocolError: ProxyProtocolError,
}


def flavoured(error: _errors.GenerationError) -> _errors.GenerationError:
    """The same error, as one of httpx2 too."""
    return _FLAVOURED[type(error)](
        error.detail,
        code=error.code,
        session_id=error.session_id,
        request_id=error.request_id,
        offset=error.offset,
        terminal=error.terminal,
    )


_NOT_CONNECTED = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
_HOPELESS = (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)


def broke(error: httpx2.TransportError) -> Broke:
    """How a connection failed."""
    if isinstance(error, _NOT_CONNECTED):
        how = Breakage.NOT_CONNECTED
    elif isinstance(error, httpx2.ReadTimeout):
        how = Breakage.SILENT
    elif isinstance(error, _HOPELESS):
        how = Breakage.HOPELESS
    else:
        how = Breakage.DROPPED
    return Broke(how, error)
