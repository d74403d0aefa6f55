"""The rates that the design rests on, as ratios in one run where the machine matters."""

import io
import json
import time
from collections.abc import Callable
from typing import Any

import fastavro
import numpy as np
import polars as pl

from streams.contracts import Contracts
from streams.contracts.codec import Codec
from streams.contracts.decoding import HEADER


def _seconds(function: Callable[[], Any], times: int) -> float:
    found = []
    for _ in range(times):
        start = time.perf_counter()
        function()
        found.append(time.perf_counter() - start)
    return min(found)


def _readings(rows: int) -> pl.DataFrame:
    at = np.arange(rows)
    return pl.DataFrame(
        {
            "site_id": [f"home-{number % 2000}" for number in at],
            "resource_id": [f"home-{number % 2000}/meter" for number in at],
            "commodity": ["ELECTRICITY"] * rows,
            "occurred_at": pl.Series(1_769_900_000_000_000 + at * 1_000_000).cast(pl.Datetime("us", "UTC")),
            "power_w": np.linspace(0, 5000, rows),
            "quality": ["MEASURED"] * rows,
        }
    )


def test_a_batch_is_decoded_and_encoded_many_times_as_fast_as_by_fastavro(codec: Codec, contracts: Contracts) -> None:
    topic = contracts.topic("telemetry.reading.v1")
    frame = codec.prepare(topic, _readings(60_000))
    encoded = codec.encode(topic, frame)
    parsed = fastavro.parse_schema(json.loads(topic.text))
    some = [value[HEADER:] for value in encoded.values[:5000]]
    events: list[Any] = frame[:5000].to_dicts()

    def bare_decode() -> None:
        for body in some:
            fastavro.schemaless_reader(io.BytesIO(body), parsed, None)

    def bare_encode() -> None:
        for event in events:
            fastavro.schemaless_writer(io.BytesIO(), parsed, event)

    ours = len(encoded.values) / _seconds(lambda: codec.decode(topic, encoded.keys, encoded.values), 5)
    theirs = len(some) / _seconds(bare_decode, 3)
    assert ours > 8 * theirs
    ours = frame.height / _seconds(lambda: codec.encode(topic, codec.prepare(topic, frame)), 5)
    theirs = len(events) / _seconds(bare_encode, 3)
    assert ours > 8 * theirs


def test_twenty_rows_take_less_than_a_millisecond_each_way(codec: Codec, contracts: Contracts) -> None:
    topic = contracts.topic("telemetry.reading.v1")
    raw = _readings(20)
    encoded = codec.encode(topic, codec.prepare(topic, raw))
    assert _seconds(lambda: codec.encode(topic, codec.prepare(topic, raw)), 100) < 0.001
    assert _seconds(lambda: codec.decode(topic, encoded.keys, encoded.values), 100) < 0.001


def test_a_control_event_takes_less_than_fifty_microseconds(codec: Codec, contracts: Contracts) -> None:
    topic = contracts.topic("clock.tick.v1")
    tick = codec.prepare(
        topic,
        [
            {
                "clock_id": "c",
                "tick_at": frame_time,
                "sequence": 1,
                "missed": 0,
                "simulated": True,
            }
            for frame_time in _readings(100)["occurred_at"]
        ],
    ).to_dicts()
    values = codec.encode_events(topic, tick)
    assert _seconds(lambda: codec.encode_events(topic, tick), 20) / len(tick) < 50e-6
    assert _seconds(lambda: codec.decode_events(topic, values), 20) / len(tick) < 50e-6


def test_one_bad_record_does_not_cost_what_reading_row_by_row_would(codec: Codec, contracts: Contracts) -> None:
    topic = contracts.topic("telemetry.reading.v1")
    encoded = codec.encode(topic, codec.prepare(topic, _readings(60_000)))
    clean = _seconds(lambda: codec.decode(topic, encoded.keys, encoded.values), 6)
    spoilt: list[bytes | None] = list(encoded.values)
    spoilt[31_337] = encoded.values[31_337] + b"\0"
    assert len(codec.decode(topic, encoded.keys, spoilt).rejected) == 1
    assert _seconds(lambda: codec.decode(topic, encoded.keys, spoilt), 6) < 15 * clean
