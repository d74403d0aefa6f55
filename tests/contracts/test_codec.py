import io
import json
import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import fastavro
import numpy as np
import polars as pl
import pytest

from streams.contracts import Contracts
from streams.contracts.codec import (
    Codec,
    DecodeError,
    MemoryRegistry,
    RegistryAway,
    UnknownSchema,
)
from streams.contracts.topic import Topic
from streams.errors import EmitError
from tests.contracts.making import GOOD, NOON, SCHEMA_FILE, TOPIC_FILE, House, field

# By hand from the Avro specification: strings have a zigzag varint length, longs are zigzag varints, doubles eight
# bytes little-endian, enums their index, a union its branch.
BODY = bytes.fromhex("04 7331  0a 66726f6e74  02  02  0000000000002940  00")
EVENT = {**GOOD, "occurred_at": datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC)}


def test_an_event_has_the_bytes_of_the_avro_specification_in_a_confluent_frame(codec: Codec, door: Topic) -> None:
    encoded = codec.encode(door, codec.prepare(door, [EVENT, {**EVENT, "force_w": -2}]))
    assert encoded.keys == [b"s1", b"s1"]
    assert encoded.values == [b"\0\0\0\0\1" + BODY, b"\0\0\0\0\1" + BODY[:-1] + b"\x02\x03"]
    assert codec.encode_events(door, [EVENT]) == encoded.values[:1]


def test_what_is_encoded_is_decoded(codec: Codec, door: Topic) -> None:
    frame = codec.prepare(door, [EVENT, GOOD, {**GOOD, "force_w": 5, "status": "WIDE"}])
    encoded = codec.encode(door, frame)
    decoded = codec.decode(door, encoded.keys, encoded.values)
    assert decoded.frame.equals(frame)
    assert decoded.frame.schema == pl.Schema(door.columns)
    assert decoded.rows.tolist() == [0, 1, 2]
    assert decoded.schema_ids.tolist() == [1, 1, 1]
    assert (decoded.rows.dtype, decoded.schema_ids.dtype) == (np.int64, np.int32)
    assert not decoded.rejected
    assert codec.decode_events(door, encoded.values)[2] == {**GOOD, "force_w": 5, "status": "WIDE"}


def test_nothing_comes_of_nothing(codec: Codec, door: Topic) -> None:
    decoded = codec.decode(door, [], [])
    assert decoded.frame.equals(door.empty())
    assert decoded.rows.tolist() == decoded.rejected == []
    assert codec.encode(door, codec.prepare(door, [])).values == []
    assert codec.prepare(door, door.empty()).equals(door.empty())


def test_any_avro_tool_reads_what_is_written(codec: Codec, contracts: Contracts) -> None:
    topic = contracts.topic("telemetry.reading.v1")
    event = {
        "site_id": "s1",
        "resource_id": "r1",
        "commodity": "ELECTRICITY",
        "occurred_at": NOON,
        "power_w": 1.5,
        "quality": "MEASURED",
    }
    (value,) = codec.encode(topic, codec.prepare(topic, [event])).values
    schema = json.loads(codec.registry.schema(int.from_bytes(value[1:5], "big")))
    read: Any = fastavro.schemaless_reader(io.BytesIO(value[5:]), fastavro.parse_schema(schema), None)
    assert {name: value for name, value in read.items() if value is not None} == event


def test_a_sliced_and_a_chunked_frame_are_encoded_as_they_read(codec: Codec, door: Topic) -> None:
    rows = [{**GOOD, "door_id": f"d{at}", "force_w": at if at % 2 else None} for at in range(100)]
    whole = codec.prepare(door, rows)
    wanted = codec.encode(door, whole).values
    assert codec.encode(door, whole[37:61]).values == wanted[37:61]
    chunked = pl.concat([whole[:10], whole[10:40], whole[40:]], rechunk=False)
    assert chunked.n_chunks() == 3
    assert codec.encode(door, chunked).values == wanted


# --- what is emitted -----------------------------------------------------------------------------------------------


