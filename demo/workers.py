"""The demo's workers on a cluster, and who kills some of them on the way."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

from demo.deployment import TOPOLOGY
from streams.errors import StreamsError
from streams.kafka.local.process import resident_mb
from streams.kafka.worker import Backoff, Supervisor
from streams.logs import Event, as_json

_MEASURE_S = 1.0
_WITHIN_S = 0.1
"""A worker that is killed at work is killed so long after it got the work, at most."""
_PART = 0.8
"""Of a phase: kills fall before, so that what they interrupt is still within it."""
_PAUSE_S = 0.5


class WorkersError(StreamsError):
    """A worker cannot go on."""


@dataclass(frozen=True)
class Kill:
    """When a worker is killed.

    Attributes:
        phase: Of the run.
        at: Simulated time, UTC: it is killed at the first tick from then on that gives it work.
        after_s: Seconds after it got the work; real time goes on from there.
        worker: Whose.
    """

    phase: str
    at: datetime
    after_s: float
    worker: str


def drawn(count: int, seed: int, phases: Mapping[str, tuple[datetime, datetime]], workers: Sequence[str]) -> list[Kill]:
    """Draw kills, in order of time.

    Args:
        count: How many; with as many as there are phases or more, each phase has at least one.
        seed: Of all that is drawn.
        phases: By name, begin and end, UTC.
        workers: Names to choose from; none comes a second time before all have come.
    """
    rng = random.Random(f"kills/{seed}")  # noqa: S311 -- chance that can be had again
    names = list(phases)
    chosen = names[:count] + [rng.choice(names) for _ in range(count - len(names))]
    kills, left = list[Kill](), list[str]()
    for phase in chosen:
        left = left or rng.sample(sorted(workers), len(workers))
        since, until = phases[phase]
        at = since + timedelta(seconds=rng.uniform(0, _PART * (until - since).total_seconds()))
        kills.append(Kill(phase, at, rng.uniform(0, _WITHIN_S), left.pop()))
    return sorted(kills, key=lambda kill: kill.at)


class Workers:
    """A supervisor's worker processes, of which some are killed, and how much memory they take.

    Args:
        names: Of the processors.
        environment: Variables for the processes.
        folder: For what they log, a file each.
        kills: In order of time.
        others: Processes whose memory counts too, by name.

    Attributes:
        busy: Whether a worker has not reported the last tick that gives it work.
        killed: The kills that were done, and whether each worker was still at work.
        peak_mb: The most memory that each process had.
        total_mb: The most that all had together.
    """

    def __init__(
        self,
        names: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        kills: Sequence[Kill] = (),
        others: Mapping[str, int] | None = None,
    ) -> None:
        self.busy: Callable[[str], bool] = lambda _: False
        self.killed: list[tuple[Kill, bool]] = []
        self.peak_mb: dict[str, float] = {}
        self.total_mb = 0.0
        self._folder = folder
        self._waiting = list(kills)
        self._others = dict(others or {})
        self._now: datetime | None = None
        self._next: float | None = None
        self._measured = 0.0
        self._names = list(names)
        folder.mkdir(parents=True, exist_ok=True)
        self._supervisor = Supervisor(
            topology=TOPOLOGY,
            environment=environment,
            backoff=lambda: Backoff(first_s=_PAUSE_S, most_s=_PAUSE_S),
            tell=self._told,
        )

    def __enter__(self) -> Self:
        self._supervisor.start(self._names)
        return self

    def __exit__(self, *_: object) -> None:
        self._supervisor.stop()

    @property
    def restarts(self) -> int:
        """How often a worker was started again."""
        return sum(status.starts - 1 for status in self._supervisor.status())

    def reached(self, now: datetime) -> None:
        """Hear how far simulated time is."""
        self._now = now

    def check(self) -> None:
        """What is done while somebody waits: kill who is due, measure, and see that all can go on.

        Raises:
            WorkersError: A worker cannot go on, with what it said.
        """
        now = time.monotonic()
        if self._waiting and self._now is not None and self._waiting[0].at <= self._now:
            self._approach(self._waiting[0], now)
        if now - self._measured >= _MEASURE_S:
            self._measured = now
            self._measure()
            self._need_all()

    def _approach(self, kill: Kill, now: float) -> None:
        """Kill a worker some moments after it got work; it may have done it by then."""
        if self._next is None:
            if self.busy(kill.worker):
                self._next = now + kill.after_s
            return
        if now < self._next:
            return
        self._next = None
        working = self.busy(kill.worker)
        if self._supervisor.kill(kill.worker) is not None:  # else it is being started again: the next time
            self._waiting.pop(0)
            self.killed.append((kill, working))

    def _measure(self) -> None:
        pids = {status.name: status.pid for status in self._supervisor.status()} | self._others
        found = {name: resident_mb(pid) for name, pid in pids.items() if pid is not None}
        self.total_mb = max(self.total_mb, sum(found.values()))
        for name, held in found.items():
            self.peak_mb[name] = max(held, self.peak_mb.get(name, 0.0))

    def _need_all(self) -> None:
        for status in self._supervisor.status():
            if status.state == "stopped":
                log = self._folder / f"{status.name}.log"
                raise WorkersError(f"worker {status.name} cannot go on: {status.reason} (all of it in {log})")

    def _told(self, event: Event) -> None:
        with (self._folder / f"{event['processor']}.log").open("a", encoding="utf-8") as log:
            log.write(as_json(event) + "\n")
