import io
import struct
from typing import Any

import fastavro
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
from tests.contracts.making import GOOD, TOPIC_FILE, House


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
    "big schema id": (b"\0\xff\xff\xff\xff" + _value()[5:], "UNKNOWN_SCHEMA", "-1"),
    "another record's schema": (b"\0\0\0\0\2" + _value()[5:], "WRONG_SCHEMA", "flexlog.clock.Ticked"),
    "one trailing byte": (_value() + b"\0", "TRAILING_BYTES", "1 bytes follow the record's"),
    "two records": (_value() + _value()[5:], "TRAILING_BYTES", "follow"),
    "framed twice": (b"\0\0\0\0\1" + _value(), "MALFORMED", "force_w at byte 12: union branch 55 of 2"),
    "no UTF-8": (_value(door_id=b"\xff\xfe"), "MALFORMED", "door_id at byte 3: no UTF-8"),
    "half a character": (_value(door_id=b"caf\xc3"), "MALFORMED", "no UTF-8"),
    "a length below zero": (b"\0\0\0\0\1\x01" + _value()[6:], "MALFORMED", "site_id at byte 0: a length of -1"),
    "a huge length": (b"\0\0\0\0\1" + b"\xfe" + b"\xff" * 8 + b"\x01", "TRUNCATED", "site_id"),
    "a varint without end": (b"\0\0\0\0\1" + b"\xff" * 12, "MALFORMED", "longer than 64 bits"),
    "more than 64 bits": (
        _value(occurred_at=-(2**63)).replace(b"\xff" * 9 + b"\1", b"\xff" * 9 + b"\3"),
        "MALFORMED",
        "64",
    ),
    "an overlong varint": (b"\0\0\0\0\1\x84\0" + _value()[6:], "MALFORMED", "in more bytes than it needs"),
    "a symbol beyond": (_value(status=3), "MALFORMED", "enum index 3 of 3"),
    "a symbol below": (_value(status=-1), "MALFORMED", "enum index -1 of 3"),
    "UNKNOWN": (_value(status=0), "UNKNOWN_SYMBOL", "status = 'UNKNOWN'"),
    "a branch beyond": (_value()[:-1] + b"\x04", "MALFORMED", "force_w at byte 26: union branch 2 of 2"),
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
def test_a_key_that_contradicts_the_record_is_rejected(
    reading: Codec, door: Topic, key: bytes | None, rows: int
) -> None:
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


@pytest.mark.parametrize(
    ("tail", "code", "text"),
    [
        ("01 00", None, ""),
        ("00 02", None, ""),
        ("02 00", "MALFORMED", "open at byte 27: a boolean of 2"),
        ("ff 00", "MALFORMED", "open at byte 27: a boolean of 255"),
        ("01 8080808010", "MALFORMED", "day at byte 28: a date longer than 32 bits"),  # 2^31
        ("01 808080808010", "MALFORMED", "day at byte 28: a date longer than 32 bits"),
        ("01 8080808020", "MALFORMED", "day at byte 28: a date longer than 32 bits"),
        ("01 feffffff0f", "OUT_OF_RANGE", "day = 2147483647 days after 1970"),
        ("01", "TRUNCATED", "day at byte 28"),
    ],
)
@pytest.mark.parametrize("rows", [1, 50])
def test_booleans_and_dates_have_traps_of_their_own(
    house: House, codec: Codec, rows: int, tail: str, code: str | None, text: str
) -> None:
    house.schema(
        lambda schema: schema["fields"].extend(
            [
                {"name": "open", "type": "boolean", "default": False, "doc": "Open."},
                {"name": "day", "type": {"type": "int", "logicalType": "date"}, "default": 0, "doc": "Day."},
            ]
        )
    )
    topic = house.topic()
    assert codec.schema_id(topic) == 1
    good, value = _value() + b"\0\0", _value() + bytes.fromhex(tail)
    decoded = codec.decode(topic, [b"s1"] * (rows + 1), [good] * rows + [value])
    assert [(found.row, found.code) for found in decoded.rejected] == ([(rows, code)] if code else [])
    assert [found.text for found in decoded.rejected if text not in found.text] == []


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
    for schema_id in (1, 127, 128, 255, 256, 0x7F80, 0x0000807F, 0x0001807F, 0x010080FF, 0x0100A0FF, 0x7FFFFFFF):
        registry = MemoryRegistry([(schema_id, door.subject, door.text)])
        codec = Codec(registry)
        encoded = codec.encode(door, codec.prepare(door, [GOOD] * 30))
        assert [struct.unpack(">bI", value[:5]) for value in encoded.values] == [(0, schema_id)] * 30
        decoded = codec.decode(door, encoded.keys, encoded.values)
        assert decoded.frame.height == 30
        assert decoded.rejected == []


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
