"""Ctrl-C, which ends a demo."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

INTERRUPTED = 130
"""The exit code that shells give a program that Ctrl-C ended."""


@contextmanager
def stopped_by_interrupt() -> Iterator[None]:
    """Say the same at a Ctrl-C whenever it comes, also while the demo starts."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo("\nstopped")
        sys.exit(INTERRUPTED)
