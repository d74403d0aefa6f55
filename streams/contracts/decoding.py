"""From framed values of one schema id to a frame of the topic's columns."""

import io
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, cast

import fastavro
import numpy as np
import polars as pl
import pyarrow as pa
import pyruhvro

from streams.contracts.canonical import encoded_size
from streams.contracts.schema import days, fields_of, full_name, is_vectorised, micros
from streams.contracts.topic import Field, Kind, Topic
from streams.contracts.violation import FaultError
from streams.contracts.wire import WireError, look_inside, read_body

HEADER: Final = 5  # magic byte and schema id
_MAGIC = b"\0"
_FEW = 8  # up to this many values fastavro is quicker than the way through Arrow
_LEAF = 16  # rows that are read one by one around a fault

_ARROW: Mapping[Kind, pa.DataType] = {
    "string": pa.string(),
    "enum": pa.string(),
    "long": pa.int64(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us", "UTC"),
    "date": pa.date32(),
    "bytes": pa.binary(),
}


def arrow_type(field: Field) -> pa.DataType:
    """The Arrow type of a field's values, which take times as integers too."""
    if field.kind != "array":
        return _ARROW[field.kind]
    if not field.items[0].name:
        return pa.list_(arrow_type(field.items[0]))
    return pa.list_(pa.struct([(part.name, arrow_type(part)) for part in field.items]))


def frame_schema(schema: Mapping[str, Any]) -> str:
    """The schema of a framed value: the header as two fields before the record's.

    The magic byte is a boolean (0 = false, others than 0 and 1 are refused), the four bytes of the id are a float:
    so the vectorised codec reads and writes whole frames, and no value is copied to strip or to add five bytes.
    """
    header = [{"name": "_magic", "type": "boolean"}, {"name": "_id", "type": "float"}]
    return json.dumps(_plain({**schema, "fields": [*header, *schema["fields"]]}), separators=(",", ":"))


def _plain(node: Any) -> Any:
    """A schema without its documentation."""
    if isinstance(node, dict):
        return {
            key: _plain(part) if key in ("type", "items", "fields") else part
            for key, part in node.items()
            if key != "doc"
        }
    return [_plain(part) for part in node] if isinstance(node, list) else node


def frame_header(schema_id: int) -> bytes:
    """Magic byte and schema id."""
    return _MAGIC + schema_id.to_bytes(4, "big")


def physical(node: Any) -> Any:
    """A schema without logical types: times are integers."""
    if isinstance(node, dict):
        return {
            key: physical(part) if key in ("type", "items", "fields") else part
            for key, part in node.items()
            if key != "logicalType"
        }
    return [physical(part) for part in node] if isinstance(node, list) else node


def to_physical(field: Field, value: Any) -> Any:
    """A default as it stands on the wire."""
    if value is None or field.kind not in ("timestamp", "date"):
        return value
    return micros(value) if field.kind == "timestamp" else days(value)


def _mismatch(written: Sequence[Field], wanted: Sequence[Field], inside: str = "") -> str:
    """Why fields as they were written cannot be read as these; empty where they can."""
    by_name = {field.name: field for field in written}
    for field in wanted:
        writer, where = by_name.get(field.name), f"{inside}{field.name}"
        if writer is None:
            if not field.has_default:
                return f"lacks {where}, which has no default"
        elif (writer.kind, writer.enum) != (field.kind, field.enum) or (writer.nullable and not field.nullable):
            return f"has {where} as another type"
        elif wrong := _mismatch(writer.items, field.items, f"{where}."):
            return wrong
    return ""


def _resolved(field: Field, items: Sequence[Any] | None) -> Sequence[Any] | None:
    """The items of an array as another version of it has them."""
    if items is None or not field.items[0].name:
        return items
    return [
        {part.name: item[part.name] if part.name in item else to_physical(part, part.default) for part in field.items}
        for item in items
    ]


@dataclass(frozen=True)
class Broken:
    """A value that cannot be decoded: its place in what was given, a code, and why."""

    at: int
    code: str
    text: str


class WrongSchemaError(Exception):
    """A schema that is not this topic's, or cannot be read as it."""


class Reader:
    """Decodes the values of one writer's schema for one topic.

    pyruhvro does not resolve: values are decoded as they were written, then columns that the topic does not have
    are dropped, and those that the writer did not have get their default.

    Raises:
        WrongSchemaError: the writer's schema is no version of the topic's.
    """

    def __init__(self, topic: Topic, schema_id: int, text: str) -> None:
        self.topic = topic
        self.header = frame_header(schema_id)
        try:
            self.schema: Mapping[str, Any] = topic.schema if text == topic.text else json.loads(text)
            self.fields = topic.fields if text == topic.text else fields_of(self.schema)
        except (json.JSONDecodeError, FaultError) as error:
            raise WrongSchemaError(f"schema {schema_id} is no event type: {error}") from None
        if self.fields is not topic.fields:
            self._resolve(schema_id)
        self.vectorised = is_vectorised(self.fields) and topic.vectorised
        self._framed = frame_schema(self.schema)
        self._id_bits = struct.unpack("<I", self.header[1:])[0]
        self._dates = [field.name for field in self.fields if field.kind == "date"]  # fastavro lets them be longer
        self._at = {field.name: at for at, field in enumerate(self.fields)}
        self._arrow = pa.schema([(field.name, arrow_type(field)) for field in topic.fields])

    def _resolve(self, schema_id: int) -> None:
        """Refuse a schema that is not a version of the topic's (what FULL_TRANSITIVE would have refused)."""
        wanted, found = full_name(self.topic.schema, ""), full_name(self.schema, "")
        if found != wanted:
            raise WrongSchemaError(f"schema {schema_id} is {found}; the topic has {wanted}")
        wrong = _mismatch(self.fields, self.topic.fields)
        if wrong:
            raise WrongSchemaError(f"schema {schema_id} {wrong}")

    @property
    def has_newer_symbols(self) -> bool:
        """Whether an enum of the writer has symbols that the topic's does not."""
        known = self.topic.by_name
        return any(set(field.symbols) - set(known[field.name].symbols) for field in self.fields if field.name in known)

    def whole(self, values: Sequence[bytes | None], *, sure: bool = False) -> pl.DataFrame | None:
        """All values as a frame in one go, or None where anything at all is wrong with any of them.

        Args:
            values: framed values.
            sure: the values are known to be canonical; their length is not looked at.
        """
        try:
            batch = pyruhvro.deserialize_array(values, self._framed)
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException:  # noqa: BLE001  # a panic of the decoder is no Exception
            return None
        magic, ids, *columns = batch.columns
        if magic.true_count or np.any(np.frombuffer(ids.buffers()[1], np.uint32)[: len(ids)] != self._id_bits):
            return None
        body = pa.RecordBatch.from_arrays(columns, names=[field.name for field in self.fields])
        if not self._is_text(body):
            return None
        if not sure:
            size = encoded_size(body, self.fields)
            if size is None or size + HEADER * len(values) != sum(map(len, cast("Sequence[bytes]", values))):
                return None
        return self._frame(body)

    def _is_text(self, body: pa.RecordBatch) -> bool:
        """Whether all strings are UTF-8, which the decoder does not look at."""
        for field, column in zip(self.fields, body.columns, strict=True):
            data = column.buffers()[2] if field.kind == "string" else None
            if data is None or not len(data) or np.frombuffer(data, np.uint8).max() < 0x80:
                continue
            try:
                column.validate(full=True)
            except pa.ArrowInvalid:
                return False
        return True

    def _frame(self, body: pa.RecordBatch) -> pl.DataFrame:
        """The topic's columns of a batch; a time becomes UTC without a copy."""
        columns = []
        for field in self.topic.fields:
            at = self._at.get(field.name)
            kind = _ARROW[field.kind]
            column = pa.repeat(pa.scalar(field.default, kind), len(body)) if at is None else body.column(at)
            columns.append(column.view(kind) if field.kind == "timestamp" else column)
        return pl.DataFrame(pa.RecordBatch.from_arrays(columns, schema=self._arrow))

    @cached_property
    def _parsed(self) -> Any:
        return fastavro.parse_schema(physical(dict(self.schema)))

    @cached_property
    def logical(self) -> Any:
        """The writer's schema as fastavro wants it."""
        return fastavro.parse_schema(dict(self.schema))

    def event(self, body: io.BytesIO) -> dict[str, Any]:
        """One event as fastavro reads it, times as aware datetimes; its errors go through.

        Raises:
            ValueError: a symbol that the topic's schema does not have.
        """
        event: Any = fastavro.schemaless_reader(body, self.logical, None)
        if self.fields is self.topic.fields:
            return dict(event)
        for name, symbols in self._symbols.items():
            if event[name] is not None and event[name] not in symbols:
                raise ValueError(f"{name} = {event[name]!r}, a symbol of a newer version")
        return {field.name: event.get(field.name, field.default) for field in self.topic.fields}

    @cached_property
    def _symbols(self) -> dict[str, frozenset[str]]:
        """The symbols of the topic's enums that the writer has too."""
        return {
            field.name: frozenset(field.symbols)
            for field in self.topic.fields
            if field.kind == "enum" and field.name in self._at
        }

    def rows(self, values: Sequence[bytes]) -> tuple[pl.DataFrame, list[Broken]]:
        """All values one by one, by fastavro: the frame of the good ones, and what is wrong with the others."""
        found, broken = [], []
        parsed = self._parsed
        arrays = [field for field in self.topic.fields if field.kind == "array" and field.name in self._at]
        for at, value in enumerate(values):
            try:
                row = self._row(parsed, value)
                for field in arrays:
                    look_inside(field, row[field.name])
                found.append(row)
            except WireError as error:
                broken.append(Broken(at, error.code, error.text))
        return self._columns(found), broken

    def _row(self, parsed: Any, value: bytes) -> dict[str, Any]:
        body = value[HEADER:]
        again = io.BytesIO()
        try:
            row: Any = fastavro.schemaless_reader(io.BytesIO(body), parsed, None)
            fastavro.schemaless_writer(again, parsed, row)
        except (KeyboardInterrupt, SystemExit):
            raise
        except Exception:  # noqa: BLE001  # the strict reader tells what it is
            return read_body(self.fields, body)
        longer = any(row[name] is not None and row[name] >> 31 not in (0, -1) for name in self._dates)
        if longer or again.getvalue() != body:
            return read_body(self.fields, body)
        return dict(row)

    def _columns(self, rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
        columns = []
        for field in self.topic.fields:
            if field.name in self._at:
                values = [row[field.name] for row in rows]
                if field.kind == "array" and self.fields is not self.topic.fields:
                    values = [_resolved(field, items) for items in values]
            else:
                values = [to_physical(field, field.default)] * len(rows)
            columns.append(pa.array(values, arrow_type(field)))
        return pl.DataFrame(pa.RecordBatch.from_arrays(columns, schema=self._arrow))

    def all_good(self, values: Sequence[bytes | None]) -> pl.DataFrame | None:
        """All values as a frame, by whatever is quickest, or None where anything is wrong with any of them."""
        if self.vectorised and len(values) > _FEW:
            return self.whole(values)
        bodies = [value for value in values if value is not None and value.startswith(self.header)]
        if len(bodies) < len(values):
            return None
        frame, broken = self.rows(bodies)
        return None if broken else frame

    def decode(self, values: Sequence[bytes]) -> tuple[pl.DataFrame, list[Broken]]:
        """All values: the frame of the good ones, in order, and what is wrong with the others."""
        if not self.vectorised:
            return self.rows(values)
        frame = self.whole(values)
        if frame is not None:
            return frame, []
        broken = self._broken(values)
        bad = {fault.at for fault in broken}
        good = [at for at in range(len(values)) if at not in bad]
        kept = [values[at] for at in good]
        frame = self.whole(kept, sure=True)
        if frame is not None:
            return frame, broken
        frame, more = self.rows(kept)
        broken += [Broken(good[fault.at], fault.code, fault.text) for fault in more]
        return frame, sorted(broken, key=lambda fault: fault.at)

    def _broken(self, values: Sequence[bytes]) -> list[Broken]:
        """Find the bad values by halving: what decodes as a whole is not looked at again."""
        found: list[Broken] = []
        pending = [(0, len(values))]
        while pending:
            start, end = pending.pop()
            if end - start > _LEAF:
                middle = (start + end) // 2
                halves = ((middle, end), (start, middle))
                pending.extend(half for half in halves if self.whole(values[half[0] : half[1]]) is None)
                continue
            for at in range(start, end):
                try:
                    read_body(self.fields, values[at][HEADER:])
                except WireError as error:
                    found.append(Broken(at, error.code, error.text))
        return found
