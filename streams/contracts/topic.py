"""A topic as the library sees it: its file in ``topics/`` and its record's schema in ``avro/``."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

if TYPE_CHECKING:
    from streams.contracts.record import Record

Lane = Literal["site", "portfolio", "account", "reference"]
APPENDED_AT = "_appended_at"
Kind = Literal["string", "long", "double", "boolean", "timestamp", "date", "enum", "bytes", "array"]


@dataclass(frozen=True)
class Field:
    """One field of a record.

    ``default`` is the Python value (None for a nullable field) that stands where ``has_default`` is true.
    """

    name: str
    kind: Kind
    dtype: pl.DataType
    nullable: bool
    doc: str
    has_default: bool = False
    default: Any = None
    symbols: tuple[str, ...] = ()
    enum: str = ""  # full name of its enum
    items: tuple["Field", ...] = ()  # of an array: the fields of its small records; one named "" for plain values


@dataclass(frozen=True, eq=False)
class Topic:
    """One topic, one record type."""

    name: str  # telemetry.reading.v1
    description: str
    owner: str
    record_name: str  # ReadingTaken
    doc: str  # the record's documentation
    schema: Mapping[str, Any]  # the Avro schema as JSON, shared enums inlined
    fields: tuple[Field, ...]
    lane: Lane
    key: str  # the field that is the Kafka key
    identity: tuple[str, ...]  # what a correction replaces; the canonical order of what is emitted
    time: str  # the field that history is ranged by; `APPENDED_AT` where the record has no time of its own
    lateness: timedelta  # how long edges may be behind
    retention: str
    personal_data: str
    checks: tuple[str, ...]  # SQL, the implied ones included
    vectorised: bool  # False: fastavro decodes it, for its schema has arrays or bytes
    file: Path = field(default=Path())
    schema_file: Path = field(default=Path())
    _made: list[Any] = field(default_factory=list)

    @property
    def record(self) -> type["Record"]:
        """The record's class."""
        return self._made[0]  # type: ignore[no-any-return]

    @cached_property
    def columns(self) -> dict[str, pl.DataType]:
        """The columns of a frame of this record, in field order."""
        return {f.name: f.dtype for f in self.fields}

    @cached_property
    def by_name(self) -> dict[str, Field]:
        """The fields by name."""
        return {f.name: f for f in self.fields}

    @cached_property
    def text(self) -> str:
        """The schema as it is registered: compact JSON, field order as in its file."""
        return json.dumps(self.schema, separators=(",", ":"), ensure_ascii=False)

    @property
    def subject(self) -> str:
        """Its subject in the registry (TopicNameStrategy)."""
        return f"{self.name}-value"

    @cached_property
    def fingerprint(self) -> bytes:
        """SHA-256 of the schema's parsing canonical form (Avro specification)."""
        import fastavro.schema  # noqa: PLC0415  # the command line imports topics only to list its commands

        form: str = fastavro.schema.to_parsing_canonical_form(dict(self.schema))
        return hashlib.sha256(form.encode()).digest()

    def empty(self) -> pl.DataFrame:
        """A frame of no rows, always the same one: making its columns takes longer than most batches."""
        return self._empty

    @cached_property
    def _empty(self) -> pl.DataFrame:
        return pl.DataFrame(schema=self.columns)
