"""How a command fails: one line on standard error, and an exit code that a script can tell apart.

0  done
1  it could not be done
2  wrong command line
3  there is no such stream
"""

from typing import IO, Any

import click


class CommandError(click.ClickException):
    """It could not be done; the text says why, and what to do."""

    exit_code = 1

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the error."""
        click.echo(f"durable-streams: {self.format_message()}", file=file, err=True)


class NoStreamError(CommandError):
    """There is no such stream."""

    exit_code = 3
