"""Reading the contract files of a project: ``avro/`` and ``topics/``."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from streams.contracts import checks as sql
from streams.contracts.record import Record
from streams.contracts.schema import fields_of, inline, is_vectorised, read_json, read_shared
from streams.contracts.topic import APPENDED_AT, Lane, Topic
from streams.contracts.violation import FaultError, Violation

REJECTED = "stream.RecordRejected"  # its topics are derived, one per topic
_SPAN = re.compile(r"(\d+)(s|m|h|d)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where it is there: ten times quicker


def parse_span(text: str) -> timedelta:
    """``10m``, ``0s``, ``36h`` or ``7d`` as a time span."""
    found = _SPAN.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is no time span; write for instance 0s, 10m, 36h or 7d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


class TopicFile(BaseModel):
    """The keys of a topic's YAML."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    description: str = Field(min_length=1)
    owner: str = Field(min_length=1)
    record: str = Field(pattern=r"^[a-z][a-z0-9_]*\.[A-Z][A-Za-z0-9]*$")
    lane: Lane
    key: str
    identity: list[str] = Field(min_length=1)
    time: str
    lateness: timedelta
    retention: str = Field(pattern=r"^(forever|[1-9][0-9]*d)$")
    personal_data: str = Field(pattern=r"^(none|pseudonymous|encrypted)$")
    checks: list[str]

    @field_validator("lateness", mode="before")
    @classmethod
    def _span(cls, value: Any) -> timedelta:
        return parse_span(str(value))


@dataclass
class Source:
    """The files of a project as they were read, and what is wrong with them."""

    avro_dir: Path
    topics_dir: Path
    shared: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    schemas: dict[str, dict[str, Any]] = field(default_factory=dict)  # by "<context>.<Record>", shared enums inlined
    topics: dict[str, Topic] = field(default_factory=dict)
    rejected: Topic | None = None
    violations: list[Violation] = field(default_factory=list)

    def schema_file(self, record: str) -> Path:
        """The file of ``<context>.<Record>``."""
        context, _, name = record.partition(".")
        return self.avro_dir / context / f"{name}.avsc"

    def add(self, file: Path, field: str, text: str) -> None:
        """Note what is wrong."""
        self.violations.append(Violation(file, field, text))


def read_source(avro_dir: Path, topics_dir: Path) -> Source:
    """Read every schema and every topic; faults are collected, not raised."""
    source = Source(avro_dir, topics_dir)
    for folder in (avro_dir, topics_dir):
        if not folder.is_dir():
            source.add(folder, "", "no such folder")
            return source
    try:
        source.shared = read_shared(avro_dir / "shared")
    except FaultError as fault:
        source.add(avro_dir / "shared", fault.field, fault.text)
    for path in sorted(avro_dir.glob("*/*.avsc")):
        if path.parent.name != "shared":
            _read_schema(source, path)
    for path in sorted(topics_dir.glob("*.yaml")):
        try:
            _read_topic(source, path)
        except FaultError as fault:
            source.add(path, fault.field, fault.text)
    if REJECTED in source.schemas:
        try:
            source.rejected = _rejected(source)
        except FaultError as fault:
            source.add(source.schema_file(REJECTED), fault.field, fault.text)
    return source


def _read_schema(source: Source, path: Path) -> None:
    try:
        schema = inline(read_json(path), source.shared)
        fields_of(schema)
    except FaultError as fault:
        source.add(path, fault.field, fault.text)
    else:
        source.schemas[f"{path.parent.name}.{path.stem}"] = schema


def _read_topic(source: Source, path: Path) -> None:
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506  # a safe loader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FaultError("", f"no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise FaultError("", "a topic's file is a mapping of keys")
    try:
        file = TopicFile.model_validate(values)
    except ValidationError as error:
        for fault in error.errors():
            text = "unknown key" if fault["type"] == "extra_forbidden" else fault["msg"].removeprefix("Value error, ")
            source.add(path, ".".join(map(str, fault["loc"])), text)
        return
    if file.record not in source.schemas:
        if not source.schema_file(file.record).is_file():
            raise FaultError("record", f"{file.record}: there is no {source.schema_file(file.record)}")
        return  # the schema's own fault is noted already
    source.topics[path.stem] = _topic(source, path, path.stem, file)


def _topic(source: Source, path: Path, name: str, file: TopicFile) -> Topic:
    schema = source.schemas[file.record]
    fields = fields_of(schema)
    by_name = {part.name: part for part in fields}
    for key, wanted in (("key", [file.key]), ("identity", file.identity), ("time", [file.time])):
        for field_name in wanted:
            if field_name not in by_name and not (key == "time" and field_name == APPENDED_AT):
                raise FaultError(key, f"{schema['name']} has no field {field_name!r}; it has {', '.join(by_name)}")
    if by_name[file.key].kind != "string" or by_name[file.key].nullable:
        raise FaultError("key", f"{file.key} must be a string that is never null")
    if file.time in by_name and (by_name[file.time].kind != "timestamp" or by_name[file.time].nullable):
        raise FaultError("time", f"{file.time} must be a timestamp that is never null")
    for check in file.checks:
        for field_name in sql.names(sql.parse(check)):
            if field_name not in by_name:
                raise FaultError("checks", f"{check!r}: {schema['name']} has no field {field_name!r}")
            if by_name[field_name].kind in ("array", "bytes"):
                raise FaultError("checks", f"{check!r}: a check cannot look into {field_name}")
    topic = Topic(
        name=name,
        description=" ".join(file.description.split()),
        owner=file.owner,
        record_name=schema["name"],
        doc=str(schema.get("doc", "")),
        schema=schema,
        fields=fields,
        lane=file.lane,
        key=file.key,
        identity=tuple(file.identity),
        time=file.time,
        lateness=file.lateness,
        retention=file.retention,
        personal_data=file.personal_data,
        checks=tuple(dict.fromkeys((*sql.implied(fields, file.key), *file.checks))),
        vectorised=is_vectorised(fields),
        file=path,
        schema_file=source.schema_file(file.record),
    )
    topic._made.append(Record.make(topic))  # noqa: SLF001  # a topic and its class name each other
    return topic


def _rejected(source: Source) -> Topic:
    """The pattern of all ``<topic>.rejected``, which have no file of their own."""
    pattern = TopicFile(
        description="What could not be used, as it was, with the reason and its place.",
        owner="platform",
        record=REJECTED,
        lane="reference",
        key="processor",
        identity=["processor", "topic", "partition", "offset"],
        time=APPENDED_AT,
        lateness="0s",  # type: ignore[arg-type]  # read as in a file
        retention="forever",
        personal_data="none",
        checks=[],
    )
    return _topic(source, source.schema_file(REJECTED), "stream.rejected.v1", pattern)
