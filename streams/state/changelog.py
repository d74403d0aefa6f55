"""The bytes of state: what a task appends to its changelog, and its snapshots.

A record is a header and a body. The header, 15 bytes, little-endian::

    magic    4  b"FLXS"
    version  1  1
    kind     1  b"C" a change, b"S" a part of a snapshot
    crc32    4  of all that follows: codec, length, compressed body
    codec    1  b"Z" zstd, b"L" an LZ4 block (a body below 8 KiB)
    length   4  of the body before compression

The body is compressed as a whole, at most 790,000 bytes before compression (one row may be longer if it fits
compressed), and a sequence of operations, done in order::

    operation   1  1 put, 2 delete, 3 expire, 4 end of tick
    class       2  length of what follows; 0 for the end of a tick, which is one for all classes of the task
                n  UTF-8, e.g. `Open(site_id: str key, at: datetime key expires, peak_w: float, kind: str?)`
    data        4  length of what follows
                m  put: an Arrow IPC stream with all columns; delete: one with the key columns, each in one batch
                   expire: 8 bytes, rows whose `expires` is earlier than so many microseconds since 1970 are removed
                   end of tick: nothing

So a record can be read without the classes. One whose class text is not that of the code is refused: with other
columns a processor has another version, and its state is built anew. A snapshot puts the rows that had not changed
since the last tick, ends a tick, and puts those that had.

Measured: the Arrow stream of 1 row takes 9 us and 1 KB, which LZ4 makes 0.5 KB in 1 us and zstd 0.35 KB in 16 us; of
12,000 rows zstd makes a sixth and LZ4 two fifths. A compact format of our own for few rows (JSON, raw buffers) was
smaller by 0.2 KB and slower. The limit keeps a record below what a Kafka client takes (1 MB before compression).
"""

import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal

import polars as pl
import pyarrow as pa

from streams.columns import DTYPES, Keyed
from streams.errors import StateError
from streams.state.index import has_bytes

RECORD_LIMIT: Final = 800_000
"""Bytes of a record at most."""
_BODY_LIMIT: Final = 790_000
"""Bytes of a body before compression: zstd adds at most one in 256 to what it cannot compress."""
_ENVELOPE: Final = 20_000
"""Room for what Arrow writes around the values of a block."""
_LONGEST_BODY: Final = 256 * 1024 * 1024
"""A header that claims more is not one of ours."""

_HEADER: Final = struct.Struct("<4sBcIcI")
_CHECKED_FROM: Final = 10
_MAGIC: Final = b"FLXS"
_VERSION: Final = 1
_CODECS: Final = {b"Z": pa.Codec("zstd", 3), b"L": pa.Codec("lz4_raw")}
_SHORT_BODY: Final = 8 * 1024
_KINDS: Final = {dtype: kind.__name__ for kind, dtype in DTYPES.items()}

CHANGE: Final = b"C"
SNAPSHOT: Final = b"S"
Kind = Literal[b"C", b"S"]


_DESCRIPTIONS: Final[dict[type[Keyed], str]] = {}


class Op(IntEnum):
    """What happened to state."""

    PUT = 1
    DELETE = 2
    EXPIRE = 3
    END_TICK = 4


@dataclass(frozen=True)
class Change:
    """One operation: rows for a put, keys for a delete, microseconds since 1970 for an expiry."""

    op: Op
    keyed: type[Keyed] | None = None
    rows: pl.DataFrame | None = None
    before: int = 0


def describe(keyed: type[Keyed]) -> str:
    """A class and its columns as text, e.g. ``Open(site_id: str key, at: datetime?)``."""
    if (text := _DESCRIPTIONS.get(keyed)) is None:
        text = _DESCRIPTIONS[keyed] = _describe(keyed)
    return text


def _describe(keyed: type[Keyed]) -> str:
    columns = []
    for name, dtype in keyed.__columns__.items():
        text = f"{name}: {_KINDS[dtype]}"
        text += "?" if name in keyed.__nullable__ else ""
        text += " key" if name in keyed.__key__ else ""
        columns.append(text + (" expires" if name == keyed.__expires__ else ""))
    return f"{keyed.__name__}({', '.join(columns)})"


def encode(changes: Iterable[Change], kind: Kind) -> Iterator[bytes]:
    """Changes as records, in order, as few as the limit allows.

    Raises:
        StateError: one row does not fit into a record.
    """
    body: list[bytes] = []
    length = 0
    for change in changes:
        for piece in _operations(change):
            if body and length + len(piece) > _BODY_LIMIT:
                yield _record(body, kind)
                body, length = [], 0
            body.append(piece)
            length += len(piece)
            if length > _BODY_LIMIT and len(piece) == length:
                yield _long_record(change, body, kind)
                body, length = [], 0
    if body:
        yield _record(body, kind)


