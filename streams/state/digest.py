"""The digest of state: the same for equal content, however it came about."""

import hashlib
import struct

import numpy as np
import polars as pl

from streams.state.arena import Arena
from streams.state.changelog import describe
from streams.state.keyed import KeyedState

_CHANGED = "*changed"  # no Python name, so no column's


def digest(states: list[KeyedState]) -> bytes:
    """SHA-256 over classes by name: what they are, their rows by key, and which of them `changed` has.

    Of each column the validity bits, then the values: fixed width as little-endian bytes (floats count by their
    bits), strings and bytes as 8-byte lengths and the bytes in a row. What is null counts as zero.
    """
    total = hashlib.sha256()
    for state in sorted(states, key=lambda state: state.keyed.__name__):
        text = describe(state.keyed).encode()
        frame = _ordered(state.arena, list(state.keyed.__key__))
        total.update(struct.pack("<IQ", len(text), frame.height) + text)
        for column in frame.get_columns():
            for part in _canonical(column):
                total.update(part)
    return total.digest()


def _ordered(arena: Arena, key: list[str]) -> pl.DataFrame:
    rows = arena.rows()
    flags = np.isin(rows, arena.changed(), assume_unique=True)
    return pl.DataFrame([*arena.take(rows, arena.names), pl.Series(_CHANGED, flags)]).sort(key)


def _canonical(column: pl.Series) -> list[bytes]:
    valid = np.packbits(column.is_not_null().to_numpy()).tobytes()
    if isinstance(column.dtype, pl.String):
        column = column.cast(pl.Binary)
    if isinstance(column.dtype, pl.Binary):
        texts: list[bytes] = column.fill_null(b"").to_list()
        return [valid, np.array([len(text) for text in texts], dtype="<u8").tobytes(), b"".join(texts)]
    physical = column.to_physical()
    physical = physical.fill_null(value=False) if physical.dtype == pl.Boolean else physical.fill_null(0)
    values = physical.to_numpy()
    return [valid, values.astype(values.dtype.newbyteorder("<")).tobytes()]
