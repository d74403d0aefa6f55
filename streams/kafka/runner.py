"""A runner: one processor on a cluster, with the tasks that Kafka's group protocol gives it. One process each."""

import gc
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from streams.audit import commits
from streams.contracts.codec import Codec
from streams.contracts.topic import Topic
from streams.errors import AbortedError, FencedError, HistoryAwayError, StreamsError
from streams.hosts.board import Board, moment
from streams.hosts.engine import Shared
from streams.hosts.log import Fence, TopicPartition
from streams.hosts.task import Forerunner, Limits, Task, changelog
from streams.kafka import topics
from streams.kafka.log import KafkaLog
from streams.kafka.membership import Membership
from streams.kafka.patience import ClusterRefusedError
from streams.kafka.registry import RestRegistry, Waiting
from streams.kafka.settings import Settings
from streams.kafka.versions import AsideLog, Start, VersionError, Versions, make_aside
from streams.topology import AnyProcessor, Topology

if TYPE_CHECKING:
    from streams.history import History, Sink

_SOON_S, _IDLE_S, _CALM_S = 0.001, 0.02, 0.1
_AGAIN_S = 0.5
_SAY_S = 5.0
_log = logging.getLogger(__name__)


class StoppedError(StreamsError):
    """The runner was asked to stop."""


