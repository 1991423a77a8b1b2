"""One line for the ``anthropic`` SDK."""

from typing import TYPE_CHECKING, Any

from durable_ai_transport.native._http import Headers, StorageOrPath, Wiring, library, refuse

if TYPE_CHECKING:
    from anthropic import Anthropic, AsyncAnthropic


def durable_anthropic(
    proxy_url: str,
    *,
    session: str | None = None,
    storage: StorageOrPath = None,
    headers: Headers = None,
    **options: Any,
) -> "Anthropic":
    """An ``anthropic.Anthropic`` whose answers survive a drop.

    Args:
        proxy_url: The durable proxy's base URL, for example ``http://localhost:4000``.
        session: The conversation of calls that name none (`durable_transport.session`).
        storage: Where is remembered what can be resumed: a directory, or a `Storage`. In memory,
            when absent, so that another process cannot resume.
        headers: For the proxy only, such as its secret: a mapping, or a function.
        options: For ``Anthropic`` itself: ``api_key``, ``base_url``, ``max_retries`` …

    Raises:
        ImportError: anthropic is not installed.
        InvalidProxyURL: ``proxy_url`` cannot be one.
        TypeError: ``http_client`` is among the options.
    """
    sdk = library("anthropic", extra="anthropic", caller="durable_anthropic")
    refuse(options, "http_client", caller="durable_anthropic")
    wiring = Wiring.of(proxy_url, session, storage, headers)
    http = wiring.client(sdk.DefaultHttpxClient)
    client: Anthropic = sdk.Anthropic(http_client=http, **options)
    return client


def durable_async_anthropic(
    proxy_url: str,
    *,
    session: str | None = None,
    storage: StorageOrPath = None,
    headers: Headers = None,
    **options: Any,
) -> "AsyncAnthropic":
    """An ``anthropic.AsyncAnthropic`` that survives a drop; the rest as in `durable_anthropic`."""
    sdk = library("anthropic", extra="anthropic", caller="durable_async_anthropic")
    refuse(options, "http_client", caller="durable_async_anthropic")
    wiring = Wiring.of(proxy_url, session, storage, headers)
    http = wiring.async_client(sdk.DefaultAsyncHttpxClient)
    client: AsyncAnthropic = sdk.AsyncAnthropic(http_client=http, **options)
    return client
