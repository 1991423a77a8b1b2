"""One browser for all tests of a file, clean for each of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from browser import chromium
from durable_demos._pages import ensure_pages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium import webdriver

HERE = Path(__file__).parent


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build the pages before the first test: it may take longer than a test is given."""
    ours = any(item.path.parent == HERE for item in session.items)
    if ours and not session.config.option.collectonly:
        ensure_pages()


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """The browser of this file's tests."""
    with chromium(tmp_path_factory.mktemp("profile")) as running:
        yield running