def _frame(**changes: Any) -> pl.DataFrame:
    rows = pl.DataFrame([GOOD, {**GOOD, "door_id": "back"}], schema_overrides={"force_w": pl.Int64})
    return rows.with_columns(**changes)


def _bad_second(name: str, value: Any) -> pl.DataFrame:
    return _frame(**{name: pl.when(pl.col("door_id") == "back").then(pl.lit(value)).otherwise(pl.col(name))})


REFUSED: dict[str, tuple[Callable[[], pl.DataFrame], str]] = {
    "null": (lambda: _bad_second("gap_mm", None), r"gap_mm is null in 1 of 2 rows; first: row 1, site_id=s1, door_id=b"),
    "null symbol": (lambda: _bad_second("status", None), "status is null in 1 of 2"),
    "NaN": (lambda: _bad_second("gap_mm", float("nan")), r"gap_mm = nan is NaN or infinite in 1 of 2 rows.*door_id=ba"),
    "infinite": (lambda: _bad_second("gap_mm", float("inf")), "gap_mm = inf is NaN or infinite in 1 of 2"),
    "symbol": (lambda: _bad_second("status", "AJARR"), r"status = 'AJARR' is none of AJAR, WIDE in 1 of 2"),
    "UNKNOWN": (lambda: _bad_second("status", "UNKNOWN"), r"status = 'UNKNOWN' is none of AJAR, WIDE"),
    "check": (lambda: _bad_second("gap_mm", -1.0), r"check `gap_mm >= 0` does not hold: gap_mm = -1.0 in 1 of 2 rows"),
    "empty key": (lambda: _frame(site_id=pl.lit("")), r"check `site_id <> ''` does not hold: site_id = '' in 2 of 2"),
    "naive": (lambda: _frame(occurred_at=pl.col("occurred_at").dt.replace_time_zone(None)), "is a naive time"),
    "too early": (lambda: _frame(occurred_at=datetime(1899, 12, 31, tzinfo=UTC)), "not between the years 1900 and 2299"),
    "too late": (lambda: _frame(occurred_at=datetime(2300, 1, 1, tzinfo=UTC)), "not between the years 1900 and 2299"),
    "unknown column": (lambda: _frame(colour=pl.lit("red")), "has no column colour"),
    "missing column": (lambda: _frame().drop("gap_mm"), "column gap_mm is missing"),
    "float for a long": (lambda: _frame(force_w=pl.lit(1.0)), "has type Float64, the topic Int64; round it and cast"),
    "string for a number": (lambda: _frame(gap_mm=pl.lit("1")), "has type String, the topic Float64"),
    "date for a time": (lambda: _frame(occurred_at=pl.lit(date(2026, 1, 1))), "has type Date"),
    "too big for a long": (lambda: _frame(force_w=pl.lit(2**63, pl.UInt64)), "does not fit into Int64"),
    "too big for a double": (lambda: _frame(gap_mm=pl.lit(2**53 + 1, pl.Int64)), "does not fit into Float64"),
    "nanoseconds": (
        lambda: _frame(occurred_at=pl.lit(1, pl.Int64).cast(pl.Datetime("ns", "UTC"))),
        "does not fit into Datetime",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("copies", [1, 200])  # a few rows are looked at by row, many by column
def test_a_frame_that_breaks_its_contract_is_refused(codec: Codec, door: Topic, case: str, copies: int) -> None:
    make, text = REFUSED[case]
    frame = make()
    if copies > 1:
        frame = pl.concat([frame] * copies)
        text = text.replace("1 of 2", "200 of 400").replace("2 of 2", "400 of 400")
    with pytest.raises(EmitError, match=text) as error:
        codec.prepare(door, frame)
    assert str(error.value).startswith("house.door.v1 (DoorOpened): ")


REFUSED_EVENTS: dict[str, tuple[dict[str, Any], str]] = {
    "naive": ({"occurred_at": datetime(2026, 1, 1)}, "occurred_at = 2026-01-01 00:00:00 in row 1 is a naive time"),  # noqa: DTZ001
    "date": ({"occurred_at": date(2026, 1, 1)}, "in row 1 is no timestamp"),
    "string": ({"gap_mm": "wide"}, "gap_mm = 'wide' in row 1 is no double"),
    "truth": ({"gap_mm": True}, "gap_mm = True in row 1 is no double"),
    "truth for a long": ({"force_w": True}, "force_w = True in row 1 is no long"),
    "float for a long": ({"force_w": 1.0}, "force_w = 1.0 in row 1 is no long"),
    "too big": ({"force_w": 2**63}, "force_w: "),
    "null": ({"gap_mm": None}, "gap_mm is null in 1 of 2 rows"),
    "unknown": ({"colour": "red"}, "has no column colour"),
    "infinite": ({"gap_mm": float("-inf")}, "gap_mm = -inf is NaN or infinite"),
    "check": ({"force_w": 1000}, "check `force_w IS NULL OR force_w < 1000` does not hold: force_w = 1000"),
}


@pytest.mark.parametrize("case", REFUSED_EVENTS)
def test_an_event_that_breaks_its_contract_is_refused(codec: Codec, door: Topic, case: str) -> None:
    changes, text = REFUSED_EVENTS[case]
    with pytest.raises(EmitError) as error:
        codec.prepare(door, [GOOD, {**GOOD, **changes}])
    assert text in str(error.value)


def test_events_of_another_record_are_refused(codec: Codec, door: Topic, contracts: Contracts) -> None:
    tick = contracts.records["Ticked"](clock_id="c", tick_at=NOON, sequence=0, missed=0, simulated=True)
    with pytest.raises(EmitError, match="cannot emit a Ticked"):
        codec.prepare(door, [tick])


def test_columns_are_completed_ordered_and_cast_without_loss(codec: Codec, door: Topic) -> None:
    cet = timezone(timedelta(hours=1))
    given = pl.DataFrame(
        {
            "gap_mm": pl.Series([3], dtype=pl.Int16),
            "status": pl.Series(["WIDE"], dtype=pl.Categorical),
            "door_id": ["front"],
            "site_id": ["s1"],
            "occurred_at": pl.Series([datetime(2026, 1, 1, 1, tzinfo=cet)]).cast(pl.Datetime("ms", "Europe/Berlin")),
        }
    )
    frame = codec.prepare(door, given)
    assert frame.schema == pl.Schema(door.columns)
    assert frame.row(0) == ("s1", "front", datetime(2026, 1, 1, tzinfo=UTC), "WIDE", 3.0, None)
    nulls = given.with_columns(force_w=pl.lit(None))
    assert codec.prepare(door, nulls).equals(frame)
    from_event = codec.prepare(door, [{**GOOD, "gap_mm": 3, "occurred_at": datetime(2026, 1, 1, 1, tzinfo=cet)}])
    assert from_event["occurred_at"].to_list() == [datetime(2026, 1, 1, tzinfo=UTC)]
    numpy = codec.prepare(door, [{**GOOD, "gap_mm": np.float64(3), "force_w": np.int64(4)}])
    assert numpy.row(0)[-2:] == (3.0, 4)


def test_a_frame_that_was_not_prepared_is_not_encoded(codec: Codec, door: Topic) -> None:
    with pytest.raises(EmitError, match="must be prepared"):
        codec.encode(door, _frame().select("door_id", "site_id"))
    with pytest.raises(EmitError, match="gap_mm is null"):  # the vectorised encoder writes 0.0 for it
        codec.encode(door, _bad_second("gap_mm", None))
    with pytest.raises(EmitError, match="cannot be encoded"):
        codec.encode(door, _bad_second("status", "AJARR"))


def test_events_of_the_hosts_own_are_looked_at_too(codec: Codec, door: Topic) -> None:
    for changes in (
        {"occurred_at": datetime(2026, 1, 1)},  # noqa: DTZ001
        {"gap_mm": float("nan")},
        {"gap_mm": None},
        {"status": "AJARR"},
        {"force_w": "3"},
        {"force_w": 2**70},
        {"colour": "red"},
    ):
        with pytest.raises(EmitError, match=r"house.door.v1 \(DoorOpened\): "):
            codec.encode_events(door, [{**GOOD, **changes}])
    without = {name: value for name, value in GOOD.items() if name != "gap_mm"}
    with pytest.raises(EmitError, match="gap_mm"):
        codec.encode_events(door, [without])


# --- what comes in -------------------------------------------------------------------------------------------------


def _value(**changes: Any) -> bytes:
    """A framed value of schema 1, made by fastavro, which looks at nothing."""
    schema = {
        "type": "record",
        "name": "Any",
        "fields": [
            {"name": "site_id", "type": "bytes"},
            {"name": "door_id", "type": "bytes"},
            {"name": "occurred_at", "type": "long"},
            {"name": "status", "type": "long"},
            {"name": "gap_mm", "type": "double"},
            {"name": "force_w", "type": ["null", "long"]},
        ],
    }
    out = io.BytesIO()
    event = {
        "site_id": b"s1",
        "door_id": b"front",
        "occurred_at": 1_769_860_800_000_000,
        "status": 1,
        "gap_mm": 12.5,
        "force_w": None,
    }
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), event | changes)
    return b"\0\0\0\0\1" + out.getvalue()


