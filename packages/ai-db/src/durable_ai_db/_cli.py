"""``durable-sessions``: commands for sessions, each from an entry point.

The group belongs to this package; ``durable-ai-db-proxy`` adds its own commands to it, and so may
others (entry points of the group ``durable_sessions.commands``).
"""

from importlib.metadata import EntryPoint, entry_points

import click

COMMANDS = "durable_sessions.commands"


class _Commands(click.Group):
    """Loads a command when it is called for, so that one of them does not slow the others down."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *(one.name for one in _installed())})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for one in _installed():
            if one.name == cmd_name:
                command: click.Command = one.load()
                return command
        return super().get_command(ctx, cmd_name)


def _installed() -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=COMMANDS))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="durable-ai-db")
def main() -> None:
    """Chat sessions that are durable logs."""
