import io
import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import fastavro
import polars as pl
import pytest

from streams.contracts.codec import (
    Codec,
    MemoryRegistry,
    frame_header,
)
from streams.contracts.decoding import physical
from streams.contracts.topic import Topic
from streams.errors import EmitError
from tests.contracts.making import GOOD, NOON, SCHEMA_FILE, House, field


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
                    {"name": "day", "type": {"type": "int", "logicalType": "date"}, "default": 1, "doc": "Day."},
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
    added = {"note": None, "count_no": 7, "seen_at": seen, "day": date(1970, 1, 2)}
    assert decoded.frame.rows(named=True) == [GOOD | added] * 2
    assert codec.decode_events(new, encoded.values)[0] == GOOD | added


MARK: dict[str, Any] = {
    "type": "record",
    "name": "DoorOpenedMark",
    "fields": [
        {"name": "seen_at", "type": {"type": "long", "logicalType": "timestamp-micros"}, "doc": "."},
        {"name": "width_mm", "type": "double", "doc": "."},
        {
            "name": "kind",
            "type": {"type": "enum", "name": "K", "symbols": ["UNKNOWN", "DENT"], "default": "UNKNOWN"},
            "doc": ".",
        },
    ],
}


def _marked(house: House) -> Topic:
    """The topic with an array of small records."""
    house.schema(
        lambda schema: schema["fields"].append(
            {"name": "marks", "type": {"type": "array", "items": MARK}, "default": [], "doc": "Marks."}
        )
    )
    return house.topic()


DENT = {"seen_at": NOON, "width_mm": 2.0, "kind": "DENT"}


def test_an_array_that_is_new_is_empty_in_old_events(house: House) -> None:
    old, new = house.topic(), _marked(house)
    codec = Codec(MemoryRegistry())
    encoded = codec.encode(old, codec.prepare(old, [GOOD]))
    assert codec.decode(new, encoded.keys, encoded.values).frame.rows(named=True) == [{**GOOD, "marks": []}]
    later = codec.encode(new, codec.prepare(new, [{**GOOD, "marks": [DENT]}]))
    assert codec.decode(old, later.keys, later.values).frame.rows(named=True) == [GOOD]


