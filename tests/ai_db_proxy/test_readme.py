"""The README's examples run as they are printed, and it names every option."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ai_db_proxy.agents import agent_server
from ai_db_proxy.command import COMMAND
from ai_db_proxy.harness import UNIT, served
from durable_ai_db_proxy._cli import serve_command
from durable_ai_db_proxy._settings import Settings

README = (Path(__file__).parents[2] / "packages" / "ai-db-proxy" / "README.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


async def test_the_example_runs() -> None:
    async with agent_server() as agents, served() as client:
        agents.answer("bot", "No.")
        code = EXAMPLES[0].replace("http://localhost:4001", client.url)
        code = code.replace("http://localhost:8000/chat", agents.url("bot"))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-u", "-W", "error", "-c", code),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(30 * UNIT):
                async for line in process.stdout:
                    if b'"isComplete":true' in line and b"No." in line:
                        break
                else:
                    pytest.fail("the answer was not printed")
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()


async def test_the_dependency_of_the_example_lets_in_whom_it_says() -> None:
    names: dict[str, Any] = {}
    exec(EXAMPLES[1], names)
    assert names["app"].title == "durable-ai-db-proxy"
    async with served(authorize=names["who"]) as client:
        ada = {"Authorization": "Bearer token-of-ada"}
        mine, other = client.of("support-42"), client.of("s2")
        assert (await mine.call("PUT", headers=ada)).status_code == 201
        assert (await mine.call("PUT")).status_code == 401
        assert (await other.call("PUT", headers=ada)).status_code == 401


def test_every_option_and_variable_is_described() -> None:
    described = set(re.findall(r"\b[A-Z_]+\b|--[a-z-]+", README))
    assert {name for one in serve_command.params for name in one.opts} <= described
    variables = set()
    for field in Settings.model_fields.values():
        alias = field.validation_alias
        variables |= {alias} if isinstance(alias, str) else set(getattr(alias, "choices", ()))
    assert {str(one) for one in variables} <= described


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0"], "--insecure"),
        (["--run-policy", "never"], "run_policy"),
        (["--allow", "nonsense"], "scheme://host"),
    ],
)
def test_wrong_command_lines_are_explained(arguments: list[str], said: str) -> None:
    done = subprocess.run(
        [str(COMMAND), "serve", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60 * UNIT,
    )
    assert done.returncode == 2
    assert said in done.stderr
