"""``flexlog contracts``: what the topics and event types are, and whether their files are right."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from streams.contracts.evolution import release as write_releases
from streams.contracts.examples import examples_file
from streams.contracts.library import Contracts, load
from streams.contracts.policy import check as find_violations
from streams.contracts.schema import UNKNOWN, read_json
from streams.contracts.stubs import stubs as make_stubs
from streams.contracts.topic import APPENDED_AT, Field, Topic
from streams.contracts.units import unit_of
from streams.errors import ContractError

_WIDTH = 120  # where the output is no terminal
_OF_THE_HOSTS = ("stream.", "audit.")
F = TypeVar("F", bound=Callable[..., Any])


def _root(command: F) -> F:
    folder = click.Path(exists=True, file_okay=False, path_type=Path)
    return click.option(
        "--root", type=folder, default=Path(), help="The project: the folder of avro/ and topics/. Default: here."
    )(command)


@click.group()
def contracts() -> None:
    """Show and check the topics and event types; release schemas."""


@contracts.command()
@_root
def check(root: Path) -> None:
    """Check every schema, topic and example; print each violation with its file and field.

    Names, docs, units, types, lanes, orphans, examples (both decoders), checks (none may yield NULL), FULL_TRANSITIVE
    against all released versions, upcasters, generated types.
    """
    found = find_violations(root / "avro", root / "topics")
    for violation in found:
        click.echo(str(violation), err=True)
    if found:
        raise click.ClickException(f"{len(found)} violation{'s' if len(found) > 1 else ''}")
    loaded = load(root / "avro", root / "topics")
    checks = sum(len(topic.checks) for topic in loaded.topics.values())
    fields = sum(len(record.__topic__.fields) for record in loaded.records.values())
    click.echo(
        f"{len(loaded.records)} records, {fields} fields, {len(loaded.topics)} topics, {checks} checks: all well"
    )


@contracts.command(name="list")
def list_() -> None:
    """List the topics that are installed, with their record and lane."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in ("topic", "record", "lane", "key", "description"):
        table.add_column(head, no_wrap=head != "description")
    for topic in sorted(Contracts.installed().topics.values(), key=lambda topic: topic.name):
        table.add_row(topic.name, topic.record_name, topic.lane, topic.key, escape(topic.description))
    _console().print(table)


@contracts.command()
@click.argument("topic")
def show(topic: str) -> None:
    """Print a page about TOPIC: fields, units, key, lane, checks, who writes and reads it."""
    from streams.topology import discover

    found = Contracts.installed().topic(topic)
    topology = discover()
    base = found.name.removesuffix(".rejected")
    writers = topology.writers(found.name) if base == found.name else topology.readers(base)
    if found.name.startswith(_OF_THE_HOSTS):
        writers = ["the hosts"]
    _console().print(_page(found, writers, topology.readers(found.name)))


@contracts.command()
@_root
def stubs(root: Path) -> None:
    """Write topics/__init__.pyi, the types that mypy sees of the records."""
    file = root / "topics" / "__init__.pyi"
    text = make_stubs(load(root / "avro", root / "topics"))
    if file.is_file() and file.read_text(encoding="utf-8") == text:
        click.echo(f"{file}: up to date")
        return
    file.write_text(text, encoding="utf-8")
    click.echo(f"{file}: written")


@contracts.command()
@_root
def release(root: Path) -> None:
    """Keep every schema that has changed as its next released version, avro/<context>/released/<Record>.vN.avsc.

    Refuses all if one of them and a released version cannot read each other: such a change is a new major, that is
    a new record, a new topic and an upcaster.
    """
    try:
        written = write_releases(root / "avro", root / "topics")
    except ContractError as error:
        first, *lines = str(error).splitlines()
        for line in lines:
            click.echo(line, err=True)
        raise click.ClickException(first.rstrip(":")) from error
    for path in written:
        click.echo(f"{path}: released")
    if not written:
        click.echo("nothing to release: every schema is its newest released version")


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDTH)


def _page(topic: Topic, writers: list[str], readers: list[str]) -> Group:
    """The page of one topic."""
    time = "append time" if topic.time == APPENDED_AT else topic.time
    about = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    about.add_column(style="bold", no_wrap=True)
    about.add_column()
    for name, value in (
        ("owner", topic.owner),
        ("written by", _names(writers)),
        ("read by", _names(readers)),
        ("lane", topic.lane),
        ("key", topic.key),
        ("identity", ", ".join(topic.identity)),
        ("time", f"{time}, {f'up to {topic.lateness} late' if topic.lateness else 'never late'}"),
        ("retention", topic.retention),
        ("personal data", topic.personal_data),
        ("registry subject", topic.subject),
        ("schema", f"{_near(topic.schema_file)}, fingerprint {topic.fingerprint.hex()[:16]}"),
        ("decoded by", "pyruhvro, in columns" if topic.vectorised else "fastavro, row by row (it has arrays or bytes)"),
    ):
        about.add_row(name, escape(value))
    parts: list[Any] = [
        Text.assemble((topic.name, "bold cyan"), "  ", (topic.record_name, "bold")),
        Text(topic.description),
        Text(topic.doc, style="italic"),
        "",
        about,
        "",
        _fields(topic),
        "",
        Text("Checks", style="bold"),
        *(Text(f"  {check}") for check in topic.checks),
    ]
    if examples_file(topic).is_file():
        parts += ["", Text("Example", style="bold"), *_example(topic)]
    return Group(*parts)


def _near(path: Path) -> Path:
    """A path as a person in this folder would write it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _names(names: Iterable[str]) -> str:
    return ", ".join(names) or "nobody here"


def _fields(topic: Topic) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for head in ("field", "type", "unit", "meaning"):
        table.add_column(head, no_wrap=head == "field")
    for field in topic.fields:
        marks = {topic.key: "bold cyan"} | {name: "bold" for name in topic.identity if name != topic.key}
        table.add_row(
            Text(field.name, style=marks.get(field.name, "")), _type(field), unit_of(field), escape(field.doc)
        )
        for part in field.items:
            if part.name:
                table.add_row(Text(f"  .{part.name}"), _type(part), unit_of(part), escape(part.doc))
    return table


def _type(field: Field) -> str:
    name = {"timestamp": "timestamp UTC", "array": "list of"}.get(field.kind, field.kind)
    if field.kind == "enum":
        name = " ".join(symbol for symbol in field.symbols if symbol != UNKNOWN)
    if field.kind == "array" and not field.items[0].name:
        name = f"list of {_type(field.items[0])}"
    return f"{name}, may be null" if field.nullable else name


def _example(topic: Topic) -> list[Text]:
    """The first example, a line a field."""
    example = read_json(examples_file(topic))[0]
    width = max(map(len, example))
    return [Text(f"  {name.ljust(width)}  {json.dumps(value, ensure_ascii=False)}") for name, value in example.items()]
