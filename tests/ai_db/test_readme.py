"""The README tells the truth."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import durable_ai_db

README = (Path(durable_ai_db.__file__).parents[2] / "README.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_live_collections(unit: float) -> None:
    (example,) = (one for one in EXAMPLES if "Source[" in one)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example],
        capture_output=True,
        text=True,
        timeout=30 * unit,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert lines == re.findall(r"`((?:Inserted|Updated)\(.*?\))`", README)
    assert len(lines) == 2


def test_all_is_what_is_there() -> None:
    public = {
        name
        for name, value in vars(durable_ai_db).items()
        if not name.startswith("_")
        and getattr(value, "__module__", "").startswith("durable_ai_db")
        and not isinstance(value, type(durable_ai_db))
    }
    assert public | {"__version__"} == set(durable_ai_db.__all__)
    assert sorted(durable_ai_db.__all__) == durable_ai_db.__all__


def test_messages_from_chunks(unit: float) -> None:
    (example,) = (one for one in EXAMPLES if "Materializer(" in one)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example],
        capture_output=True,
        text=True,
        timeout=30 * unit,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert "message a1" in lines
    assert lines[-1] == "It is raining. False"
    assert f"`{lines[-1]}`" in README
