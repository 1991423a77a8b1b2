"""The command and its subcommands."""

import click

from durable_streams_server._cli._serve import serve_command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="durable-streams-server")
def main() -> None:
    """A Durable Streams server: append-only logs over HTTP, on one SQLite file."""


main.add_command(serve_command)
