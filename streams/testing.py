"""Test processors and conversations without a broker: the embedded host, driven by hand."""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from streams.columns import Keyed
from streams.contracts import Contracts
from streams.contracts.partition import partitions_of
from streams.contracts.record import Record
from streams.contracts.registry import SchemaRegistry
from streams.contracts.topic import Field, Topic
from streams.edge import Edge, Message, Send, Session
from streams.errors import StreamsError
from streams.hosts.board import micros
from streams.hosts.local import LocalHost
from streams.hosts.log import AloneLog, CrashPoint
from streams.hosts.replay import ReplayHost
from streams.hosts.task import Limits
from streams.processor import Processor
from streams.topology import CLOCK, AnyEdge, AnyProcessor, Topology

Rows = pl.DataFrame | Sequence[Record] | Sequence[Mapping[str, Any]] | str
MakeCluster = Callable[[Topology], tuple[AloneLog, SchemaRegistry]]
"""Makes the log that a driver's host runs on, with the topics of a topology, and its registry."""


class Crash(BaseException):
    """The process dies here. No handler of errors may stop it."""


def utc(text: str) -> datetime:
    """The UTC time of ``2026-01-31 20:15`` or ``2026-01-31``."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _value(field: Field, text: str) -> Any:
    if text in ("", "null"):
        return None
    match field.kind:
        case "timestamp":
            return utc(text)
        case "date":
            return date.fromisoformat(text)
        case "long":
            return int(text.replace("_", ""))
        case "double":
            return float(text.replace("_", ""))
        case "boolean":
            return {"true": True, "false": False}[text]
        case "string" | "enum":
            return "" if text == '""' else text
        case _:
            raise StreamsError(f"a text table cannot hold {field.kind} ({field.name}); give events instead")


def table(record: type[Record], text: str) -> list[dict[str, Any]]:
    """The rows of a text table: a line of field names, then a line a row, parted by ``|``.

    An empty cell or ``null`` is null, ``""`` the empty string, times are UTC.
    """
    topic = record.__topic__
    lines = [[cell.strip() for cell in line.split("|")] for line in text.strip().splitlines() if line.strip()]
    names, rows = lines[0], lines[1:]
    for name in names:
        if name not in topic.by_name:
            raise StreamsError(f"{topic.record_name} has no field {name!r}; it has {', '.join(topic.columns)}")
    for row in rows:
        if len(row) != len(names):
            raise StreamsError(f"a row has {len(row)} cells for {len(names)} fields: {' | '.join(row)}")
    return [{n: _value(topic.by_name[n], c) for n, c in zip(names, row, strict=True)} for row in rows]


def assert_rows(frame: pl.DataFrame, record: type[Record], text: str) -> None:
    """The frame has exactly the rows of a text table, in order, in the columns that it names."""
    expected = table(record, text)
    names = [cell.strip() for cell in text.strip().splitlines()[0].split("|")]
    actual = frame.select(names).to_dicts()
    assert actual == expected, "\n".join(["expected", *map(str, expected), "actual", *map(str, actual)])


class TopologyDriver:
    """Processors and edges on the embedded host, driven by hand. Each handler runs twice and is compared.

    Args:
        specs: what runs; topics that none of them writes are piped.
        at: where time begins.
        partitions: of every lane but reference.
        tick: how far ticks lie apart; the smallest ``every`` of the processors by default.
        contracts: other than the installed ones.
        limits: how input is cut.
        twice: whether handlers run twice.
        cluster: makes a log of elsewhere, which the driver closes, and its registry; memory by default.
    """

    def __init__(
        self,
        *specs: Processor[Any, Any, Any] | Edge[Any, Any, Any, Any],
        at: str | datetime = "2026-01-01 00:00",
        partitions: int = 1,
        tick: timedelta | None = None,
        contracts: Contracts | None = None,
        limits: Limits | None = None,
        twice: bool = True,
        cluster: MakeCluster | None = None,
    ) -> None:
        processors: list[AnyProcessor] = [spec for spec in specs if isinstance(spec, Processor)]
        edges: list[AnyEdge] = [spec for spec in specs if isinstance(spec, Edge)]
        self.topology = Topology(
            contracts or Contracts.installed(),
            tuple(processors),
            tuple(edges),
            {"site": partitions, "portfolio": partitions, "account": partitions, "reference": 1},
            absent=True,
        )
        self._tick = tick or min((spec.every for spec in processors), default=timedelta(minutes=1))
        self._complete: dict[str, int] = {}
        start = utc(at) if isinstance(at, str) else at
        self.host = LocalHost(
            self.topology,
            start=start,
            limits=limits,
            twice=twice,
            absent=self._absent,
            cluster=cluster(self.topology) if cluster else None,
        )
        self._ticked: datetime | None = None
        self._sequence = 0
        self.crash_when: Callable[[CrashPoint], bool] | None = None
        self.crashes = 0

    def close(self) -> None:
        """End the host."""
        self.host.close()

    @property
    def now(self) -> datetime:
        """The simulated time."""
        return self.host.now

    def _absent(self, topic: Topic) -> int:
        known = self._complete.get(topic.name)
        return known if known is not None else self.host.board.ticks[-1] - topic.lateness // timedelta(microseconds=1)

    # Putting in.

    def pipe(self, record: type[Record], rows: Rows, **same: Any) -> None:
        """Append events to a record's topic, now. ``same`` are fields that all rows share."""
        topic = record.__topic__
        if isinstance(rows, str):
            rows = table(record, rows)
        if isinstance(rows, pl.DataFrame):
            made: Any = rows.with_columns(**{name: _literal(value, topic) for name, value in same.items()})
        else:
            made = [(row.to_dict() if isinstance(row, Record) else dict(row)) | same for row in rows]
        codec = self.host.codec
        encoded = codec.encode(topic, codec.prepare(topic, made))
        self.pipe_raw(record, encoded.keys, encoded.values)

    def pipe_raw(self, record: type[Record], keys: Sequence[bytes | None], values: Sequence[bytes | None]) -> None:
        """Append bytes as they are: what a broken or a foreign client may send."""
        topic, log = record.__topic__, self.host.log
        places = partitions_of([key or b"" for key in keys], log.partitions(topic.name)).tolist()
        transaction = log.transaction("driver")
        runs: list[tuple[int, list[int]]] = []
        for row, place in enumerate(places):
            if not runs or runs[-1][0] != place:
                runs.append((place, []))
            runs[-1][1].append(row)
        for place, held in runs:
            transaction.append(topic.name, place, [keys[i] for i in held], [values[i] for i in held])
        transaction.commit({})

    def complete(self, record: type[Record], *, to: str | datetime) -> None:
        """From now on an absent writer has said all up to ``to``, and no more until this is called again.

        Without this all that is piped counts as complete up to the tick less the topic's lateness.
        """
        self._complete[record.__topic__.name] = micros(utc(to) if isinstance(to, str) else to)

    def advance(self, *, to: str | datetime | None = None, by: timedelta | None = None) -> None:
        """Let time pass: ticks at every multiple of the driver's tick, and at the end."""
        end = utc(to) if isinstance(to, str) else to if to is not None else self.now + (by or self._tick)
        at = self.now
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        while at < end:
            at = min(epoch + ((at - epoch) // self._tick + 1) * self._tick, end)
            self._wake(at)
            self.host.pass_time(at)
            self.tick()
        if self._ticked is None or self._ticked < end:
            self.tick()

    def _wake(self, until: datetime) -> None:
        wakes = [at for edge in self.host.edges if (at := edge.next_wake()) is not None]
        while wakes and min(wakes) < micros(until):
            self.host.pass_time(max(self.now, datetime.fromtimestamp(min(wakes) / 1e6, tz=UTC)))
            self._settle()
            wakes = [at for edge in self.host.edges if (at := edge.next_wake()) is not None]

    def tick(self) -> None:
        """One tick at the present time."""
        topic = self.topology.topic(CLOCK)
        self._ticked = self.now
        event = {"clock_id": "driver", "tick_at": self.now, "sequence": self._sequence, "missed": 0, "simulated": True}
        self._sequence += 1
        log = self.host.log
        transaction = log.transaction("clock")
        transaction.append(CLOCK, 0, [b"driver"], self.host.codec.encode_events(topic, [event]))
        transaction.commit({})
        self._settle()

    def _settle(self) -> None:
        while True:
            self.host.log.crash = self._reach if self.crash_when else None
            try:
                self.host.settle()
            except Crash:
                self.crashes += 1
                self.crash_and_restore()
                continue
            finally:
                self.host.log.crash = None
            return

    def _reach(self, point: CrashPoint) -> None:
        if self.crash_when is not None and self.crash_when(point):
            raise Crash(point)

    def crash_and_restore(self) -> None:
        """Forget all that is not committed and start again from the log."""
        self.host.restore()

    # Looking.

    def read(self, record: type[Record], *, latest: bool = False) -> pl.DataFrame:
        """All events of a record's topic, by partition and offset; ``latest``: the newest of each identity."""
        topic, log = record.__topic__, self.host.log
        frames = [topic.empty()]
        for partition in range(log.partitions(topic.name)):
            slab = log.read(topic.name, partition, 0, limit=10_000_000)
            frames.append(self.host.codec.decode(topic, slab.keys, slab.values).frame)
        frame = pl.concat(frames)
        if latest:
            identity = list(topic.identity)
            frame = frame.unique(identity, keep="last", maintain_order=True).sort(identity)
        return frame

    def rejected(self, record: type[Record]) -> list[dict[str, Any]]:
        """The events of a record's rejected topic."""
        topic, log = self.topology.contracts.rejected(record.__topic__), self.host.log
        found = []
        for partition in range(log.partitions(topic.name)):
            slab = log.read(topic.name, partition, 0, limit=10_000_000)
            found += self.host.codec.decode_events(topic, slab.events)
        return found

    def state(self, keyed: type[Keyed]) -> pl.DataFrame:
        """The rows of a class of state, of all tasks."""
        tasks = [task for task in self.host.tasks if keyed in task.spec.state]
        return pl.concat([task.engine.store[keyed].scan() for task in tasks]).sort(keyed.__key__)

    def commits(self) -> int:
        """How many commits there are."""
        return self.host.commits()

    def replay(self) -> list[str]:
        """Run all commits again; what differed."""
        host = self.host
        replay = ReplayHost(self.topology, host.log, host.codec, host.history, host.sink)
        return [str(found) for found in replay.run().mismatches]

    # Conversations.

    def _edge(self) -> Any:
        if len(self.host.edges) != 1:
            raise StreamsError("the driver has not exactly one edge")
        return self.host.edges[0]

    def hear(self, key: str, body: Any, *, id: str, origin: str = "") -> None:  # noqa: A002 -- the field's name
        """A message from outside."""
        self._edge().hear(key, Message(id, body, origin), micros(self.now))
        self._settle()

    def sent(self) -> list[Send]:
        """All that was said, in order."""
        return [send for _, send in self._edge().sent]

    def session(self, key: str) -> Session:
        """What a conversation remembers."""
        found: Session = self._edge().session(key)
        return found


def _literal(value: Any, topic: Topic) -> Any:
    del topic
    return pl.lit(value)


Scenario = Callable[[TopologyDriver], None]


def assert_replayable(
    *specs: AnyProcessor,
    scenario: Scenario,
    at: str | datetime = "2026-01-01 00:00",
    tick: timedelta | None = None,
    runs: int = 4,
    seed: int = 0,
    partitions: Sequence[int] = (1, 2, 3),
    cluster: MakeCluster | None = None,
) -> None:
    """Random cuts, partition counts and crashes give the same events, and a replay the same bytes.

    Args:
        specs: the processors.
        scenario: pipes and advances; it is run once undisturbed and then ``runs`` times disturbed.
        at: where time begins.
        tick: as for the driver.
        runs: how often.
        seed: of the disturbances; it is part of every failure's message.
        partitions: counts to choose from.
        cluster: what the disturbed runs run on; memory by default, as the undisturbed one always does.
    """
    expected = _world(TopologyDriver(*specs, at=at, tick=tick), scenario)
    for run in range(runs):
        rng = random.Random(f"{seed}/{run}")  # noqa: S311 -- repeatable, not secret
        driver = TopologyDriver(
            *specs,
            at=at,
            tick=tick,
            partitions=rng.choice(partitions),
            limits=Limits(batch_rows=rng.choice([1, 2, 7, 1_000])),
            twice=False,
            cluster=cluster,
        )
        share = rng.choice([0.0, 0.02, 0.1])
        driver.crash_when = lambda _, rng=rng, share=share: rng.random() < share
        actual = _world(driver, scenario)
        for name, frame in expected.items():
            told = f"seed {seed}, run {run}, {driver.crashes} crashes, {name}"
            assert frame.equals(actual[name]), f"other events ({told}):\n{_difference(frame, actual[name])}"


def _world(driver: TopologyDriver, scenario: Scenario) -> dict[str, pl.DataFrame]:
    try:
        scenario(driver)
        driver.crash_when = None
        differences = driver.replay()
        assert not differences, differences[0]
        world = {}
        for spec in driver.topology.processors:
            for record in spec.writes.types:
                frame = driver.read(record)
                order = [name for name, dtype in frame.schema.items() if not isinstance(dtype, pl.List)]
                world[record.__topic__.name] = frame.sort(order, maintain_order=True)
        return world
    finally:
        driver.close()


def _difference(expected: pl.DataFrame, actual: pl.DataFrame) -> str:
    missing = expected.join(actual, on=expected.columns, how="anti", nulls_equal=True)
    extra = actual.join(expected, on=expected.columns, how="anti", nulls_equal=True)
    lines = [f"- {row}" for row in missing.head(3).to_dicts()] + [f"+ {row}" for row in extra.head(3).to_dicts()]
    return re.sub(r", '[a-z_0-9]+': None", "", "\n".join(lines)) or "the same rows, another number of times"
