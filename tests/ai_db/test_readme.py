"""The README tells the truth."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import durable_ai_db
from ai_db.chat_service import tool_call
from ai_db.logs import logged
from ai_db.sessions import chunk_row
from ai_db.test_sync_client import service_in_a_thread
from durable_ai_db import DurableChatClient

if TYPE_CHECKING:
    import pytest

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


def test_a_client(unit: float) -> None:
    (example,) = (one for one in EXAMPLES if "asyncio.run" in one)
    assert len([line for line in example.splitlines() if line.strip()]) <= 10
    with service_in_a_thread() as service:
        done = subprocess.run(
            [
                *(sys.executable, "-W", "error", "-c"),
                example.replace("http://localhost:4001", service.url),
            ],
            capture_output=True,
            text=True,
            timeout=30 * unit,
            check=True,
        )
    assert f"`{done.stdout.strip()}`" in README


def test_a_query_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = (one for one in EXAMPLES if "client.collections" in one and "asyncio" not in one)
    assert len(example.splitlines()) == 3
    client = DurableChatClient("s", "http://127.0.0.1:9")
    scope = {"client": client}
    exec(example, scope)
    client._db.state.take(tool_call("q1"))
    answer = {"type": "approval-response", "approvalId": "q1", "approved": True}
    client._db.state.take(logged(chunk_row("x", 0, answer, actor="ada", role="user")))
    assert capsys.readouterr().out.splitlines() == ["to be answered: q1", "to be answered:"]


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
