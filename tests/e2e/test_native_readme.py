"""The README's one-liners run as they are printed; what is missing or wrong names its fix."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from durable_ai_transport import native
from durable_transport import InvalidProxyURL
from e2e.drivers import TIMEOUT
from e2e.stage import Stage
from emulator import Script

PROXY = "http://localhost:4000"
README = (Path(__file__).parents[2] / "packages/ai-transport/README.md").read_text()
SECTION = README.partition("## Your Python client, durable")[2].partition("\n## ")[0]
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)
ONE_LINERS: dict[str, tuple[Callable[..., Any], dict[str, Any], str]] = {
    "openai": (native.durable_openai, {}, "http_client"),
    "async-openai": (native.durable_async_openai, {}, "http_client"),
    "anthropic": (native.durable_anthropic, {}, "http_client"),
    "async-anthropic": (native.durable_async_anthropic, {}, "http_client"),
    "langchain": (native.durable_chat_openai, {"model": "m"}, "http_async_client"),
    "pydantic-ai": (native.durable_model, {"model": "openai:m"}, "http_client"),
}
each = pytest.mark.parametrize("name", ONE_LINERS)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "shown"), [(0, 1), (1, 2), (2, 1)])
def test_the_examples_run(stage: Stage, number: int, shown: int) -> None:
    """Whatever an example shows more than once was asked of the model once."""
    models = ("gpt-5.4-mini", "claude-sonnet-5-5")
    for model in models:
        stage.upstream.forget(model)
        stage.upstream.add(Script(id=model, pace=0.02))
    code = EXAMPLES[number].replace(PROXY, stage.proxy_url)
    printed = stage.run(code, 2 * TIMEOUT)  # to import these libraries takes most of it
    assert printed.count("Hello, world.") == shown
    assert sum(stage.upstream.calls(model) for model in models) == 1


def test_every_example_is_run() -> None:
    assert len(EXAMPLES) == 3


def test_every_public_name_is_in_the_readme() -> None:
    assert [name for name in native.__all__ if f"{name}(" not in SECTION] == []


@each
def test_a_library_that_is_missing_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    function, options, _ = ONE_LINERS[name]
    extra = name.removeprefix("async-")
    for module in ("openai", "anthropic", "langchain_openai", "pydantic_ai", "pydantic_ai.models"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"pip install 'durable-ai-transport\[{extra}\]'"):
        function(PROXY, **options)


@each
def test_an_http_client_of_ones_own_is_refused_with_what_to_do(name: str) -> None:
    function, options, client = ONE_LINERS[name]
    with pytest.raises(TypeError, match=r"give it the\s+transport"):
        function(PROXY, **options, **{client: object()})


@each
def test_what_is_no_proxy_is_told_at_once(name: str) -> None:
    function, options, _ = ONE_LINERS[name]
    with pytest.raises(InvalidProxyURL, match="for example http://localhost:4000"):
        function("localhost:4000", **options, api_key="sk-test")


@each
def test_a_session_that_is_no_id_is_told_at_once(name: str) -> None:
    function, options, _ = ONE_LINERS[name]
    with pytest.raises(ValueError, match="is not an id"):
        function(PROXY, **options, session=" ", api_key="sk-test")


def test_a_provider_without_http_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from pydantic_ai import providers

    class GrpcProvider:
        """None of those that come without an extra of their own is like this."""

    monkeypatch.setattr(providers, "infer_provider_class", lambda _name: GrpcProvider)
    with pytest.raises(TypeError, match=r"GrpcProvider, takes no http_client\. Choose one that"):
        native.durable_model(PROXY, "grpc:m")