TRAPS: dict[str, tuple[bytes | None, str, str]] = {
    "no value": (None, "NULL_VALUE", "no value"),
    "empty": (b"", "TRUNCATED", "0 bytes"),
    "half a header": (b"\0\0\0", "TRUNCATED", "3 bytes, a frame has at least 5"),
    "no body": (b"\0\0\0\0\1", "TRUNCATED", "site_id at byte 0"),
    "half a string": (_value()[:7], "TRUNCATED", "site_id at byte 1: needs 2 bytes, 1 are left"),
    "half a double": (_value()[:-3], "TRUNCATED", "gap_mm at byte"),
    "no last field": (_value()[:-1], "TRUNCATED", "force_w at byte"),
    "JSON": (b'{"site_id": "s1"}', "BAD_MAGIC", "first byte is 0x7b, not 0x00"),
    "magic 1": (b"\1" + _value()[1:], "BAD_MAGIC", "0x01"),
    "unknown schema": (b"\0\0\0\0\x63" + _value()[5:], "UNKNOWN_SCHEMA", "99"),
    "big schema id": (b"\0\xff\xff\xff\xff" + _value()[5:], "UNKNOWN_SCHEMA", "4294967295"),
    "another record's schema": (b"\0\0\0\0\2" + _value()[5:], "WRONG_SCHEMA", "flexlog.clock.Ticked"),
    "one trailing byte": (_value() + b"\0", "TRAILING_BYTES", "1 bytes follow the record's"),
    "two records": (_value() + _value()[5:], "TRAILING_BYTES", "follow"),
    "framed twice": (b"\0\0\0\0\1" + _value(), "MALFORMED", "force_w at byte 13: union branch 55 of 2"),
    "no UTF-8": (_value(door_id=b"\xff\xfe"), "MALFORMED", "door_id at byte 6: no UTF-8"),
    "half a character": (_value(door_id=b"caf\xc3"), "MALFORMED", "no UTF-8"),
    "a length below zero": (b"\0\0\0\0\1\x01" + _value()[6:], "MALFORMED", "site_id at byte 1: a length of -1"),
    "a huge length": (b"\0\0\0\0\1" + b"\xfe" + b"\xff" * 8 + b"\x01", "TRUNCATED", "site_id"),
    "a varint without end": (b"\0\0\0\0\1" + b"\xff" * 12, "MALFORMED", "longer than 64 bits"),
    "more than 64 bits": (_value(occurred_at=-(2**63)).replace(b"\xff" * 9 + b"\1", b"\xff" * 9 + b"\3"), "MALFORMED", "64"),
    "an overlong varint": (b"\0\0\0\0\1\x84\0" + _value()[6:], "MALFORMED", "in more bytes than it needs"),
    "a symbol beyond": (_value(status=3), "MALFORMED", "enum index 3 of 3"),
    "a symbol below": (_value(status=-1), "MALFORMED", "enum index -1 of 3"),
    "UNKNOWN": (_value(status=0), "UNKNOWN_SYMBOL", "status = 'UNKNOWN'"),
    "a branch beyond": (_value()[:-1] + b"\x04", "MALFORMED", "force_w at byte 27: union branch 2 of 2"),
    "a branch below": (_value()[:-1] + b"\x01", "MALFORMED", "union branch -1 of 2"),
    "an overlong branch": (_value()[:-1] + b"\x80\0", "MALFORMED", "more bytes than it needs"),
    "NaN": (_value(gap_mm=float("nan")), "NOT_FINITE", "gap_mm = nan"),
    "infinite": (_value(gap_mm=float("-inf")), "NOT_FINITE", "gap_mm = -inf"),
    "the year 294247": (_value(occurred_at=2**63 - 1), "OUT_OF_RANGE", "occurred_at"),
    "the year 2300": (_value(occurred_at=10413792000000000), "OUT_OF_RANGE", "occurred_at"),
    "another key": (_value(site_id=b"s2"), "KEY_MISMATCH", "the key is b's1', site_id is 's2'"),
    "a check": (_value(gap_mm=-0.5), "CHECK_FAILED", "check `gap_mm >= 0` does not hold: gap_mm = -0.5"),
    "a nullable check": (_value(force_w=1000), "CHECK_FAILED", "force_w = 1000"),
}


