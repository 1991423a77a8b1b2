"""Fixtures of the end-to-end tests: everything runs on loopback and is stopped by the test."""

from collections.abc import Iterator

import pytest

import emulator


@pytest.fixture(scope="session")
def upstream() -> Iterator[emulator.Upstream]:
    """One emulator for all tests; scripts have ids of their own."""
    with emulator.serve() as running:
        yield running
