"""``flexlog query`` and ``flexlog tail``: what a run left in its folder, as tables and as events."""

import base64
import csv
import difflib
import heapq
import io
import itertools
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, timedelta
from datetime import time as clock_time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streams.errors import StreamsError

if TYPE_CHECKING:
    import polars as pl

    from streams.hosts.memory import MemoryLog
    from streams.hosts.registry import LogRegistry

_FOLDER = click.Path(path_type=Path, file_okay=False)
_SHOWN_ROWS = 200  # of a table; the other formats give all
_HEADER = 5  # magic byte and schema id
_WIDTH = 160  # where the output is no terminal

# (append time, partition, offset, key, value)
_Record = tuple[int, int, int, bytes | None, bytes | None]


def plain(value: Any) -> Any:
    """A value as JSON has it: times in ISO 8601 with Z, bytes in base64, numbers that are none as their names."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, (date, clock_time)):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return str(value) if isinstance(value, (timedelta, Decimal)) else value


def _text(value: Any) -> str:
    """A value as a cell."""
    found = plain(value)
    if found is None:
        return ""
    return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)


# --- query ---------------------------------------------------------------------------------------------------------


def _as_json(frame: "pl.DataFrame") -> Iterator[str]:
    rows = [json.dumps(plain(row), ensure_ascii=False) for row in frame.iter_rows(named=True)]
    yield "[" + ",\n ".join(rows) + "]"


def _as_csv(frame: "pl.DataFrame") -> Iterator[str]:
    written = io.StringIO()
    lines = csv.writer(written, lineterminator="\n")
    lines.writerow(frame.columns)
    for row in frame.iter_rows():
        lines.writerow([_text(value) for value in row])
    yield written.getvalue().rstrip("\n")


def _as_table(frame: "pl.DataFrame") -> Iterator[str]:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, header_style="bold")
    for name, dtype in frame.schema.items():
        table.add_column(Text(name), justify="right" if dtype.is_numeric() else "left", overflow="fold")
    for row in frame.head(_SHOWN_ROWS).iter_rows():
        table.add_row(*(Text(_text(value)) for value in row))
    written = io.StringIO()
    width = None if sys.stdout.isatty() else _WIDTH
    Console(file=written, width=width, force_terminal=sys.stdout.isatty()).print(table)
    yield written.getvalue().rstrip("\n")
    rows = f"{frame.height} row{'' if frame.height == 1 else 's'}"
    hidden = frame.height - _SHOWN_ROWS
    yield f"{rows}, {hidden} of them not shown; --format csv gives all" if hidden > 0 else rows


_FORMATS: dict[str, Callable[["pl.DataFrame"], Iterator[str]]] = {"table": _as_table, "csv": _as_csv, "json": _as_json}


@click.command()
@click.argument("sql")
@click.option("--data", "folder", type=_FOLDER, required=True, help="A run's folder.")
@click.option("--format", "shape", type=click.Choice(list(_FORMATS)), default="table", help="How the rows are written.")
@click.option("--fill", is_flag=True, help="First bring in what is in the log and not in the history yet.")
def query(sql: str, folder: Path, shape: str, *, fill: bool) -> None:
    """Ask the history of a run in SQL (ClickHouse's).

    A topic is a table, its dots are underscores: telemetry.interval.v1 is telemetry_interval_v1. SHOW TABLES lists
    them, DESCRIBE TABLE telemetry_interval_v1 says what its columns are.

    latest_telemetry_interval_v1 has the newest row of each identity,
    as_of_telemetry_interval_v1(at = '2026-01-31 12:00:00') the same as it was known then.
    """
    from streams.contracts import Contracts
    from streams.history import History

    home = folder / "history"
    if not home.exists() and not fill:
        hint = "; --fill makes one of its log" if (folder / "log").exists() else "; give the folder that a run wrote"
        raise StreamsError(f"{folder} holds no history{hint}")
    contracts = Contracts.installed() if fill else Contracts()
    log = _open_log(folder) if fill else None
    with History.embedded(home, contracts) as history:
        if log is not None:
            _fill(log, history, contracts)
        for part in _FORMATS[shape](history.query(sql)):
            click.echo(part)


def _fill(log: "MemoryLog", history: Any, contracts: Any) -> None:
    from streams.contracts.codec import Codec
    from streams.history import Sink
    from streams.hosts.registry import LogRegistry

    sink = Sink(log, history, Codec(LogRegistry(log)))
    held = set(log.topics())
    for topic in contracts.topics.values():
        if topic.name in held:
            sink.advance(topic, {place: log.end(topic.name, place) for place in range(log.partitions(topic.name))})
    log.close()


# --- tail ----------------------------------------------------------------------------------------------------------


def _open_log(folder: Path) -> "MemoryLog":
    from streams.hosts.memory import MemoryLog

    if not (folder / "log" / "journal.bin").exists():
        raise StreamsError(f"{folder} holds no log; give the folder that a run wrote")
    return MemoryLog(folder / "log", clock=lambda: 0, look_only=True)


def _records(log: "MemoryLog", topic: str, partition: int, start: int, key: bytes | None) -> Iterator[_Record]:
    """The committed records of a partition from an offset on, of one key or of all."""
    at, end = start, log.end(topic, partition)
    while at < end:
        slab = log.read(topic, partition, at)
        for offset, appended, own, value in zip(slab.offsets, slab.appended_at, slab.keys, slab.values, strict=True):
            if key is None or own == key:
                yield int(appended), partition, int(offset), own, value
        if slab.next_offset <= at:
            return
        at = slab.next_offset


def _last(log: "MemoryLog", topic: str, partition: int, count: int, key: bytes | None) -> list[_Record]:
    """The last records of a partition: a piece of the end, a longer one where it was too short."""
    first, end = log.start(topic, partition), log.end(topic, partition)
    length = 4 * count + 16
    while True:
        start = max(first, end - length)
        found = list(_records(log, topic, partition, start, key))
        if len(found) >= count or start == first:
            return found[len(found) - min(count, len(found)) :]
        length *= 8


class _Reader:
    """Reads events by the schemas that the log itself holds."""

    def __init__(self, registry: "LogRegistry") -> None:
        self._registry = registry
        self._schemas: dict[bytes, Any] = {}

    def event(self, value: bytes | None) -> Any:
        """The event of a framed value.

        Raises:
            ValueError: it is none.
        """
        import fastavro

        if value is None:
            raise ValueError("the record has no value")
        header = value[:_HEADER]
        if len(header) < _HEADER or header[0]:
            raise ValueError("no Confluent frame")
        if header not in self._schemas:
            try:
                text = self._registry.schema(int.from_bytes(header[1:], "big"))
            except StreamsError as error:
                raise ValueError(str(error)) from None
            self._schemas[header] = fastavro.parse_schema(json.loads(text))
        body = io.BytesIO(value[_HEADER:])
        try:
            event = fastavro.schemaless_reader(body, self._schemas[header], None)
        except (EOFError, IndexError, KeyError, TypeError, OverflowError, ValueError) as error:
            raise ValueError(f"the body cannot be read: {error or type(error).__name__}") from None
        if body.tell() != len(value) - _HEADER:
            raise ValueError("bytes follow the record")
        return event

    def line(self, record: _Record) -> str:
        """A record as one line of JSON."""
        appended, partition, offset, key, value = record
        moment = datetime.fromisoformat("1970-01-01T00:00:00+00:00") + timedelta(microseconds=appended)
        shown: dict[str, Any] = {"partition": partition, "offset": offset, "appended_at": moment}
        try:
            shown["key"] = None if key is None else key.decode()
        except UnicodeDecodeError:
            shown["key_base64"] = key
        try:
            shown["event"] = self.event(value)
        except ValueError as error:
            shown |= {"error": str(error), "value_base64": value}
        return json.dumps(plain(shown), ensure_ascii=False)


@click.command()
@click.argument("topic")
@click.option("--data", "folder", type=_FOLDER, required=True, help="A run's folder.")
@click.option("-n", "count", type=click.IntRange(min=1), help="How many events; the last 10 by default.")
@click.option("--partition", type=click.IntRange(min=0), help="Only this partition.")
@click.option("--key", help="Only events of this key.")
@click.option("--from-beginning", is_flag=True, help="The first ones; all, unless -n is given.")
def tail(
    topic: str, folder: Path, count: int | None, partition: int | None, key: str | None, *, from_beginning: bool
) -> None:
    """Print the events of a topic as JSON, one a line, oldest first.

    A record that cannot be read is shown with the reason and its bytes in base64.
    """
    from streams.hosts.registry import LogRegistry

    log = _open_log(folder)
    try:
        if topic not in log.topics():
            near = difflib.get_close_matches(topic, log.topics(), n=3)
            raise StreamsError(
                f"there is no topic {topic!r} in {folder}" + (f"; nearest: {', '.join(near)}" if near else "")
            )
        places: Iterable[int] = range(log.partitions(topic)) if partition is None else [partition]
        wanted = None if key is None else key.encode()
        records: Iterable[_Record]
        if from_beginning:
            merged = heapq.merge(*(_records(log, topic, place, log.start(topic, place), wanted) for place in places))
            records = itertools.islice(merged, count)
        else:
            last = count or 10
            records = sorted(record for place in places for record in _last(log, topic, place, last, wanted))[-last:]
        reader = _Reader(LogRegistry(log))
        for record in records:
            click.echo(reader.line(record))
    finally:
        log.close()
