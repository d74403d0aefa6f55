"""Events as bytes and back: the Confluent frame, Avro, and what is wrong with what comes in."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from streams.contracts.decoding import HEADER, Reader, WrongSchemaError, frame_header
from streams.contracts.emitting import Encoded, Writer
from streams.contracts.guard import Guard
from streams.contracts.preparing import Preparer, Rows
from streams.contracts.registry import MemoryRegistry, RegistryAway, SchemaRegistry, UnknownSchema
from streams.contracts.topic import Topic
from streams.contracts.wire import CODES
from streams.errors import StreamsError

__all__ = [
    "CODES",
    "Codec",
    "DecodeError",
    "Decoded",
    "Encoded",
    "MemoryRegistry",
    "RegistryAway",
    "Rejection",
    "SchemaRegistry",
    "UnknownSchema",
    "frame_header",
]

_FEW = 128  # up to this many keys are compared in Python
Positions = npt.NDArray[np.int64]


class DecodeError(StreamsError):
    """An event of the hosts' own that cannot be read."""


@dataclass(frozen=True)
class Rejection:
    """A record that cannot be used: its row in what was given, a code of `CODES`, and why in words."""

    row: int
    code: str
    text: str


@dataclass(frozen=True)
class Decoded:
    """What came of a batch.

    Attributes:
        frame: the good records, in order, with the topic's columns.
        rows: int64 [good], where each stood in what was given.
        rejected: the others, in order.
        schema_ids: int32 [good], the schema each was written with.
    """

    frame: pl.DataFrame
    rows: Positions
    rejected: list[Rejection]
    schema_ids: npt.NDArray[np.int32]


