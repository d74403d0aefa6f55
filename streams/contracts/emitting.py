"""From what a handler emits to a frame that has exactly the topic's columns, and from that to framed values."""

import math
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from io import BytesIO
from typing import Any

import fastavro
import numpy as np
import polars as pl
import pyarrow as pa
import pyruhvro

from streams.columns import UTC_MICROS
from streams.contracts.decoding import arrow_type, frame_header, frame_schema, physical, physical_dtype
from streams.contracts.guard import MICROS, Guard, shown
from streams.contracts.record import Record
from streams.contracts.schema import EPOCH, UNKNOWN
from streams.contracts.topic import Field, Topic
from streams.errors import EmitError

Rows = pl.DataFrame | Sequence[Record | Mapping[str, Any]]
_MICRO = timedelta(microseconds=1)
_SLAB = 65_536  # rows encoded at once: what they need stays in the cache, a million at once takes twice as long
_NOTHING = type(None)


@dataclass(frozen=True)
class Encoded:
    """Keys and framed values, row by row; the Avro bodies are ``values[i][5:]``."""

    keys: list[bytes]
    values: list[bytes]


class Writer:
    """Makes the events of one topic."""

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self._names = list(topic.columns)
        self._dtypes = list(topic.columns.values())
        self._required = [field.name for field in topic.fields if not field.nullable]
        self._arrays = any(field.kind == "array" for field in topic.fields)  # what is in them is looked at in Python
        self._guard = Guard(topic, symbols=True)

    # --- what is emitted becomes a frame -----------------------------------------------------------------------

    def prepare(self, rows: Rows) -> pl.DataFrame:
        """The topic's columns of what a handler emits, checked."""
        frame = self._of_frame(rows) if isinstance(rows, pl.DataFrame) else self._of_events(rows)
        if not frame.height:
            return frame
        for name in self._required:
            column = frame.get_column(name)
            if column.null_count():
                self._refuse(frame, column.is_null(), f"{name} is null")
        if not self._guard.holds(frame):
            self._explain(frame)
        return frame

    def error(self, text: str) -> EmitError:
        """An error that names the topic and its record."""
        return EmitError(f"{self.topic.name} ({self.topic.record_name}): {text}")

    def _refuse(self, frame: pl.DataFrame, bad: pl.Series, text: str) -> None:
        at = int(bad.arg_max() or 0)
        first = ", ".join(
            f"{name}={shown(frame, name, at)}"
            for name in dict.fromkeys((self.topic.key, *self.topic.identity))
            if name in frame.columns
        )
        raise self.error(f"{text} in {bad.sum()} of {len(bad)} rows; first: row {at}, {first}")

    def _explain(self, frame: pl.DataFrame) -> None:
        for rule in self._guard.rules:
            bad = ~frame.select(rule.fine.fill_null(value=True).alias("fine"))["fine"]
            if bad.any():
                self._refuse(frame, bad, rule.told(frame, int(bad.arg_max() or 0)))

    @cached_property
    def _fill(self) -> dict[str, pl.Series]:
        """One row of every column that may be left out."""
        return {
            field.name: pl.Series(field.name, [field.default], dtype=field.dtype)
            for field in self.topic.fields
            if field.has_default
        }

    def _missing(self, field: Field) -> EmitError:
        return self.error(f"column {field.name} is missing; only nullable ones and those with a default may be")

    def _unknown(self, names: Iterable[str]) -> EmitError:
        listed = ", ".join(names)
        return self.error(f"has no column {listed}; drop it before emitting. It has {', '.join(self._names)}")

    def _of_frame(self, rows: pl.DataFrame) -> pl.DataFrame:
        names = rows.columns
        if not self._arrays and names == self._names and rows.dtypes == self._dtypes:
            return rows
        given = set(names)
        if unknown := given.difference(self._names):
            raise self._unknown(sorted(unknown))
        columns = []
        for field in self.topic.fields:
            if field.name in given:
                column = rows.get_column(field.name)
                as_is = column.dtype == field.dtype and field.kind != "array"
                columns.append(column if as_is else self._cast(field, column))
            elif field.has_default:
                columns.append(self._fill[field.name].new_from_index(0, rows.height))
            else:
                raise self._missing(field)
        return pl.DataFrame(columns)

    def _cast(self, field: Field, column: pl.Series) -> pl.Series:
        """The column as the field's type, where nothing is lost."""
        dtype = column.dtype
        if isinstance(dtype, pl.Null):
            return column.cast(field.dtype)
        match field.kind:
            case "string" | "enum" if isinstance(dtype, (pl.Categorical, pl.Enum)):
                return column.cast(pl.String())
            case "long" if dtype.is_integer():
                return self._lossless(field, column, column.cast(pl.Int64(), strict=False))
            case "double" if dtype.is_integer() or dtype == pl.Float32():
                wide = column.cast(pl.Float64())
                if dtype.is_integer():
                    return self._lossless(field, column, wide)
                return wide
            case "timestamp" if isinstance(dtype, pl.Datetime):
                if dtype.time_zone is None:
                    raise self.error(f"{field.name} is a naive time; emit it with a time zone, as UTC")
                return self._lossless(field, column, column.cast(pl.Datetime("us", dtype.time_zone)).cast(UTC_MICROS))
            case "array" if isinstance(dtype, (pl.List, pl.Array)):
                return self._column(field, column.to_list())
        hint = "; round it and cast it to Int64" if field.kind == "long" and dtype.is_float() else ""
        raise self.error(f"{field.name} has type {dtype}, the topic {field.dtype}{hint}")

    def _lossless(self, field: Field, before: pl.Series, after: pl.Series) -> pl.Series:
        lost = after.cast(before.dtype, strict=False).ne_missing(before)
        if lost.any():
            at = int(lost.arg_max() or 0)
            raise self.error(f"{field.name}: {before[at]} of {before.dtype} does not fit into {field.dtype}")
        return after

    # --- events become a frame ---------------------------------------------------------------------------------

    def _of_events(self, rows: Sequence[Record | Mapping[str, Any]]) -> pl.DataFrame:
        events: list[Mapping[str, Any]] = []
        known = self.topic.columns.keys()
        for row in rows:
            if isinstance(row, Record):
                if type(row).__name__ != self.topic.record_name:
                    raise self.error(f"cannot emit a {type(row).__name__}")
                events.append(row.__dict__)
            else:
                if not row.keys() <= known:
                    raise self._unknown(sorted(row.keys() - known))
                events.append(row)
        columns = []
        for field in self.topic.fields:
            name, default = field.name, field.default
            if field.has_default:
                values = [event.get(name, default) for event in events]
            else:
                try:
                    values = [event[name] for event in events]
                except KeyError:
                    raise self._missing(field) from None
            columns.append(self._column(field, values))
        return pl.DataFrame(columns)

    def _column(self, field: Field, values: list[Any]) -> pl.Series:
        """A column of Python values; a wrong type is named with its row."""
        kinds = set(map(type, values))
        kinds.discard(_NOTHING)
        if kinds - _TYPES[field.kind] or field.kind in _CONVERT:
            values = [self._value(field, value, row) for row, value in enumerate(values)]
        try:
            series = pl.Series(field.name, values, dtype=physical_dtype(field), strict=field.kind != "double")
        except (OverflowError, pl.exceptions.PolarsError, TypeError) as error:
            raise self.error(f"{field.name}: {str(error).splitlines()[0]}") from None
        return series if series.dtype == field.dtype else series.cast(field.dtype)

    def _value(self, field: Field, value: Any, row: int) -> Any:
        if isinstance(value, np.generic):
            value = value.item()
        if value is None:
            return None
        if type(value) not in _TYPES[field.kind]:
            if field.kind in ("string", "enum") and isinstance(value, str):
                return str.__str__(value)
            raise self.error(f"{field.name} = {value!r} in row {row} is no {field.kind}")
        convert = _CONVERT.get(field.kind)
        if convert:
            return convert(self, field, value, row)
        return value

    def _micros(self, field: Field, value: datetime, row: int) -> int:
        if value.tzinfo is None:
            raise self.error(f"{field.name} = {value} in row {row} is a naive time; give it a time zone, as UTC")
        return (value - EPOCH) // _MICRO

    def _days(self, _field: Field, value: date, _row: int) -> int:
        return value.toordinal() - EPOCH.toordinal()

    def _list(self, field: Field, value: list[Any], row: int) -> list[Any]:
        if not field.items[0].name:
            return [self._item(field, field.items[0], item, row) for item in value]
        found = []
        for item in value:
            if not isinstance(item, Mapping) or not item.keys() <= {part.name for part in field.items}:
                raise self.error(f"{field.name} = {item!r} in row {row}: its fields are {_listed(field)}")
            found.append({part.name: self._item(field, part, item.get(part.name), row) for part in field.items})
        return found

    def _item(self, field: Field, part: Field, value: Any, row: int) -> Any:
        named = Field(f"{field.name}.{part.name}", part.kind, part.dtype, part.nullable, "", symbols=part.symbols)
        made = self._value(named, value, row)
        if made is None and not part.nullable:
            raise self.error(f"{named.name} is null in row {row}")
        if part.kind == "double" and made is not None and not np.isfinite(made):
            raise self.error(f"{named.name} = {made} in row {row} is NaN or infinite")
        if part.kind == "timestamp" and made is not None and made not in MICROS:
            raise self.error(f"{named.name} = {value} in row {row} is not between the years 1900 and 2299")
        if part.kind == "enum" and made is not None and made not in part.symbols[1:]:
            raise self.error(f"{named.name} = {made!r} in row {row} is none of {', '.join(part.symbols[1:])}")
        return made

    # --- a frame becomes bytes ---------------------------------------------------------------------------------

    @cached_property
    def _framed(self) -> str:
        return frame_schema(self.topic.schema)

    @cached_property
    def _arrow(self) -> pa.Schema:
        return pa.schema(
            [
                ("_magic", pa.bool_()),
                ("_id", pa.float32()),
                *((field.name, arrow_type(field)) for field in self.topic.fields),
            ]
        )

    def encode(self, schema_id: int, frame: pl.DataFrame) -> Encoded:
        """Keys and framed values of a prepared frame."""
        if frame.columns != self._names or frame.dtypes != self._dtypes:
            raise self.error("a frame must be prepared before it is encoded")
        if not frame.height:
            return Encoded([], [])
        for name in self._required:  # the vectorised encoder would write 0.0 without a word
            if frame.get_column(name).null_count():
                raise self.error(f"{name} is null; a frame must be prepared before it is encoded")
        if not self.topic.vectorised:
            return self.encode_rows(schema_id, frame)
        header = frame_header(schema_id)
        bits = np.full(frame.height, struct.unpack("<f", header[1:])[0], np.float32)
        if struct.pack("<f", bits[0]) != header[1:]:
            return self.encode_rows(schema_id, frame)  # an id whose bytes are a NaN, which no float keeps
        columns = [pa.array(np.zeros(frame.height, np.bool_)), pa.array(bits)]
        table = pa.RecordBatchReader.from_stream(frame.rechunk()).read_next_batch()
        for column, field in zip(table.columns, self._arrow.types[2:], strict=True):
            columns.append(column if column.type == field else column.cast(field))
        batch = pa.RecordBatch.from_arrays(columns, schema=self._arrow)
        encoded = Encoded([], [])
        for start in range(0, frame.height, _SLAB):
            self._encode_slab(batch.slice(start, _SLAB), encoded)
        return encoded

    def _encode_slab(self, batch: pa.RecordBatch, into: Encoded) -> None:
        try:
            (values,) = pyruhvro.serialize_record_batch(batch, self._framed, 1)
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException as error:  # noqa: BLE001  # a panic of the encoder is no Exception
            raise self.error(f"cannot be encoded: {error}") from None
        into.values.extend(values.to_pylist())
        into.keys.extend(batch.column(2 + self._names.index(self.topic.key)).cast(pa.binary()).to_pylist())

    @cached_property
    def _parsed_physical(self) -> Any:
        return fastavro.parse_schema(physical(dict(self.topic.schema)))

    def encode_rows(self, schema_id: int, frame: pl.DataFrame) -> Encoded:
        """The same by fastavro: for arrays and bytes."""
        plain = [
            frame.get_column(field.name).cast(physical_dtype(field)).to_list()
            if physical_dtype(field) != field.dtype
            else frame.get_column(field.name).to_list()
            for field in self.topic.fields
        ]
        rows = (dict(zip(self._names, row, strict=True)) for row in zip(*plain, strict=True))
        keys = [key.encode() for key in frame.get_column(self.topic.key).to_list()]
        return Encoded(keys, self._write(self._parsed_physical, schema_id, rows))

    def _write(self, parsed: Any, schema_id: int, rows: Iterable[Mapping[str, Any]]) -> list[bytes]:
        header = frame_header(schema_id)
        found: list[bytes] = []
        write = fastavro.schemaless_writer
        for row in rows:
            out = BytesIO()
            out.write(header)
            try:
                write(out, parsed, row, strict_allow_default=True)
            except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
                raise self.error(f"event {len(found)} cannot be encoded: {error}") from None
            found.append(out.getvalue())
        return found

    # --- a few events of the hosts' own, quickly ----------------------------------------------------------------

    @cached_property
    def _parsed(self) -> Any:
        return fastavro.parse_schema(dict(self.topic.schema))

    @cached_property
    def _watched(self) -> list[Field]:
        """The fields in which fastavro would write what nobody should read."""
        kinds = {"timestamp", "double", "enum"}
        return [f for f in self.topic.fields if f.kind in kinds or any(part.kind in kinds for part in f.items)]

    def _watch(self, field: Field, value: Any, name: str) -> None:
        if value is None:
            return
        match field.kind:
            case "timestamp" if not isinstance(value, datetime) or value.tzinfo is None:
                raise self.error(f"{name} = {value!r} is no time with a time zone; give it one, as UTC")
            case "double" if not isinstance(value, (float, int)) or not math.isfinite(value):
                raise self.error(f"{name} = {value!r} is NaN, infinite or no number")
            case "enum" if value == UNKNOWN:
                raise self.error(f"{name} = {value!r}, which no event may have")
            case "array":
                for item in value:
                    for part in field.items:
                        self._watch(part, item.get(part.name) if part.name else item, f"{name}.{part.name}")

    def encode_events(self, schema_id: int, events: Sequence[Mapping[str, Any]]) -> list[bytes]:
        """Framed values of a few events; types and times are looked at, the checks are not."""
        for event in events:
            for field in self._watched:
                self._watch(field, event.get(field.name), field.name)
        return self._write(self._parsed, schema_id, events)


def _listed(field: Field) -> str:
    return ", ".join(part.name for part in field.items)


_TYPES: dict[str, set[type]] = {
    "string": {str},
    "enum": {str},
    "long": {int},
    "double": {float, int},
    "boolean": {bool},
    "bytes": {bytes},
    "timestamp": {datetime},
    "date": {date},
    "array": {list, tuple},
}
_CONVERT: dict[str, Callable[[Writer, Field, Any, int], Any]] = {
    "timestamp": Writer._micros,  # noqa: SLF001  # of this module
    "date": Writer._days,  # noqa: SLF001
    "array": Writer._list,  # noqa: SLF001
}
