"""The rules for contract files (CONTRACTS section 1) as data-driven checks: what is wrong, with file and field."""

import keyword
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from streams.contracts.codec import Codec, MemoryRegistry
from streams.contracts.evolution import history, incompatible, released
from streams.contracts.examples import examples_file, read_examples
from streams.contracts.files import REJECTED, Source, read_source
from streams.contracts.guard import condition
from streams.contracts.library import Contracts
from streams.contracts.proof import both_ways
from streams.contracts.record import Record
from streams.contracts.schema import SHARED_NAMESPACE, UNKNOWN, fields_of, full_name
from streams.contracts.stubs import stubs
from streams.contracts.topic import Field, Topic
from streams.contracts.units import unit_of
from streams.contracts.upcast import major, previous, upcast_file, upcaster
from streams.contracts.violation import FaultError, Violation
from streams.errors import StreamsError

# Arrays stand where a record is rare and replaced as a whole, bytes where what is carried is opaque.
ARRAYS = frozenset(
    {
        "BidSubmitted", "Progressed", "Committed",
        "EnvelopeOffered", "ModeOffered", "SequenceOffered",
    }
)  # fmt: skip
BYTES = frozenset({"ModelTrained", "RecordRejected", "PersonRegistered", "MessageRecorded"})
LANE_KEYS = {"site": "site_id", "portfolio": "portfolio_id", "account": "account_id"}
IRREGULAR = {"Taken", "Set", "Sent", "Met", "Sold", "Bought", "Paid", "Given", "Drawn", "Lost", "Held", "Found", "Read"}
# What stands only together (CONTRACTS section 1): kind and whether it may be null.
BLOCKS: tuple[Mapping[str, tuple[str, bool]], ...] = (
    {"period_start": ("timestamp", False), "period_end": ("timestamp", False)},
    {"set_id": ("string", False), "set_no": ("long", False), "set_size": ("long", False)},
    {
        "origin": ("string", False),
        "origin_id": ("string", False),
        "cause_topic": ("string", True),
        "cause_partition": ("long", True),
        "cause_offset": ("long", True),
    },
    {
        "price_micros_per_mwh": ("long", True),
        "price_micros_per_mw_h": ("long", True),
        "price_micros": ("long", True),
    },
    {"reason_code": ("string", True), "reason_text": ("string", True)},
)
_FIELD = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_RECORD = re.compile(r"([A-Z][a-z0-9]+)+(V[2-9]|V[1-9]\d+)?")
_TOPIC = re.compile(r"(?P<context>[a-z]+)\.[a-z]+\.v(?P<major>[1-9]\d*)")
_SYMBOL = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")


@dataclass
class Project:
    """The contract files of one project."""

    source: Source

    @cached_property
    def contracts(self) -> Contracts:
        """Its contracts, as far as they could be read."""
        return Contracts(self.source.topics.values(), self.source.rejected)

    @cached_property
    def schemas(self) -> list[tuple[str, Path, dict[str, Any], tuple[Field, ...]]]:
        """Every schema: ``<context>.<Record>``, its file, the schema, its fields."""
        return [
            (name, self.source.schema_file(name), schema, fields_of(schema))
            for name, schema in self.source.schemas.items()
        ]

    @property
    def topics(self) -> list[Topic]:
        """Every topic, and the pattern of the rejected ones."""
        rejected = [self.source.rejected] if self.source.rejected else []
        return [*self.source.topics.values(), *rejected]


Rule = Callable[[Project], Iterator[Violation]]


