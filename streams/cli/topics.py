"""``flexlog topics``: what a cluster and its schema registry have against the contracts, and bringing it about."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from streams.kafka.plan import Plan, Step
    from streams.kafka.registry import RestRegistry, Waiting
    from streams.kafka.settings import Settings
    from streams.topology import Topology

_WIDTH = 160  # where the output is no terminal
_COLOURS = {"create": "green", "change": "yellow", "forbidden": "bold red", "unknown": "dim", "note": "cyan"}

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_wait = click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="Seconds to wait for a schema registry that is away.",
)


@click.group()
def topics() -> None:
    """Compare a cluster and its schema registry with topics/ and avro/, and bring about what is allowed.

    The cluster is that of FLEXLOG_KAFKA__BOOTSTRAP_SERVERS, the registry that of FLEXLOG_REGISTRY__URL.
    """


@topics.command(name="plan")
@_json
@_wait
@click.pass_context
def show(ctx: click.Context, as_json: bool, wait: float) -> None:
    """Show what is to create, to change, forbidden, and unknown to us. Nothing is changed.

    Exit codes: 0 nothing to do; 2 something is to create or to change; 1 something is forbidden, or cluster or
    registry cannot be asked. What is unknown to us does not count.
    """
    from streams.kafka.topics import plan

    with _there(wait) as (settings, topology, registry):
        found = plan(settings, topology, registry)
    if as_json:
        click.echo(json.dumps(found.json(), indent=2))
    else:
        _print(found)
    ctx.exit(found.exit_code)


@topics.command(name="apply")
@click.option(
    "--delete",
    "names",
    multiple=True,
    metavar="NAME",
    help="Delete this topic, named as the plan names it; may be given several times. Refused for one that we want.",
)
@_json
@_wait
@click.pass_context
def carry_out(ctx: click.Context, names: tuple[str, ...], as_json: bool, wait: float) -> None:
    """Create and change what is allowed; delete nothing but what --delete names. A second run does nothing.

    Exit codes: 0 all is as it should be; 1 something is forbidden (the rest was done), or could not be done.
    """
    from streams.kafka.topics import apply, delete

    done: list[Step] = []

    def tell(step: "Step") -> None:
        done.append(step)
        if not as_json:
            click.echo(f"{step.verb}d {step}")

    with _there(wait) as (settings, topology, registry):
        deleted = delete(settings, topology, names)
        if not as_json:
            for name, was_there in deleted.items():
                click.echo(f"deleted topic {name}" if was_there else f"topic {name}: not there, nothing to delete")
        found = apply(settings, topology, registry, tell)
    forbidden = found.of("forbidden")
    if as_json:
        told = {"deleted": [name for name, was_there in deleted.items() if was_there]}
        steps = {"done": [step.json() for step in done], "forbidden": [step.json() for step in forbidden]}
        click.echo(json.dumps({**told, **steps}, indent=2))
    else:
        for step in forbidden:
            click.echo(f"forbidden {step}", err=True)
        if not (done or forbidden or any(deleted.values())):
            click.echo(f"nothing to do: {found.topics} topics and {found.subjects} schemas are as they should be")
    ctx.exit(1 if forbidden else 0)


@contextmanager
def _there(wait: float) -> "Iterator[tuple[Settings, Topology, RestRegistry]]":
    """Settings, all that is installed, and a registry client that says once that it waits."""
    from streams.kafka.registry import RestRegistry
    from streams.kafka.settings import Settings
    from streams.topology import discover

    said: list[str] = []

    def tell(waiting: "Waiting") -> None:
        if not said:
            said.append(waiting.reason)
            click.echo(f"{waiting.reason}; waiting up to {wait:g} s", err=True)

    settings = Settings.load()
    topology = discover(partitions=settings.kafka.partitions.by_lane())
    registry = RestRegistry(settings.registry, prefix=settings.kafka.prefix, patience_s=wait, on_wait=tell)
    try:
        yield settings, topology, registry
    finally:
        registry.close()


def _print(found: "Plan") -> None:
    """The plan as a table."""
    from streams.kafka.plan import VERBS, summary

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    for verb, title in VERBS.items():
        if steps := found.of(verb):
            console.print(f"[{_COLOURS[verb]}]{title}[/]")
            console.print(_table(steps))
    console.print(f"{found.topics} topics and {found.subjects} schemas are wanted: {summary(found.steps)}")


def _table(steps: "Sequence[Step]") -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, width=8)
    table.add_column(no_wrap=True)
    table.add_column()
    for step in steps:
        kind = "schema" if step.kind in ("schema", "level") else "topic"
        table.add_row(f"  {kind}", escape(step.name), escape(step.text))
    return table
