"""The texts of new files. A scaffold runs: its test passes before a line is changed."""

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from streams.contracts.record import Record
from streams.contracts.topic import Field, Topic
from streams.errors import WiringError

_LANES = {"site_id": "site", "portfolio_id": "portfolio", "account_id": "account"}
_AVRO: dict[str, Any] = {
    "string": "string",
    "long": "long",
    "double": "double",
    "boolean": "boolean",
    "timestamp": {"type": "long", "logicalType": "timestamp-micros"},
    "date": {"type": "int", "logicalType": "date"},
}
_EXAMPLES: dict[str, Any] = {
    "string": "example-01",
    "long": 1,
    "double": 1.0,
    "boolean": True,
    "timestamp": "2026-01-31T20:15:00Z",
    "date": "2026-01-31",
}


# A processor.


def example(topic: Topic) -> dict[str, Any]:
    """The first example of a topic's record.

    Raises:
        WiringError: it has none.
    """
    path = topic.schema_file.with_suffix("").with_suffix(".examples.json")
    if not path.exists():
        raise WiringError(f"{topic.record_name} has no example ({path.name}); write one first")
    first: dict[str, Any] = json.loads(path.read_text())[0]
    return first


def _python(field: Field, value: Any) -> str:
    """An example's value as Python source."""
    if value is None:
        return "None"
    match field.kind:
        case "timestamp":
            at = datetime.fromisoformat(value).astimezone(UTC)
            parts = [at.year, at.month, at.day, at.hour, at.minute, at.second, at.microsecond]
            while parts[-1] == 0 and len(parts) > 3:
                parts.pop()
            return f"datetime({', '.join(map(str, parts))}, tzinfo=UTC)"
        case "date":
            year, month, day = (int(part) for part in value.split("-"))
            return f"date({year}, {month}, {day})"
        case "array" | "bytes":
            raise WiringError(f"field {field.name} is {field.kind}; write a processor with such a record by hand")
        case _:
            return json.dumps(value) if isinstance(value, str) else repr(value)


def _imports(source: str) -> str:
    names = [name for name in ("UTC", "date", "datetime", "timedelta") if re.search(rf"\b{name}\b", source)]
    return f"from datetime import {', '.join(names)}\n" if names else ""


def _events(topic: Topic, key: str) -> list[str]:
    """The columns of an event: the key from the state, the rest from the example."""
    lines = []
    for name, value in example(topic).items():
        field = topic.by_name[name]
        literal = _python(field, value)
        made = f'pl.col("{key}")' if name == key else f"pl.lit({literal}, {_dtype(field)})"
        lines.append(f"        {name}={made},")
    return lines


def _dtype(field: Field) -> str:
    if field.kind == "timestamp":
        return 'pl.Datetime("us", "UTC")'
    return {
        "string": "pl.String",
        "enum": "pl.String",
        "long": "pl.Int64",
        "double": "pl.Float64",
        "boolean": "pl.Boolean",
        "date": "pl.Date",
    }[field.kind]


def processor_files(name: str, reads: Sequence[type[Record]], writes: Sequence[type[Record]]) -> dict[str, str]:
    """The three files of a processor.

    Raises:
        WiringError: the records cannot be read together, or their scaffold cannot be written.
    """
    topics = [record.__topic__ for record in reads]
    keys = {topic.key for topic in topics}
    if len(keys) > 1 or len({topic.lane for topic in topics}) > 1:
        told = ", ".join(f"{t.record_name} (lane {t.lane}, key {t.key})" for t in topics)
        raise WiringError(f"these cannot be read together: {told}; read one lane, take the others as tables")
    (key,) = keys
    return {
        "__init__.py": _declaration(name, reads, writes),
        "logic.py": _logic(reads, writes, key),
        "test_logic.py": _test(name, reads, writes, key),
    }


