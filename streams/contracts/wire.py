"""One Avro body, byte by byte: says exactly what is wrong with it, and where.

The vectorised decoder and fastavro are quick and forgiving; this reader is neither. It takes only the canonical
encoding (the shortest varints, arrays in one block), so that a row of the history encodes back to the very bytes.
It is used where a batch does not decode, on the few rows around the fault.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

from streams.contracts.guard import DAYS, MICROS
from streams.contracts.schema import UNKNOWN
from streams.contracts.topic import Field

# Why a record was rejected; the codes are stable, they stand in `<topic>.rejected` for ever.
CODES: Final[Mapping[str, str]] = {
    "NULL_VALUE": "the record has no value",
    "TRUNCATED": "the frame or the body ends too early",
    "BAD_MAGIC": "the first byte is not 0: no Confluent frame",
    "UNKNOWN_SCHEMA": "the registry has no schema of this id",
    "WRONG_SCHEMA": "the schema is another record's, or cannot be read as this topic's",
    "TRAILING_BYTES": "bytes follow the record",
    "MALFORMED": "the body is not the (canonical) encoding of a record",
    "NOT_FINITE": "a number is NaN or infinite",
    "UNKNOWN_SYMBOL": "an enum has a symbol that this version does not know, or UNKNOWN itself",
    "OUT_OF_RANGE": "a time is before 1900 or after 2299, which no engine of the history can hold",
    "KEY_MISMATCH": "the Kafka key is null or contradicts the record's key field",
    "CHECK_FAILED": "a check of the topic does not hold",
}


class WireError(Exception):
    """A body that cannot be read: a code of `CODES` and what is wrong where."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def look_inside(field: Field, items: Sequence[Any] | None) -> None:
    """Refuse in an array what is refused in a column: numbers, times and symbols that nobody can use.

    Args:
        field: the topic's field, an array.
        items: its value, times as integers.

    Raises:
        WireError: what is wrong in which part.
    """
    for item in items or ():
        for part in field.items:
            value = item.get(part.name) if part.name else item
            if value is None:
                continue
            name = f"{field.name}.{part.name}" if part.name else field.name
            if part.kind == "double" and not math.isfinite(value):
                raise WireError("NOT_FINITE", f"{name} = {value} is NaN or infinite")
            if part.kind == "enum" and (value == UNKNOWN or value not in part.symbols):
                raise WireError("UNKNOWN_SYMBOL", f"{name} = {value!r} is a symbol of a newer version")
            if part.kind in ("timestamp", "date") and value not in (MICROS if part.kind == "timestamp" else DAYS):
                raise WireError("OUT_OF_RANGE", f"{name} = {value} is not between the years 1900 and 2299")


class _Cursor:
    """A place in a body."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.at = 0
        self.start = 0  # of the value that is being read
        self.field = ""

    def fault(self, text: str) -> WireError:
        return WireError("MALFORMED", f"{self.field} at byte {self.start}: {text}")

    def take(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self.body):
            raise WireError(
                "TRUNCATED", f"{self.field} at byte {self.at}: needs {count} bytes, {len(self.body) - self.at} are left"
            )
        self.at, start = end, self.at
        return self.body[start:end]

    def long(self) -> int:
        value = shift = 0
        start = self.at
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 63:
                raise self.fault("a number longer than 64 bits")
        if value >> 64:
            raise self.fault("a number longer than 64 bits")
        if self.at - start > 1 and not byte:
            raise self.fault("a number in more bytes than it needs")
        return (value >> 1) ^ -(value & 1)

    def index(self, count: int, what: str) -> int:
        found = self.long()
        if not 0 <= found < count:
            raise self.fault(f"{what} {found} of {count}")
        return found

    def sized(self) -> bytes:
        size = self.long()
        if size < 0:
            raise self.fault(f"a length of {size}")
        return self.take(size)


def read_body(fields: Sequence[Field], body: bytes) -> dict[str, Any]:
    """The values of a body, times as integers.

    Raises:
        WireError: what is wrong, in which field, at which byte.
    """
    cursor = _Cursor(body)
    values = _record(cursor, fields, "")
    if cursor.at < len(body):
        raise WireError("TRAILING_BYTES", f"{len(body) - cursor.at} bytes follow the record's {cursor.at}")
    return values


def _record(cursor: _Cursor, fields: Sequence[Field], inside: str) -> dict[str, Any]:
    values = {}
    for field in fields:
        cursor.field = f"{inside}{field.name}"
        values[field.name] = _value(cursor, field)
    return values


def _value(cursor: _Cursor, field: Field) -> Any:
    cursor.start = cursor.at
    if field.nullable and cursor.index(2, "union branch") == 0:
        return None
    cursor.start = cursor.at
    match field.kind:
        case "string":
            try:
                return cursor.sized().decode("utf-8")
            except UnicodeDecodeError as error:
                raise cursor.fault(f"no UTF-8: {error.reason}") from None
        case "long" | "timestamp":
            return cursor.long()
        case "date":
            value = cursor.long()
            if not -(1 << 31) <= value < 1 << 31:
                raise cursor.fault("a date longer than 32 bits")
            return value
        case "double":
            return struct.unpack("<d", cursor.take(8))[0]
        case "boolean":
            byte = cursor.take(1)[0]
            if byte > 1:
                raise cursor.fault(f"a boolean of {byte}")
            return byte == 1
        case "enum":
            return field.symbols[cursor.index(len(field.symbols), "enum index")]
        case "bytes":
            return cursor.sized()
    return _array(cursor, field)


def _array(cursor: _Cursor, field: Field) -> list[Any]:
    name = cursor.field
    count = cursor.long()
    if count < 0:
        raise cursor.fault("an array block with a byte count is not the canonical encoding")
    found = []
    for _ in range(count):
        if field.items[0].name:
            found.append(_record(cursor, field.items, f"{name}."))
        else:
            found.append(_value(cursor, field.items[0]))
    cursor.field, cursor.start = name, cursor.at
    if count and cursor.long() != 0:
        raise cursor.fault("an array in several blocks is not the canonical encoding")
    return found