@pytest.fixture
def reading(codec: Codec, door: Topic, contracts: Contracts) -> Codec:
    """A codec whose registry has the door as schema 1 and another record as schema 2."""
    assert codec.schema_id(door) == 1
    assert codec.schema_id(contracts.topic("clock.tick.v1")) == 2
    return codec


@pytest.mark.parametrize("case", TRAPS)
def test_a_bad_record_is_rejected_with_its_reason_and_the_others_go_on(reading: Codec, door: Topic, case: str) -> None:
    value, code, text = TRAPS[case]
    good = _value()
    decoded = reading.decode(door, [b"s1"] * 3, [good, value, good])
    assert [(found.row, found.code) for found in decoded.rejected] == [(1, code)]
    assert text in decoded.rejected[0].text
    assert decoded.rows.tolist() == [0, 2]
    assert decoded.schema_ids.tolist() == [1, 1]
    assert decoded.frame["door_id"].to_list() == ["front", "front"]


@pytest.mark.parametrize("at", [0, 1, 499, 999])
@pytest.mark.parametrize("case", TRAPS)
def test_one_bad_record_is_found_anywhere_in_a_batch(reading: Codec, door: Topic, case: str, at: int) -> None:
    value, code, _ = TRAPS[case]
    values: list[bytes | None] = [_value(force_w=row % 900) for row in range(1000)]
    values[at] = value
    decoded = reading.decode(door, [b"s1"] * 1000, values)
    assert [(found.row, found.code) for found in decoded.rejected] == [(at, code)]
    assert decoded.rows.tolist() == [row for row in range(1000) if row != at]
    assert decoded.frame["force_w"].to_list() == [row % 900 for row in range(1000) if row != at]


