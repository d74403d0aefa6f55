"""One database of history: it writes what the sink brings, and reads as of a cut."""

import hashlib
import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl

from streams.contracts import Contracts, Topic
from streams.errors import HistoryAwayError, HistoryError
from streams.history import engine, tables
from streams.history.reads import Ask
from streams.history.session import Session
from streams.history.shelf import BLOCK, Shelf

_HOLD_ROWS = 8_192
_HOLD_BYTES = 4 << 20
_log = logging.getLogger(__name__)


class History:
    """One database on one clickhouse-connect client. Safe to use from several threads.

    Rows that the sink brings may wait in memory until some thousands are together: `read` sees them at once, others
    after the next insert, at the latest at `query`, `flush` or `close`. What was not yet inserted when a process is
    killed is taken from the log again.

    Args:
        session: its database.
        contracts: the topics there are.
        hold_rows: how many rows of a topic may wait for an insert, and stay in memory after it; 0 for none.
        temporary: all is gone after `close`; tables are made only when something is to be inserted or queried.
    """

    def __init__(self, session: Session, contracts: Contracts, *, hold_rows: int = 0, temporary: bool = False) -> None:
        self.contracts = contracts
        self._session = session
        self._hold = hold_rows
        self._temporary = temporary
        self._closed = False
        self._lock = threading.RLock()
        self._shelves: dict[str, Shelf] = {}
        if not temporary:
            try:
                session.open()
            except BaseException:
                session.close()
                raise

    @classmethod
    def embedded(cls, path: Path | None, contracts: Contracts, *, hold_rows: int = _HOLD_ROWS) -> Self:
        """A history in this process, by chDB.

        Args:
            path: its folder, made where it is not there; None for a temporary one that is gone after `close`.
            contracts: the topics there are.
            hold_rows: as of the class.

        Raises:
            HistoryError: another process holds the folder, or this one has a history open in another folder.
        """
        session = Session.temporary() if path is None else Session.folder(path)
        return cls(session, contracts, hold_rows=hold_rows, temporary=path is None)

    @classmethod
    def server(cls, contracts: Contracts, *, database: str = engine.DATABASE, **client_options: Any) -> Self:
        """A history on a ClickHouse server, over HTTP.

        Args:
            contracts: the topics there are.
            database: made where it is not there.
            client_options: what `clickhouse_connect.get_client` takes (host, port, username, password, secure).

        Raises:
            HistoryError: the server cannot be reached.
        """
        return cls(Session.server(database, client_options), contracts)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Insert what waits and give everything back. Closing twice is fine.

        Where the server is away, what waits is taken from the log again.
        """
        with self._lock:
            if self._closed:
                return
            try:
                if not self._temporary:
                    self.flush()
            except HistoryAwayError:
                _log.info("ClickHouse is away: the rows that wait for it are taken from the log again")
            finally:
                self._closed = True
                self._session.close()

    # Tables.

    def ensure(self, topic: Topic) -> None:
        """Make the topic's table and views where they are not there; add what a newer contract has.

        Raises:
            HistoryError: the table contradicts the contract.
        """
        self._shelf(topic)

    def _shelf(self, topic: Topic) -> Shelf:
        with self._lock:
            if self._closed:
                raise HistoryError("this history is closed; open it again")
            shelf = self._shelves.get(topic.name)
            if shelf is None:
                shelf = Shelf(topic)
                clash = next((s.topic.name for s in self._shelves.values() if s.table == shelf.table), None)
                if clash:
                    raise HistoryError(f"topics {clash} and {topic.name} would share table {shelf.table}; rename one")
                if not self._temporary:
                    self._make(shelf)
                self._shelves[topic.name] = shelf
            return shelf

    def _make(self, shelf: Shelf) -> None:
        """Let the table of a topic be there as the contract wants it, and learn what it holds."""
        if shelf.made:
            return
        known = self._session.open().tables
        if shelf.table in known:
            self._renew(shelf)
            self._recall(shelf)
        else:
            self._session.command(tables.create_table(shelf.topic))
            self._make_views(shelf)
            known[shelf.table] = tables.table_comment(shelf.topic)
        shelf.made = True

    def _make_views(self, shelf: Shelf) -> None:
        for statement in tables.create_views(shelf.topic):
            self._session.command(statement)

    def _renew(self, shelf: Shelf) -> None:
        """Bring a table that is there up to its contract."""
        columns = self._session.select(tables.columns_of(shelf.table))
        origin = self._session.select(tables.origin_of(shelf.table)).item()
        statement = tables.alter_table(shelf.topic, dict(columns.iter_rows()), tables.constraints(origin))
        if statement:
            self._session.command(statement)
            self._make_views(shelf)

    def _recall(self, shelf: Shelf) -> None:
        """Learn from the table up to where it holds the topic."""
        for place, newest, low, high in self._session.select(tables.positions_of(shelf.topic)).iter_rows():
            shelf.stored_to[place] = newest + 1
            shelf.held[place] = newest // BLOCK * BLOCK
            shelf.times[place] = (low, high)
        undecodable = tables.UNDECODABLE in self._session.tables
        if shelf.held or undecodable:
            found = self._session.select(tables.offsets_of(shelf.topic, shelf.held, undecodable=undecodable))
            for (place,), rows in found.group_by(found.columns[0], maintain_order=True):
                offsets = rows.to_series(1).to_numpy()
                offsets = offsets[offsets >= shelf.held.get(place, 0)]
                if len(offsets):
                    shelf.known[place] = offsets
        shelf.uuid = tables.comment_uuid(self._session.tables[shelf.table])

    # Writing.

    def held(self, topic: Topic, partition: int) -> int:
        """The next offset to write: everything before it is held.

        After the history was opened this is the start of the last block it has rows of: a process that was killed
        may have left that block with holes. What is there of it is not written twice.
        """
        return self._shelf(topic).held.get(partition, 0)

    def check(self, topic: Topic, topic_uuid: str, ends: Mapping[int, int]) -> None:
        """Make sure that this history belongs to a log.

        Args:
            topic: the topic.
            topic_uuid: its identity in the log.
            ends: the offset after the last one there, by partition.

        Raises:
            HistoryError: it holds another topic of that name, or more than the log has.
        """
        shelf = self._shelf(topic)
        if shelf.uuid and shelf.uuid != topic_uuid:
            raise HistoryError(
                f"history: table {shelf.table} holds topic {topic.name} with UUID {shelf.uuid}, the log has "
                f"{topic_uuid}: the topic was made anew; give the log a history of its own (another folder or database)"
            )
        for place, stored_to in shelf.stored_to.items():
            if stored_to > ends.get(place, 0):
                raise HistoryError(
                    f"history: table {shelf.table} holds offsets up to {stored_to - 1} of partition {place}, the log "
                    f"ends at {ends.get(place, 0)}: they do not belong together; use the log that it was made of"
                )

    def write(
        self, topic: Topic, topic_uuid: str, upto: Mapping[int, int], frame: pl.DataFrame, undecodable: pl.DataFrame
    ) -> int:
        """Take all records before some offsets.

        Args:
            topic: the topic.
            topic_uuid: its identity in the log.
            upto: by partition, the offset before which all is in the two frames or was held already; from what is
                held up to it must lie in one block.
            frame: the topic's columns and `PLACE_DTYPES`, in offset order by partition.
            undecodable: `UNDECODABLE_DTYPES`.

        Returns:
            How many rows of ``frame`` were not held before.

        Raises:
            HistoryError: the insert failed; nothing is lost, it is tried again at the next one.
        """
        with self._lock:
            shelf = self._shelf(topic)
            shelf.uuid = shelf.uuid or topic_uuid
            if any(shelf.opens_block(place, end) for place, end in upto.items()):
                self._flush(shelf)
            new = shelf.take_known(_unheld(shelf, frame, "_partition", "_offset"), "_partition", "_offset")
            bad = shelf.take_known(_unheld(shelf, undecodable, "partition", "offset"), "partition", "offset")
            shelf.pending.add(new)
            shelf.undecodable.add(bad)
            shelf.passed(upto)
            waiting = shelf.pending.count + shelf.undecodable.count
            if waiting and (waiting >= self._hold or shelf.pending.size + shelf.undecodable.size >= _HOLD_BYTES):
                self._flush(shelf)
            return new.height

    def flush(self) -> None:
        """Insert all that waits."""
        with self._lock:
            for shelf in self._shelves.values():
                self._flush(shelf)

    def _flush(self, shelf: Shelf) -> None:
        if not shelf.pending.count and not shelf.undecodable.count:
            return
        self._make(shelf)
        if shelf.uuid and tables.comment_uuid(self._session.tables[shelf.table]) != shelf.uuid:
            comment = tables.table_comment(shelf.topic, shelf.uuid)
            self._session.command(f"ALTER TABLE {tables.quoted(shelf.table)} MODIFY COMMENT {tables.text(comment)}")
            self._session.tables[shelf.table] = comment
        # First what is undecodable: rows in the topic's table then say that all before their block is in both.
        if shelf.undecodable.count:
            self._flush_undecodable(shelf)
        if shelf.pending.count:
            self._flush_rows(shelf, shelf.pending.frame())
        shelf.inserted(rows=2 * self._hold, size=2 * _HOLD_BYTES)

    def _flush_undecodable(self, shelf: Shelf) -> None:
        if tables.UNDECODABLE not in self._session.tables:
            self._session.command(tables.create_undecodable())
            self._session.tables[tables.UNDECODABLE] = ""
        self._session.insert(tables.UNDECODABLE, shelf.undecodable.frame(), None)

    def _flush_rows(self, shelf: Shelf, frame: pl.DataFrame) -> None:
        """Insert rows: what is much of one partition by itself, the rest of all partitions together."""
        partition, offset = frame.get_column("_partition").to_numpy(), frame.get_column("_offset").to_numpy()
        rest = np.ones(frame.height, bool)
        chunks = {}
        for place in np.unique(partition).tolist():
            mine = partition == place
            chunk = f"{place}:{offset[mine].min()}-{offset[mine].max()}"
            if mine.sum() < BLOCK // 2:
                chunks[place] = chunk
            else:  # alone its token is the one that another sink makes of the same block
                rest &= ~mine
                self._insert_rows(shelf, frame.filter(mine), {place: chunk})
        if chunks:
            self._insert_rows(shelf, frame if rest.all() else frame.filter(rest), chunks)

    def _insert_rows(self, shelf: Shelf, frame: pl.DataFrame, chunks: Mapping[int, str]) -> None:
        # A server that was killed may remember a token whose rows it lost. So the first insert after opening, and
        # the one after a failure, are not deduplicated by it; reads drop the doubles.
        sure = shelf.sure.issuperset(chunks)
        shelf.sure.difference_update(chunks)
        name = "/".join([shelf.uuid, shelf.topic.name, *chunks.values()])
        self._session.insert(shelf.table, frame, hashlib.sha256(name.encode()).hexdigest() if sure else None)
        shelf.sure.update(chunks)

    # Reading.

    def read(
        self,
        topic: Topic,
        ends: Mapping[int, int],
        *,
        since: datetime,
        until: datetime,
        keys: Sequence[str] | None = None,
        latest: bool = True,
        as_of: datetime | None = None,
        columns: Sequence[str] | None = None,
    ) -> pl.DataFrame:
        """Rows of a topic as of a cut.

        Args:
            topic: the topic.
            ends: by partition, the offset before which rows count; partitions that are not named are not read.
            since: the first value of the topic's ``time`` that counts.
            until: the first that no longer does.
            keys: only rows of these Kafka keys.
            latest: only the newest (partition, offset) row of each identity.
            as_of: only what was appended at this time or earlier.
            columns: those that come back, in this order; None for all of the topic's.

        Returns:
            The columns, ordered by identity (and, unless ``latest``, then by partition and offset). A row
            that ClickHouse holds twice comes once.
        """
        shelf, ask = self._shelf(topic), Ask(ends, since, until, keys, as_of, columns)
        wanted = list(topic.columns if columns is None else columns)
        if unknown := [name for name in wanted if name not in topic.columns]:
            raise HistoryError(f"topic {topic.name} has no column {unknown[0]!r}; it has {', '.join(topic.columns)}")
        if ask.empty:
            return topic.empty().select(wanted)
        with self._lock:  # before the table is asked, or rows that are inserted meanwhile would be missed
            waiting = [rows.frame() for rows in (shelf.recent, shelf.pending) if rows.count]
            table = shelf.made and shelf.needs_table(ends, tables.micros(since), tables.micros(until))
        parts = [self._read_table(shelf, ask)] if table else []
        parts += [ask.matching(topic, rows, shelf.held) for rows in waiting]
        parts = [part for part in parts if part.height]
        if not parts:
            return topic.empty().select(wanted)
        found = parts[0] if len(parts) == 1 else pl.concat(parts)
        parts.clear()  # a read may be of millions of rows: let go of what is not needed
        found = found.sort([*topic.identity, "_partition", "_offset"])
        return _last_of(found, topic.identity if latest else ("_partition", "_offset")).select(wanted)

    def _read_table(self, shelf: Shelf, ask: Ask) -> pl.DataFrame:
        sql = ask.sql(shelf.topic)
        if shelf.binary:
            sql += " SETTINGS output_format_arrow_string_as_string = 0"
        found = self._session.select(sql)
        if not found.width:
            return found
        wrong = {name: shelf.dtypes[name] for name, dtype in found.schema.items() if dtype != shelf.dtypes[name]}
        return found.cast(wrong) if wrong else found  # type: ignore[arg-type]

    def query(self, sql: str) -> pl.DataFrame:
        """What a query gives; it sees every row once and can change nothing.

        Strings that are no UTF-8 stay bytes.

        Raises:
            HistoryError: what ClickHouse says of the query, in one line.
        """
        with self._lock:
            for shelf in self._shelves.values():
                self._make(shelf)
            self.flush()
            return self._session.ask(sql)


def _unheld(shelf: Shelf, frame: pl.DataFrame, partition: str, offset: str) -> pl.DataFrame:
    """The rows of a frame that no other sink has brought since they were read."""
    if not frame.height:
        return frame
    places, offsets = frame.get_column(partition).to_numpy(), frame.get_column(offset).to_numpy()
    late = np.zeros(frame.height, bool)
    for place in np.unique(places).tolist():
        late |= (places == place) & (offsets < shelf.held.get(place, 0))
    return frame.filter(~late) if late.any() else frame


def _last_of(frame: pl.DataFrame, columns: Iterable[str]) -> pl.DataFrame:
    """Of neighbours that are equal in some columns the last one; hashing all rows would take as long as the sort."""
    last = np.zeros(frame.height, bool)
    last[-1] = True
    for name in columns:
        column = frame.get_column(name)
        last[:-1] |= column.slice(1).ne_missing(column.slice(0, frame.height - 1)).to_numpy()
    return frame if last.all() else frame[np.flatnonzero(last)]
