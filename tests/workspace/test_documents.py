"""What the documents say of the tests is true."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from workspace._project import ROOT, project_files

if TYPE_CHECKING:
    from pathlib import Path

TEST = re.compile(r"`([\w/]+\.py)::(test_\w+)`")
BROWSER_TEST = re.compile(r"`([\w/-]+\.test\.tsx?)::([^`]+)`")
PITFALLS = [*range(1, 103), *range(123, 131)]
"""Those in between are about sessions."""


def _named(pattern: re.Pattern[str]) -> list[tuple[str, str]]:
    return sorted(set(pattern.findall((ROOT / "docs" / "PITFALLS.md").read_text())))


@pytest.mark.parametrize(("file", "name"), _named(TEST))
def test_every_test_that_is_named_exists(file: str, name: str) -> None:
    text = (ROOT / "tests" / file).read_text()
    assert re.search(rf"^(async )?def {name}\(", text, re.MULTILINE)


@pytest.mark.parametrize(("file", "name"), _named(BROWSER_TEST))
def test_every_test_of_the_browser_that_is_named_exists(file: str, name: str) -> None:
    text = (ROOT / "packages" / "browser" / "test" / file).read_text()
    assert f"('{name}', " in text


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


PAGES = [path for path in project_files() if path.suffix == ".md"]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"")
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def _anchors(page: Path) -> set[str]:
    """The names that a heading is linked by, as GitHub makes them."""
    text = FENCED.sub("", page.read_text())
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one).lower().replace(" ", "-") for one in headings}


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_link_leads_somewhere(page: Path) -> None:
    links = [one or other for one, other in LINK.findall(FENCED.sub("", page.read_text()))]
    for link in links:
        if re.match(r"\w+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link
