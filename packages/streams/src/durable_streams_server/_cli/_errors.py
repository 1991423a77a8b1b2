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
    program: str | None = None

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the error."""
        click.echo(f"{self.program}: {self.format_message()}", file=file, err=True)


class NoStreamError(CommandError):
    """There is no such stream."""

    exit_code = 3


class Program(click.Group):
    """A program of commands; its name stands before what they have to say."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except CommandError as error:
            error.program = self.name
            raise


def remark(text: str) -> None:
    """Say something beside the output of the command that runs."""
    click.echo(f"{click.get_current_context().find_root().command.name}: {text}", err=True)
