"""What a read asks for: once as SQL for the table, once as a filter of the rows in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
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
        columns: those that are read, besides the identity; None for all.
    """

    ends: Mapping[int, int]
    since: datetime
    until: datetime
    keys: Sequence[str] | None = None
    as_of: datetime | None = None
    columns: Sequence[str] | None = None

    @property
    def empty(self) -> bool:
        """Whether no row can match."""
        return not self.ends or self.since >= self.until or (self.keys is not None and not self.keys)

    def read(self, topic: Topic) -> tuple[str, ...]:
        """The columns that are read: those asked for, and what orders them."""
        wanted = topic.columns if self.columns is None else {*self.columns, *topic.identity}
        return (*(name for name in topic.columns if name in wanted), "_partition", "_offset")

    def sql(self, topic: Topic) -> str:
        """The query of the table: the topic's columns, partition and offset."""
        time = tables.quoted(topic.time)
        places = " OR ".join(f"(_partition = {place} AND _offset < {end})" for place, end in self.ends.items())
        where = [f"{time} >= {tables.moment(self.since)} AND {time} < {tables.moment(self.until)}", f"({places})"]
        if self.keys is not None:
            where.insert(0, f"{tables.quoted(topic.key)} IN ({', '.join(map(tables.text, self.keys))})")
        if self.as_of is not None:
            where.append(f"_appended_at <= {tables.moment(self.as_of)}")
        return tables.select(tables.table_name(topic.name), self.read(topic), " AND ".join(where))

    def matching(self, topic: Topic, rows: pl.DataFrame, held: Mapping[int, int]) -> pl.DataFrame:
        """The same of rows in memory, all of which are before the offsets ``held``."""
        at = rows.get_column(topic.time).to_physical().to_numpy()
        wanted = (at >= tables.micros(self.since)) & (at < tables.micros(self.until))
        if any(end > self.ends.get(place, 0) for place, end in held.items()):
            places, offsets = rows.get_column("_partition").to_numpy(), rows.get_column("_offset").to_numpy()
            within = np.zeros(rows.height, bool)
            for place, end in self.ends.items():
                within |= (places == place) & (offsets < end)
            wanted &= within
        if self.as_of is not None:
            wanted &= rows.get_column("_appended_at").to_physical().to_numpy() <= tables.micros(self.as_of)
        if self.keys is not None and wanted.any():
            wanted &= rows.get_column(topic.key).is_in(list(self.keys)).to_numpy()
        return rows[list(self.read(topic))][np.flatnonzero(wanted)]
