"""The page that says which test holds which demand of the protocol names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "PROTOCOL_COVERAGE.md"


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`(test_\w+)::(test_\w+)`", PAGE.read_text())
    assert len(named) > 100
    missing = [
        f"{file}::{test}"
        for file, test in named
        if not re.search(rf"^(async )?def {test}\(", _text(file), re.MULTILINE)
    ]
    assert missing == []


def test_every_line_says_what_holds_it() -> None:
    rows = [line.split("|") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    assert all(len(row) == 6 and row[2].strip() and row[4].strip() for row in rows)


def _text(file: str) -> str:
    path = HERE / f"{file}.py"
    return path.read_text() if path.exists() else ""
