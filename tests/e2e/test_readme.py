"""The Python examples of the README run as they are printed, against emulator and proxy."""

import re
from pathlib import Path

import pytest

from e2e.stage import Stage
from emulator import Script

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
TARGETS = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("example", EXAMPLES, ids=[f"example-{n}" for n in range(len(EXAMPLES))])
def test_examples_run(stage: Stage, example: str) -> None:
    stage.upstream.add(Script(id="long-answer", raw=(b"\x00" * 1000,) * 3))
    stage.upstream.add(Script(id="gpt-5.4-mini", pace=0.1))  # a real model is not done at once
    code = example.replace("http://localhost:4000", stage.proxy_url)
    code = code.replace("https://example.com/", f"{stage.upstream.url}/raw/")
    printed = stage.run(code)
    if "print(" in code:
        assert "Hello, world." in printed or "000 bytes" in printed


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 5


def test_every_make_target_it_names_exists() -> None:
    named = set(re.findall(r"`make ([a-z]+)`", README))
    assert {"demo", "test"} <= named
    assert named <= TARGETS
