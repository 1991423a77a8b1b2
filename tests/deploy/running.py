"""The services of the compose file as processes: their own commands and environments."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.composed import command, dockerfile, environment

if TYPE_CHECKING:
    from collections.abc import Mapping

UNIT = float(os.environ.get("DURABLE_TEST_UNIT", "1"))
START_SECONDS = 40 * UNIT
POLL_SECONDS = 0.05
PROGRAMS = Path(sys.executable).parent


class Process:
    """One container's process. Only addresses differ from what the files say.

    Args:
        service: Of the compose file.
        variables: What ``.env`` says.
        addresses: What stands in place of addresses that only the network of compose knows.
        folder: Empty, and stays so: the container has a file system that is read only.
        log: For what it says.
    """

    def __init__(
        self,
        service: str,
        variables: Mapping[str, str],
        addresses: Mapping[str, str],
        *,
        folder: Path,
        log: Path,
    ) -> None:
        self._service = service
        self._log = log
        given = {"PATH": os.environ["PATH"], "HOME": str(folder)}
        for name, value in environment(service, variables).items():
            given[name] = value
            for inside, here in addresses.items():
                given[name] = given[name].replace(inside, here)
        program, *arguments = command(service)
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [PROGRAMS / program, *arguments, "--port", "0"],
                cwd=folder,
                env=given,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.port = self._announced()
        self.url = f"http://127.0.0.1:{self.port}"

    def _announced(self) -> int:
        deadline = time.monotonic() + START_SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            if found := re.search(r"http://[\d.]+:(\d+)", self._log.read_text()):
                return int(found[1])
            time.sleep(POLL_SECONDS)
        self.process.kill()
        self.process.wait()
        raise AssertionError(f"{self._service} did not start: {self._log.read_text()}")

    def is_healthy(self) -> bool:
        """Run the image's health check once."""
        image = dockerfile(self._service)
        _, (program, option, code) = image.health_check
        assert program == "python"
        here = code.replace(f"'127.0.0.1', {image.last('EXPOSE')}", f"'127.0.0.1', {self.port}")
        assert here != code
        done = subprocess.run(
            [sys.executable, option, here], capture_output=True, check=False, timeout=30 * UNIT
        )
        return done.returncode == 0

    def wait_until_healthy(self, *, is_so: bool = True) -> None:
        """Poll the health check as an engine does."""
        deadline = time.monotonic() + START_SECONDS
        while self.is_healthy() != is_so:
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(POLL_SECONDS)

    def ask_to_stop(self) -> None:
        """Send what an engine sends first."""
        self.process.send_signal(signal.SIGTERM)

    def exit_code(self, within: float) -> int:
        """Wait for its end."""
        return self.process.wait(within)

    def end(self) -> None:
        """Be sure that it is gone."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