def test_all_the_traps_at_once(reading: Codec, door: Topic) -> None:
    values: list[bytes | None] = []
    for value, _, _ in TRAPS.values():
        values += [value, _value()]
    decoded = reading.decode(door, [b"s1"] * len(values), values)
    assert [found.code for found in decoded.rejected] == [code for _, code, _ in TRAPS.values()]
    assert [found.row for found in decoded.rejected] == list(range(0, len(values), 2))
    assert decoded.rows.tolist() == list(range(1, len(values), 2))


@pytest.mark.parametrize("key", [None, b"", b"s2", b"\xff", b"s1 "])
@pytest.mark.parametrize("rows", [2, 300])
def test_a_key_that_contradicts_the_record_is_rejected(reading: Codec, door: Topic, key: bytes | None, rows: int) -> None:
    decoded = reading.decode(door, [b"s1"] * (rows - 1) + [key], [_value()] * rows)
    assert [(found.row, found.code) for found in decoded.rejected] == [(rows - 1, "KEY_MISMATCH")]
    assert len(decoded.rows) == rows - 1


def test_a_batch_in_which_all_is_bad_gives_an_empty_frame(reading: Codec, door: Topic) -> None:
    decoded = reading.decode(door, [b"s1"] * 2, [None, b"\1"])
    assert decoded.frame.equals(door.empty())
    assert decoded.rows.tolist() == []
    assert [found.row for found in decoded.rejected] == [0, 1]


