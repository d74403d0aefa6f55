"""What a read asks for: once as SQL for the table, once as an expression for the rows in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from streams.contracts import Topic
from streams.history import tables


@dataclass(frozen=True)
class Ask:
    """Rows of a topic as of a cut.

    Attributes:
        ends: by partition, the offset before which rows count; partitions that are not named do not.
        since: the first time that counts.
        until: the first that no longer does.
        keys: the Kafka keys that count; None for all.
        as_of: the last append time that counts; None for all.
    """

    ends: Mapping[int, int]
    since: datetime
    until: datetime
    keys: Sequence[str] | None = None
    as_of: datetime | None = None

    @property
    def empty(self) -> bool:
        """Whether no row can match."""
        return not self.ends or self.since >= self.until or (self.keys is not None and not self.keys)

    def sql(self, topic: Topic) -> str:
        """The query of the table: the topic's columns, partition and offset."""
        time = tables.quoted(topic.time)
        places = " OR ".join(f"(_partition = {place} AND _offset < {end})" for place, end in self.ends.items())
        where = [f"{time} >= {tables.moment(self.since)} AND {time} < {tables.moment(self.until)}", f"({places})"]
        if self.keys is not None:
            where.insert(0, f"{tables.quoted(topic.key)} IN ({', '.join(map(tables.text, self.keys))})")
        if self.as_of is not None:
            where.append(f"_appended_at <= {tables.moment(self.as_of)}")
        columns = (*topic.columns, "_partition", "_offset")
        return tables.select(tables.table_name(topic.name), columns, " AND ".join(where))

    def matching(self, topic: Topic, rows: pl.DataFrame, held: Mapping[int, int]) -> pl.DataFrame:
        """The same of rows in memory, all of which are before the offsets ``held``."""
        time = pl.col(topic.time)
        wanted = (time >= self.since) & (time < self.until)
        if any(end > self.ends.get(place, 0) for place, end in held.items()):
            ends = self.ends.items()
            wanted &= pl.any_horizontal(
                (pl.col("_partition") == place) & (pl.col("_offset") < end) for place, end in ends
            )
        if self.keys is not None:
            wanted &= pl.col(topic.key).is_in(list(self.keys))
        if self.as_of is not None:
            wanted &= pl.col("_appended_at") <= self.as_of
        return rows.filter(wanted).select(*topic.columns, "_partition", "_offset")
