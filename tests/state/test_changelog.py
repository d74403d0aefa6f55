"""The bytes of changelog and snapshots."""

import random
import struct
import zlib
from datetime import UTC, datetime
from typing import cast

import polars as pl
import pyarrow as pa
import pytest

from streams.columns import Col, Keyed
from streams.errors import StateError
from streams.state import StateStore

JAN = datetime(2026, 1, 1, tzinfo=UTC)
LIMIT = 800_000


class Blob(Keyed, key=("ident",), expires="at"):
    """Bytes under a number."""

    ident: Col[int]
    at: Col[datetime]
    data: Col[bytes]
    text: Col[str | None]


class Other(Keyed, key=("ident",)):
    """A second class."""

    ident: Col[str]


def blobs(first: int, sizes: list[int]) -> pl.DataFrame:
    """Rows of bytes that cannot be compressed."""
    source = random.Random(first)
    return pl.DataFrame(
        {
            "ident": range(first, first + len(sizes)),
            "at": [JAN] * len(sizes),
            "data": [source.randbytes(size) for size in sizes],
        },
        schema_overrides={"at": Blob.__columns__["at"]},
    )


def copy_of(store: StateStore, records: list[bytes]) -> StateStore:
    """A store made of records, and a check that it is the same."""
    made = StateStore([Blob, Other])
    for record in records:
        assert len(record) <= LIMIT
        made.apply(record)
    assert made.digest() == store.digest()
    for keyed in (Blob, Other):
        assert made[keyed].changed().equals(store[keyed].changed())
    return made


@pytest.fixture
def store() -> StateStore:
    """Two rows that are old and one that changed."""
    made = StateStore([Blob, Other])
    made[Blob].put(blobs(0, [10, 20]))
    made.end_tick()
    made[Blob].put(blobs(1, [30]))
    made[Other].put(pl.DataFrame({"ident": ["a"]}))
    return made


def test_nothing_makes_no_record() -> None:
    store = StateStore([Blob, Other])
    store[Blob].put(blobs(0, []))
    store[Blob].delete(blobs(0, [1]))
    store[Blob].expire(JAN)
    store.end_tick()
    assert store.drain() == []
    assert list(store.snapshot()) == []


def test_a_tick_that_clears_nothing_makes_no_record(store: StateStore) -> None:
    store.end_tick()
    store.drain()
    store.end_tick()
    assert store.drain() == []
    store[Other].put(pl.DataFrame({"ident": ["b"]}))
    store[Other].delete(pl.DataFrame({"ident": ["b"]}))
    before = store.drain()
    store.end_tick()
    assert len(before) == 1
    assert store.drain() == []


def test_a_record_is_as_the_page_says(store: StateStore) -> None:
    """Read with nothing of ours: struct, zlib, Arrow."""
    store.drain()
    store.commit()
    store[Blob].delete(pl.DataFrame({"ident": [1, 7]}))
    store[Blob].expire(datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=UTC))
    store[Other].put(pl.DataFrame({"ident": ["é"]}))
    store.end_tick()
    (record,) = store.drain()
    magic, version, kind, crc, codec, length = struct.unpack_from("<4sBcIcI", record)
    assert (magic, version, kind, codec) == (b"FLXS", 1, b"C", b"L")
    assert zlib.crc32(record[10:]) == crc
    body = pa.Codec("lz4_raw").decompress(record[15:], decompressed_size=length, asbytes=True)
    read = []
    at = 0
    while at < len(body):
        op, size = struct.unpack_from("<BH", body, at)
        text = body[at + 3 : at + 3 + size].decode()
        at += 3 + size
        (size,) = struct.unpack_from("<I", body, at)
        read.append((op, text, body[at + 4 : at + 4 + size]))
        at += 4 + size
    text = "Blob(ident: int key, at: datetime expires, data: bytes, text: str?)"
    assert [(op, text) for op, text, _ in read] == [(2, text), (3, text), (1, "Other(ident: str key)"), (4, "")]
    assert pa.ipc.open_stream(read[0][2]).read_all().to_pydict() == {"ident": [1]}
    assert struct.unpack("<q", read[1][2]) == (1_767_225_600_000_001,)
    assert pa.ipc.open_stream(read[2][2]).read_all().to_pydict() == {"ident": ["é"]}
    assert read[3][2] == b""