def test_keys_and_values_must_be_as_many(reading: Codec, door: Topic) -> None:
    with pytest.raises(ValueError, match="1 keys and 2 values"):
        reading.decode(door, [b"s1"], [_value()] * 2)


class _Away(MemoryRegistry):
    def schema(self, schema_id: int) -> str:
        raise RegistryAway("the registry does not answer")


def test_a_registry_that_is_away_is_no_reason_to_reject(door: Topic) -> None:
    codec = Codec(_Away())
    for values in ([_value(), _value()], [None, _value()]):
        with pytest.raises(RegistryAway):
            codec.decode(door, [b"s1"] * 2, values)


def test_a_schema_that_is_registered_later_is_found_then(door: Topic) -> None:
    registry = MemoryRegistry()
    codec = Codec(registry)
    assert [found.code for found in codec.decode(door, [b"s1"], [_value()]).rejected] == ["UNKNOWN_SCHEMA"]
    registry.register(door.subject, door.text)
    assert not codec.decode(door, [b"s1"], [_value()]).rejected


def test_an_event_of_the_hosts_own_that_cannot_be_read_is_an_error(reading: Codec, door: Topic) -> None:
    for value in (b"", b"\1" + _value()[1:], _value()[:-4], _value() + b"\0", b"\0\0\0\0\x63" + _value()[5:]):
        with pytest.raises(DecodeError, match=r"house.door.v1: event 1"):
            reading.decode_events(door, [_value(), value])


def test_every_schema_id_frames_and_unframes(door: Topic) -> None:
    # The header is read and written as a boolean and a float; ids whose bytes are a NaN must not be bent.
    for schema_id in (1, 127, 128, 255, 256, 0x7F80, 0x0000807F, 0x010080FF, 0x0100A0FF, 0x7FFFFFFF, 0xFFFFFFFF):
        registry = MemoryRegistry([(schema_id, door.subject, door.text)])
        codec = Codec(registry)
        encoded = codec.encode(door, codec.prepare(door, [GOOD] * 3))
        assert [struct.unpack(">bI", value[:5]) for value in encoded.values] == [(0, schema_id)] * 3 or schema_id >> 31
        decoded = codec.decode(door, encoded.keys, encoded.values)
        assert decoded.frame.height == 3
        assert decoded.rejected == []


# --- versions ------------------------------------------------------------------------------------------------------


def _next_version(house: House) -> tuple[Topic, Topic]:
    """The topic as it was, and with a nullable field, a field with a default and a further symbol."""
    old = house.topic()
    house.schema(
        lambda schema: (
            schema["fields"].extend(
                [
                    {"name": "note", "type": ["null", "string"], "default": None, "doc": "Note."},
                    {"name": "count_no", "type": "long", "default": 7, "doc": "Count."},
                    {"name": "seen_at", "type": field(schema, "occurred_at")["type"], "default": 5, "doc": "Seen."},
                ]
            )
            or field(schema, "status")["type"]["symbols"].append("SHUT")
        )
    )
    return old, house.topic()