class Codec:
    """Encodes and decodes the events of all topics through one registry.

    Args:
        registry: where schemas are kept; what it raises as `RegistryAway` goes through, nothing is rejected then.
    """

    def __init__(self, registry: SchemaRegistry) -> None:
        self.registry = registry
        self._writers: dict[Topic, Writer] = {}
        self._preparers: dict[Topic, Preparer] = {}
        self._guards: dict[Topic, Guard] = {}
        self._ids: dict[Topic, int] = {}
        self._readers: dict[tuple[Topic, bytes], Reader | tuple[str, str]] = {}

    # --- out ---------------------------------------------------------------------------------------------------

    def _writer(self, topic: Topic) -> Writer:
        found = self._writers.get(topic)
        if found is None:
            found = self._writers[topic] = Writer(topic)
        return found

    def schema_id(self, topic: Topic) -> int:
        """The id of the topic's schema, registered when it is first needed."""
        found = self._ids.get(topic)
        if found is None:
            found = self._ids[topic] = self.registry.register(topic.subject, topic.text)
        return found

    def prepare(self, topic: Topic, rows: Rows) -> pl.DataFrame:
        """The topic's columns of what is emitted, complete, in order, lossless, and checked.

        Raises:
            EmitError: a column is unknown or missing, a value is null, naive, NaN or infinite, no symbol of its
                enum, or breaks a check; names the field or check, the first row concerned and how many there are.
        """
        found = self._preparers.get(topic)
        if found is None:
            found = self._preparers[topic] = Preparer(topic)
        return found.prepare(rows)

    def encode(self, topic: Topic, frame: pl.DataFrame) -> Encoded:
        """Keys and framed values of a prepared frame.

        Raises:
            EmitError: the frame is not what `prepare` gives.
            RegistryAway: the schema cannot be registered now.
        """
        return self._writer(topic).encode(self.schema_id(topic), frame)

    def encode_events(self, topic: Topic, events: Sequence[Mapping[str, Any]]) -> list[bytes]:
        """Framed values of a few events of the hosts' own; types are looked at, the topic's checks are not.

        Raises:
            EmitError: a value does not fit its field.
        """
        return self._writer(topic).encode_events(self.schema_id(topic), events)

    # --- in ----------------------------------------------------------------------------------------------------

    def _reader(self, topic: Topic, header: bytes) -> Reader | tuple[str, str]:
        """What decodes values of this header, or why they are rejected."""
        found = self._readers.get((topic, header))
        if found is None:
            schema_id = int.from_bytes(header[1:], "big", signed=True)
            try:
                found = Reader(topic, schema_id, self.registry.schema(schema_id))
            except UnknownSchema as error:
                return "UNKNOWN_SCHEMA", str(error)  # not kept: it may be registered later
            except WrongSchemaError as error:
                found = ("WRONG_SCHEMA", str(error))
            else:
                if found.has_newer_symbols:
                    self._guards[topic] = Guard(topic, symbols=True)
            self._readers[topic, header] = found
        return found

    def decode(self, topic: Topic, keys: Sequence[bytes | None], values: Sequence[bytes | None]) -> Decoded:
        """The good records of a batch as a frame, and what is wrong with the others.

        Args:
            topic: whose records they are.
            keys: the Kafka keys.
            values: the Kafka values, framed.

        Raises:
            RegistryAway: a schema cannot be fetched now; nothing was decoded.
        """
        if len(keys) != len(values):
            raise ValueError(f"{len(keys)} keys and {len(values)} values")
        if not values:
            return Decoded(topic.empty(), np.empty(0, np.int64), [], np.empty(0, np.int32))
        rejected: dict[int, Rejection] = {}
        frame, rows, ids = self._one_schema(topic, values) or self._by_schema(topic, values, rejected)
        frame, kept = self._at_the_border(topic, keys, frame, rows, rejected)
        if kept is not None:
            rows, ids = rows[kept], ids[kept]
        return Decoded(frame, rows, [rejected[row] for row in sorted(rejected)], ids)

    def _one_schema(
        self, topic: Topic, values: Sequence[bytes | None]
    ) -> tuple[pl.DataFrame, Positions, npt.NDArray[np.int32]] | None:
        """The usual case: all values of one schema and all of them good; else None."""
        first = values[0]
        if first is None or len(first) < HEADER or first[0]:
            return None
        reader = self._reader(topic, first[:HEADER])
        if not isinstance(reader, Reader):
            return None
        frame = reader.all_good(values)
        if frame is None:
            return None
        schema_id = int.from_bytes(first[1:HEADER], "big")
        return frame, np.arange(len(values)), np.full(len(values), schema_id, np.int32)

    def _by_schema(
        self, topic: Topic, values: Sequence[bytes | None], rejected: dict[int, Rejection]
    ) -> tuple[pl.DataFrame, Positions, npt.NDArray[np.int32]]:
        """Values of several schemas, or with faults: sort them out."""
        groups: dict[bytes, list[int]] = {}
        for row, value in enumerate(values):
            if value is None:
                rejected[row] = Rejection(row, "NULL_VALUE", "the record has no value")
            elif len(value) < HEADER:
                rejected[row] = Rejection(row, "TRUNCATED", f"{len(value)} bytes, a frame has at least {HEADER}")
            elif value[0]:
                text = f"first byte is {value[0]:#04x}, not 0x00: no Confluent frame"
                rejected[row] = Rejection(row, "BAD_MAGIC", text)
            else:
                groups.setdefault(value[:HEADER], []).append(row)
        readers = {header: self._reader(topic, header) for header in groups}  # all, before anything is decoded
        frames = [topic.empty()]
        positions: list[Positions] = [np.empty(0, np.int64)]
        ids = [np.empty(0, np.int32)]
        for header, rows in groups.items():
            reader = readers[header]
            if isinstance(reader, tuple):
                rejected.update({row: Rejection(row, *reader) for row in rows})
                continue
            frame, broken = reader.decode([value for row in rows if (value := values[row]) is not None])
            rejected.update({rows[fault.at]: Rejection(rows[fault.at], fault.code, fault.text) for fault in broken})
            frames.append(frame)
            positions.append(np.delete(np.array(rows, np.int64), [fault.at for fault in broken]))
            ids.append(np.full(frame.height, int.from_bytes(header[1:], "big"), np.int32))
        found = np.concatenate(positions)
        order = np.argsort(found, kind="stable")
        frame = pl.concat(frames, rechunk=True)
        return frame if len(frames) == 2 else frame[order], found[order], np.concatenate(ids)[order]

    def _at_the_border(
        self,
        topic: Topic,
        keys: Sequence[bytes | None],
        frame: pl.DataFrame,
        rows: Positions,
        rejected: dict[int, Rejection],
    ) -> tuple[pl.DataFrame, Positions | None]:
        """Reject what decodes but contradicts its key or a check; what is kept, None for all."""
        bad: dict[int, Rejection] = {}
        guard = self._guards.get(topic)
        if guard is None:
            guard = self._guards[topic] = Guard(topic, symbols=False)
        if not guard.holds(frame):
            for fault in guard.faults(frame):
                row = int(rows[fault.row])
                bad[fault.row] = Rejection(row, fault.code, fault.text)
        own = frame.get_column(topic.key)
        given = keys if frame.height == len(keys) else [keys[row] for row in rows.tolist()]
        if not _same(own, given):
            for at, key in enumerate(own.to_list()):
                if key.encode() != given[at]:
                    text = f"the key is {given[at]!r}, {topic.key} is {key!r}"
                    bad.setdefault(at, Rejection(int(rows[at]), "KEY_MISMATCH", text))
        if not bad:
            return frame, None
        rejected.update({fault.row: fault for fault in bad.values()})
        kept = np.delete(np.arange(frame.height), list(bad))
        return frame[kept], kept

    def decode_events(self, topic: Topic, values: Sequence[bytes]) -> list[dict[str, Any]]:
        """A few events of the hosts' own as dicts, times as aware datetimes.

        Raises:
            DecodeError: one of them cannot be read.
            RegistryAway: a schema cannot be fetched now.
        """
        found: list[dict[str, Any]] = []
        for row, value in enumerate(values):
            header = value[:HEADER]
            reader = self._reader(topic, header) if len(header) == HEADER and not header[0] else None
            if not isinstance(reader, Reader):
                code, text = reader or ("BAD_MAGIC", "no Confluent frame")
                raise DecodeError(f"{topic.name}: event {row}: {code}: {text}")
            body = io.BytesIO(value)
            body.seek(HEADER)
            try:
                event = reader.event(body)
            except (ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError) as error:
                raise DecodeError(f"{topic.name}: event {row}: MALFORMED: {error}") from None
            if body.tell() != len(value):
                raise DecodeError(f"{topic.name}: event {row}: TRAILING_BYTES")
            found.append(event)
        return found


def _same(own: pl.Series, given: Sequence[bytes | None]) -> bool:
    """Whether the keys are those of the records."""
    if len(own) <= _FEW:
        return [key.encode() for key in own.to_list()] == list(given)
    column = pl.Series(given, dtype=pl.Binary())
    return not column.null_count() and bool((column == own.cast(pl.Binary())).all())
