"""How many bytes the canonical encoding of a decoded batch has.

The vectorised decoder accepts trailing bytes and overlong varints without a word. The canonical encoding is never
longer than what was read, and what was read never longer than the values; so where the sums are equal, every single
record is canonical and nothing trails it. Sums need no pass over strings and only minima and maxima of numbers.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from streams.contracts.topic import Field


def encoded_size(batch: pa.RecordBatch, fields: Sequence[Field]) -> int | None:
    """The bytes of the canonical encoding of all rows together; None where it must be looked at row by row.

    Args:
        batch: one column a field, as the vectorised decoder makes it.
        fields: the writer's fields: no arrays, no bytes, enums of at most 64 symbols.
    """
    rows = batch.num_rows
    total = 0
    for field, column in zip(fields, batch.columns, strict=True):
        there = rows - column.null_count
        if field.nullable:
            total += rows
        match field.kind:
            case "double":
                total += 8 * there
            case "boolean" | "enum":
                total += there
            case "string":
                total += _strings(column, there)
            case _:
                size = _numbers(column.drop_null() if there < rows else column)
                if size is None:
                    return None
                total += size
    return total


def _strings(column: pa.Array, there: int) -> int:
    """Length prefixes and bytes of strings; a null has neither."""
    offsets = np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column) + 1]
    if not len(offsets):
        return 0
    lengths = np.diff(offsets)
    size = int(offsets[-1]) - int(offsets[0]) + there
    longest = int(lengths.max(initial=0))
    bound = 64
    while longest >= bound:
        size += int(np.count_nonzero(lengths >= bound))
        bound <<= 7
    return size


def _numbers(column: pa.Array) -> int | None:
    """Varints of integers; None where one takes all its bytes, for the decoder drops the bits that do not fit."""
    if not len(column):
        return 0
    width: type[np.signedinteger[Any]] = np.int32 if column.type.bit_width == 32 else np.int64
    signed = np.frombuffer(column.buffers()[1], width)[column.offset : column.offset + len(column)]
    least, most = int(signed.min()), int(signed.max())
    shortest = 0 if least <= 0 <= most else min(_zigzag(least), _zigzag(most))
    longest = max(_zigzag(least), _zigzag(most))
    if longest >> (28 if width is np.int32 else 63):
        return None
    size = len(signed)
    zigzag: npt.NDArray[np.int64] | None = None
    for bits in range(7, 63, 7):
        if shortest >> bits:
            size += len(signed)
        elif longest >> bits:
            if zigzag is None:
                wide = signed.astype(np.int64, copy=False)
                zigzag = (wide << 1) ^ (wide >> 63)
            size += int(np.count_nonzero(zigzag >= 1 << bits))
    return size


def _zigzag(value: int) -> int:
    return value << 1 if value >= 0 else (-value << 1) - 1