def test_old_events_get_the_defaults_of_new_fields(house: House) -> None:
    old, new = _next_version(house)
    codec = Codec(MemoryRegistry())
    encoded = codec.encode(old, codec.prepare(old, [GOOD, GOOD]))
    decoded = codec.decode(new, encoded.keys, encoded.values)
    assert decoded.frame.schema == pl.Schema(new.columns)
    seen = datetime(1970, 1, 1, 0, 0, 0, 5, tzinfo=UTC)
    assert decoded.frame.select("note", "count_no", "seen_at").rows() == [(None, 7, seen)] * 2
    assert codec.decode_events(new, encoded.values)[0] == {**GOOD, "note": None, "count_no": 7, "seen_at": seen}


def test_new_events_lose_what_an_old_reader_does_not_know_and_its_new_symbols_are_rejected(house: House) -> None:
    old, new = _next_version(house)
    codec = Codec(MemoryRegistry())
    codec.schema_id(old)
    encoded = codec.encode(new, codec.prepare(new, [{**GOOD, "note": "x"}, {**GOOD, "status": "SHUT"}]))
    decoded = codec.decode(old, encoded.keys, encoded.values)
    assert decoded.frame.rows(named=True) == [GOOD]
    assert [(found.row, found.code) for found in decoded.rejected] == [(1, "UNKNOWN_SYMBOL")]
    assert "'SHUT'" in decoded.rejected[0].text


def test_both_versions_in_one_batch_keep_their_order(house: House) -> None:
    old, new = _next_version(house)
    codec = Codec(MemoryRegistry())
    before = codec.encode(old, codec.prepare(old, [{**GOOD, "force_w": at} for at in (0, 2, 4)])).values
    after = codec.encode(new, codec.prepare(new, [{**GOOD, "force_w": at} for at in (1, 3)])).values
    values = [before[0], after[0], before[1], after[1], before[2]]
    decoded = codec.decode(new, [b"s1"] * 5, values)
    assert decoded.frame["force_w"].to_list() == [0, 1, 2, 3, 4]
    assert decoded.schema_ids.tolist() == [1, 2, 1, 2, 1]
    assert decoded.rows.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("how", "text"),
    [
        (lambda s: field(s, "gap_mm").update(type="long"), "gap_mm as another type"),
        (lambda s: field(s, "gap_mm").update(type=["null", "double"], default=None), "gap_mm as another type"),
        (lambda s: s["fields"].pop(4) and None, "lacks gap_mm"),
        (lambda s: s.update(name="DoorShut"), "flexlog.house.DoorShut"),
        (lambda s: s.update(type="enum"), "is no event type"),
    ],
)
def test_a_schema_that_is_no_version_of_the_topics_is_rejected(
    house: House, how: Callable[[Any], Any], text: str
) -> None:
    topic = house.topic()
    schema = json.loads((house.root / SCHEMA_FILE).read_text())
    how(schema)
    codec = Codec(MemoryRegistry([(1, topic.subject, json.dumps(schema))]))
    decoded = codec.decode(topic, [b"s1"], [_value()])
    assert [found.code for found in decoded.rejected] == ["WRONG_SCHEMA"]
    assert text in decoded.rejected[0].text


# --- the registry --------------------------------------------------------------------------------------------------


def test_the_registry_in_memory_numbers_schemas_and_goes_on_where_it_was() -> None:
    registry = MemoryRegistry()
    assert [registry.register("a-value", "x"), registry.register("b-value", "y")] == [1, 2]
    assert registry.register("c-value", "x") == 1  # one schema, one id
    assert registry.items() == [(1, "a-value", "x"), (2, "b-value", "y"), (1, "c-value", "x")]
    again = MemoryRegistry(registry.items())
    assert again.register("b-value", "y") == 2
    assert again.register("d-value", "z") == 3
    assert again.schema(1) == "x"
    with pytest.raises(UnknownSchema, match="no schema has the id 9"):
        again.schema(9)


def test_a_check_that_can_be_null_is_an_error_where_it_is_used(house: House) -> None:
    house.change(TOPIC_FILE, lambda topic: topic.update(checks=["force_w < 1000"]))
    topic = house.topic()
    with pytest.raises(Exception, match=r"`force_w < 1000` can yield NULL where force_w is null"):
        Codec(MemoryRegistry()).prepare(topic, [GOOD])
