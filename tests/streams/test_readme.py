"""The README tells the truth."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import durable_streams_server
from durable_streams_server._answer import STATUS
from streams.gate import PATIENCE

README = (Path(durable_streams_server.__file__).parents[2] / "README.md").read_text()


def test_the_example_runs(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert len([line for line in example.splitlines() if line.strip()]) <= 11
    for _ in range(2):  # the second time there is a stream already
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", example],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert (done.stdout, done.stderr) == ("Hello, world.\n", "")


def test_the_table_of_codes_is_the_one_that_is_used() -> None:
    table = README.partition("| code | status |")[2].partition("\n## ")[0]
    told: dict[str, int] = {}
    for codes, status in re.findall(r"((?:`\w+`,? ?)+) \| (\d{3})", table):
        told |= dict.fromkeys(re.findall(r"`(\w+)`", codes), int(status))
    assert told == {code.value: status for code, status in STATUS.items()}
