"""One line for the ``openai`` SDK."""

from typing import TYPE_CHECKING, Any

from durable_ai_transport.native._http import Headers, StorageOrPath, Wiring, library, refuse

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI


def durable_openai(
    proxy_url: str,
    *,
    session: str | None = None,
    storage: StorageOrPath = None,
    headers: Headers = None,
    **options: Any,
) -> "OpenAI":
    """An ``openai.OpenAI`` whose answers survive a drop.

    Args:
        proxy_url: The durable proxy's base URL, for example ``http://localhost:4000``.
        session: The conversation of calls that name none (`durable_transport.session`).
        storage: Where is remembered what can be resumed: a directory, or a `Storage`. In memory,
            when absent, so that another process cannot resume.
        headers: For the proxy only, such as its secret: a mapping, or a function.
        options: For ``OpenAI`` itself: ``api_key``, ``base_url``, ``max_retries``, ``timeout`` …

    Raises:
        ImportError: openai is not installed.
        InvalidProxyURL: ``proxy_url`` cannot be one.
        TypeError: ``http_client`` is among the options.
    """
    sdk = library("openai", extra="openai", caller="durable_openai")
    refuse(options, "http_client", caller="durable_openai")
    wiring = Wiring.of(proxy_url, session, storage, headers)
    http = wiring.client(sdk.DefaultHttpxClient)
    client: OpenAI = sdk.OpenAI(http_client=http, **options)
    return client


def durable_async_openai(
    proxy_url: str,
    *,
    session: str | None = None,
    storage: StorageOrPath = None,
    headers: Headers = None,
    **options: Any,
) -> "AsyncOpenAI":
    """An ``openai.AsyncOpenAI`` whose answers survive a drop; the rest as in `durable_openai`."""
    sdk = library("openai", extra="openai", caller="durable_async_openai")
    refuse(options, "http_client", caller="durable_async_openai")
    wiring = Wiring.of(proxy_url, session, storage, headers)
    http = wiring.async_client(sdk.DefaultAsyncHttpxClient)
    client: AsyncOpenAI = sdk.AsyncOpenAI(http_client=http, **options)
    return client
