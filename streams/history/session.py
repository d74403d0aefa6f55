"""The ClickHouse side of a history: one database, through clickhouse-connect, whatever answers there."""

import contextlib
import io
import logging
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import polars as pl

from streams.errors import HistoryAwayError, HistoryError
from streams.history import engine, tables

#: What every session needs, of a server as well as in our process.
_SETTINGS: dict[str, Any] = {
    "async_insert": 0,  # an insert that returned must be seen by the next read
    "max_partitions_per_insert_block": 0,  # a block may hold many months
    "max_query_size": 64 << 20,  # a list of keys can be long
    "output_format_arrow_string_as_string": 1,
    "output_format_arrow_low_cardinality_as_dictionary": 0,
}
#: What people ask sees every row once and changes nothing.
_PEOPLE: dict[str, Any] = {
    "final": 1,
    "do_not_merge_across_partitions_select_final": 1,  # doubles are always of one month
    "output_format_arrow_string_as_string": 0,  # strings may be any bytes
    "readonly": 2,  # last: nothing can be set after it
}
#: What ClickHouse says when it is there and cannot do it now, by its codes: too slow, too many queries, sockets,
#: network, memory, read-only, disk full, too many parts, replicas, Keeper; shutting down.
_PASSING = {159, 202, 203, 209, 210, 236, 241, 242, 243, 252, 279, 285, 319, 394, 999}
#: Our user is not known, or may not do this.
_STRANGER = {192, 193, 194, 492, 497, 516}


class Session:
    """One database.

    Args:
        connect: makes a client of the database, with these settings.
        release: called when the session is closed.
        name: what messages begin with.

    Attributes:
        tables: comments of the tables and views by name, as they were when the session was opened.
    """

    def __init__(
        self, connect: Callable[..., Any], release: Callable[[], None] | None = None, *, name: str = "history"
    ) -> None:
        self.tables: dict[str, str] = {}
        self._name = name
        self._connect = connect
        self._release = release
        self._client: Any = None
        self._people: Any = None
        self._closed = False

    @classmethod
    def folder(cls, path: Path) -> Self:
        """A folder's history in this process; held from now on."""
        lease = engine.acquire(path)
        return cls(lease.connect, lease.release)

    @classmethod
    def temporary(cls) -> Self:
        """A database of its own in this process; the engine starts when it is first needed."""
        leases: list[engine.Lease] = []

        def connect(**settings: Any) -> Any:
            if not leases:
                leases.append(engine.acquire(None))
            return leases[0].connect(**settings)

        def release() -> None:
            while leases:
                leases.pop().release()

        return cls(connect, release)

    @classmethod
    def server(cls, database: str, options: dict[str, Any]) -> Self:
        """A server's database, made where it is not there."""
        options = dict(options)
        own = options.pop("settings", {})
        name = f"history at {options.get('host', 'localhost')}:{options.get('port', 8123)}"
        for library in ("clickhouse_connect", "urllib3.connectionpool"):  # what is wrong is said once, by the error
            logging.getLogger(library).setLevel(logging.ERROR)

        def connect(**settings: Any) -> Any:
            import clickhouse_connect  # noqa: PLC0415  # heavy: only where a history is declared
            from clickhouse_connect.driver.exceptions import ClickHouseError  # noqa: PLC0415

            try:
                client = clickhouse_connect.get_client(
                    settings=own | settings, autogenerate_session_id=False, **options
                )
                if "readonly" not in settings:
                    client.command(f"CREATE DATABASE IF NOT EXISTS {tables.quoted(database)}", use_database=False)
            except ClickHouseError as error:
                raise _trouble(error, name, "") from None
            client.database = database
            return client

        return cls(connect, name=name)

    def open(self) -> Self:
        """Connect, where that is not done yet."""
        if self._closed:
            raise HistoryError("this history is closed; open it again")
        if self._client is None:
            self._client = self._connect(**_SETTINGS)
            self.tables.update(self.select(tables.COMMENTS).iter_rows())
        return self

    def close(self) -> None:
        """Give everything back. Closing twice is fine."""
        self._closed = True
        for client in (self._people, self._client):
            if client is not None:
                client.close()
        self._people = self._client = None
        if self._release is not None:
            self._release()
            self._release = None

    @contextlib.contextmanager
    def _clearly(self, what: str) -> Iterator[None]:
        self.open()
        from clickhouse_connect.driver.exceptions import ClickHouseError  # noqa: PLC0415  # heavy

        try:
            yield
        except ClickHouseError as error:
            raise _trouble(error, self._name, what) from None

    def command(self, statement: str) -> None:
        """Run a statement.

        Raises:
            HistoryError: what ClickHouse says, in one line; so do the other methods.
        """
        with self._clearly(statement.partition("(")[0].strip()):
            self._client.command(statement)

    def select(self, sql: str) -> pl.DataFrame:
        """What a query gives; its strings are UTF-8, unless the query sets that they are bytes."""
        with self._clearly("query"):
            data = self._client.raw_query(sql, fmt="ArrowStream")
        return pl.read_ipc_stream(io.BytesIO(data)) if data else pl.DataFrame()

    def insert(self, table: str, frame: pl.DataFrame, token: str | None) -> None:
        """Insert rows.

        Args:
            table: where to.
            frame: the rows; their columns are the table's.
            token: a second insert of the same token is ignored; None for one that never is.
        """
        block = io.BytesIO()
        frame.rechunk().write_ipc_stream(block, compat_level=pl.CompatLevel.oldest())
        # Without a token ClickHouse would go by a hash of the rows, whatever insert_deduplicate says.
        settings = {"insert_deduplication_token": token or uuid.uuid4().hex}
        with self._clearly(f"insert into {table}"):
            self._client.raw_insert(table, frame.columns, block.getvalue(), settings, "ArrowStream")

    def ask(self, sql: str) -> pl.DataFrame:
        """What a person's query gives: it sees every row once and can change nothing. No UTF-8 stays bytes."""
        with self._clearly("query"):
            if self._people is None:
                self._people = self._connect(**(_SETTINGS | _PEOPLE))
            data = self._people.raw_query(sql.strip().rstrip(";"), fmt="ArrowStream")
        if not data:
            return pl.DataFrame()
        found = pl.read_ipc_stream(io.BytesIO(data))
        return found.with_columns(_as_text(column) for column in found.iter_columns())


