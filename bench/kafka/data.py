"""The readings that all get, encoded with the contract's codec through the registry, and what they sum to."""

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from confluent_kafka import Producer

from energy import rules
from streams.contracts.codec import Codec
from streams.contracts.partition import partitions_of
from streams.contracts.topic import Topic
from streams.kafka.settings import Settings
from streams.topology import CLOCK
from topics import ReadingTaken, RulePublished

START = datetime(2026, 3, 2, tzinfo=UTC)
STEP = timedelta(seconds=10)
QUARTER = timedelta(minutes=15)
SITES = 2_000
ROUNDS = int(QUARTER / STEP)
"""Rounds of a quarter-hour."""


def frame(sites: int, rounds: range, gap: int = 0) -> pl.DataFrame:
    """One reading of every site a round; power in halves of a watt, so that sums are exact in any order.

    ``gap`` moves the times so many rounds on.
    """
    rng = np.random.default_rng(rounds.start)
    count = sites * len(rounds)
    at = np.repeat(np.arange(rounds.start, rounds.stop) + gap, sites) * 10_000_000 + int(START.timestamp() * 1e6)
    site = pl.Series(np.tile(np.array([f"site-{i:06d}" for i in range(sites)]), len(rounds)))
    return pl.DataFrame(
        {
            "site_id": site,
            "resource_id": site + "/meter",
            "commodity": ["ELECTRICITY"] * count,
            "occurred_at": pl.Series(at).cast(pl.Datetime("us", "UTC")),
            "duration_s": np.full(count, 10.0),
            "power_w": rng.integers(0, 6_000, count) / 2,
            "quality": ["MEASURED"] * count,
        }
    )


def of(sites: range) -> pl.DataFrame:
    """One reading of each of some sites."""
    one = frame(1, range(1))
    site = pl.Series("site_id", [f"site-{i:08d}" for i in sites])
    return one.select(pl.all().repeat_by(len(sites)).explode()).with_columns(site, resource_id=site + "/meter")


def parts(readings: int, sites: int = SITES) -> Iterator[pl.DataFrame]:
    """Readings by quarter-hours; the last round comes two quarter-hours later, so that all before it is over."""
    rounds = readings // sites - 1
    for first in range(0, rounds, ROUNDS):
        yield frame(sites, range(first, min(first + ROUNDS, rounds)))
    yield frame(sites, range(rounds, rounds + 1), gap=2 * ROUNDS)


def summed(readings: int, sites: int = SITES) -> pl.DataFrame:
    """What the job must give: site_id, period_start and power_w of every quarter-hour that is over, ordered.

    Worked out from the numbers before they are encoded, without anything of ours.
    """
    found = [
        part.group_by(
            "site_id", pl.col("occurred_at").dt.truncate("15m").alias("period_start"), maintain_order=True
        ).agg(pl.col("power_w").sum())
        for part in parts(readings, sites)
    ]
    return pl.concat(found[:-1]).sort("site_id", "period_start")


class Writer:
    """Writes prepared rows as an edge would."""

    def __init__(self, settings: Settings, codec: Codec, partitions: int) -> None:
        self._settings, self._codec, self._count = settings, codec, partitions
        self._producer = Producer(
            {
                **settings.kafka.common(),
                "partitioner": "murmur2_random",
                "log_level": 0,
                "linger.ms": 20,
                "compression.type": "lz4",
                "queue.buffering.max.messages": 1_000_000,
                "queue.buffering.max.kbytes": 1_000_000,
            }
        )

    def write(self, topic: Topic, rows: Any) -> int:
        """Append, and wait for it."""
        encoded = self._codec.encode(topic, self._codec.prepare(topic, rows))
        self.send(topic, encoded.keys, encoded.values)
        return len(encoded.values)

    def send(self, topic: Topic, keys: list[bytes], values: list[bytes]) -> None:
        """Append what is encoded, partition by partition as murmur2 says, and wait for it."""
        count = self._count if topic.lane == "site" else 1
        self.put(topic.name, keys, values, partitions_of(keys, count).tolist())
        self.flush()

    def put(self, topic: str, keys: Iterable[bytes], values: Iterable[bytes], places: Iterable[int]) -> None:
        """Append what is encoded to these partitions, without waiting for it."""
        name, produce = self._settings.kafka.topic(topic), self._producer.produce
        for key, value, place in zip(keys, values, places, strict=True):
            while True:
                try:
                    produce(name, value, key, place)
                    break
                except BufferError:
                    self._producer.poll(0.05)

    def flush(self) -> None:
        """Wait until all is appended.

        Raises:
            RuntimeError: the broker does not take it.
        """
        if left := self._producer.flush(120):
            raise RuntimeError(f"{left} records were not taken within two minutes")

    def tick(self, at: datetime) -> None:
        """A tick of the clock; the millisecond in which it is appended has no readings."""
        time.sleep(0.003)
        event = {"clock_id": "bench", "tick_at": at, "sequence": 0, "missed": 0, "simulated": True}
        topic = self._codec_topic(CLOCK)
        self.send(topic, [b"bench"], self._codec.encode_events(topic, [event]))
        time.sleep(0.003)

    def _codec_topic(self, name: str) -> Topic:
        from bench.kafka.job import CONTRACTS  # noqa: PLC0415 -- it loads processors

        return CONTRACTS.topic(name)


def fill(writer: Writer, readings: int, sites: int = SITES, told: Callable[[int], None] = lambda _: None) -> int:
    """Rules, readings and a tick after each quarter-hour, as they would come; how many readings."""
    published = [row | {"origin": "bench", "origin_id": row["rule_id"]} for row in rules.rows(rules.load())]
    writer.write(RulePublished.__topic__, published)
    writer.tick(START)
    done, now = 0, START
    last = -(-(readings // sites - 1) // ROUNDS) + 1
    for number, part in enumerate(parts(readings, sites), 1):
        done += writer.write(ReadingTaken.__topic__, part)
        now = START + QUARTER * (number if number < last else number + 2)  # never before what is read
        writer.tick(now)
        told(done)
    for later in (1, 2):  # all quarter-hours are over, lateness included
        writer.tick(now + QUARTER * later)
    return done
