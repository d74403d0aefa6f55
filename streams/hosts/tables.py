"""Whole topics as tables: the newest row of every identity, as of an offset."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import polars as pl

from streams.columns import UTC_MICROS
from streams.contracts.codec import Codec
from streams.contracts.topic import Topic
from streams.hosts.board import micros
from streams.hosts.log import Log
from streams.hosts.rejects import Rejected, rejected_rows


class TableView:
    """One topic as a table. It goes forward cheaply; asked for an earlier state it starts again from the log.

    Args:
        keep: how long what is over stays: rows whose ``valid_to`` or ``period_end`` (else the topic's time)
            lies longer than this before the tick; None keeps all.
    """

    def __init__(self, topic: Topic, log: Log, codec: Codec, keep: timedelta | None = None) -> None:
        self.topic = topic
        self._log = log
        self._codec = codec
        self._keep = keep
        self._over = next((name for name in ("valid_to", "period_end") if name in topic.columns), topic.time)
        self._bounds: tuple[int, ...] | None = None
        self._held = topic.empty()
        self._fresh: list[pl.DataFrame] = []  # read, and not yet among what is held
        self._shown: pl.DataFrame | None = None
        self._now: datetime | None = None
        self._dropped: datetime | None = None  # rows that were over at this time are no longer held
        self._rejected: dict[tuple[int, int], Rejected] = {}

    def as_of(self, bounds: tuple[int, ...], now: datetime) -> pl.DataFrame:
        """The table's rows from before the bounds (one a partition), ordered by identity."""
        self.move(bounds, now)
        if self._fresh:
            self._merge(now)
        elif self._keep is not None and now != self._now:
            self._shown = None
        if self._shown is None:
            self._now = now
            self._shown = self._kept(now)
        return self._shown

    def move(self, bounds: tuple[int, ...], now: datetime) -> None:
        """Read up to the bounds, or again from the start where they lie further back; nothing is put in order yet."""
        start = self._bounds
        back = self._dropped is not None and now < self._dropped
        if bounds == start and not back:
            return
        if start is None or back or any(new < old for new, old in zip(bounds, start, strict=True)):
            start = (0,) * len(bounds)
            self._held, self._fresh, self._shown, self._dropped = self.topic.empty(), [], None, None
        for partition, (low, high) in enumerate(zip(start, bounds, strict=True)):
            self._fresh += self._read(partition, low, high)
        self._bounds = bounds

    def _merge(self, now: datetime) -> None:
        identity = list(self.topic.identity)
        if self._keep is not None:  # what is over now stays over: time goes on
            self._held = self._kept(now)
            self._dropped = now
        rows = pl.concat([self._held, *self._fresh])
        self._held = rows.unique(identity, keep="last", maintain_order=True).sort(identity)
        self._fresh, self._shown = [], None

    def _kept(self, now: datetime) -> pl.DataFrame:
        """What is held, less what has been over for long; the same frame where nothing has."""
        first = self._held.get_column(self._over).min()
        if self._keep is None or not isinstance(first, datetime) or first >= now - self._keep:
            return self._held
        over = pl.col(self._over)
        return self._held.filter(over.is_null() | (over >= pl.lit(micros(now - self._keep), UTC_MICROS)))

    def rejected(self, low: tuple[int, ...], high: tuple[int, ...]) -> Iterator[Rejected]:
        """What could not be used between two states of the table."""
        for (partition, offset), found in self._rejected.items():
            if low[partition] <= offset < high[partition]:
                yield found

    def _read(self, partition: int, low: int, high: int) -> list[pl.DataFrame]:
        frames = []
        while low < high:
            slab = self._log.read(self.topic.name, partition, low, stop=high)
            if len(slab):
                decoded = self._codec.decode(self.topic, slab.keys, slab.values)
                frames.append(decoded.frame)
                for found in rejected_rows(slab, decoded.rejected):
                    self._rejected[found.partition, found.offset] = found
            if slab.next_offset <= low:
                break
            low = slab.next_offset
        return frames