def _declaration(name: str, reads: Sequence[type[Record]], writes: Sequence[type[Record]]) -> str:
    title = name.replace("_", " ").capitalize()
    names = sorted({record.__name__ for record in (*reads, *writes)})
    return f'''"""{title}: say here what it derives, by which rule, and where the rule stands."""

from datetime import timedelta

from processors.{name}.logic import Seen, on_batch, on_tick
from streams import Processor, records
from topics import {", ".join(names)}

SPEC = Processor(
    name="{name}",
    version=1,
    reads=records({", ".join(record.__name__ for record in reads)}),
    writes=records({", ".join(record.__name__ for record in writes)}),
    state=(Seen,),
    on_batch=on_batch,
    on_tick=on_tick,
    every=timedelta(minutes=15),
)
'''


def _logic(reads: Sequence[type[Record]], writes: Sequence[type[Record]], key: str) -> str:
    read = " | ".join(record.__name__ for record in reads)
    written = " | ".join(record.__name__ for record in writes)
    rows = [f'batch[{record.__name__}].select("{key}")' for record in reads]
    gathered = rows[0] if len(rows) == 1 else f"pl.concat([{', '.join(rows)}])"
    functions, emits = [], []
    for record in writes:
        function = re.sub(r"(?<!^)([A-Z])", r"_\1", record.__name__).lower()
        body = "\n".join(_events(record.__topic__, key))
        functions.append(
            f'''def {function}(changed: pl.DataFrame) -> pl.DataFrame:
    """The events of the subjects that have changed: replace the example's values by your rule."""
    return changed.select(
{body}
    )
'''  # noqa: S608 -- Python, not SQL
        )
        emits.append(f"        yield Emit({record.__name__}, {function}(changed))")
    body = "\n\n".join(functions)
    emitted = "\n".join(emits)
    names = sorted({record.__name__ for record in (*reads, *writes)})
    return f'''"""Count what comes in; say what has changed at each tick."""

from collections.abc import Iterator
{_imports(body)}
import polars as pl

from streams import Batch, Col, Context, Emit, Keyed
from topics import {", ".join(names)}


class Seen(Keyed, key=("{key}",)):
    """What is known of a subject."""

    {key}: Col[str]
    events: Col[int]


{body}

def on_batch(ctx: Context[None], batch: Batch[{read}]) -> None:
    """Collect."""
    subjects = {gathered}
    new = subjects.group_by("{key}", maintain_order=True).agg(added=pl.len().cast(pl.Int64))
    known = ctx.state(Seen).get(new)
    ctx.state(Seen).put(known.with_columns(events=pl.col("events").fill_null(0) + pl.col("added")))


def on_tick(ctx: Context[None]) -> Iterator[Emit[{written}]]:
    """Decide."""
    changed = ctx.state(Seen).changed()
    if len(changed):
{emitted}
'''


def _test(name: str, reads: Sequence[type[Record]], writes: Sequence[type[Record]], key: str) -> str:
    first = reads[0]
    values = example(first.__topic__)
    given = "\n".join(f"    {n}={_python(first.__topic__.by_name[n], v)}," for n, v in values.items())
    written = writes[0]
    kept = key in written.__topic__.by_name
    expected = values[key] if kept else example(written.__topic__)[written.__topic__.key]
    column = key if kept else written.__topic__.key
    names = ", ".join(sorted({first.__name__, written.__name__}))
    body = f"EVENT = {first.__name__}(\n{given}\n)\n"
    return f'''"""What {name} promises."""

{_imports(body + "timedelta")}
from processors.{name} import SPEC
from processors.{name}.logic import Seen
from streams.testing import TopologyDriver, assert_replayable, assert_rows
from topics import {names}

{body}

def test_what_has_changed_is_said_once_at_the_tick(driver: TopologyDriver) -> None:
    driver.pipe({first.__name__}, [EVENT, EVENT])
    driver.advance(by=timedelta(minutes=15))
    driver.advance(by=timedelta(minutes=15))
    assert_rows(driver.read({written.__name__}), {written.__name__}, "{column}\\n{expected}")
    assert driver.state(Seen)["events"].to_list() == [2]


def test_cuts_crashes_and_replay_change_nothing() -> None:
    def scenario(driver: TopologyDriver) -> None:
        for _ in range(3):
            driver.pipe({first.__name__}, [EVENT])
            driver.advance(by=timedelta(minutes=15))

    assert_replayable(SPEC, scenario=scenario)
'''