def decode(record: bytes, classes: dict[str, type[Keyed]]) -> list[Change]:
    """The changes of a record; ``classes`` by name.

    Raises:
        StateError: the bytes are no whole record, or of classes with other columns.
    """
    body = _body(record)
    changes = []
    at = 0
    try:
        while at < len(body):
            op = Op(body[at])
            name, at = _part(body, at + 1, "<H")
            data, at = _part(body, at, "<I")
            changes.append(_change(op, bytes(name).decode(), data, classes))
    except (ValueError, struct.error, OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise StateError(f"changelog record of {len(record)} bytes: operation {len(changes)} is malformed") from error
    return changes


def _operations(change: Change) -> Iterator[bytes]:
    if change.keyed is None:
        yield _operation(change, b"")
    elif change.rows is None:
        yield _operation(change, struct.pack("<q", change.before))
    else:
        yield from _rows(change, change.rows)


def _rows(change: Change, rows: pl.DataFrame) -> Iterator[bytes]:
    """Rows in pieces that fit; what is still too long is halved."""
    views = 16 * rows.height * sum(map(has_bytes, rows.dtypes))  # Arrow's views on strings; their bytes are estimated
    length = int(rows.estimated_size()) + views
    step = max(1, rows.height * (_BODY_LIMIT - _ENVELOPE) // max(1, length))
    if step < rows.height:
        for part in rows.iter_slices(step):
            yield from _rows(change, part)
        return
    stream = io.BytesIO()
    rows.write_ipc_stream(stream, compression="uncompressed")
    piece = _operation(change, stream.getvalue())
    if len(piece) > _BODY_LIMIT and rows.height > 1:
        half = rows.height // 2
        yield from _rows(change, rows.head(half))
        yield from _rows(change, rows.tail(rows.height - half))
    else:
        yield piece


def _operation(change: Change, data: bytes) -> bytes:
    name = describe(change.keyed).encode() if change.keyed else b""
    return b"".join((struct.pack("<BH", change.op, len(name)), name, struct.pack("<I", len(data)), data))


def _record(pieces: list[bytes], kind: Kind) -> bytes:
    body = b"".join(pieces)
    codec = b"L" if len(body) < _SHORT_BODY else b"Z"
    compressed: bytes = _CODECS[codec].compress(body, asbytes=True)
    checked = struct.pack("<cI", codec, len(body)) + compressed
    return struct.pack("<4sBcI", _MAGIC, _VERSION, kind, zlib.crc32(checked)) + checked


def _long_record(change: Change, pieces: list[bytes], kind: Kind) -> bytes:
    record = _record(pieces, kind)
    if len(record) > RECORD_LIMIT:
        assert change.keyed is not None
        raise StateError(
            f"state {change.keyed.__name__}: a row of {len(pieces[0]):,} bytes does not fit into a changelog record "
            f"of {RECORD_LIMIT:,}; keep large values in events and their fingerprint in state"
        )
    return record


def _body(record: bytes) -> memoryview:
    """The decompressed body of a record whose header and digest are right."""
    if len(record) < _HEADER.size or record[:4] != _MAGIC:
        raise StateError(f"changelog record of {len(record)} bytes: not a record of state")
    _, version, kind, crc, codec, length = _HEADER.unpack_from(record)
    if version != _VERSION or kind not in (CHANGE, SNAPSHOT):
        raise StateError(f"changelog record: version {version}, kind {kind!r}; this code reads version {_VERSION}")
    if zlib.crc32(memoryview(record)[_CHECKED_FROM:]) != crc:
        raise StateError(f"changelog record of {len(record)} bytes: damaged, its CRC is not that of its header")
    if codec not in _CODECS or length > _LONGEST_BODY:
        raise StateError(f"changelog record of {len(record)} bytes: codec {codec!r} and {length:,} bytes are not ours")
    try:
        return memoryview(_CODECS[codec].decompress(record[_HEADER.size :], decompressed_size=length, asbytes=True))
    except (OSError, ValueError) as error:
        raise StateError(f"changelog record of {len(record)} bytes: its body cannot be decompressed") from error


def _part(body: memoryview, at: int, form: str) -> tuple[memoryview, int]:
    """What a length in front says, and where it ends."""
    (length,) = struct.unpack_from(form, body, at)
    start = at + struct.calcsize(form)
    if start + length > len(body):
        raise ValueError("longer than the record")
    return body[start : start + length], start + length


def _change(op: Op, text: str, data: memoryview, classes: dict[str, type[Keyed]]) -> Change:
    if op is Op.END_TICK:
        return Change(op)
    keyed = classes.get(text.split("(", 1)[0])
    if keyed is None:
        raise StateError(
            f"changelog record: state {text} is not declared; a processor whose state changes has a new version"
        )
    if describe(keyed) != text:
        raise StateError(
            f"changelog record: it was written for {text}, declared is {describe(keyed)}; "
            "raise the processor's version, so that its state is built anew"
        )
    if op is Op.EXPIRE:
        return Change(op, keyed, before=struct.unpack("<q", data)[0])
    rows = pl.read_ipc_stream(bytes(data))
    names = list(keyed.__columns__ if op is Op.PUT else keyed.__key__)
    if rows.columns != names or rows.dtypes != [keyed.__columns__[name] for name in names]:
        raise StateError(f"changelog record: rows for {text} have the columns {dict(rows.schema)}")
    for name in names:
        if name not in keyed.__nullable__ and rows.get_column(name).null_count():
            raise StateError(f"changelog record: column {name!r} of {text} is null, which it may not be")
    return Change(op, keyed, rows)
