"""The command of sessions is one, though its parts are of several packages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from durable_ai_db._cli import main


def test_help_and_version() -> None:
    command = Path(sys.executable).with_name("durable-sessions")
    told = subprocess.run([command, "--help"], check=True, capture_output=True, text=True)
    assert "Usage: durable-sessions" in told.stdout
    version = CliRunner().invoke(main, ["--version"])
    assert version.exit_code == 0


def test_a_command_that_is_not_there() -> None:
    result = CliRunner().invoke(main, ["nothing"])
    assert result.exit_code == 2
    assert "No such command 'nothing'" in result.output
