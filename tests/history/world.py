"""A log with events of the real contracts, for the tests of the history."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from streams.contracts import Topic
from streams.contracts.codec import Codec, MemoryRegistry
from streams.contracts.examples import read_examples
from streams.contracts.partition import partition_of
from streams.history import History
from streams.history.shelf import PLACE_DTYPES
from streams.hosts.memory import MemoryLog
from topics import CONTRACTS

T0 = datetime(2026, 1, 1, tzinfo=UTC)
EARLY, LATE = datetime(1900, 1, 1, tzinfo=UTC), datetime(2299, 1, 1, tzinfo=UTC)
QUARTER = timedelta(minutes=15)
INTERVAL = CONTRACTS.topic("telemetry.interval.v1")
TABLE = "telemetry_interval_v1"
PARTITIONS = 4
ALL_TOPICS = [*CONTRACTS.topics.values(), CONTRACTS.rejected(INTERVAL)]


def interval(
    site: int, step: int, *, revision: int = 0, energy: float = 1.0, apart: timedelta = QUARTER
) -> dict[str, Any]:
    """One event: the energy of a site's meter in the quarter-hour that begins ``step`` times ``apart`` after `T0`."""
    start = T0 + apart * step
    return {
        "site_id": f"site-{site:03d}",
        "resource_id": f"site-{site:03d}/meter",
        "commodity": "ELECTRICITY",
        "period_start": start,
        "period_end": start + QUARTER,
        "revision": revision,
        "energy_wh": energy,
        "quality": "MEASURED",
        "coverage": 1.0,
        "samples": 3,
        "method": "time_weighted_v1",
    }


def examples(topic: Topic) -> pl.DataFrame:
    """The examples of a topic as a frame."""
    return World().codec.prepare(topic, read_examples(topic))


def placed(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows of a table, all at partition 7 and offset 7."""
    return frame.with_columns(
        pl.lit(T0 if name == "_appended_at" else 7).cast(dtype).alias(name) for name, dtype in PLACE_DTYPES.items()
    )


def read_all(history: History, topic: Topic, ends: Mapping[int, int], *, latest: bool = True) -> pl.DataFrame:
    """All times and keys of a topic."""
    return history.read(topic, ends, since=EARLY, until=LATE, latest=latest)


class World:
    """A log, a codec, and what was appended, as plain Python: the truth that the history is compared with."""

    def __init__(self, folder: Path | None = None) -> None:
        self.now = 1_767_225_600_000_000
        self.log = MemoryLog(folder, clock=lambda: self.now)
        self.codec = Codec(MemoryRegistry())

    def create(self, topic: Topic, partitions: int = PARTITIONS) -> None:
        self.log.create(topic.name, partitions)

    def append(self, topic: Topic, events: Sequence[Mapping[str, Any]], *, abort: bool = False) -> None:
        """Append events in one transaction, each to the partition of its key."""
        prepared = self.codec.prepare(topic, list(events))
        encoded = self.codec.encode(topic, prepared)
        count = self.log.partitions(topic.name)
        places = np.array([partition_of(key, count) for key in encoded.keys])
        self.put(
            topic,
            {
                place: [(encoded.keys[row], encoded.values[row]) for row in np.flatnonzero(places == place)]
                for place in np.unique(places).tolist()
            },
            abort=abort,
        )

    def put(
        self, topic: Topic, records: Mapping[int, Sequence[tuple[bytes | None, bytes | None]]], *, abort: bool = False
    ) -> None:
        """Append records as they are, by partition."""
        self.now += 1_000_000
        transaction = self.log.transaction("test")
        for place, mine in records.items():
            transaction.append(topic.name, place, [key for key, _ in mine], [value for _, value in mine])
        if abort:
            transaction.abort()
        else:
            transaction.commit({})

    def ends(self, topic: Topic) -> dict[int, int]:
        return {place: self.log.end(topic.name, place) for place in range(self.log.partitions(topic.name))}

    def rows(self, topic: Topic) -> pl.DataFrame:
        """All good records of a topic as the log has them, with their place, read without any history."""
        parts = []
        for place in range(self.log.partitions(topic.name)):
            at = 0
            while len(slab := self.log.read(topic.name, place, at)):
                decoded = self.codec.decode(topic, slab.keys, slab.values)
                parts.append(
                    decoded.frame.with_columns(
                        pl.lit(place, pl.UInt32).alias("_partition"),
                        pl.Series("_offset", slab.offsets[decoded.rows], pl.UInt64),
                        pl.Series("_appended_at", slab.appended_at[decoded.rows]),
                    )
                )
                at = slab.next_offset
        return pl.concat(parts) if parts else topic.empty()