# A topic.


def topic_files(
    name: str, record: str, key: str, specs: Sequence[str], *, identity: Sequence[str], description: str
) -> dict[str, str]:
    """Schema, example and YAML of a topic.

    Raises:
        WiringError: a name or a field is not as it must be.
    """
    match = re.fullmatch(r"([a-z]+)\.([a-z]+)\.v[1-9][0-9]*", name)
    if match is None:
        raise WiringError(f"{name!r} is no name for a topic; use context.noun.v1, as in telemetry.peak.v1")
    if not re.fullmatch(r"([A-Z][a-z0-9]+){2,}", record):
        raise WiringError(f"{record!r} is no name for a record; use a noun and a participle, as in PeakMeasured")
    context = match[1]
    fields = [_field(spec) for spec in specs]
    if key not in [field["name"] for field in fields]:
        fields.insert(0, _field(f"{key}:string"))
    fields.sort(key=lambda field: field["name"] != key)
    times = [f["name"] for f in fields if isinstance(f["type"], dict) and "timestamp" in f["type"]["logicalType"]]
    if not times:
        raise WiringError("a topic needs a time; add a field such as period_start:timestamp")
    time = next((t for t in ("period_start", "valid_from", "occurred_at") if t in times), times[0])
    known = [field["name"] for field in fields]
    for part in identity:
        if part not in known:
            raise WiringError(f"identity names {part!r}, which is no field; there are {', '.join(known)}")
    schema = {
        "type": "record",
        "name": record,
        "namespace": f"flexlog.{context}",
        "doc": description or f"{_words(record)}: say here what it means.",
        "fields": fields,
    }
    shown = {f["name"]: _EXAMPLES[_kind(f)] for f in fields}
    if {"period_start", "period_end"} <= set(shown):
        shown["period_end"] = "2026-01-31T20:30:00Z"
    yaml = f"""description: {json.dumps(description or f"{_words(record)}, one event a subject and time.")}
owner: {context}
record: {context}.{record}
lane: {_LANES.get(key, "reference")}
key: {key}
identity: [{", ".join(identity or [key, time] if time != key else [key])}]
time: {time}
lateness: 0s
retention: forever
personal_data: {"pseudonymous" if key in ("site_id", "account_id") else "none"}
checks: []
"""
    return {
        f"avro/{context}/{record}.avsc": json.dumps(schema, indent=2) + "\n",
        f"avro/{context}/{record}.examples.json": json.dumps([shown], indent=2) + "\n",
        f"topics/{name}.yaml": yaml,
    }


def _words(record: str) -> str:
    return re.sub(r"(?<!^)([A-Z])", lambda found: " " + found[1].lower(), record)


def _kind(field: dict[str, Any]) -> str:
    kind = field["type"][1] if isinstance(field["type"], list) else field["type"]
    return next(name for name, avro in _AVRO.items() if avro == kind)


def _field(spec: str) -> dict[str, Any]:
    name, _, rest = spec.partition(":")
    kind, _, unit = rest.partition(":")
    nullable = kind.endswith("?")
    kind = kind.removesuffix("?")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or kind not in _AVRO:
        raise WiringError(f"{spec!r} is no field; use name:type[?][:unit] with a type of {', '.join(_AVRO)}")
    full = name if not unit or name.endswith(f"_{unit}") else f"{name}_{unit}"
    words = name.replace("_", " ").capitalize()
    field: dict[str, Any] = {"name": full, "type": _AVRO[kind], "doc": f"{words}{f', in {unit}' if unit else ''}."}
    if nullable:
        field |= {"type": ["null", _AVRO[kind]], "default": None}
    return field
