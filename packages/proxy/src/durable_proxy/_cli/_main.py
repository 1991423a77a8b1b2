"""The command and its subcommands."""

import click

from durable_proxy._cli._doctor import doctor_command
from durable_proxy._cli._look import (
    delete_command,
    inspect_command,
    ls_command,
    stop_command,
    tail_command,
)
from durable_proxy._cli._serve import serve_command
from durable_streams_server.commands import Program


@click.group("durable-proxy", cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="durable-proxy")
def main() -> None:
    """A proxy that writes streaming HTTP answers to a durable log while they are generated."""


for _command in (
    *(serve_command, ls_command, tail_command, inspect_command, stop_command),
    *(delete_command, doctor_command),
):
    main.add_command(_command)