def _as_text(column: pl.Series) -> pl.Series:
    """A column with bytes as text, where it is text."""
    text = _text_type(column.dtype)
    if text == column.dtype:
        return column
    with contextlib.suppress(pl.exceptions.PolarsError):
        return column.cast(text)
    return column


def _trouble(error: Any, name: str, what: str) -> HistoryError:
    """Whether the server is away or has said no, where, and what to do.

    Args:
        error: of clickhouse-connect.
        name: of the history.
        what: was done; empty for the opening.
    """
    from clickhouse_connect.driver.exceptions import OperationalError  # noqa: PLC0415  # heavy

    code, said = getattr(error, "code", None), _one_line(error)
    told = f"{name}: {what}: {said}" if what else f"{name}: {said}"
    if code in _PASSING:
        return HistoryAwayError(told)
    if isinstance(error, OperationalError) and code is None and error.__cause__ is not None:  # nothing came back
        way = "see whether it runs and can be reached, or set FLEXLOG_CLICKHOUSE__HOST and FLEXLOG_CLICKHOUSE__PORT"
        return HistoryAwayError(f"{name}: ClickHouse does not answer ({_reason(error)}); {way}")
    if isinstance(error, OperationalError) or (code is None and re.search(r"HTTP status 5\d\d", said)):
        return HistoryAwayError(told)
    if code in _STRANGER:
        return HistoryError(f"{told}; grant it, or set FLEXLOG_CLICKHOUSE__USER and FLEXLOG_CLICKHOUSE__PASSWORD")
    return HistoryError(told)


def _reason(error: BaseException) -> str:
    """What lies at the bottom of an error of the connection."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:200] or type(error).__name__


def _text_type(dtype: Any) -> Any:
    if isinstance(dtype, pl.Binary):
        return pl.String()
    if isinstance(dtype, pl.List):
        return pl.List(_text_type(dtype.inner))
    if isinstance(dtype, pl.Struct):
        return pl.Struct({part.name: _text_type(part.dtype) for part in dtype.fields})
    return dtype


def _one_line(error: Exception) -> str:
    """What ClickHouse says, without stack, version and code number."""
    said = " ".join(str(error).split())
    for start in ("DB::Exception: ", "DB::NetException: "):
        said = said.rpartition(start)[2]
    if "Syntax error" in said and "ArrowStream" in said:  # at what we put behind it
        said = "Syntax error at the end; what gives rows can be asked (SELECT, WITH, SHOW, DESCRIBE), without FORMAT"
    return said.partition(" (version ")[0].partition(" Stack trace:")[0].strip()[:500]
