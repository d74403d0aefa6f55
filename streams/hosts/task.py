"""A task against a log: barriers, commits, restore. What every live host shares."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from streams.audit.commits import commit_event
from streams.contracts.topic import Topic
from streams.errors import AbortedError, FencedError, RejectLimitError, StreamsError
from streams.hosts.board import Board, moment, span
from streams.hosts.engine import Bounds, Cut, Engine, Output, Result, Shared
from streams.hosts.log import Fence, TopicPartition, Transaction
from streams.topology import COMMIT, PROGRESS, AnyProcessor

_STATE, _SNAPSHOT, META = b"state", b"snapshot", b"meta"
_SNAPSHOT_FROM_BYTES = 4 << 20  # a tail shorter than this is read faster than a snapshot is written


@dataclass(frozen=True)
class Limits:
    """How a host cuts and when it gives up.

    Attributes:
        batch_rows: the most rows of one partition in one commit.
        reject_share: more than this share of the rows of the last ``reject_window`` rows stops the processor.
        reject_window: how many rows the share is taken over.
    """

    batch_rows: int = 50_000
    reject_share: float = 0.1
    reject_window: int = 1_000


@dataclass(frozen=True)
class Forerunner:
    """Where a task of an older version ended: what that has written, this version need not write again.

    Attributes:
        tick: its last one.
        positions: up to where it had consumed.
        ends: up to where its outputs reached.
    """

    tick: int | None
    positions: Mapping[TopicPartition, int]
    ends: Mapping[TopicPartition, int]

    @classmethod
    def of(cls, meta: Mapping[str, Any]) -> "Forerunner":
        """From the positions in its changelog."""
        positions, ends = ({(t, p): o for t, p, o in meta[name]} for name in ("positions", "ends"))
        return cls(meta["tick"], positions, ends)


def changelog(spec: AnyProcessor) -> str:
    """The topic that holds a processor's state and positions."""
    return f"{spec.name}.v{spec.version}.changelog"


