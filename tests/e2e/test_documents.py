"""The Python examples of docs/*.md run as they are printed, and print what is printed there."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.conftest import ANY_LOOPBACK
from e2e.proxies import POLL_SECONDS, START_SECONDS, sessions_in_a_thread
from emulator import Script

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.stage import Stage

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```$(?:\n\n^```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
EXAMPLES = [
    pytest.param(page, code, printed, id=f"{page.stem}-{number}")
    for page in sorted(DOCS.glob("*.md"))
    for number, (code, printed) in enumerate(BLOCK.findall(page.read_text()))
]


@contextmanager
def _backend(page: Path, stage: Stage) -> Iterator[str]:
    """Serve the application that the page has, as a process; its other examples call it."""
    applications = [code for code, _ in BLOCK.findall(page.read_text()) if "app = FastAPI" in code]
    if not applications:
        yield "http://127.0.0.1:9"
        return
    folder = stage.directory
    (folder / "backend.py").write_text(applications[0])
    with (folder / "backend.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "backend:app", "--port", "0"],
            cwd=folder,
            env=stage.environment,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not (found := re.search(r"http://\S+", (folder / "backend.log").read_text())):
            assert time.monotonic() < deadline
            time.sleep(POLL_SECONDS)
        yield found[0]
    finally:
        server.kill()
        server.wait()


@pytest.mark.parametrize(("page", "code", "printed"), EXAMPLES)
def test_an_example_runs(stage: Stage, page: Path, code: str, printed: str) -> None:
    stage.upstream.add(Script(id="gpt-5.4-mini", pace=0.1))
    with (
        sessions_in_a_thread("sqlite://", ANY_LOOPBACK) as sessions_url,
        _backend(page, stage) as backend_url,
    ):
        here = code.replace("http://localhost:4000", stage.proxy_url)
        here = here.replace("http://localhost:8000", backend_url)
        here = here.replace("http://localhost:4001", sessions_url)
        assert stage.run(here) == printed


def test_there_are_examples() -> None:
    assert {"DurableSessions-0", "MIGRATION-1"} <= {str(example.id) for example in EXAMPLES}
