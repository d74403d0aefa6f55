"""``flexlog docs``: the reference pages, made from the code, the settings and the contracts."""

import inspect
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from streams.cli import operating
from streams.contracts.topic import Topic
from streams.errors import StreamsError
from streams.topology import AnyProcessor, Topology, discover

_NOTE = "<!-- Made by `flexlog docs` from the code; change it there. -->\n"


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; end with 1 where a page is not as the code has it.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("docs/reference"), show_default=True)
def docs(out: Path, *, check: bool) -> None:
    """Write the reference pages: a page a processor and a topic, the settings, and the metrics."""
    stale = []
    made = pages(discover())
    for name, text in made.items():
        path = out / name
        if path.exists() and path.read_text() == text:
            continue
        stale.append(name)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    for folder in ("processors", "topics"):
        for path in sorted((out / folder).glob("*.md")):
            if f"{folder}/{path.name}" not in made:
                stale.append(f"{folder}/{path.name}")
                if not check:
                    path.unlink()
    if check and stale:
        raise StreamsError(f"{', '.join(stale)} in {out} is not as the code has it; run `flexlog docs`")
    click.echo(f"{len(made)} pages, {len(stale)} {'to write' if check else 'written'}")


def pages(topology: Topology) -> dict[str, str]:
    """The reference pages by file name."""
    topics = topology.contracts.topics
    made = {f"processors/{spec.name}.md": _processor(spec, topology) for spec in topology.processors}
    made |= {f"topics/{name}.md": _topic(topic, topology) for name, topic in topics.items()}
    made["processors.md"] = (
        _NOTE
        + "\n# Processors\n\nIn the order in which data passes through them.\n\n"
        + "".join(f"- [{spec.name}](processors/{spec.name}.md): {_first_line(spec)}\n" for spec in topology.ordered)
    )
    rows = [
        f"| [{name}](topics/{name}.md) | {topic.record_name} | {topic.lane} | "
        f"{', '.join(topology.writers(name)) or 'hosts'} |\n"
        for name, topic in sorted(topics.items())
    ]
    head = "| topic | record | lane | written by |\n|---|---|---|---|\n"
    made["topics.md"] = f"{_NOTE}\n# Topics\n\n{head}{''.join(rows)}"
    made["configuration.md"] = f"{_NOTE}\n{operating.configuration()}"
    made["metrics.md"] = f"{_NOTE}\n{operating.metrics()}"
    return made


def _doc(spec: AnyProcessor) -> str:
    handler = spec.on_tick or spec.on_batch
    assert handler is not None
    package = handler.__module__.rpartition(".")[0]
    return inspect.getdoc(sys.modules[package]) or ""


def _first_line(spec: AnyProcessor) -> str:
    return _doc(spec).partition("\n")[0]


def _links(topics: Iterable[Topic]) -> str:
    return ", ".join(f"[{t.record_name}](../topics/{t.name}.md)" for t in topics) or "nothing"


def _processor(spec: AnyProcessor, topology: Topology) -> str:
    def named(types: Iterable[Any]) -> str:
        return _links(rec.__topic__ for rec in types)

    rows = [
        ("reads", named(spec.reads.types)),
        ("writes", named(spec.writes.types)),
        ("tables", named(spec.tables.types)),
        ("delayed tables", ", ".join(f"{named([r])} by {by}" for r, by in spec.delayed.items()) or "none"),
        ("history", named(spec.history.types)),
        ("tasks", "one over all partitions" if spec.single else f"one a partition of lane {topology.lane(spec)}"),
        ("decides every", str(spec.every)),
        ("version", str(spec.version)),
    ]
    text = [_NOTE, f"# {spec.name}\n", _doc(spec) + "\n", "| | |\n|---|---|"]
    text += [f"| {name} | {value} |" for name, value in rows]
    if spec.state:
        text += ["\n## State\n", "| state | key | columns | what |\n|---|---|---|---|"]
        for keyed in spec.state:
            columns = ", ".join(name for name in keyed.__columns__ if name not in keyed.__key__)
            doc = (inspect.getdoc(keyed) or "").partition("\n")[0]
            text.append(f"| {keyed.__name__} | {', '.join(keyed.__key__)} | {columns} | {doc} |")
    if spec.config is not None:
        doc = inspect.getdoc(type(spec.config)) or ""
        text += ["\n## Configuration\n", f"```text\n{doc}\n```\n", "| field | value |\n|---|---|"]
        text += [f"| {name} | `{value}` |" for name, value in spec.config]
    return "\n".join(text) + "\n"


def _topic(topic: Topic, topology: Topology) -> str:
    text = [
        _NOTE,
        f"# {topic.name}\n",
        f"{topic.description}\n",
        f"{topic.doc}\n",
        "| | |\n|---|---|",
        f"| record | {topic.record_name} |",
        f"| lane, key | {topic.lane}, `{topic.key}` |",
        f"| identity | {', '.join(f'`{name}`' for name in topic.identity)} |",
        f"| time | `{topic.time}`, up to {topic.lateness} late |",
        f"| retention | {topic.retention} |",
        f"| personal data | {topic.personal_data} |",
        f"| written by | {', '.join(topology.writers(topic.name)) or 'the hosts'} |",
        f"| read by | {', '.join(topology.readers(topic.name)) or 'nobody here'} |",
        "\n| field | type | meaning |\n|---|---|---|",
    ]
    for field in topic.fields:
        kind = f"enum ({', '.join(field.symbols)})" if field.symbols else field.kind
        text.append(f"| `{field.name}` | {kind}{' or null' if field.nullable else ''} | {field.doc} |")
    if topic.checks:
        text += ["\n## Checks\n", *(f"- `{check}`" for check in topic.checks)]
    return "\n".join(text) + "\n"
