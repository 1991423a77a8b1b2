"""One line for LangChain."""

from typing import TYPE_CHECKING, Any

from durable_ai_transport.native._http import Headers, StorageOrPath, Wiring, library, refuse

if TYPE_CHECKING:
    from langchain_openai import ChatOpenAI


def durable_chat_openai(
    proxy_url: str,
    *,
    session: str | None = None,
    storage: StorageOrPath = None,
    headers: Headers = None,
    **options: Any,
) -> "ChatOpenAI":
    """A ``langchain_openai.ChatOpenAI`` whose answers survive a drop, sync and async.

    Args:
        proxy_url: The durable proxy's base URL, for example ``http://localhost:4000``.
        session: The conversation of calls that name none (`durable_transport.session`).
        storage: Where is remembered what can be resumed: a directory, or a `Storage`. In memory,
            when absent, so that another process cannot resume.
        headers: For the proxy only, such as its secret: a mapping, or a function that is not
            ``async``.
        options: For ``ChatOpenAI`` itself: ``model``, ``api_key``, ``max_retries`` …

    Raises:
        ImportError: langchain-openai is not installed.
        InvalidProxyURL: ``proxy_url`` cannot be one.
        TypeError: ``http_client`` or ``http_async_client`` is among the options.
    """
    caller = "durable_chat_openai"
    langchain = library("langchain_openai", extra="langchain", caller=caller)
    refuse(options, "http_client", "http_async_client", caller=caller)
    sdk = library("openai", extra="langchain", caller=caller)
    wiring = Wiring.of(proxy_url, session, storage, headers)
    if "http_socket_options" in langchain.ChatOpenAI.model_fields:
        # Sockets are the clients' business; otherwise it warns that it ignores the system's proxy.
        options.setdefault("http_socket_options", ())
    model: ChatOpenAI = langchain.ChatOpenAI(
        http_client=wiring.client(sdk.DefaultHttpxClient, keep_connections=False),
        http_async_client=wiring.async_client(sdk.DefaultAsyncHttpxClient, keep_connections=False),
        **options,
    )
    return model
