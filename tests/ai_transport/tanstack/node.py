"""The unmodified npm packages, run in Node."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).parents[2] / "conformance"


def run(script: str, given: Any) -> Any:
    """Give a script JSON, and return what it prints."""
    done = subprocess.run(
        ["node", SCRIPTS / script],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def run_beside(script: str, *given: str, limit: float) -> Any:
    """Run a script beside the servers of this process; return what it prints."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *("node", str(SCRIPTS / script), *given), stdout=pipe, stderr=pipe, limit=2**24
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), limit)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()
    return json.loads(out)