class Task:
    """One task of one processor, live.

    The changelog has, a commit: state records, at times a snapshot, and last the positions.
    """

    def __init__(
        self,
        spec: AnyProcessor,
        partition: int,
        shared: Shared,
        board: Board,
        *,
        fingerprints: Mapping[str, str],
        limits: Limits,
        twice: bool = False,
        on_restore: Callable[[int, int], None] | None = None,
    ) -> None:
        self.spec = spec
        self.partition = partition
        self.engine = Engine(spec, partition, shared, twice=twice)
        self.board = board
        self.commit_no = 0
        self.positions: dict[TopicPartition, int] = {}
        self.ends: dict[TopicPartition, int] = {}
        self._shared = shared
        self._fingerprints = fingerprints
        self._limits = limits
        self._changelog = changelog(spec)
        self._tail_bytes = 0
        self._snapshot_bytes = 0
        self._counted = self._refused = 0
        self._on_restore = on_restore
        self.quiet = False
        self.forerunner: Forerunner | None = None
        self.consumed = self.rejected = 0
        self._stopped = ""
        topology = shared.topology
        lane = topology.lane(spec)
        self._history = [topology.topic(rec) for rec in spec.history.types]
        self._tables = [topology.topic(rec) for rec in spec.tables.types]
        self._delayed = [(topology.topic(rec), by) for rec, by in spec.delayed.items()]
        self._inputs: list[TopicPartition] = [
            (topic.name, p)
            for topic in self.engine.reads
            for p in (range(topology.count(topic)) if spec.single else (partition,))
        ]
        self._own_lane = {topic.name for topic in self._history if topic.lane == lane and not spec.single}
        self.restore()

    @property
    def name(self) -> str:
        """Processor, version, partition."""
        return self.engine.task

    @property
    def inputs(self) -> dict[TopicPartition, int]:
        """What it consumes, and up to where it has."""
        positions = self.positions
        return {place: positions.get(place, 0) for place in self._inputs}

    # Where the barrier stands.

    def _cut_at(self, tick: int) -> Cut | None:
        """The cut that ends at a tick; None while somebody upstream has not come so far."""
        inputs: dict[TopicPartition, tuple[int, int]] = {}
        watermarks: dict[str, int] = {}
        tables: dict[str, Bounds] = {}
        history: dict[str, dict[int, int]] = {}
        for topic in self.engine.reads:
            bounds = self.board.bounds(topic, tick)
            if bounds is None:
                return None
            watermarks[topic.name] = self.board.watermark(topic, tick)
            for place in self._inputs:
                if place[0] == topic.name:
                    at = self.positions.get(place, 0)
                    inputs[place] = (at, max(bounds[place[1]], at))
        for topic in self._tables:
            bounds = self.board.bounds(topic, tick)
            if bounds is None:
                return None
            tables[topic.name] = bounds
            watermarks[topic.name] = self.board.watermark(topic, tick)
        for topic, by in self._delayed:
            delayed = self._delayed_bounds(topic, tick - span(by))
            if delayed is None:
                return None
            tables[topic.name] = delayed
        for topic in self._history:
            bounds = self.board.bounds(topic, tick, own=self.spec)
            if bounds is None:
                return None
            if topic.name not in watermarks and topic.name not in self._written:
                watermarks[topic.name] = self.board.watermark(topic, tick)
            places = [self.partition] if topic.name in self._own_lane else range(len(bounds))
            history[topic.name] = {p: bounds[p] for p in places}
        return Cut(inputs, tables, history, tick, watermarks)

    def _delayed_bounds(self, topic: Topic, until: int) -> Bounds | None:
        tick = self.board.tick_before(until)
        if tick is None:
            return (0,) * self._shared.log.partitions(topic.name)
        return self.board.bounds(topic, tick)

    @property
    def _written(self) -> set[str]:
        return {rec.__topic__.name for rec in self.spec.writes.types}

    # Going on.

    def step(self) -> bool:
        """Consume what may be consumed and commit it; whether anything happened.

        Raises:
            StreamsError: a handler or an emit is wrong (nothing of the batch is committed), too much was rejected
                (all is committed), or the task is not ours.
        """
        if self._stopped:
            raise RejectLimitError(self._stopped)
        tick = self.board.next_due(self.spec, self.engine.tick)
        if tick is None:
            return self.spec.on_tick is None and self._run_at_once()
        cut = self._cut_at(tick)
        if cut is None:
            return False
        limit = self._limits.batch_rows
        if any(high - low > limit for low, high in cut.inputs.values()):
            cut = Cut({p: (low, min(high, low + limit)) for p, (low, high) in cut.inputs.items()})
        self._commit(self._up_to_forerunner(cut))
        return True

    def _run_at_once(self) -> bool:
        """A processor that decides nothing on ticks need not wait for one."""
        limit = self._limits.batch_rows
        inputs = {}
        for place in self._inputs:
            at = self.positions.get(place, 0)
            slab = self._shared.log.read(*place, at, limit=limit)
            if len(slab):
                inputs[place] = (at, slab.next_offset)
        if inputs:
            self._commit(self._up_to_forerunner(Cut(inputs)))
        return bool(inputs)

    def follow(self, forerunner: Forerunner) -> None:
        """Be quiet up to where an older version ended, and go on from there for all to see."""
        self.quiet, self.forerunner = True, forerunner

    def _up_to_forerunner(self, cut: Cut) -> Cut:
        """A cut that lies before the end of the older version or after it, never on both sides."""
        old = self.forerunner
        if old is None:
            return cut
        inputs = {p: (low, min(high, max(old.positions.get(p, 0), low))) for p, (low, high) in cut.inputs.items()}
        decided = cut.tick is not None and old.tick is not None and cut.tick <= old.tick
        if decided or any(high > low for low, high in inputs.values()):
            return replace(cut, inputs=inputs) if decided else Cut(inputs)
        own = {place: end for place, end in self.ends.items() if place[0] in self._written}
        self.ends = {**old.ends, **own}
        self.quiet, self.forerunner = False, None
        return cut

    def _commit(self, cut: Cut) -> None:
        before = self.engine.remember()
        try:
            result = self.engine.execute(cut)
        except StreamsError as error:
            raise type(error)(f"task {self.name} stopped, nothing of this batch is committed: {error}") from error
        except Exception as error:
            error.add_note(f"in task {self.name}, after tick {self.engine.tick}; nothing of this batch is committed")
            raise
        try:
            self._write(cut, result)
        except BaseException:
            self.engine.discard(before)
            raise
        self._guard(result)

    def _write(self, cut: Cut, result: Result) -> None:
        log = self._shared.log
        fence = self.fence
        if fence is None:
            raise FencedError(f"task {self.name} is not ours")
        number = self.commit_no + 1
        origin = f"{self.name}/{number}"
        transaction = log.transaction(self.name, fence)
        try:
            ends = self._append_outputs(transaction, result, origin)
            positions = self.positions | {place: high for place, (_, high) in cut.inputs.items()}
            if cut.tick is not None:
                self._append_progress(transaction, cut.tick, result.watermark, ends, origin)
            event = commit_event(self.engine, number, cut, result, fingerprints=self._fingerprints)
            codec, topology = self._shared.codec, self._shared.topology
            values = codec.encode_events(topology.topic(COMMIT), [event])
            transaction.append(COMMIT, 0, [self.name.encode()], values, origin=origin)
            kept = self._append_changelog(transaction, number, positions, ends, origin)
            lead = {(self._changelog, self.partition): number}
            self.fence = None  # should the commit fail, nobody knows whether it counts: only a restored task goes on
            transaction.commit(positions | lead)
            self.fence = fence
        except AbortedError:
            self.fence = fence
            raise
        except BaseException:
            transaction.abort()
            raise
        self.engine.store.commit()
        self.commit_no, self.positions, self.ends = number, positions, ends
        if kept is not None:
            log.truncate(self._changelog, self.partition, kept)

    def _append_outputs(self, transaction: Transaction, result: Result, origin: str) -> dict[TopicPartition, int]:
        for output in result.outputs:
            transaction.append(output.topic.name, output.partition, output.keys, output.values, origin=origin)
        ranges = transaction.flush() if result.outputs else {}
        for rejected in self._rejected(result):
            transaction.append(rejected.topic.name, rejected.partition, rejected.keys, rejected.values, origin=origin)
        return self.ends | {place: high for place, (_, high) in ranges.items()}

    def _rejected(self, result: Result) -> list[Output]:
        codec, contracts = self._shared.codec, self._shared.topology.contracts
        outputs = []
        for found in result.rejected:
            topic = contracts.rejected(contracts.topic(found.topic))
            values = codec.encode_events(topic, [found.event(self.spec.name)])
            outputs.append(Output(topic, found.partition, [self.spec.name.encode()], values))
        return outputs

    def _append_progress(
        self, transaction: Transaction, tick: int, watermark: int, ends: Mapping[TopicPartition, int], origin: str
    ) -> None:
        event = {
            "task": self.name,
            "tick_at": moment(tick),
            "processor": self.spec.name,
            "watermark": moment(watermark),
            "outputs": [{"topic": t, "partition": p, "end_offset": end} for (t, p), end in ends.items()],
        }
        values = self._shared.codec.encode_events(self._shared.topology.topic(PROGRESS), [event])
        transaction.append(PROGRESS, 0, [self.name.encode()], values, origin=origin)

    def _append_changelog(
        self,
        transaction: Transaction,
        number: int,
        positions: Mapping[TopicPartition, int],
        ends: Mapping[TopicPartition, int],
        origin: str,
    ) -> int | None:
        """State, at times a snapshot, and the positions; the offset that a snapshot makes the first needed."""
        place = (self._changelog, self.partition)
        kept = None
        records = self.engine.store.drain()
        if records:
            transaction.append(*place, [_STATE] * len(records), records, origin=origin)
            self._tail_bytes += sum(map(len, records))
        if self._tail_bytes > max(2 * self._snapshot_bytes, _SNAPSHOT_FROM_BYTES):
            kept = transaction.flush().get(place, (0, self._shared.log.end(*place, committed=False)))[1]
            shards = list(self.engine.store.snapshot()) or [b""]
            transaction.append(*place, [_SNAPSHOT, *[_STATE] * (len(shards) - 1)], shards, origin=origin)
            self._snapshot_bytes, self._tail_bytes = sum(map(len, shards)), 0
        meta = {
            "commit_no": number,
            "quiet": self.quiet,
            "tick": self.engine.tick,
            "since": self.engine.since,
            "watermarks": self.engine.watermarks,
            "watermarks_before": self.engine.watermarks_before,
            "bounds": self.engine.bounds,
            "positions": [[t, p, o] for (t, p), o in positions.items()],
            "ends": [[t, p, o] for (t, p), o in ends.items()],
        }
        transaction.append(*place, [META], [json.dumps(meta, separators=(",", ":")).encode()], origin=origin)
        return kept

    def _guard(self, result: Result) -> None:
        """Stop a processor that turns down too much; what it turned down is safe in the rejected topic."""
        self.consumed += result.consumed
        self.rejected += len(result.rejected)
        self._counted += result.consumed
        self._refused += len(result.rejected)
        limits = self._limits
        if self._refused > limits.reject_share * max(self._counted, limits.reject_window):
            found = result.rejected[-1]
            self._stopped = (
                f"task {self.name} stopped: {self._refused} of the last {self._counted} rows were rejected (the last: "
                f"{found.topic}[{found.partition}] offset {found.offset}: {found.code}: {found.text}). They are in "
                f"{found.topic}.rejected and nothing is lost; find out who writes them, then start again"
            )
            raise RejectLimitError(self._stopped)
        if self._counted >= limits.reject_window:
            self._counted = self._refused = 0

    # Coming back.

    fence: Fence | None = None

    def restore(self) -> None:
        """State and positions as the last commit left them.

        Raises:
            FencedError: the changelog and the group's position disagree: another owner commits.
        """
        log = self._shared.log
        lead = (self._changelog, self.partition)
        committed = log.committed(f"{self.spec.name}.v{self.spec.version}", lead)  # kept for a time only
        at, end = log.start(*lead), log.end(*lead, committed=False)
        meta: dict[str, Any] | None = None
        snapshot = False
        while at < end:
            slab = log.read(self._changelog, self.partition, at, stop=end)
            for key, value in zip(slab.keys, slab.values, strict=True):
                if key == META:
                    meta = json.loads(value or b"")
                    snapshot = False
                    continue
                if key == _SNAPSHOT:
                    self.engine.forget()
                    self._snapshot_bytes = self._tail_bytes = 0
                    snapshot = True
                if value:
                    self.engine.store.apply(value)
                    self._snapshot_bytes += len(value) if snapshot else 0
                    self._tail_bytes += 0 if snapshot else len(value)
            at = slab.next_offset
            if self._on_restore is not None:
                self._on_restore(at, end)
        if committed is not None and committed != (meta["commit_no"] if meta else 0):
            raise FencedError(
                f"task {self.name}: the changelog ends at commit {meta['commit_no'] if meta else 0}, the group at "
                f"{committed}: somebody else owns it"
            )
        if meta is None:
            return
        self.commit_no = meta["commit_no"]
        self.quiet = meta.get("quiet", False)
        self.engine.tick, self.engine.since = meta["tick"], meta["since"]
        self.engine.watermarks, self.engine.watermarks_before = meta["watermarks"], meta["watermarks_before"]
        self.engine.bounds = {name: tuple(bounds) for name, bounds in meta["bounds"].items()}
        self.positions = {(t, p): o for t, p, o in meta["positions"]}
        self.ends = {(t, p): o for t, p, o in meta["ends"]}