def test_what_is_drained_leads_to_the_same_state(store: StateStore) -> None:
    first = store.drain()
    store.commit()
    store[Blob].delete(pl.DataFrame({"ident": [0]}))
    store[Blob].put(blobs(5, [1]))
    second = store.drain()
    copy_of(store, first + second)


def test_a_snapshot_and_the_tail_are_the_state(store: StateStore) -> None:
    store.commit()
    copy = copy_of(store, list(store.snapshot()))
    store.end_tick()
    store[Blob].put(blobs(1, [5, 5]))
    for record in store.drain():
        copy.apply(record)
    assert copy.digest() == store.digest()
    assert copy[Blob].changed()["ident"].to_list() == [1, 2]


def test_a_snapshot_is_of_the_moment_it_was_asked_for(store: StateStore) -> None:
    store.commit()
    same = copy_of(store, list(store.snapshot()))
    records = store.snapshot()
    store[Blob].put(blobs(0, [7] * 5_000))
    store.commit()
    store[Blob].delete(pl.DataFrame({"ident": range(4_999)}))
    store.commit()
    assert len(store[Blob]) == 1
    copy_of(same, list(records))


def test_a_snapshot_without_changes_has_none() -> None:
    store = StateStore([Blob, Other])
    store[Blob].put(blobs(0, [10]))
    store.end_tick()
    store.commit()
    copy = copy_of(store, list(store.snapshot()))
    assert copy[Blob].changed().is_empty()
    assert len(copy[Blob]) == 1


@pytest.mark.parametrize(
    "sizes",
    [
        [1_000] * 5_000,
        [100] * 20_000 + [700_000] * 3,
        [700_000] * 3 + [100] * 20_000,
        [399_000, 399_000, 399_000],
        [780_000, 1, 780_000],
    ],
)
def test_no_record_is_longer_than_the_limit(sizes: list[int]) -> None:
    store = StateStore([Blob, Other])
    store[Blob].put(blobs(0, sizes))
    store[Blob].expire(JAN)
    records = store.drain()
    assert sum(map(len, records)) > sum(sizes)
    copy_of(store, records)
    copy_of(store, list(store.snapshot()))


def test_few_rows_make_a_short_record() -> None:
    store = StateStore([Blob, Other])
    store[Blob].put(blobs(0, [8]))
    (record,) = store.drain()
    assert len(record) < 600


def test_a_row_that_fits_compressed_is_taken() -> None:
    store = StateStore([Blob, Other])
    rows = blobs(0, [10]).with_columns(text=pl.lit("long " * 1_000_000))
    store[Blob].put(pl.concat([rows, blobs(1, [10]).with_columns(text=pl.lit(None, pl.String))]))
    copy_of(store, store.drain())


def test_a_row_that_does_not_fit_is_one_clear_line() -> None:
    store = StateStore([Blob, Other])
    store[Blob].put(blobs(0, [10, 900_000]))
    with pytest.raises(
        StateError, match=r"^state Blob: a row of 90\d,\d\d\d bytes does not fit .* 800,000; keep large"
    ):
        store.drain()
    store.rollback()
    assert store.drain() == []


def test_every_damaged_byte_is_seen(store: StateStore) -> None:
    (record,) = store.drain()
    copy = StateStore([Blob, Other])
    empty = copy.digest()
    for at in range(len(record)):
        broken = bytearray(record)
        broken[at] ^= 1 << (at % 8)
        with pytest.raises(StateError):
            copy.apply(bytes(broken))
    for size in range(len(record)):
        with pytest.raises(StateError):
            copy.apply(record[:size])
    with pytest.raises(StateError):
        copy.apply(record + b"\0")
    for seed in range(50):
        with pytest.raises(StateError):
            copy.apply(random.Random(seed).randbytes(seed * 3))
    assert copy.digest() == empty
    copy.apply(record)
    assert copy.digest() == store.digest()