def calm_collector() -> None:
    """Let the garbage collector look less often: what a runner makes by the million has no cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)


class Runner:
    """One processor's runner.

    Args:
        settings: of the deployment.
        topology: what is installed, with the deployment's partition counts.
        name: the processor.
        start: how it begins where another version of the processor has been at work.
        slot: tells this runner from the others of the processor, and stays its own over restarts: whoever comes back
            under it clears what its forerunner left open.

    Attributes:
        tasks: the tasks that run here now, by partition.
        waits: what the runner waits for, empty where it goes on; for people and for the page of health.
        turned: when the loop turned last, or something was waited for (`time.monotonic`).
        batches: how many seconds the newest commits took, from reading to committed; whoever looks takes them out.
        aborted: how many transactions were aborted and tried again.
        fenced: how many times a task was dropped because another owner had it.
        restoring: by task that is being restored, how far its changelog is read, and its end.
        member: our membership of the group, once there is one.
        board: the ticks and everybody's progress, once they are read.
    """

    def __init__(
        self, settings: Settings, topology: Topology, name: str, slot: str, *, start: Start = "resume"
    ) -> None:
        specs = {spec.name: spec for spec in topology.processors}
        if name not in specs:
            raise StreamsError(f"there is no processor {name!r}; there are {', '.join(sorted(specs))}")
        self.spec: AnyProcessor = specs[name]
        self.settings = settings
        self.topology = topology
        self.slot = slot
        self.start: Start = start
        self.tasks: dict[int, Task] = {}
        self._forerunners: Mapping[int, Forerunner] = {}
        self.waits = "the cluster"
        self.turned = time.monotonic()
        self.batches: deque[float] = deque(maxlen=65_536)
        self.aborted = self.fenced = 0
        self.restoring: dict[int, tuple[int, int]] = {}
        self.member: Membership | None = None
        self.board: Board | None = None
        self._over = threading.Event()
        self._current: Fence | None = None
        self._fences: dict[int, Fence] = {}
        self._said = 0.0
        self._warned: dict[int, float] = {}
        self._history: History | None = None
        self._sink: Sink | None = None
        self._past: KafkaLog | None = None
        self._past_codec: Codec | None = None

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
            self._look_at_versions()
            codec = Codec(registry)
            inputs = [rec.__topic__.name for rec in self.spec.reads.types]
            log = KafkaLog(settings.kafka, inputs=inputs, slot=f"{group}.{self.slot}", check=self._check)
            log.clear()
            marks = commits.declare(log, codec, self.topology, [self.spec], producer=group)
            member = Membership(settings.kafka, group, changelog(self.spec))
            log.attach(member)
            self.member, self.board = member, Board(self.topology, log, codec)
            seen = log if self.start in ("resume", "beginning") else AsideLog(log, self.spec, self._is_quiet)
            shared = Shared(self.topology, seen, codec, self.history, self.sink)
            calm_collector()
            if self.spec.history.types:
                with suppress(HistoryAwayError):  # whoever asks waits for it; here it is only made ready
                    self.history()
            self._loop(log, member, shared, self.board, marks[self.spec.name])
            _log.info("%s stops", self.spec.name)
        except StoppedError:
            _log.info("%s stops", self.spec.name)
        finally:
            if log is not None:
                log.close()
            if self._past is not None:
                self._past.close()
            self._close_history()
            registry.close()

    def _look_at_versions(self) -> None:
        with Versions(self.settings, self.spec, self._check) as versions:
            versions.require(self.start)
            if self.start in ("shadow", "take-over"):
                make_aside(self.settings, self.topology, self.spec)
            if self.start in ("beginning", "take-over"):
                self._forerunners = versions.forerunners(self._await_version)

    def _await_version(self, waits: str) -> None:
        if self.waits != waits:
            self.waits = waits
            _log.info("waits for %s", waits)
        self._over.wait(_AGAIN_S)
        self._check()

    def _is_quiet(self, producer: str) -> bool:
        place = producer.rpartition(".")[2]
        return place.isdecimal() and self.tasks[int(place)].quiet

    def _begin(self, task: Task) -> None:
        """Let a restored task be quiet where it is to be."""
        loud, old = task.commit_no > 0 and not task.quiet, self._forerunners.get(task.partition)
        if self.start == "shadow":
            if loud:
                raise VersionError(f"task {task.name} writes for all to see already; run it without --shadow")
            task.quiet = True
        elif loud or old is None:
            task.quiet = False
        elif self.start == "take-over":
            task.follow(old)
        else:
            task.ends = dict(old.ends)

    def stop(self) -> None:
        """Ask the runner to end: what is short is finished, a wait is broken off."""
        self._over.set()

    def leave(self) -> None:
        """Leave the group at once, whatever a handler does: the process ends after this."""
        if self.member is not None:
            self.member.close()

    @property
    def at_work(self) -> str | None:
        """The task that is stepping or being restored now."""
        fence = self._current
        return f"{self.spec.name}.v{self.spec.version}.{fence.partition}" if fence is not None else None

    def _check(self) -> None:
        """Called while something is waited for."""
        self.turned = time.monotonic()
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
        # A tick or a report ends the wait; that a record is decided by now tells nobody: looked for soon, then seldom.
        idle, longest = _SOON_S, _IDLE_S if at_once else _CALM_S
        while not self._over.is_set():
            self.turned = time.monotonic()
            if member.failure:
                raise ClusterRefusedError(f"processor {self.spec.name}: membership: {member.failure}")
            self._take_over(log, member, shared, board, fingerprints)
            board.refresh()
            moved = False
            for place in list(self.tasks):
                moved |= self._step(place)
            if moved:
                self.waits, idle = "", _SOON_S
                self._forget(board)
            else:
                self.waits = self.waits if self.tasks else "tasks of its own"
                heard = log.wait(idle, inputs=at_once)
                idle = _SOON_S if heard else min(idle * 2, longest)

    def _step(self, place: int) -> bool:
        self._current = self._fences[place]
        begin = time.monotonic()
        try:
            moved = self.tasks[place].step()
        except FencedError as error:
            self.fenced += 1
            _log.warning("dropped: %s", error)
            self._drop(place)
            self._over.wait(_IDLE_S)
        except AbortedError as error:
            self.aborted += 1
            self._warn(place, f"tries again: {error}")
            self._over.wait(_IDLE_S)
        except HistoryAwayError as error:
            self.waits = str(error)
            self._warn(place, f"waits: {error}")
            self._close_history()  # when it is back its tables say what it holds: it may have lost the newest
            self._over.wait(_AGAIN_S)
        else:
            if moved:
                self.batches.append(time.monotonic() - begin)
            return moved
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
        inputs: dict[TopicPartition, int] = {}
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
                self._warn(place, f"waits: {error}")
                self._over.wait(_IDLE_S)
                continue
            finally:
                self._current = None
                self.restoring.pop(place, None)
                log.forget([(changelog(self.spec), place)])
            self._begin(task)
            task.fence = fence
            board.reach_back(task.engine.tick)
            self.tasks[place], self._fences[place] = task, fence
            inputs |= task.inputs
            self.waits = ""
            took = time.monotonic() - begin
            _log.info("goes on after commit %d (%.1f s)", task.commit_no, took, extra={"task": task.name})
        log.expect(inputs)

    def _restored(self, place: int, at: int, end: int) -> None:
        self.restoring[place] = at, end
        self.waits = f"the state of task {place}: {at:,} of {end:,} records of its changelog"
        if time.monotonic() - self._said > _SAY_S:
            self._said = time.monotonic()
            _log.info("waits for %s", self.waits)
        self._check()

    def _warn(self, place: int, text: str) -> None:
        """Say of a task what goes on, now and then."""
        if time.monotonic() - self._warned.get(place, -_SAY_S) >= _SAY_S:
            self._warned[place] = time.monotonic()
            _log.warning("%s", text, extra={"task": f"{self.spec.name}.v{self.spec.version}.{place}"})

    def _drop(self, place: int) -> None:
        self.tasks.pop(place, None)
        self._fences.pop(place, None)

    def _forget(self, board: Board) -> None:
        ticks = [task.engine.tick for task in self.tasks.values() if task.engine.tick is not None]
        if ticks:
            board.forget(min(ticks) - board.reach)

    # History.

    def history(self) -> "History":
        """The history, opened when it is first asked for."""
        if self._history is None:
            from streams.history import Sink  # noqa: PLC0415 -- only where it is asked for

            part = f"{self.spec.name}.{self.slot}"
            self._history = self.settings.clickhouse.open(self.topology.contracts, part)
            # A log of its own: what is read again for the history is not what the tasks read.
            self._past = self._past or KafkaLog(self.settings.kafka, check=self._check)
            self._past_codec = self._past_codec or Codec(self._registry_of_past())
            self._sink = Sink(self._past, self._history, self._past_codec)
        return self._history

    def _close_history(self) -> None:
        history, self._history, self._sink = self._history, None, None
        if history is not None:
            history.close()

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
