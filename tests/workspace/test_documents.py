"""What the documents say of the tests is true."""

from __future__ import annotations

import re

import pytest

from workspace._project import ROOT

TEST = re.compile(r"`([\w/]+\.py)::(test_\w+)`")
PITFALLS = [*range(1, 103), *range(123, 131)]
"""Those in between are about sessions."""


def _named() -> list[tuple[str, str]]:
    return TEST.findall((ROOT / "docs" / "PITFALLS.md").read_text())


@pytest.mark.parametrize(("file", "name"), sorted(set(_named())))
def test_every_test_that_is_named_exists(file: str, name: str) -> None:
    text = (ROOT / "tests" / file).read_text()
    assert re.search(rf"^(async )?def {name}\(", text, re.MULTILINE)


COVERED = re.compile(r"`(test_\w+)::(test_\w+)`")


def test_every_test_of_the_coverage_exists() -> None:
    document = (ROOT / "docs" / "PROTOCOL_COVERAGE.md").read_text()
    streams, _, proxy = document.partition("## Proxy protocol")
    for folder, text in (("streams", streams), ("proxy", proxy)):
        named = COVERED.findall(text)
        assert named
        for module, name in named:
            source = (ROOT / "tests" / folder / f"{module}.py").read_text()
            assert re.search(rf"^ *(async )?def {name}\(", source, re.MULTILINE), (module, name)


def test_every_pitfall_has_a_line() -> None:
    lines = re.findall(
        r"^\| (\d+) \|.*\| (.+) \|$", (ROOT / "docs" / "PITFALLS.md").read_text(), re.MULTILINE
    )
    assert [int(number) for number, _ in lines] == PITFALLS
