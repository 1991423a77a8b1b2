"""The ten lines for each SDK: run as the README says, the model is called once for two runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from durable_demos.interrupted._answer import ANSWER

SCRIPTS = Path(__file__).parents[2] / "demos" / "scripts"
NAMES = sorted(path.name for path in SCRIPTS.glob("with_*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_script_runs_without_a_key(name: str, unit: float) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / "run.py"), name],
        capture_output=True,
        text=True,
        timeout=100 * unit,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count(ANSWER) == 2
    assert "The model was called 1 time." in done.stdout


@pytest.mark.parametrize("arguments", [[], ["nope.py"], ["run.py"], ["with_openai.py", "more"]])
def test_what_is_no_script_is_answered_with_what_there_is(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / "run.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert set(NAMES) <= set(done.stderr.split())


def test_each_is_ten_lines_and_in_the_readme() -> None:
    told = (SCRIPTS / "README.md").read_text()
    assert len(NAMES) == 4
    for name in NAMES:
        code = (SCRIPTS / name).read_text().partition("\n\n")[2]
        assert len([line for line in code.splitlines() if line.strip()]) <= 14, name
        assert f"`{name}`" in told
