"""One line for pydantic-ai."""

import inspect
from typing import TYPE_CHECKING, Any

import httpx2

from durable_ai_transport.native._http import (
    Headers,
    StorageOrPath,
    Wiring,
    library,
    refuse,
)

if TYPE_CHECKING:
    from pydantic_ai.models import Model


def durable_model(
    proxy_url: str,
    model: str,
    *,
    session: str | None = None,
    storage: StorageOrPath = None,
    headers: Headers = None,
    **options: Any,
) -> "Model":
    """A pydantic-ai model whose answers survive a drop, for ``Agent(durable_model(...))``.

    Args:
        proxy_url: The durable proxy's base URL, for example ``http://localhost:4000``.
        model: As pydantic-ai names it, ``provider:model``, such as ``openai:gpt-5.4-mini``,
            ``anthropic:claude-sonnet-5-5``: any provider that speaks HTTP with httpx2.
        session: The conversation of calls that name none (`durable_transport.session`).
        storage: Where is remembered what can be resumed: a directory, or a `Storage`. In memory,
            when absent, so that another process cannot resume.
        headers: For the proxy only, such as its secret: a mapping, or a function.
        options: For the provider, as pydantic-ai has it: ``api_key``, ``base_url`` …

    Raises:
        ImportError: pydantic-ai, or what it needs for this provider, is not installed.
        InvalidProxyURL: ``proxy_url`` cannot be one.
        TypeError: ``http_client`` is among the options, or the provider takes none.
    """
    models = library("pydantic_ai.models", extra="pydantic-ai", caller="durable_model")
    providers = library("pydantic_ai.providers", extra="pydantic-ai", caller="durable_model")
    refuse(options, "http_client", caller="durable_model")
    wiring = Wiring.of(proxy_url, session, storage, headers)

    def provide(name: str) -> Any:
        kind = providers.infer_provider_class(name)
        if "http_client" not in inspect.signature(kind).parameters:
            raise TypeError(
                f"{name!r} cannot be made durable: its provider, {kind.__name__}, takes no "
                f"http_client. Choose one that does, such as openai: or anthropic:"
            )
        # The time limits are those of the client that pydantic-ai makes when it is given none.
        http = wiring.async_client(
            httpx2.AsyncClient, keep_connections=False, timeout=httpx2.Timeout(600, connect=5)
        )
        return kind(http_client=http, **options)

    made: Model = models.infer_model(model, provide)
    return made
