"""The story: stream, kill the reader, let the model go on alone, resume, compare."""

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console

from durable_demos._interrupt import INTERRUPTED
from durable_demos._options import Pace

from ._answer import PACE_SECONDS
from ._processes import DemoError
from ._screen import open_screen
from ._story import Story


def main() -> int:
    """Run the demo; 0 when the answer is whole and the model was called once."""
    pace = _arguments().pace
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without UTF-8 shows "?"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    console = Console()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="durable-demo-") as directory,
            open_screen(console) as screen,
        ):
            good = Story(screen, Path(directory), os.environ, pace).run()
    except DemoError as error:
        Console(stderr=True).print(f"demo failed: {error}", style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted; everything is stopped")
        return INTERRUPTED
    return 0 if good else 1


def _pace(text: str) -> float:
    try:
        return Pace().convert(text, None, None)
    except click.BadParameter as error:
        raise argparse.ArgumentTypeError(error.message) from error


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="demo interrupted",
        description="Stream an answer, kill its reader half way, resume it in a new process.",
        epilog="With OPENAI_API_KEY set it asks the real API (OPENAI_MODEL, OPENAI_BASE_URL).",
    )
    pace_help = "between the tokens of the emulated model (default: %(default)s)"
    parser.add_argument(
        "--pace", type=_pace, default=PACE_SECONDS, metavar="SECONDS", help=pace_help
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
