"""The command and its subcommands."""

import click

from durable_streams_server._cli._copy import copy_command
from durable_streams_server._cli._delete import delete_command
from durable_streams_server._cli._doctor import doctor_command
from durable_streams_server._cli._errors import Program
from durable_streams_server._cli._inspect import inspect_command
from durable_streams_server._cli._ls import ls_command
from durable_streams_server._cli._serve import serve_command
from durable_streams_server._cli._tail import tail_command


@click.group(
    "durable-streams", cls=Program, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="durable-streams-server")
def main() -> None:
    """A Durable Streams server: append-only logs over HTTP, on SQLite or Postgres."""


for _command in (
    *(serve_command, ls_command, tail_command, inspect_command, delete_command),
    *(copy_command, doctor_command),
):
    main.add_command(_command)