def sealed(body: bytes, codec: bytes = b"L", length: int | None = None) -> bytes:
    """A record with a right CRC around any body."""
    compressed = cast("bytes", pa.Codec("lz4_raw").compress(body, asbytes=True))
    checked = struct.pack("<cI", codec, len(body) if length is None else length) + compressed
    return struct.pack("<4sBcI", b"FLXS", 1, b"C", zlib.crc32(checked)) + checked


def operation(op: int, text: str, data: bytes) -> bytes:
    """One operation of a body."""
    return struct.pack("<BH", op, len(text)) + text.encode() + struct.pack("<I", len(data)) + data


OTHER = "Other(ident: str key)"


def stream(rows: pl.DataFrame) -> bytes:
    """Rows as an Arrow stream."""
    sink = pa.BufferOutputStream()
    table = rows.to_arrow()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return cast("bytes", sink.getvalue().to_pybytes())


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (sealed(b"\x09"), "operation 0 is malformed"),
        (sealed(operation(9, "", b"")), "operation 0 is malformed"),
        (sealed(operation(4, "", b"") + b"\x01\x05"), "operation 1 is malformed"),
        (sealed(operation(1, OTHER, b"no arrow")), "operation 0 is malformed"),
        (sealed(operation(1, OTHER, b"")), "operation 0 is malformed"),
        (sealed(operation(3, OTHER, b"1234")), "operation 0 is malformed"),
        (sealed(operation(1, OTHER, b"x" * 9)[:-3]), "operation 0 is malformed"),
        (sealed(operation(1, OTHER, stream(pl.DataFrame({"ident": [1]})))), "rows for Other"),
        (sealed(operation(1, OTHER, stream(pl.DataFrame({"ident": ["a"], "x": [1]})))), "rows for Other"),
        (sealed(operation(1, OTHER, stream(pl.DataFrame({"ident": ["a", "a"]})))), "occurs twice"),
        (sealed(operation(1, OTHER, stream(pl.DataFrame({"ident": ["a", None]})))), "is null"),
        (sealed(operation(1, "Gone(ident: str key)", b"")), r"state Gone\(ident: str key\) is not declared"),
        (sealed(b"", codec=b"X"), "codec b'X'"),
        (sealed(b"abc", length=2**31), "2,147,483,648 bytes are not ours"),
        (sealed(b"abc", length=2), "cannot be decompressed"),
        (b"FLXS\x02C" + bytes(9), "version 2"),
        (b"FLXS\x01X" + bytes(9), "kind b'X'"),
        (b"PAR1" + bytes(20), "not a record of state"),
        (b"", "not a record of state"),
    ],
)
def test_bytes_that_mean_nothing_are_refused_and_change_nothing(store: StateStore, record: bytes, says: str) -> None:
    store.commit()
    before = store.digest()
    with pytest.raises(StateError, match=says):
        store.apply(record)
    assert store.digest() == before


def test_a_record_is_done_wholly_or_not_at_all(store: StateStore) -> None:
    store.commit()
    before = store.digest()
    rows = [pl.DataFrame({"ident": ["b"]}), pl.DataFrame({"ident": ["c", "c"]})]
    with pytest.raises(StateError, match="occurs twice"):
        store.apply(sealed(b"".join(operation(1, OTHER, stream(table)) for table in rows)))
    assert store.digest() == before


def test_other_columns_are_a_clear_error(store: StateStore) -> None:
    class Other(Keyed, key=("ident",)):
        ident: Col[str]
        more: Col[int | None]

    records = store.drain()
    says = r"written for Other\(ident: str key\), declared is Other\(ident: str key, more: int\?\); raise the"
    with pytest.raises(StateError, match=says):
        StateStore([Blob, Other]).apply(records[0])


def test_nothing_is_applied_over_what_is_not_committed(store: StateStore) -> None:
    records = store.drain()
    with pytest.raises(StateError, match="not committed"):
        store.apply(records[0])
    store.commit()
    store.end_tick()
    with pytest.raises(StateError, match="not committed"):
        store.apply(records[0])


def test_the_same_snapshot_twice_is_the_same_state(store: StateStore) -> None:
    store.commit()
    records = list(store.snapshot())
    copy_of(store, records + records)
