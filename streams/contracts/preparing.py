"""From what a handler emits to a frame that has exactly the topic's columns, complete, lossless and checked."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from streams.columns import UTC_MICROS
from streams.contracts.decoding import arrow_type
from streams.contracts.guard import MICROS, Guard, words
from streams.contracts.record import Record
from streams.contracts.schema import days, micros
from streams.contracts.topic import Field, Topic
from streams.errors import EmitError

Rows = pl.DataFrame | Sequence[Record | Mapping[str, Any]]
_NOTHING = type(None)
_YEARS = "is not between the years 1900 and 2299"


def emit_error(topic: Topic, text: str) -> EmitError:
    """An error that names the topic and its record."""
    return EmitError(f"{topic.name} ({topic.record_name}): {text}")


class Preparer:
    """Makes the frames of one topic."""

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self._names = list(topic.columns)
        self._dtypes = list(topic.columns.values())
        self._required = [field.name for field in topic.fields if not field.nullable]
        self._arrays = any(field.kind == "array" for field in topic.fields)  # what is in them is looked at in Python
        self._arrow = pa.schema([(field.name, arrow_type(field)) for field in topic.fields])
        self._guard = Guard(topic, symbols=True)

    def prepare(self, rows: Rows) -> pl.DataFrame:
        """The topic's columns of what a handler emits, checked."""
        frame = self._of_frame(rows) if isinstance(rows, pl.DataFrame) else self.of_events(rows)
        if not frame.height:
            return frame
        for name in self._required:
            column = frame.get_column(name)
            if column.null_count():
                self._refuse(frame, column.is_null(), f"{name} is null")
        if not self._guard.holds(frame):
            self._explain(frame)
        return frame

    def _error(self, text: str) -> EmitError:
        return emit_error(self.topic, text)

    def _refuse(self, frame: pl.DataFrame, bad: pl.Series, text: str) -> None:
        at = int(bad.arg_max() or 0)
        first = ", ".join(
            f"{name}={words(frame.get_column(name)[at : at + 1])[0]}"
            for name in dict.fromkeys((self.topic.key, *self.topic.identity))
        )
        raise self._error(f"{text} in {bad.sum()} of {len(bad)} rows; first: row {at}, {first}")

    def _explain(self, frame: pl.DataFrame) -> None:
        for rule in self._guard.rules:
            bad = ~frame.select(rule.fine.fill_null(value=True).alias("fine"))["fine"]
            if bad.any():
                self._refuse(frame, bad, rule.told(frame.filter(bad)[:1])[0])

    @cached_property
    def _fill(self) -> dict[str, pl.Series]:
        """One row of every column that may be left out."""
        return {
            field.name: pl.Series(field.name, [field.default], dtype=field.dtype)
            for field in self.topic.fields
            if field.has_default
        }

    def _missing(self, field: Field) -> EmitError:
        return self._error(f"column {field.name} is missing; only nullable ones and those with a default may be")

    def _unknown(self, names: Iterable[str]) -> EmitError:
        listed = ", ".join(names)
        return self._error(f"has no column {listed}; drop it before emitting. It has {', '.join(self._names)}")

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
            case "double" if dtype.is_integer():
                return self._lossless(field, column, column.cast(pl.Float64()))
            case "double" if dtype == pl.Float32():
                return column.cast(pl.Float64())
            case "timestamp" if isinstance(dtype, pl.Datetime):
                if dtype.time_zone is None:
                    raise self._error(f"{field.name} is a naive time; emit it with a time zone, as UTC")
                return self._lossless(field, column, column.cast(pl.Datetime("us", dtype.time_zone)).cast(UTC_MICROS))
            case "array" if isinstance(dtype, (pl.List, pl.Array)):
                return pl.Series(field.name, self._column(field, column.to_list()), dtype=field.dtype)
        hint = "; round it and cast it to Int64" if field.kind == "long" and dtype.is_float() else ""
        raise self._error(f"{field.name} has type {dtype}, the topic {field.dtype}{hint}")

    def _lossless(self, field: Field, before: pl.Series, after: pl.Series) -> pl.Series:
        lost = after.cast(before.dtype, strict=False).ne_missing(before)
        if lost.any():
            at = int(lost.arg_max() or 0)
            raise self._error(f"{field.name}: {before[at]} of {before.dtype} does not fit into {field.dtype}")
        return after

    def of_events(self, rows: Sequence[Record | Mapping[str, Any]]) -> pl.DataFrame:
        """The topic's columns of events; types are looked at, nulls and checks are not."""
        events: list[Mapping[str, Any]] = []
        known = self.topic.columns.keys()
        for row in rows:
            if isinstance(row, Record):
                if type(row).__name__ != self.topic.record_name:
                    raise self._error(f"cannot emit a {type(row).__name__}")
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
        return pl.DataFrame(pa.RecordBatch.from_arrays(columns, schema=self._arrow))

    def _column(self, field: Field, values: list[Any]) -> pa.Array:
        """A column of Python values; a wrong type is named with its row."""
        kinds = set(map(type, values))
        kinds.discard(_NOTHING)
        if kinds - _TYPES[field.kind] or field.kind in _CONVERT:
            values = [self._value(field, value, row) for row, value in enumerate(values)]
        try:
            return pa.array(values, arrow_type(field))
        except (ValueError, TypeError, OverflowError) as error:
            raise self._error(f"{field.name}: {str(error).splitlines()[0]}") from None

    def _value(self, field: Field, value: Any, row: int) -> Any:
        if isinstance(value, np.generic):
            value = value.item()
        if value is None:
            return None
        if type(value) not in _TYPES[field.kind]:
            if field.kind in ("string", "enum") and isinstance(value, str):
                return str.__str__(value)
            raise self._error(f"{field.name} = {value!r} in row {row} is no {field.kind}")
        convert = _CONVERT.get(field.kind)
        return convert(self, field, value, row) if convert else value

    def _micros(self, field: Field, value: datetime, row: int) -> int:
        if value.tzinfo is None:
            raise self._error(f"{field.name} = {value} in row {row} is a naive time; give it a time zone, as UTC")
        return micros(value)

    def _days(self, _field: Field, value: date, _row: int) -> int:
        return days(value)

    def _list(self, field: Field, value: Sequence[Any], row: int) -> list[Any]:
        parts = field.items
        if not parts[0].name:
            return [self._item(field, parts[0], item, row) for item in value]
        found = []
        for item in value:
            if not isinstance(item, Mapping) or not item.keys() <= {part.name for part in parts}:
                listed = ", ".join(part.name for part in parts)
                raise self._error(f"{field.name} = {item!r} in row {row}: its fields are {listed}")
            found.append({p.name: self._item(field, p, item.get(p.name, p.default), row) for p in parts})
        return found

    def _item(self, field: Field, part: Field, value: Any, row: int) -> Any:
        """A value inside an array, where no column rule looks."""
        named = Field(f"{field.name}.{part.name}".rstrip("."), part.kind, part.dtype, part.nullable, "")
        made = self._value(named, value, row)
        if made is None:
            if not part.nullable:
                raise self._error(f"{named.name} is null in row {row}")
            return None
        match part.kind:
            case "double" if not math.isfinite(made):
                text = "is NaN or infinite"
            case "timestamp" if made not in MICROS:
                text = _YEARS
            case "enum" if made not in part.symbols[1:]:
                text = f"is none of {', '.join(part.symbols[1:])}"
            case _:
                return made
        raise self._error(f"{named.name} = {value!r} in row {row} {text}")


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
_CONVERT: dict[str, Callable[[Preparer, Field, Any, int], Any]] = {
    "timestamp": Preparer._micros,  # noqa: SLF001  # of this module
    "date": Preparer._days,  # noqa: SLF001
    "array": Preparer._list,  # noqa: SLF001
}
