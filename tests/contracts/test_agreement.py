"""Several implementations of one thing must agree: encoders, decoders, and engines that evaluate checks."""

import os
import sqlite3
from datetime import UTC, date, datetime
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.contracts import Field
from streams.contracts import checks as sql
from streams.contracts.canonical import encoded_size
from streams.contracts.codec import Codec, MemoryRegistry
from streams.contracts.decoding import HEADER, Reader, arrow_type
from streams.contracts.emitting import Writer
from streams.contracts.examples import read_examples
from streams.contracts.guard import Guard, plain
from streams.contracts.preparing import Preparer
from streams.contracts.proof import both_ways
from streams.contracts.topic import Topic
from streams.contracts.wire import WireError, look_inside, read_body
from topics import CONTRACTS

RECORDS = sorted(CONTRACTS.records)
SOME = settings(
    max_examples=int(os.environ.get("FLEXLOG_EXAMPLES", "8")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
SHARED = Codec(MemoryRegistry())
BORDERS = [0, 1, -1, 63, 64, -64, -65, 8191, 8192, 2**31, -(2**31), 2**53, 2**62 - 1, 2**62, 2**63 - 1, -(2**63)]


@cache
def _writer(topic: Topic) -> Writer:
    return Writer(topic)


@cache
def _preparer(topic: Topic) -> Preparer:
    return Preparer(topic)


@cache
def _reader(topic: Topic) -> Reader:
    return Reader(topic, 7, topic.text)


@cache
def _guard(topic: Topic, *, symbols: bool) -> Guard:
    return Guard(topic, symbols=symbols)


@cache
def _topic(record: str) -> Topic:
    return CONTRACTS.records[record].__topic__


def _value(field: Field, *, wild: bool) -> st.SearchStrategy[Any]:
    """Values of a field; ``wild`` ones are legal Avro that the contract may refuse."""
    longs = st.one_of(st.sampled_from(BORDERS), st.integers(-(2**63), 2**63 - 1), st.integers(0, 1000))
    text = st.one_of(
        st.text(max_size=12), st.sampled_from(["", "s1", "é" * 40, "\0", "a" * 63, "a" * 64, "\U0001f600" * 2100])
    )
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "string": text,
        "long": longs,
        "double": st.floats(allow_nan=wild, allow_infinity=wild),
        "boolean": st.booleans(),
        "timestamp": st.datetimes(datetime(1900, 1, 1), datetime(2299, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001
        "date": st.dates(date(1900, 1, 1), date(2299, 12, 31)),
        "enum": st.sampled_from(field.symbols if wild else field.symbols[1:] or ("",)),
        "bytes": st.binary(max_size=80),
    }
    if field.kind == "array":
        item = (
            st.fixed_dictionaries({part.name: _value(part, wild=wild) for part in field.items})
            if field.items[0].name
            else _value(field.items[0], wild=wild)
        )
        found: st.SearchStrategy[Any] = st.lists(item, max_size=4)
    else:
        found = kinds[field.kind]
    return st.one_of(st.none(), found) if field.nullable else found


def _frame(topic: Topic, data: st.DataObject, *, wild: bool, rows: int = 6) -> pl.DataFrame:
    """A frame of the topic's columns whose values need not fulfil the checks."""
    events = data.draw(
        st.lists(
            st.fixed_dictionaries({field.name: _value(field, wild=wild) for field in topic.fields}),
            min_size=1,
            max_size=rows,
        )
    )
    return _preparer(topic).of_events(events)


@pytest.mark.parametrize("record", RECORDS)
def test_both_codecs_give_the_same_for_every_example(record: str) -> None:
    topic = _topic(record)
    assert list(both_ways(SHARED, topic, SHARED.prepare(topic, read_examples(topic)))) == []


@pytest.mark.parametrize("record", RECORDS)
@given(data=st.data())
@SOME
def test_both_codecs_give_the_same_for_any_event(record: str, data: st.DataObject) -> None:
    topic = _topic(record)
    frame = _frame(topic, data, wild=True)
    writer = _writer(topic)
    encoded = writer.encode_rows(7, frame)
    assert writer.encode(7, frame) == encoded
    reader = _reader(topic)
    if topic.vectorised:
        assert writer.encode_columns(7, frame) == encoded
        by_column, broken = reader.decode(encoded.values)
        assert not broken
        assert by_column.equals(frame)
        rows = list(zip(*map(plain, frame), strict=True))
        for value, row in zip(encoded.values, rows, strict=True):
            assert repr(tuple(read_body(topic.fields, value[HEADER:]).values())) == repr(row)  # NaN included
        return
    by_row, broken = reader.rows(encoded.values)
    wild = [row for row, value in enumerate(encoded.values) if _is_wild(topic, value)]
    assert [fault.at for fault in broken] == wild  # what is inside arrays is judged by the reader itself
    assert by_row.equals(frame[[row for row in range(frame.height) if row not in wild]])


def _is_wild(topic: Topic, value: bytes) -> bool:
    """Whether an array has what nobody can use."""
    row = read_body(topic.fields, value[HEADER:])
    try:
        for field in topic.fields:
            if field.kind == "array":
                look_inside(field, row[field.name])
    except WireError:
        return True
    return False


@pytest.mark.parametrize("record", RECORDS)
@given(data=st.data())
@SOME
def test_a_row_that_was_read_encodes_back_to_the_very_bytes(record: str, data: st.DataObject) -> None:
    """Any bytes at all: what is accepted is canonical, what is not is rejected, nothing else ever happens."""
    topic = _topic(record)
    good = _writer(topic).encode(7, _frame(topic, data, wild=True, rows=3))
    values: list[bytes | None] = []
    for value in good.values:
        values.append(value)
        spoilt = bytearray(value)
        for at, byte in data.draw(st.lists(st.tuples(st.integers(5, len(value) + 3), st.integers(0, 255)), max_size=3)):
            spoilt[at : at + 1] = bytes([byte])
        values.append(bytes(spoilt[: data.draw(st.integers(0, len(spoilt)))] if data.draw(st.booleans()) else spoilt))
    values.append(data.draw(st.binary(max_size=40)))
    values.append(b"\0\0\0\0\7" + data.draw(st.binary(max_size=200)))
    codec = Codec(MemoryRegistry([(7, topic.subject, topic.text)]))
    values *= data.draw(st.sampled_from([1, 3]))  # few are decoded by row, more by column
    keys = [good.keys[0]] * len(values)
    decoded = codec.decode(topic, keys, values)
    places = [*decoded.rows.tolist(), *(found.row for found in decoded.rejected)]
    assert sorted(places) == list(range(len(values)))
    wanted = [values[row] for row in decoded.rows.tolist()]
    assert _writer(topic).encode_rows(7, decoded.frame).values == wanted
    if topic.vectorised and wanted:
        assert _writer(topic).encode_columns(7, decoded.frame).values == wanted
    for found in decoded.rejected:
        if found.code in ("MALFORMED", "TRUNCATED", "TRAILING_BYTES") and len(values[found.row] or b"") > HEADER:
            with pytest.raises(WireError):
                read_body(topic.fields, (values[found.row] or b"")[HEADER:])


@pytest.mark.parametrize("record", [record for record in RECORDS if _topic(record).vectorised])
@given(data=st.data())
@SOME
def test_the_canonical_size_is_the_size(record: str, data: st.DataObject) -> None:
    topic = _topic(record)
    frame = _frame(topic, data, wild=True)
    values = _writer(topic).encode(7, frame).values
    batch = frame.to_arrow(compat_level=pl.CompatLevel.oldest()).combine_chunks().to_batches()[0]
    batch = batch.cast(pa.schema([(field.name, arrow_type(field)) for field in topic.fields]))
    size = encoded_size(batch, topic.fields)
    ten_bytes = any(
        (column.drop_nulls().to_physical() >= 2**62).any() or (column.drop_nulls().to_physical() < -(2**62)).any()
        for field, column in zip(topic.fields, frame, strict=True)
        if field.kind == "long"
    )
    assert size == (None if ten_bytes else sum(len(value) - HEADER for value in values))


# --- checks --------------------------------------------------------------------------------------------------------


def _in_sqlite(topic: Topic, frame: pl.DataFrame, check: str) -> list[Any]:
    """What another SQL engine makes of a check, row by row: 1, 0 or None."""
    scalar = [field for field in topic.fields if field.kind not in ("array", "bytes")]
    plain = frame.select([pl.col(field.name).to_physical() for field in scalar])
    names = ", ".join(f'"{field.name}"' for field in scalar)
    with sqlite3.connect(":memory:") as database:
        database.execute(f"CREATE TABLE t ({names})")
        database.executemany(f"INSERT INTO t VALUES ({', '.join('?' * len(scalar))})", plain.rows())
        return [row[0] for row in database.execute(f"SELECT {sql.sql(sql.parse(check))} FROM t ORDER BY rowid")]


def _small(field: Field) -> st.SearchStrategy[Any]:
    """Values close together, so that comparisons go either way."""
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "string": st.sampled_from(["", "a", "b"]),
        "long": st.integers(-2, 3) | st.sampled_from([0, 127, 128, 86400, 1_000_000, 1_000_001]),
        "double": st.sampled_from([-273.16, -1.0, -0.0, 0.0, 0.5, 1.0, 1.5]),
        "boolean": st.booleans(),
        "timestamp": st.sampled_from([datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3)]),
        "date": st.sampled_from([date(2026, 1, day) for day in (1, 2)]),
        "enum": st.sampled_from(field.symbols[1:] or ("",)),
        "bytes": st.just(b""),
        "array": st.just([]),
    }
    return st.one_of(st.none(), kinds[field.kind]) if field.nullable else kinds[field.kind]


@pytest.mark.parametrize("record", RECORDS)
@given(data=st.data())
@SOME
def test_every_engine_says_the_same_of_a_check_and_never_null(record: str, data: st.DataObject) -> None:
    topic = _topic(record)
    event = st.fixed_dictionaries({field.name: _small(field) for field in topic.fields})
    frame = _preparer(topic).of_events(data.draw(st.lists(event, min_size=1, max_size=30)))
    guard = _guard(topic, symbols=True)
    expected = np.ones(frame.height, np.bool_)
    for check, rule in zip(topic.checks, guard.rules[-len(topic.checks) :], strict=True):
        sqlite = _in_sqlite(topic, frame, check)
        assert None not in sqlite, check
        assert frame.select(rule.fine.alias("fine"))["fine"].to_list() == [value == 1 for value in sqlite], check
        expected &= np.array(sqlite, np.bool_)
    for row in range(frame.height):
        one = frame[row : row + 1]
        assert guard.holds_by_column(one) == expected[row]
        assert guard.holds(one) == expected[row]
    assert guard._by_row is not None
    assert [fault.row for fault in guard.faults(frame)] == np.flatnonzero(~expected).tolist()


@pytest.mark.parametrize("record", RECORDS)
@given(data=st.data())
@SOME
def test_few_rows_and_many_are_judged_alike(record: str, data: st.DataObject) -> None:
    topic = _topic(record)
    frame = _frame(topic, data, wild=True)
    for symbols in (True, False):
        guard = _guard(topic, symbols=symbols)
        assert guard.holds(frame) == guard.holds_by_column(frame) == (not guard.faults(frame))
