"""The embedded host: all processors and edges in one process, on a log in memory or in a folder.

It is the default of a single user, the engine of the simulator and of the test driver. Frames, Avro bytes,
changelogs and transactions are the ones a cluster would carry; the clock is simulated.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import TYPE_CHECKING, Self

from streams.audit import commits
from streams.contracts.codec import Codec
from streams.contracts.registry import SchemaRegistry
from streams.contracts.topic import Topic
from streams.errors import StreamsError
from streams.hosts.board import Board, micros, moment
from streams.hosts.conversations import EdgeTask
from streams.hosts.engine import Shared
from streams.hosts.log import AloneLog, Fence, count
from streams.hosts.memory import MemoryLog
from streams.hosts.registry import LogRegistry
from streams.hosts.task import Limits, Task, changelog
from streams.topology import COMMIT, AnyProcessor, Topology

if TYPE_CHECKING:
    from streams.history import History, Sink

_CLOCK_EDGE = "clock"
_ASK_AGAIN_S = 0.002
_PATIENCE_S = 10.0
_log = logging.getLogger(__name__)


class LocalHost:
    """Processors and edges in one process.

    Args:
        topology: what runs.
        folder: where log and history are kept; None for memory (the history then lies in a temporary folder).
        start: the simulated time at which a new log begins.
        limits: how input is cut, and when a processor is stopped.
        twice: run each handler twice and compare.
        order: in which the processors are asked to step; the results do not depend on it.
        absent: the watermark (microseconds) of a topic that nobody here writes.
        cluster: a log of elsewhere, and its registry; the folder then holds the history alone.
        elsewhere: whether the processors run in other processes on that log. Only the edges run here then, and time
            goes on when all have reported the tick before.

    Raises:
        WiringError, HistoryError: it cannot start; the message says why.
    """

    def __init__(
        self,
        topology: Topology,
        *,
        start: datetime,
        folder: Path | None = None,
        limits: Limits | None = None,
        twice: bool = False,
        order: Sequence[str] | None = None,
        absent: Callable[[Topic], int] | None = None,
        cluster: tuple[AloneLog, SchemaRegistry] | None = None,
        elsewhere: bool = False,
    ) -> None:
        self.topology = topology
        self.folder = folder
        self._now = micros(start)
        if cluster is None:
            memory = MemoryLog(folder / "log" if folder else None, clock=lambda: self._now)
            self._now = max(self._now, int(memory.meta.get("now", 0)), memory.clocked)
            cluster = memory, LogRegistry(memory)
        self.log, registry = cluster
        self.codec = Codec(registry)
        self._limits = limits or Limits()
        self._twice = twice
        self._order = order
        self._absent = absent
        self._elsewhere = elsewhere
        self._awaited = -1
        self._history: History | None = None
        self._sink: Sink | None = None
        self.board: Board
        self.tasks: list[Task]
        self.edges: list[EdgeTask]
        try:
            self._create_topics()
            specs = () if elsewhere else topology.processors
            self._fingerprints = commits.declare(self.log, self.codec, topology, specs, producer="host")
            self.restore()
        except BaseException:
            self.close()
            raise

    # Life.

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close history and log; a folder can be opened again."""
        self.log.remember("now", str(self._now))
        if self._history is not None:
            self._history.close()
            self._history = self._sink = None
        self.log.close()

    @property
    def now(self) -> datetime:
        """The simulated time."""
        return moment(self._now)

    log: AloneLog

    def restore(self) -> None:
        """Make all tasks anew from what is committed, as a process does that was killed and started again."""
        self.log.crash = None
        self.log.abort_open()
        shared = Shared(self.topology, self.log, self.codec, self.history, self.sink)
        self.board = Board(self.topology, self.log, self.codec, self._absent)
        self.board.refresh()
        if self.board.ticks:
            self._now = max(self._now, self.board.ticks[-1])
        names = [] if self._elsewhere else self._order or [spec.name for spec in self.topology.ordered]
        specs = {spec.name: spec for spec in self.topology.processors}
        self.tasks = []
        for name in names:
            spec = specs[name]
            fence = self.log.join(f"{spec.name}.v{spec.version}")
            self.tasks += [self._task(spec, p, shared, fence) for p in range(self.topology.tasks(spec))]
        ordered = sorted(self.topology.edges, key=lambda edge: (edge.name == _CLOCK_EDGE, edge.name))
        self.edges = [EdgeTask(edge, self.topology, self.log, self.codec) for edge in ordered]

    def _task(self, spec: AnyProcessor, partition: int, shared: Shared, fence: Fence) -> Task:
        task = Task(
            spec,
            partition,
            shared,
            self.board,
            fingerprints=self._fingerprints[spec.name],
            limits=self._limits,
            twice=self._twice,
        )
        task.fence = fence
        return task

    def _create_topics(self) -> None:
        for topic in self.topology.contracts.topics.values():
            count = self.topology.count(topic)
            self.log.create(topic.name, count)
            self.log.create(self.topology.contracts.rejected(topic).name, count)
        for spec in self.topology.processors:
            self.log.create(changelog(spec), self.topology.tasks(spec))
        for edge in self.topology.edges:
            self.log.create(f"{edge.name}.v{edge.version}.changelog", 1)

    # History.

    def history(self) -> "History":
        """The history, opened when it is first asked for."""
        if self._history is None:
            from streams.history import History, Sink  # noqa: PLC0415 -- an engine, started only where it is asked for

            self._history = History.embedded(self.folder / "history" if self.folder else None, self.topology.contracts)
            self._sink = Sink(self.log, self._history, self.codec)
        return self._history

    def sink(self, topic: Topic, ends: Mapping[int, int]) -> int:
        """Bring a topic into the history up to these offsets; how many rows were new."""
        self.history()
        assert self._sink is not None
        return self._sink.advance(topic, ends)

    def fill_history(self, on_topic: Callable[[str], None] | None = None) -> None:
        """Bring every topic into the history, as far as the log is stable."""
        for topic in self.topology.contracts.topics.values():
            if on_topic:
                on_topic(topic.name)
            count = self.log.partitions(topic.name)
            self.sink(topic, {p: self.log.end(topic.name, p) for p in range(count)})

    # Going on.

    def run(self, until: datetime, on_progress: Callable[[datetime], None] | None = None) -> None:
        """Let simulated time pass, edges act and processors follow, up to and with ``until``."""
        self.settle()
        end = micros(until)
        while True:
            wakes = [at for edge in self.edges if (at := edge.next_wake()) is not None]
            if not wakes or min(wakes) > end:
                break
            self._now = max(self._now, min(wakes))
            self.settle()
            if on_progress:
                on_progress(self.now)
        self._now = max(self._now, end)

    def settle(self) -> None:
        """Let everybody act until nothing more happens at this time."""
        for _ in range(1_000):
            moved = False
            for edge in self.edges:
                moved |= edge.deliver(self._now)
                moved |= edge.wake(self._now)
            moved |= self.step()
            if not moved:
                return
        raise StreamsError(f"the edges keep answering each other at {self.now}; see what they send")

    def step(self) -> bool:
        """Let the processors go as far as they can; whether any did anything."""
        if self._elsewhere:
            return self._await_others()
        moved = False
        while True:
            self.board.refresh()
            before = moved
            again = False
            for task in self.tasks:
                while task.step():
                    again = True
                    self.board.refresh()
            moved = before or again
            if not again:
                break
        if moved and self.board.ticks:
            self.board.forget(self.board.ticks[-1] - self.board.reach)
        return moved

    def _await_others(self) -> bool:
        """Wait until all processors have reported the last tick; whether there is one that was not awaited before."""
        self.board.refresh()
        tick = self.board.ticks[-1] if self.board.ticks else -1
        if tick <= self._awaited:
            return False
        begin, said = monotonic(), 0.0
        while late := [spec.name for spec in self.topology.processors if not self._reported(spec, tick)]:
            if monotonic() - begin > said + _PATIENCE_S:
                said = monotonic() - begin
                _log.warning("%s: waiting for %s since %.0f s", moment(tick), ", ".join(late), said)
            sleep(_ASK_AGAIN_S)
            self.board.refresh()
        self._awaited = tick
        self.board.forget(tick - self.board.reach)
        return True

    def _reported(self, spec: AnyProcessor, tick: int) -> bool:
        due = self.board.last_due(spec, tick)
        if due is None:
            return True
        reports = self.board.reports(spec, due)
        if reports is None:
            return False
        # A report can be read before all that it tells of: a commit becomes visible partition by partition.
        return all(self.log.reached(*place, end) for told in reports.values() for place, end in told.ends.items())

    def pass_time(self, until: datetime) -> None:
        """Set the simulated clock forward without waking anybody."""
        self._now = max(self._now, micros(until))

    def commits(self) -> int:
        """How many commits the log holds."""
        return count(self.log, COMMIT)
