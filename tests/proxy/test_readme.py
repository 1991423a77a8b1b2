"""The README's example runs as it is printed, against a proxy and an upstream."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from durable_proxy._cli._serve import serve_command
from durable_proxy._errors import STATUS
from durable_proxy._settings import Settings
from proxy.harness import UNIT, served
from proxy.wire import pieces, upstream

if TYPE_CHECKING:
    from fastapi import FastAPI

README = (Path(__file__).parents[2] / "packages" / "proxy" / "README.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.mark.anyio
async def test_the_example_runs() -> None:
    async with upstream(pieces(b"data: Hel\n\n", b"data: lo\n\n")) as up, served() as proxy:
        code = EXAMPLES[0].replace("http://localhost:4000", proxy.url)
        code = code.replace("https://api.openai.com", up.url)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-W", "error", "-c", code),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60 * UNIT):
            output, errors = await process.communicate()
        assert (process.returncode, errors) == (0, b"")
        assert output == b"data: Hel\n\ndata: lo\n\n\ndone\n"
        (call,) = up.calls
        assert call.path == "/v1/chat/completions"
        assert call.values("authorization") == ["Bearer ..."]


@pytest.mark.parametrize("example", EXAMPLES[1:])
def test_the_application_examples_run(example: str) -> None:
    names: dict[str, FastAPI] = {}
    exec(example, names)
    assert names["app"].title == "durable-proxy"


@pytest.mark.anyio
async def test_the_dependency_of_the_example_lets_in_whom_it_says() -> None:
    names: dict[str, Any] = {}
    exec(EXAMPLES[1], names)
    async with served(authorize=names["who"]) as proxy:
        for user, status in (("guest", 403), ("alice", 400), ("mallory", 401)):
            answer = await proxy.start("nowhere", x_user=user)
            assert answer.status_code == status


def test_every_option_variable_and_code_is_described() -> None:
    text = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    described = set(re.findall(r"`([^`]+)`", text)) | set(re.findall(r"--[a-z-]+", README))
    options = {name for one in serve_command.params for name in one.opts}
    assert options <= described
    variables = set()
    for field in Settings.model_fields.values():
        alias = field.validation_alias
        variables |= {alias} if isinstance(alias, str) else set(getattr(alias, "choices", ()))
    assert {str(one) for one in variables} <= described
    undescribed = {code.value for code in STATUS} - described
    assert undescribed <= {"internal"}
