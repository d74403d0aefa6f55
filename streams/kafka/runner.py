"""A runner: one processor on a cluster, with the tasks that Kafka's group protocol gives it. One process each."""

import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from streams.audit import commits
from streams.contracts.codec import Codec
from streams.contracts.topic import Topic
from streams.errors import AbortedError, FencedError, HistoryAwayError, StreamsError
from streams.hosts.board import Board, moment, span
from streams.hosts.engine import Shared
from streams.hosts.log import Fence
from streams.hosts.task import Limits, Task, changelog
from streams.kafka import topics
from streams.kafka.log import KafkaLog
from streams.kafka.membership import Membership
from streams.kafka.patience import ClusterRefusedError
from streams.kafka.registry import RestRegistry, Waiting
from streams.kafka.settings import Settings
from streams.topology import AnyProcessor, Topology

if TYPE_CHECKING:
    from streams.history import History, Sink

_IDLE_S = 0.02
_AGAIN_S = 0.5
_SAY_S = 5.0
_FORGET_MICROS = 3 * 86_400 * 1_000_000
_log = logging.getLogger(__name__)


class StoppedError(StreamsError):
    """The runner was asked to stop."""


class Runner:
    """One processor's runner.

    Args:
        settings: of the deployment.
        topology: what is installed, with the deployment's partition counts.
        name: the processor.
        slot: tells this runner from the others of the processor, and stays its own over restarts: whoever comes back
            under it clears what its forerunner left open.

    Attributes:
        tasks: the tasks that run here now, by partition.
        waits: what the runner waits for, empty where it goes on; for people and for the page of health.
    """

    def __init__(self, settings: Settings, topology: Topology, name: str, slot: str) -> None:
        specs = {spec.name: spec for spec in topology.processors}
        if name not in specs:
            raise StreamsError(f"there is no processor {name!r}; there are {', '.join(sorted(specs))}")
        self.spec: AnyProcessor = specs[name]
        self.settings = settings
        self.topology = topology
        self.slot = slot
        self.tasks: dict[int, Task] = {}
        self.waits = "the cluster"
        self._over = threading.Event()
        self._current: Fence | None = None
        self._fences: dict[int, Fence] = {}
        self._said = 0.0
        self._history: History | None = None
        self._sink: Sink | None = None
        self._past: KafkaLog | None = None

    # Life.

    def run(self) -> None:
        """Work until `stop`.

        Raises:
            StreamsError: it cannot go on; the message says what, where and what to do. Nothing is lost.
        """
        settings, group = self.settings, f"{self.spec.name}.v{self.spec.version}"
        registry = RestRegistry(
            settings.registry, prefix=settings.kafka.prefix, on_wait=self._registry_away, pause=self._over.wait
        )
        registry.know(topic.text for topic in self.topology.contracts.topics.values())
        log: KafkaLog | None = None
        try:
            topics.require(settings, self.topology, registry=registry, only=[self.spec.name])
            codec = Codec(registry)
            inputs = [rec.__topic__.name for rec in self.spec.reads.types]
            log = KafkaLog(settings.kafka, inputs=inputs, slot=f"{group}.{self.slot}", check=self._check)
            marks = commits.declare(log, codec, self.topology, [self.spec], producer=group)
            member = Membership(settings.kafka, group, changelog(self.spec))
            log.attach(member)
            shared = Shared(self.topology, log, codec, self.history, self.sink)
            self._loop(log, member, shared, Board(self.topology, log, codec), marks[self.spec.name])
        except StoppedError:
            _log.info("%s stops", self.spec.name)
        finally:
            if log is not None:
                log.close()
            if self._past is not None:
                self._past.close()
            if self._history is not None:
                self._history.close()
            registry.close()

    def stop(self) -> None:
        """Ask the runner to end: what is short is finished, a wait is broken off."""
        self._over.set()

    def _check(self) -> None:
        """Called while something is waited for."""
        if self._over.is_set():
            raise StoppedError("asked to stop")
        if self._current is not None and not self._member.holds(self._current):
            raise FencedError(f"task {self._current.partition} of {self._current.group} was taken while it waited")

    def _registry_away(self, waiting: Waiting) -> None:
        self.waits = f"the registry: {waiting}"
        self._check()

    # Going on.

    _member: Membership

    def _loop(
        self, log: KafkaLog, member: Membership, shared: Shared, board: Board, fingerprints: Mapping[str, str]
    ) -> None:
        self._member = member
        at_once = self.spec.on_tick is None
        while not self._over.is_set():
            if member.failure:
                raise ClusterRefusedError(f"processor {self.spec.name}: membership: {member.failure}")
            self._take_over(log, member, shared, board, fingerprints)
            board.refresh()
            moved = False
            for place in list(self.tasks):
                moved |= self._step(place)
            if moved:
                self.waits = ""
                self._forget(board)
            else:
                self.waits = self.waits or ("" if self.tasks else "tasks of its own")
                log.wait(_IDLE_S, inputs=at_once)

    def _step(self, place: int) -> bool:
        self._current = self._fences[place]
        try:
            return self.tasks[place].step()
        except FencedError as error:
            _log.warning("task %s.%s is dropped: %s", self.spec.name, place, error)
            self._drop(place)
            self._over.wait(_IDLE_S)
        except AbortedError as error:
            _log.warning("task %s.%s tries again: %s", self.spec.name, place, error)
            self._over.wait(_IDLE_S)
        except HistoryAwayError as error:
            self.waits = str(error)
            _log.warning("task %s.%s waits: %s", self.spec.name, place, error)
            self._over.wait(_AGAIN_S)
        finally:
            self._current = None
        return False

    def _take_over(
        self, log: KafkaLog, member: Membership, shared: Shared, board: Board, fingerprints: Mapping[str, str]
    ) -> None:
        """Let go of the tasks that are no longer ours, and restore those that have become ours."""
        owned = member.owned()
        for place in [place for place, fence in self._fences.items() if owned.get(place) != fence]:
            self._drop(place)
        for place, fence in owned.items():
            if place in self.tasks:
                continue
            begin = time.monotonic()
            self._current, self._said = fence, begin
            try:
                task = Task(
                    self.spec,
                    place,
                    shared,
                    board,
                    fingerprints=fingerprints,
                    limits=Limits(batch_rows=self.settings.kafka.batch_rows),
                    on_restore=lambda at, end, place=place: self._restored(place, at, end),  # type: ignore[misc]
                )
            except FencedError as error:  # the changelog is ahead of the group, or the task was taken meanwhile
                _log.warning("task %s.%s waits: %s", self.spec.name, place, error)
                self._over.wait(_IDLE_S)
                continue
            finally:
                self._current = None
                log.forget([(changelog(self.spec), place)])
            task.fence = fence
            self.tasks[place], self._fences[place] = task, fence
            took = time.monotonic() - begin
            _log.info("task %s.%s goes on after commit %d (%.1f s)", self.spec.name, place, task.commit_no, took)

    def _restored(self, place: int, at: int, end: int) -> None:
        self.waits = f"the state of task {place}: {at:,} of {end:,} records of its changelog"
        if time.monotonic() - self._said > _SAY_S:
            self._said = time.monotonic()
            _log.info("%s: %s", self.spec.name, self.waits)
        self._check()

    def _drop(self, place: int) -> None:
        self.tasks.pop(place, None)
        self._fences.pop(place, None)

    def _forget(self, board: Board) -> None:
        ticks = [task.engine.tick for task in self.tasks.values() if task.engine.tick is not None]
        delay = max((span(by) for by in self.spec.delayed.values()), default=0)
        if ticks:
            board.forget(min(ticks) - _FORGET_MICROS - delay)

    # History.

    def history(self) -> "History":
        """The history, opened when it is first asked for."""
        if self._history is None:
            from streams.history import History, Sink  # noqa: PLC0415 -- only where it is asked for

            held, contracts = self.settings.clickhouse, self.topology.contracts
            if held.interface == "chdb":
                assert held.path is not None
                self._history = History.embedded(Path(held.path) / f"{self.spec.name}.{self.slot}", contracts)
            else:
                self._history = History.server(contracts, database=held.database, **held.client())
            # A log of its own: what is read again for the history is not what the tasks read.
            self._past = KafkaLog(self.settings.kafka, check=self._check)
            self._sink = Sink(self._past, self._history, Codec(self._registry_of_past()))
        return self._history

    def _registry_of_past(self) -> RestRegistry:
        return RestRegistry(
            self.settings.registry,
            prefix=self.settings.kafka.prefix,
            on_wait=self._registry_away,
            pause=self._over.wait,
        )

    def sink(self, topic: Topic, ends: Mapping[int, int]) -> int:
        """Bring a topic into the history up to these offsets; how many rows were new."""
        self.history()
        assert self._sink is not None
        return self._sink.advance(topic, ends)

    def told(self) -> str:
        """One line on what the runner does now."""
        newest = [task.engine.tick for task in self.tasks.values() if task.engine.tick is not None]
        at = f", decided up to {moment(min(newest))}" if newest else ""
        return f"{self.spec.name}: {len(self.tasks)} tasks{at}{', waits for ' + self.waits if self.waits else ''}"
