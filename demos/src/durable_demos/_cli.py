"""The command ``demo NAME``: which demos there are, and running one."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from durable_demos._interrupt import stopped_by_interrupt

DEMOS = {
    "interrupted": "stream an answer in the terminal, kill its reader half way, resume it",
    "terminal": "a chat in the terminal, in several at once: textual, a durable session",
    "vercel-ai-sdk-durable-transport": "a chat page: useChat of the Vercel AI SDK, durable",
    "tanstack-ai-durable-transport": "the same page: useChat of TanStack AI, durable",
    "tanstack-ai-durable-session": "a chat that people and agents share, with its log to look into",
}
"""Names of the demos, each a package here whose ``__main__`` has ``main()``, and what they show."""

ANYTHING = {"ignore_unknown_options": True, "help_option_names": []}
"""A demo reads its own options."""


class Demos(click.Group):
    """The demos as subcommands, each imported when it is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(DEMOS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        about = DEMOS.get(cmd_name)
        if about is None:
            return None
        rest = click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)

        def run(arguments: tuple[str, ...]) -> None:
            sys.argv = [f"demo {cmd_name}", *arguments]
            with stopped_by_interrupt():
                demo = import_module(f"durable_demos.{cmd_name.replace('-', '_')}.__main__")
            sys.exit(demo.main())

        return click.Command(
            cmd_name, params=[rest], callback=run, short_help=about, context_settings=ANYTHING
        )

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Demos"):
            formatter.write_dl(list(DEMOS.items()), col_max=max(map(len, DEMOS)))


@click.command(
    cls=Demos,
    invoke_without_command=True,
    subcommand_metavar="NAME [OPTION]...",
    options_metavar="",
)
@click.pass_context
def main(context: click.Context) -> None:
    """Chat applications that survive anything. No key is needed: without one, a scripted model
    answers; with OPENAI_API_KEY or ANTHROPIC_API_KEY a real one does.

    Ctrl-C ends a demo, Ctrl-Q the one named terminal; `demo NAME --help` tells its options.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


if __name__ == "__main__":
    main(prog_name="demo")
