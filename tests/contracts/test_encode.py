import io
import json
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
)
from streams.contracts.emitting import _SLAB
from streams.contracts.topic import Topic
from streams.errors import EmitError
from tests.contracts.making import GOOD, NOON

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
    assert decoded.rows.dtype == np.int64
    assert decoded.schema_ids.dtype == np.int32
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
    assert codec.encode(door, whole[37:41]).values == wanted[37:41]
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
    "null": (
        lambda: _bad_second("gap_mm", None),
        r"gap_mm is null in 1 of 2 rows; first: row 1, site_id='s1', door_id='ba",
    ),
    "null symbol": (lambda: _bad_second("status", None), "status is null in 1 of 2"),
    "NaN": (
        lambda: _bad_second("gap_mm", float("nan")),
        r"gap_mm = nan is NaN or infinite in 1 of 2 rows.*door_id='ba",
    ),
    "infinite": (lambda: _bad_second("gap_mm", float("inf")), "gap_mm = inf is NaN or infinite in 1 of 2"),
    "symbol": (lambda: _bad_second("status", "AJARR"), r"status = 'AJARR' is none of AJAR, WIDE in 1 of 2"),
    "UNKNOWN": (lambda: _bad_second("status", "UNKNOWN"), r"status = 'UNKNOWN' is none of AJAR, WIDE"),
    "check": (lambda: _bad_second("gap_mm", -1.0), r"check `gap_mm >= 0` does not hold: gap_mm = -1.0 in 1 of 2 rows"),
    "empty key": (lambda: _frame(site_id=pl.lit("")), r"check `site_id <> ''` does not hold: site_id = '' in 2 of 2"),
    "naive": (lambda: _frame(occurred_at=pl.col("occurred_at").dt.replace_time_zone(None)), "is a naive time"),
    "too early": (
        lambda: _frame(occurred_at=datetime(1899, 12, 31, tzinfo=UTC)),
        "not between the years 1900 and 2299",
    ),
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
        {"gap_mm": "wide"},
        {"occurred_at": "now"},
        {"status": "AJARR"},
        {"status": "UNKNOWN"},
        {"force_w": "3"},
        {"force_w": 2**70},
        {"colour": "red"},
    ):
        with pytest.raises(EmitError, match=r"house.door.v1 \(DoorOpened\): "):
            codec.encode_events(door, [{**GOOD, **changes}])
    without = {name: value for name, value in GOOD.items() if name != "gap_mm"}
    with pytest.raises(EmitError, match="gap_mm"):
        codec.encode_events(door, [without])


def test_more_rows_than_are_encoded_at_once_keep_their_order(codec: Codec, door: Topic) -> None:
    rows = _SLAB + 1000
    one = codec.prepare(door, [GOOD])
    frame = one.select(pl.all().repeat_by(rows).explode()).with_columns(
        door_id=pl.int_range(rows).cast(pl.String), force_w=pl.int_range(rows) % 1000
    )
    encoded = codec.encode(door, codec.prepare(door, frame))
    assert (len(encoded.keys), len(encoded.values)) == (rows, rows)
    decoded = codec.decode(door, encoded.keys, encoded.values)
    assert decoded.frame.equals(frame)
