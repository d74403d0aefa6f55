"""From a prepared frame, or a few events of the hosts' own, to framed values."""

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from io import BytesIO
from typing import Any

import fastavro
import numpy as np
import polars as pl
import pyarrow as pa
import pyruhvro

from streams.contracts.decoding import arrow_type, frame_header, frame_schema, physical
from streams.contracts.guard import plain
from streams.contracts.preparing import emit_error
from streams.contracts.schema import UNKNOWN
from streams.contracts.topic import Field, Topic
from streams.errors import EmitError

_SLAB = 65_536  # rows encoded at once: what they need stays in the cache, a million at once takes twice as long
_FEW = 12  # up to this many rows fastavro is quicker than the way through Arrow


@dataclass(frozen=True)
class Encoded:
    """Keys and framed values, row by row; the Avro bodies are ``values[i][5:]``."""

    keys: list[bytes]
    values: list[bytes]


class Writer:
    """Encodes the events of one topic."""

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self._names = list(topic.columns)
        self._dtypes = list(topic.columns.values())
        self._required = [field.name for field in topic.fields if not field.nullable]

    def _error(self, text: str) -> EmitError:
        return emit_error(self.topic, text)

    @cached_property
    def _framed(self) -> str:
        return frame_schema(self.topic.schema)

    @cached_property
    def _arrow(self) -> pa.Schema:
        columns = [(field.name, arrow_type(field)) for field in self.topic.fields]
        return pa.schema([("_magic", pa.bool_()), ("_id", pa.float32()), *columns])

    def encode(self, schema_id: int, frame: pl.DataFrame) -> Encoded:
        """Keys and framed values of a prepared frame."""
        if frame.columns != self._names or frame.dtypes != self._dtypes:
            raise self._error("a frame must be prepared before it is encoded")
        for name in self._required:  # the vectorised encoder would write 0.0 without a word
            if frame.get_column(name).null_count():
                raise self._error(f"{name} is null; a frame must be prepared before it is encoded")
        if not self.topic.vectorised or frame.height <= _FEW:
            return self.encode_rows(schema_id, frame)
        return self.encode_columns(schema_id, frame)

    def encode_columns(self, schema_id: int, frame: pl.DataFrame) -> Encoded:
        """The same by pyruhvro: for all but arrays and bytes."""
        header = frame_header(schema_id)
        bits = np.full(frame.height, struct.unpack("<f", header[1:])[0], np.float32)
        if struct.pack("<f", bits[0]) != header[1:]:
            return self.encode_rows(schema_id, frame)  # an id whose bytes are a NaN, which no float keeps
        columns = [pa.array(np.zeros(frame.height, np.bool_)), pa.array(bits)]
        table = pa.RecordBatchReader.from_stream(frame.rechunk()).read_next_batch()
        for column, wanted in zip(table.columns, self._arrow.types[2:], strict=True):
            columns.append(column if column.type == wanted else column.cast(wanted))
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
            raise self._error(f"cannot be encoded: {error}") from None
        into.values.extend(values.to_pylist())
        into.keys.extend(batch.column(2 + self._names.index(self.topic.key)).cast(pa.binary()).to_pylist())

    @cached_property
    def _physical(self) -> Any:
        return fastavro.parse_schema(physical(dict(self.topic.schema)))

    @cached_property
    def _logical(self) -> Any:
        return fastavro.parse_schema(dict(self.topic.schema))

    def encode_rows(self, schema_id: int, frame: pl.DataFrame) -> Encoded:
        """The same by fastavro: for arrays and bytes, and for few rows."""
        # Inside arrays times stay times: polars has no short way to their integers, and fastavro takes both.
        arrays = any(field.kind == "array" for field in self.topic.fields)
        columns = [column.to_list() if arrays else plain(column) for column in frame.iter_columns()]
        rows = (dict(zip(self._names, row, strict=True)) for row in zip(*columns, strict=True))
        keys = [key.encode() for key in frame.get_column(self.topic.key).to_list()]
        return Encoded(keys, self._write(self._logical if arrays else self._physical, schema_id, rows))

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
                raise self._error(f"event {len(found)} cannot be encoded: {error}") from None
            found.append(out.getvalue())
        return found

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
                raise self._error(f"{name} = {value!r} is no time with a time zone; give it one, as UTC")
            case "double" if not isinstance(value, (float, int)) or not math.isfinite(value):
                raise self._error(f"{name} = {value!r} is NaN, infinite or no number")
            case "enum" if value == UNKNOWN:
                raise self._error(f"{name} = {value!r}, which no event may have")
            case "array":
                for item in value:
                    for part in field.items:
                        self._watch(part, item.get(part.name) if part.name else item, f"{name}.{part.name}")

    def encode_events(self, schema_id: int, events: Sequence[Mapping[str, Any]]) -> list[bytes]:
        """Framed values of a few events; types and times are looked at, the checks are not."""
        for event in events:
            for field in self._watched:
                self._watch(field, event.get(field.name), field.name)
        return self._write(self._logical, schema_id, events)