def test_an_array_whose_records_have_grown_is_read_both_ways(house: House) -> None:
    old = _marked(house)
    house.schema(
        lambda schema: field(schema, "marks")["type"]["items"]["fields"].append(
            {"name": "depth_mm", "type": "double", "default": 0.5, "doc": "."}
        )
    )
    new = house.topic()
    codec = Codec(MemoryRegistry())
    before = codec.encode(old, codec.prepare(old, [{**GOOD, "marks": [DENT]}]))
    frame = codec.decode(new, before.keys, before.values).frame
    assert frame.schema == pl.Schema(new.columns)
    assert frame["marks"].to_list() == [[{**DENT, "depth_mm": 0.5}]]
    after = codec.encode(new, codec.prepare(new, [{**GOOD, "marks": [{**DENT, "depth_mm": 1.0}]}]))
    assert codec.decode(old, after.keys, after.values).frame["marks"].to_list() == [[DENT]]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"width_mm": float("nan")}, "marks.width_mm = nan in row 0 is NaN or infinite"),
        ({"width_mm": None}, "marks.width_mm is null in row 0"),
        ({"kind": "UNKNOWN"}, "marks.kind = 'UNKNOWN' in row 0 is none of DENT"),
        ({"kind": "SCRATCH"}, "marks.kind = 'SCRATCH' in row 0 is none of DENT"),
        ({"seen_at": datetime(2026, 1, 1)}, "marks.seen_at = 2026-01-01 00:00:00 in row 0 is a naive time"),  # noqa: DTZ001
        ({"seen_at": datetime(1899, 1, 1, tzinfo=UTC)}, "not between the years 1900 and 2299"),
        ({"colour": "red"}, "its fields are seen_at, width_mm, kind"),
    ],
)
def test_what_is_in_an_array_is_looked_at_too(house: House, codec: Codec, changes: dict[str, Any], text: str) -> None:
    topic = _marked(house)
    with pytest.raises(EmitError) as error:
        codec.prepare(topic, [{**GOOD, "marks": [{**DENT, **changes}]}])
    assert text in str(error.value)
    if "naive" in text:
        with pytest.raises(EmitError, match="no time with a time zone"):
            codec.encode_events(topic, [{**GOOD, "marks": [{**DENT, **changes}]}])
    if "naive" in text or "colour" in changes:
        return
    if "1900" not in text:
        with pytest.raises(EmitError, match=r"marks|event 0"):
            codec.encode_events(topic, [{**GOOD, "marks": [{**DENT, **changes}]}])
    dtype = topic.columns["marks"]
    frame = codec.prepare(topic, [{**GOOD, "marks": [DENT]}])
    with pytest.raises(EmitError):
        codec.prepare(topic, frame.with_columns(marks=pl.Series([[{**DENT, **changes}]], dtype=dtype)))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"width_mm": float("inf")}, "NOT_FINITE"),
        ({"kind": "UNKNOWN"}, "UNKNOWN_SYMBOL"),
        ({"seen_at": 2**62}, "OUT_OF_RANGE"),
    ],
)
def test_what_is_in_an_array_is_rejected_too(house: House, codec: Codec, changes: dict[str, Any], code: str) -> None:
    topic = _marked(house)
    plain = fastavro.parse_schema(physical(dict(topic.schema)))
    values = []
    for extra in ({}, changes, {}):
        out = io.BytesIO()
        mark = {**DENT, "seen_at": 0, **extra}
        fastavro.schemaless_writer(out, plain, {**GOOD, "occurred_at": 0, "marks": [mark]})
        values.append(frame_header(codec.schema_id(topic)) + out.getvalue())
    decoded = codec.decode(topic, [b"s1"] * 3, values)
    assert [(found.row, found.code) for found in decoded.rejected] == [(1, code)]
    assert decoded.rows.tolist() == [0, 2]


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
    codec = Codec(MemoryRegistry([(1, topic.subject, json.dumps(schema))]))  # and the topic's own as 2
    (value,) = codec.encode_events(topic, [GOOD])
    decoded = codec.decode(topic, [b"s1"], [frame_header(1) + value[5:]])
    assert [found.code for found in decoded.rejected] == ["WRONG_SCHEMA"]
    assert text in decoded.rejected[0].text


# By hand: DoorOpened up to force_w, then marks.
PLAIN = bytes.fromhex("04 7331  0a 66726f6e74  02  02  0000000000002940  00")
ONE = bytes.fromhex("02  0000000000000040  02")  # seen_at 1 µs, width_mm 2.0, kind DENT


@pytest.mark.parametrize(
    ("marks", "code", "text"),
    [
        ("02" + ONE.hex() + "00", None, ""),
        ("04" + 2 * ONE.hex() + "00", None, ""),
        ("00", None, ""),
        ("01 14" + ONE.hex() + "00", "MALFORMED", "marks at byte 20: an array block with a byte count"),
        ("02" + ONE.hex() + "02" + ONE.hex() + "00", "MALFORMED", "an array in several blocks"),
        ("8200" + ONE.hex() + "00", "MALFORMED", "in more bytes than it needs"),
        ("02" + ONE.hex() + "00 00", "TRAILING_BYTES", "1 bytes follow"),
        ("02" + ONE.hex(), "TRUNCATED", "marks at byte"),
        ("02" + ONE.hex()[:-2], "TRUNCATED", "marks.kind at byte 30"),
        ("02" + ONE.hex()[:-2] + "03 00", "MALFORMED", "marks.kind at byte 30: enum index -2 of 2"),
        ("feffffffffffffffff01" + ONE.hex(), "TRUNCATED", "marks.seen_at"),
    ],
)
def test_an_array_is_read_in_its_canonical_encoding_alone(
    house: House, codec: Codec, marks: str, code: str | None, text: str
) -> None:
    topic = _marked(house)
    good = frame_header(codec.schema_id(topic)) + PLAIN + b"\0"
    value = good[:-1] + bytes.fromhex(marks)
    decoded = codec.decode(topic, [b"s1"] * 3, [good, value, good])
    assert [(found.row, found.code) for found in decoded.rejected] == ([(1, code)] if code else [])
    assert all(text in found.text for found in decoded.rejected)
    if code is None:
        assert codec.encode(topic, decoded.frame).values == [good, value, good]
