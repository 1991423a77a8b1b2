"""Options that all demos have."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from durable_demos._pages import CACHE

if TYPE_CHECKING:
    from collections.abc import Callable


class Pace(click.FloatRange):
    """Seconds between two words: a number that is above 0 and not longer than a minute."""

    def __init__(self) -> None:
        super().__init__(0, 60, min_open=True)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):  # neither too small nor too large
            self.fail(f"{value} is not a number of seconds", param, ctx)
        return number


pace_option = click.option(
    "--pace",
    type=Pace(),
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