def legal_names(project: Project) -> Iterator[Violation]:
    """Names follow their patterns, and folder, namespace, file and topic agree."""
    for name, file, schema, fields in project.schemas:
        context, record = name.split(".")
        if full_name(schema, "") != f"flexlog.{context}.{record}":
            yield Violation(file, "name", f"is {full_name(schema, '')}; folder and file make it flexlog.{name}")
        if not _RECORD.fullmatch(record):
            yield Violation(file, "name", f"{record} is not in CamelCase")
        last = re.findall(r"[A-Z][a-z0-9]*", re.sub(r"V\d+$", "", record))[-1:]
        if last and not last[0].endswith("ed") and last[0] not in IRREGULAR:
            yield Violation(file, "name", f"{record} is not in the past tense; an event says what has happened")
        for field in _parts(fields):
            if field.name and not _FIELD.fullmatch(field.name):
                yield Violation(file, field.name, "is not in snake_case")
            if hasattr(Record, field.name) or keyword.iskeyword(field.name):
                yield Violation(file, field.name, "is a word that a record class needs itself")
    for topic in project.source.topics.values():
        found = _TOPIC.fullmatch(topic.name)
        if not found:
            yield Violation(topic.file, "", f"{topic.name} is not <context>.<noun>.v<major>")
            continue
        if found["context"] != topic.schema_file.parent.name:
            yield Violation(topic.file, "record", f"is of another context than topic {topic.name}")
        if int(found["major"]) != major(topic.record_name):
            yield Violation(topic.file, "record", f"{topic.record_name} and {topic.name} differ in their major version")


def documented(project: Project) -> Iterator[Violation]:
    """Every record, field and enum says what it means."""
    enums = [(project.source.avro_dir / "shared" / f"{_short(n)}.avsc", e) for n, e in project.source.shared.items()]
    for file, node in enums:
        if not str(node.get("doc", "")).strip():
            yield Violation(file, "doc", "is missing")
    for _, file, schema, fields in project.schemas:
        if not str(schema.get("doc", "")).strip():
            yield Violation(file, "doc", "is missing")
        for field in fields:
            for part in (field, *(item for item in field.items if item.name)):
                if not part.doc.strip():
                    where = part.name if part is field else f"{field.name}.{part.name}"
                    yield Violation(file, where, "has no doc")


def units_in_names(project: Project) -> Iterator[Violation]:
    """A number's name gives its unit."""
    for _, file, _, fields in project.schemas:
        for field in _parts(fields):
            if unit_of(field) is None:
                yield Violation(file, field.name, "is a number without a unit in its name (…_w, _wh, _s, _ppm, …)")


def lawful_enums(project: Project) -> Iterator[Violation]:
    """Enums default to UNKNOWN, their first symbol, and one name has one meaning."""
    meanings: dict[str, tuple[Path, str]] = {}
    shared = {n: project.source.avro_dir / "shared" / f"{_short(n)}.avsc" for n in project.source.shared}
    for _, file, schema, fields in project.schemas:
        for where, node in _enum_nodes(schema):
            name = full_name(node, str(schema.get("namespace", "")))
            home = shared.get(name, file)
            yield from _lawful(home, where if home == file else "", node)
            expected = _camel(schema["name"], where)
            if home == file and name != f"{schema.get('namespace')}.{expected}":
                yield Violation(file, where, f"its enum is {name}; call it {expected}, or share it in avro/shared")
            meaning = ",".join(map(str, node.get("symbols", ())))
            first, known = meanings.setdefault(name, (home, meaning))
            if known != meaning:
                yield Violation(file, where, f"enum {name} has other symbols than in {first}")
        for field in fields:
            if field.has_default and field.default == UNKNOWN:
                yield Violation(file, field.name, "defaults to UNKNOWN, which no event may have")
    for name, node in project.source.shared.items():
        if not name.startswith(f"{SHARED_NAMESPACE}.") or "." in name.removeprefix(f"{SHARED_NAMESPACE}."):
            yield Violation(shared[name], "namespace", f"is {name.rpartition('.')[0]}; shared enums live in flexlog")
        if not shared[name].is_file():
            yield Violation(project.source.avro_dir / "shared", node["name"], "stands in a file of another name")


def _lawful(file: Path, where: str, node: Mapping[str, Any]) -> Iterator[Violation]:
    symbols = node["symbols"]
    if node.get("default") != UNKNOWN:
        yield Violation(file, where, f'its enum needs "default": "{UNKNOWN}" from its first version on')
    if symbols[0] != UNKNOWN:
        yield Violation(file, where, f"the first symbol of its enum must be {UNKNOWN}")
    for symbol in symbols:
        if not _SYMBOL.fullmatch(symbol):
            yield Violation(file, where, f"symbol {symbol} is not in UPPER_CASE")


