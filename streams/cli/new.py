"""``flexlog new``: a processor or a topic, ready to be filled in."""

import keyword
import re
from pathlib import Path

import click

from streams.errors import StreamsError, WiringError

_NAME = re.compile(r"[a-z][a-z0-9_]*")


@click.group()
def new() -> None:
    """Write the files of a new processor or topic."""


def project() -> Path:
    """The project's folder: this one, which must hold processors/ and topics/.

    Raises:
        WiringError: it does not.
    """
    here = Path.cwd()
    for name in ("processors", "topics", "avro"):
        if not (here / name).is_dir():
            raise WiringError(f"there is no folder {name}/ here; change to the project's top folder")
    return here


def write(files: dict[Path, str], root: Path) -> None:
    """Write new files, all or none.

    Raises:
        WiringError: one is there already.
    """
    for path in files:
        if path.exists():
            raise WiringError(f"{path.relative_to(root)} is there already; choose another name or remove it")
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        click.echo(f"wrote {path.relative_to(root)}")


def _names(values: tuple[str, ...]) -> list[str]:
    return [name.strip() for value in values for name in value.split(",") if name.strip()]


@new.command()
@click.argument("name")
@click.option("--reads", multiple=True, required=True, help="Record it reads; again, or with commas, for more.")
@click.option("--writes", multiple=True, required=True, help="Record it writes; nobody else may write it.")
def processor(name: str, reads: tuple[str, ...], writes: tuple[str, ...]) -> None:
    """Write processors/NAME with a declaration, its logic and a passing test. Nothing else is touched."""
    from streams.cli.scaffold import processor_files
    from streams.topology import Topology, discover

    root = project()
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise WiringError(f"{name!r} is no name for a processor; use small letters, digits and _")
    found: Topology = discover()
    records = found.contracts.records
    for record in (*_names(reads), *_names(writes)):
        if record not in records:
            from difflib import get_close_matches

            near = ", ".join(get_close_matches(record, records)) or ", ".join(records)
            raise WiringError(f"there is no record {record!r}; nearest: {near}. A new one: flexlog new topic")
    for record in _names(writes):
        topic = records[record].__topic__.name
        if others := found.writers(topic):
            raise WiringError(
                f"{topic} is written by {', '.join(others)}, and a topic has one writer; make a topic of its own: "
                "flexlog new topic"
            )
    made = processor_files(name, [records[r] for r in _names(reads)], [records[r] for r in _names(writes)])
    write({root / "processors" / name / file: text for file, text in made.items()}, root)
    click.echo(f"now run: pytest processors/{name}")


@new.command()
@click.argument("name")
@click.option("--record", required=True, help="Its record: a noun and a participle, as in PeakMeasured.")
@click.option("--key", required=True, help="The field that is the Kafka key: site_id, portfolio_id, account_id, …")
@click.option("--field", "fields", multiple=True, required=True, help="name:type[?][:unit], as in peak:double:w.")
@click.option(
    "--identity", default="", help="What a correction replaces, with commas; the key and the time by default."
)
@click.option("--description", default="", help="What the topic holds.")
def topic(name: str, *, record: str, key: str, fields: tuple[str, ...], identity: str, description: str) -> None:
    """Write topics/NAME.yaml with its schema and an example.

    Types are string, long, double, boolean, timestamp and date; a ? makes a field nullable, a unit is added to
    its name. The key comes first; a timestamp called period_start, occurred_at or the like is the topic's time.
    """
    from streams.cli.scaffold import topic_files
    from streams.contracts import load
    from streams.contracts.stubs import stubs

    root = project()
    parts = [part for part in identity.split(",") if part]
    made = topic_files(name, record, key, fields, identity=parts, description=description)
    files = {root / file: text for file, text in made.items()}
    write(files, root)
    try:
        contracts = load(root / "avro", root / "topics")
    except StreamsError:
        for path in files:
            path.unlink()
        click.echo("removed them again:", err=True)
        raise
    (root / "topics" / "__init__.pyi").write_text(stubs(contracts))
    click.echo("wrote topics/__init__.pyi")
    click.echo("now read the example and the docs of the fields, then run: flexlog contracts check")
