# Generated from _errors_httpx2.py by scripts/generate_shells.py: change that file, not this one.
"""The package's errors as errors of httpx: what an SDK already catches still catches them."""

import httpx

from durable_transport import _errors
from durable_transport._effects import Breakage, Broke


class GenerationError(_errors.GenerationError, httpx.RemoteProtocolError):
    """See `durable_transport.GenerationError`."""


class GenerationFailed(_errors.GenerationFailed, httpx.RemoteProtocolError):
    """See `durable_transport.GenerationFailed`."""


class GenerationTruncated(_errors.GenerationTruncated, httpx.RemoteProtocolError):
    """See `durable_transport.GenerationTruncated`."""


class GenerationTooLarge(_errors.GenerationTooLarge, httpx.RemoteProtocolError):
    """See `durable_transport.GenerationTooLarge`."""


class GenerationAborted(_errors.GenerationAborted, httpx.RemoteProtocolError):
    """See `durable_transport.GenerationAborted`."""


class GenerationTimedOut(_errors.GenerationTimedOut, httpx.ReadTimeout):
    """See `durable_transport.GenerationTimedOut`."""


class GenerationOrphaned(_errors.GenerationOrphaned, httpx.RemoteProtocolError):
    """See `durable_transport.GenerationOrphaned`."""


class UpstreamUnreachable(_errors.UpstreamUnreachable, httpx.ConnectError):
    """See `durable_transport.UpstreamUnreachable`."""


class GenerationNotFound(_errors.GenerationNotFound, httpx.RemoteProtocolError):
    """See `durable_transport.GenerationNotFound`."""


class OffsetOutOfRange(_errors.OffsetOutOfRange, httpx.RemoteProtocolError):
    """See `durable_transport.OffsetOutOfRange`."""


class NoDataTimeout(_errors.NoDataTimeout, httpx.ReadTimeout):
    """See `durable_transport.NoDataTimeout`."""


class ProxyUnreachable(_errors.ProxyUnreachable, httpx.ConnectError):
    """See `durable_transport.ProxyUnreachable`."""


class ProxyRefused(_errors.ProxyRefused, httpx.RemoteProtocolError):
    """See `durable_transport.ProxyRefused`."""


class NotADurableProxy(_errors.NotADurableProxy, httpx.RemoteProtocolError):
    """See `durable_transport.NotADurableProxy`."""


class ProxyProtocolError(_errors.ProxyProtocolError, httpx.RemoteProtocolError):
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
    """The same error, as one of httpx too."""
    return _FLAVOURED[type(error)](
        error.detail,
        code=error.code,
        session_id=error.session_id,
        request_id=error.request_id,
        offset=error.offset,
        terminal=error.terminal,
    )


_NOT_CONNECTED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_HOPELESS = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)


def broke(error: httpx.TransportError) -> Broke:
    """How a connection failed."""
    if isinstance(error, _NOT_CONNECTED):
        how = Breakage.NOT_CONNECTED
    elif isinstance(error, httpx.ReadTimeout):
        how = Breakage.SILENT
    elif isinstance(error, _HOPELESS):
        how = Breakage.HOPELESS
    else:
        how = Breakage.DROPPED
    return Broke(how, error)
