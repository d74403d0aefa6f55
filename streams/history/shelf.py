"""What a history knows of one topic without asking ClickHouse: positions, and the newest rows.

Rows are kept in memory before they are inserted, and for a while after. An insert then is of thousands of rows, not
of a handful, and a read of recent times needs no query.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from streams.contracts import Topic
from streams.history.tables import PLACE, table_name

#: Blocks of offsets: an insert never reaches over a multiple of this.
BLOCK = 1 << 16

PLACE_DTYPES: dict[str, pl.DataType] = {
    "_partition": pl.UInt32(),
    "_offset": pl.UInt64(),
    "_appended_at": pl.Datetime("us", "UTC"),
    "_schema_id": pl.UInt32(),
}
UNDECODABLE_DTYPES: dict[str, pl.DataType] = {
    "topic": pl.String(),
    "partition": pl.UInt32(),
    "offset": pl.UInt64(),
    "appended_at": pl.Datetime("us", "UTC"),
    "reason_code": pl.String(),
    "reason_text": pl.String(),
    "key": pl.Binary(),
    "value": pl.Binary(),
}
assert list(PLACE_DTYPES) == list(PLACE)


@dataclass
class Rows:
    """Frames that are one frame; joined when they are looked at."""

    frames: list[pl.DataFrame] = field(default_factory=list)
    count: int = 0
    size: int = 0

    def add(self, frame: pl.DataFrame) -> None:
        """Put a frame behind the others."""
        if frame.height:
            self.frames.append(frame)
            self.count += frame.height
            self.size += int(frame.estimated_size())

    def clear(self) -> None:
        """Let go of all."""
        self.frames, self.count, self.size = [], 0, 0

    def frame(self) -> pl.DataFrame:
        """All rows; there must be some."""
        if len(self.frames) > 1:
            self.frames[:] = [pl.concat(self.frames, rechunk=True)]
        return self.frames[0]


@dataclass
class Shelf:
    """One topic of one history.

    Attributes:
        held: by partition, the next offset to take from the log.
        stored_to: by partition, the offset after the last row that the table had when the history was opened.
        known: by partition, the offsets from the start of its last block on that the table had then: an insert of
            several parts may have been cut short, so this block is taken from the log again.
        times: by partition, the least and greatest time (microseconds) of the rows that are only in the table.
        sure: partitions whose insert before this one is known to be whole.
        pending: rows that are not yet inserted.
        recent: the rows inserted last.
        uuid: of the topic whose offsets these are; empty where nothing says.
        made: whether the table is there.
    """

    topic: Topic
    held: dict[int, int] = field(default_factory=dict)
    stored_to: dict[int, int] = field(default_factory=dict)
    known: dict[int, NDArray[np.uint64]] = field(default_factory=dict)
    times: dict[int, tuple[int, int]] = field(default_factory=dict)
    sure: set[int] = field(default_factory=set)
    pending: Rows = field(default_factory=Rows)
    undecodable: Rows = field(default_factory=Rows)
    recent: Rows = field(default_factory=Rows)
    uuid: str = ""
    made: bool = False

    def __post_init__(self) -> None:
        self.table = table_name(self.topic.name)
        self.dtypes: dict[str, pl.DataType] = {**self.topic.columns, **PLACE_DTYPES}
        self.binary = any(part.kind == "bytes" for own in self.topic.fields for part in (own, *own.items))

    def opens_block(self, partition: int, upto: int) -> bool:
        """Whether rows before ``upto`` reach into a block behind the one that the pending rows are of."""
        held = self.held.get(partition, 0)
        return self.pending.count > 0 and (upto - 1) // BLOCK > max(held - 1, 0) // BLOCK

    def take_known(self, frame: pl.DataFrame, partition: str, offset: str) -> pl.DataFrame:
        """The rows of a frame that the table did not have when the history was opened."""
        if not self.known or not frame.height:
            return frame
        places, offsets = frame.get_column(partition).to_numpy(), frame.get_column(offset).to_numpy()
        new = np.ones(frame.height, bool)
        for place, known in self.known.items():
            new &= (places != place) | ~np.isin(offsets, known)
        return frame if new.all() else frame.filter(new)

    def passed(self, upto: Mapping[int, int]) -> None:
        """Note that all before these offsets is held."""
        for place, end in upto.items():
            self.held[place] = max(end, self.held.get(place, 0))
            known = self.known.get(place)
            if known is not None and self.held[place] > int(known[-1]):
                del self.known[place]

    def inserted(self, *, rows: int, size: int) -> None:
        """The pending rows are in the table now; so many of the newest rows, and bytes of them, stay here."""
        for gone in (self.recent, self.pending):
            if self.recent.count + self.pending.count > rows or self.recent.size + self.pending.size > size:
                self._leave(gone)
        for frame in self.pending.frames:
            self.recent.add(frame)
        self.pending, self.undecodable = Rows(), Rows()

    def _leave(self, rows: Rows) -> None:
        """Rows are from now on only in the table: widen the range of times to look for there."""
        if not rows.count:
            return
        at = pl.col(self.topic.time).cast(pl.Int64)
        spans = (
            rows.frame().group_by("_partition", maintain_order=True).agg(at.min().alias("low"), at.max().alias("high"))
        )
        for place, low, high in spans.iter_rows():
            was_low, was_high = self.times.get(place, (low, high))
            self.times[place] = (min(low, was_low), max(high, was_high))
        rows.clear()

    def needs_table(self, ends: Mapping[int, int], since: int, until: int) -> bool:
        """Whether rows of these times and offsets may be in the table and not here."""
        for place, end in ends.items():
            low, high = self.times.get(place, (until, since))
            if end > self.held.get(place, 0) or (low < until and high >= since):
                return True
        return False