def _enum_nodes(node: Any, where: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every enum that a schema defines, with the field it stands in."""
    if isinstance(node, list):
        for part in node:
            yield from _enum_nodes(part, where)
    elif isinstance(node, dict):
        if node.get("type") == "enum":
            yield where, node
        for field in node.get("fields", ()):
            yield from _enum_nodes(field["type"], f"{where}.{field['name']}" if where else field["name"])
        for key in ("type", "items"):
            if isinstance(node.get(key), (dict, list)):
                yield from _enum_nodes(node[key], where)


def _camel(record: str, where: str) -> str:
    return record + "".join(part.capitalize() for part in re.split(r"[._]", where))


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def rare_types(project: Project) -> Iterator[Violation]:
    """Arrays and bytes stand only in the records that may have them."""
    for _, file, schema, fields in project.schemas:
        for field in fields:
            if field.kind == "array" and schema["name"] not in ARRAYS:
                yield Violation(file, field.name, "is an array; checks, views and lineage cannot look inside: use rows")
            if field.kind == "bytes" and schema["name"] not in BYTES:
                yield Violation(file, field.name, "is bytes; they stand only in records that carry what is opaque")


def whole_blocks(project: Project) -> Iterator[Violation]:
    """Fields that belong together stand together, each of its type."""
    for _, file, _, fields in project.schemas:
        by_name = {field.name: field for field in fields}
        for block in BLOCKS:
            there = block.keys() & by_name.keys()
            missing = [name for name in block if name not in by_name]
            if there and missing:
                yield Violation(file, missing[0], f"is missing: it stands together with {', '.join(sorted(there))}")
            for name in sorted(there):
                kind, nullable = block[name]
                field = by_name[name]
                strict = name not in ("reason_code", "reason_text")
                if field.kind != kind or (strict and field.nullable != nullable):
                    yield Violation(file, name, f"must be {'a nullable' if nullable else 'a non-null'} {kind}")
        if "price_micros" in by_name and "currency" not in by_name:
            yield Violation(file, "currency", "is missing: a price needs one")


def lanes(project: Project) -> Iterator[Violation]:
    """The first field is the lane's key; identity and personal data are stated as the lane asks."""
    for topic in project.topics:
        key = LANE_KEYS.get(topic.lane, topic.fields[0].name)
        if topic.key != key:
            yield Violation(topic.file, "key", f"is {topic.key}; a topic of lane {topic.lane} is keyed {key}")
        if topic.fields[0].name != topic.key:
            yield Violation(topic.schema_file, topic.fields[0].name, f"the first field must be the key {topic.key}")
        for name in topic.identity:
            if topic.by_name[name].nullable or topic.by_name[name].kind in ("array", "bytes", "double"):
                yield Violation(topic.file, "identity", f"{name} must be neither nullable nor a double, array or bytes")
        if "revision" in topic.identity:
            yield Violation(topic.file, "identity", "revision is what restates a fact, not what names it")
        if len(set(topic.identity)) < len(topic.identity):
            yield Violation(topic.file, "identity", "names a field twice")
        if topic.lane in ("site", "account") and topic.personal_data == "none":
            yield Violation(topic.file, "personal_data", f"is none; a topic of lane {topic.lane} is about people")


def orphans(project: Project) -> Iterator[Violation]:
    """Nothing lies about that nothing uses, and one topic has one record of its own."""
    source = project.source
    users: dict[Path, list[Topic]] = {}
    for topic in source.topics.values():
        users.setdefault(topic.schema_file, []).append(topic)
    for name, file, _, _ in project.schemas:
        used = users.get(file, [])
        if not used and name != REJECTED:
            yield Violation(file, "", "is an orphan: no topic has this record")
        if used and name == REJECTED:
            yield Violation(used[0].file, "record", "the topics of rejected records are derived, never written by hand")
        for other in used[1:]:
            yield Violation(other.file, "record", f"is also that of {used[0].name}; one topic, one record type")
    for name in source.shared:
        if not any(field.enum == name for _, _, _, fields in project.schemas for field in _parts(fields)):
            yield Violation(source.avro_dir / "shared" / f"{_short(name)}.avsc", "", "is an orphan: no record uses it")
    for file in sorted(source.avro_dir.rglob("*")):
        if file.is_file() and not _belongs(source, file):
            yield Violation(file, "", "is an orphan: it belongs to no schema")


def _parts(fields: tuple[Field, ...]) -> Iterator[Field]:
    for field in fields:
        yield from (field, *field.items)


def _belongs(source: Source, file: Path) -> bool:
    """Whether a file under ``avro/`` is a schema, or goes with one."""
    place = file.relative_to(source.avro_dir).parts
    if "__pycache__" in place:
        return True
    stem = file.name.split(".")[0]
    home = source.avro_dir / place[0] / f"{stem}.avsc"
    match place:
        case (_, name):
            return name in (f"{stem}.avsc", f"{stem}.examples.json", f"{stem}.upcast.py") and home.is_file()
        case (_, "released", name):
            return re.fullmatch(rf"{stem}\.v[1-9]\d*\.avsc", name) is not None and home.is_file()
    return False


def sound_checks(project: Project) -> Iterator[Violation]:
    """Every check can be evaluated and never yields NULL."""
    for topic in project.topics:
        for check in topic.checks:
            try:
                condition(topic, check)
            except FaultError as fault:
                yield Violation(topic.file, fault.field, fault.text)


def examples(project: Project) -> Iterator[Violation]:
    """Examples pass the checks, and both decoders give them back."""
    codec = Codec(MemoryRegistry())
    for topic in project.topics:
        file = examples_file(topic)
        try:
            found = read_examples(topic)
            for at, example in enumerate(found):
                where = f"[{at}]"
                frame = codec.prepare(topic, [example])
                for text in both_ways(codec, topic, frame):
                    yield Violation(file, where, text)
        except FaultError as fault:
            yield Violation(file, fault.field, fault.text)
        except StreamsError as error:
            yield Violation(file, where, str(error).removeprefix(f"{topic.name} ({topic.record_name}): "))


def evolution(project: Project) -> Iterator[Violation]:
    """Every version can read every other, and the current one is released."""
    for _, file, schema, _ in project.schemas:
        versions = released(file)
        try:
            for field, text in incompatible(history(file, schema)):
                yield Violation(file, field, text)
            if not versions:
                yield Violation(file, "", "is not released; run `flexlog contracts release`")
            elif history(file, schema)[-1][0] == "now":
                yield Violation(file, "", f"differs from v{versions[-1][0]}; run `flexlog contracts release`")
        except FaultError as fault:
            yield Violation(file, fault.field, fault.text)
        if [number for number, _ in versions] != list(range(1, len(versions) + 1)):
            yield Violation(file.parent / "released", file.stem, "versions are not numbered 1, 2, 3, …")


def upcasters(project: Project) -> Iterator[Violation]:
    """A new major comes with an upcaster, which makes good rows of the old one's examples."""
    codec = Codec(MemoryRegistry())
    for topic in project.source.topics.values():
        if major(topic.record_name) == 1:
            if upcast_file(topic).exists():
                yield Violation(upcast_file(topic), "", "upcasts to a first major; there is nothing before it")
            continue
        try:
            upcast = upcaster(project.contracts, topic)
            before = previous(project.contracts, topic)
            codec.prepare(topic, upcast(codec.prepare(before, read_examples(before))))
        except FaultError as fault:
            yield Violation(examples_file(topic), fault.field, fault.text)
        except StreamsError as error:
            yield Violation(upcast_file(topic), "", str(error))


def current_stubs(project: Project) -> Iterator[Violation]:
    """The generated types are those of the contracts."""
    folder = project.source.topics_dir
    file = folder / "__init__.pyi"
    if (folder / "__init__.py").is_file() and (
        not file.is_file() or file.read_text(encoding="utf-8") != stubs(project.contracts)
    ):
        yield Violation(file, "", "is not what the contracts make it; run `flexlog contracts stubs`")


RULES: tuple[Rule, ...] = (
    legal_names,
    documented,
    units_in_names,
    lawful_enums,
    rare_types,
    whole_blocks,
    lanes,
    orphans,
    sound_checks,
    examples,
    evolution,
    upcasters,
    current_stubs,
)


def check(avro_dir: Path, topics_dir: Path) -> list[Violation]:
    """Everything that is wrong with the contract files of a project, each thing once."""
    project = Project(read_source(avro_dir, topics_dir))
    found = list(project.source.violations)
    for rule in RULES:
        found.extend(rule(project))
    return list(dict.fromkeys(found))
