"""The command line. Commands are imported when they are used, so that ``flexlog --help`` is quick."""

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

from streams.errors import StreamsError

GROUP = "flexlog.commands"

# Name, where its click command is, and what the list says of it.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "contracts": ("streams.cli.contracts:contracts", "Show and check the topics and event types; release schemas."),
    "new": ("streams.cli.new:new", "Start a processor or a topic: its files, with a test that passes."),
    "query": ("streams.cli.data:query", "Ask the history of a data folder in SQL."),
    "tail": ("streams.cli.data:tail", "Print the events of a topic as JSON."),
    "replay": ("streams.cli.replay:replay", "Run recorded commits again and report the first difference."),
    "kafka": ("streams.cli.kafka:kafka", "Start and stop a Kafka and a schema registry on this machine."),
    "run": ("streams.cli.run:run", "Run processors on a cluster, each in a process of its own."),
    "sink": ("streams.cli.sink:sink", "Fill the ClickHouse history from a cluster."),
    "topics": ("streams.cli.topics:topics", "Compare a cluster and its registry with the contracts; bring it about."),
    "docs": ("streams.cli.docs:docs", "Write the reference pages from code and contracts."),
}


def _offered() -> dict[str, EntryPoint]:
    """Commands that installed packages add."""
    return {point.name: point for point in entry_points(group=GROUP) if point.name not in COMMANDS}


class Commands(click.Group):
    """A group that imports a command when it is used, and says an error in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The library's own commands, then those of other packages."""
        del ctx
        return [*COMMANDS, *sorted(_offered())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command; None where there is none of this name."""
        del ctx
        if cmd_name in COMMANDS:
            module, _, name = COMMANDS[cmd_name][0].partition(":")
            found: Any = getattr(import_module(module), name)
        elif point := _offered().get(cmd_name):
            found = point.load()
        else:
            return None
        if not isinstance(found, click.Command):
            raise click.ClickException(f"{cmd_name} is no command: {found!r}")
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing any."""
        del ctx
        rows = [(name, text) for name, (_, text) in COMMANDS.items()]
        rows += [(name, f"Of {point.module}; see flexlog {name} --help.") for name, point in sorted(_offered().items())]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what a person got wrong is one line, not a traceback."""
        try:
            return super().invoke(ctx)
        except StreamsError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="flexlog", message="flexlog %(version)s")
def main() -> None:
    """Flexlog: flexibility as typed events, replayable to the byte."""
