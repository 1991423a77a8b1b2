"""Options that all demos have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from durable_demos._pages import CACHE

if TYPE_CHECKING:
    from collections.abc import Callable

pace_option = click.option(
    "--pace",
    type=click.FloatRange(0, 60),
    envvar="DEMO_PACE",
    metavar="SECONDS",
    help="Use the scripted model, with this between two of its words.  [DEMO_PACE]",
)


def data_option(name: str, about: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option ``--data``: the folder that a demo keeps its store in."""
    return click.option(
        "--data",
        type=click.Path(file_okay=False, path_type=Path),
        default=CACHE / name,
        help=f"{about}  [.cache/demos/{name}]",
    )
