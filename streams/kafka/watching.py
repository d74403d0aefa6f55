"""What the pages of health show of a runner: what it keeps, read from another thread."""

import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from confluent_kafka import IsolationLevel, TopicPartition
from confluent_kafka.admin import OffsetSpec

from streams.hosts.task import Task
from streams.kafka.patience import Admin
from streams.observe import Point

if TYPE_CHECKING:
    from streams.hosts.log import TopicPartition as Place
    from streams.kafka.runner import Runner

_LAG_EVERY_S = 10.0
_ANSWER_S = 2.0
_REASONS = {"the cluster": "cluster", "the registry": "registry", "the state": "state", "tasks of": "tasks"}
REASONS = (*_REASONS.values(), "version", "history", "nothing")
"""What a runner may wait for, as the metric has it."""


def reason(waits: str) -> str:
    """What a runner waits for, in one word of a known few."""
    if not waits:
        return "nothing"
    if waits.endswith("still runs: end it"):
        return "version"
    return next((word for begin, word in _REASONS.items() if waits.startswith(begin)), "history")


class RunnerView:
    """A runner, as the pages show it.

    Args:
        runner: what is shown.
        stuck_s: its loop must have turned within so many seconds, a handler may take as long.
    """

    def __init__(self, runner: "Runner", *, stuck_s: float) -> None:
        self._runner = runner
        self._stuck_s = stuck_s
        self._processor = {"processor": runner.spec.name}
        self._labels = {**self._processor, "slot": runner.slot}
        self.name = f"{runner.spec.name}/{runner.slot}"
        self._admin: Admin | None = None
        self._asked = -_LAG_EVERY_S
        self._ends: dict[Place, int] = {}
        self._read: dict[str, Callable[[], Iterable[Point]]] = {
            "flexlog.records.consumed": lambda: self._by_task(lambda task: task.consumed),
            "flexlog.records.rejected": lambda: self._by_task(lambda task: task.rejected),
            "flexlog.commits": lambda: self._by_task(lambda task: task.commit_no),
            "flexlog.tick.last": lambda: self._by_task(_last_tick),
            "flexlog.tick.behind": self._behind,
            "flexlog.input.lag": self._lags,
            "flexlog.tasks": lambda: [(len(runner.tasks), self._labels)],
            "flexlog.waiting": self._waiting,
            "flexlog.restore.progress": self._restoring,
            "flexlog.transactions.aborted": lambda: [(runner.aborted, self._labels)],
            "flexlog.tasks.fenced": lambda: [(runner.fenced, self._labels)],
            "process.memory.usage": lambda: [(resident_bytes(), self._labels)],
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._admin = None

    # Health.

    def unwell(self) -> str:
        """Why the process should be started again; empty where it is well."""
        still = time.monotonic() - self._runner.turned
        if still > self._stuck_s:
            return f"{self.told()}; its loop has not turned for {still:.0f} s, {self._stuck_s:.0f} are allowed"
        member = self._runner.member
        if member is not None and not member.alive:
            return f"{self.told()}; its membership of the group has ended: {member.failure or 'it was left'}"
        return ""

    def unready(self) -> str:
        """What it lacks; empty where it has tasks with whole state, or the group has none for it."""
        member = self._runner.member
        if member is None or not member.answered:
            return f"{self.told()}; the group has not given it its tasks yet"
        if reason(self._runner.waits) == "history":
            return self.told()
        lacking = sorted(set(member.owned()) - set(self._runner.tasks))
        return f"{self.told()}; the state of task {lacking[0]} is not whole yet" if lacking else ""

    def told(self) -> str:
        """One line on what it does."""
        return self._runner.told()

    # Metrics.

    def points(self, metric: str) -> Iterable[Point]:
        """The values of a metric now."""
        return self._read[metric]()

    def taken(self, metric: str) -> Iterable[Point]:
        """What was measured for a histogram since this was asked last."""
        del metric
        batches = self._runner.batches
        return [(batches.popleft(), self._labels) for _ in range(len(batches))]

    def _tasks(self) -> list[Task]:
        return [task for _, task in sorted(self._runner.tasks.copy().items())]

    def _by_task(self, read: Callable[[Task], float | None]) -> list[Point]:
        found = [(read(task), task.name) for task in self._tasks()]
        return [(value, {**self._processor, "task": name}) for value, name in found if value is not None]

    def _behind(self) -> list[Point]:
        board = self._runner.board
        if board is None or not board.ticks:
            return []
        newest = board.ticks[-1]
        return self._by_task(lambda task: (newest - (task.engine.tick or board.ticks[0])) / 1e6)

    def _waiting(self) -> list[Point]:
        now = reason(self._runner.waits)
        return [(float(word == now), {**self._labels, "reason": word}) for word in REASONS]

    def _restoring(self) -> list[Point]:
        spec = self._runner.spec
        return [
            (at / max(end, 1), {**self._processor, "task": f"{spec.name}.v{spec.version}.{place}"})
            for place, (at, end) in self._runner.restoring.copy().items()
        ]

    def _lags(self) -> list[Point]:
        positions = {place: at for task in self._tasks() for place, at in task.inputs.items()}
        if time.monotonic() - self._asked >= _LAG_EVERY_S or not positions.keys() <= self._ends.keys():
            self._ends = self._ask(list(positions))
            self._asked = time.monotonic()
        return [
            (max(self._ends[place] - at, 0), {**self._processor, "topic": place[0], "partition": str(place[1])})
            for place, at in positions.items()
            if place in self._ends
        ]

    def _ask(self, places: "list[Place]") -> "dict[Place, int]":
        """Up to where partitions can be read; those that cannot be asked now are left out."""
        settings = self._runner.settings.kafka
        if self._admin is None:
            self._admin = Admin(settings.common())
        names = {place: TopicPartition(settings.topic(place[0]), place[1]) for place in places}
        latest: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        asked = dict.fromkeys(names.values(), latest)
        found: dict[Place, int] = {}
        if not asked:
            return found
        futures = self._admin.list_offsets(
            asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=_ANSWER_S
        )
        for place, name in names.items():
            try:
                found[place] = int(futures[name].result().offset)
            except Exception:  # noqa: BLE001, S112 -- a figure that is missing is the sign; the runner says why
                continue
        return found


def _last_tick(task: Task) -> float | None:
    return None if task.engine.tick is None else task.engine.tick / 1e6


def resident_bytes() -> int:
    """Resident memory of this process; where the system does not tell, the most it ever was."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import resource  # noqa: PLC0415 -- not there on every system

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
