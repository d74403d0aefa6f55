"""Faults, one by one and at random. Each ends with all workers running again."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from streams.kafka.log import KafkaLog
from tests.faults.deployment import ROOT, SESSION_S, Deployment, FaultError, Worker
from tests.faults.worker import POINTS, REVOKED

_AFTER = 5
_ONCE = ("restore", "assigned", REVOKED)
"""At which of its first so many times a point is deadly."""


class Chaos:
    """Disturbs a deployment.

    Args:
        deployment: that runs.
        seed: of all that is random.
        say: told what is done.
    """

    def __init__(self, deployment: Deployment, seed: object, say: Callable[[str], None] = lambda _: None) -> None:
        self._on = deployment
        self._random = random.Random(str(seed))
        self._say = say

    @property
    def kills(self) -> int:
        """How many processes were killed so far, brokers and registries too."""
        return sum(count for what, count in self._on.counts.items() if what.startswith("killed"))

    def _note(self, what: str, told: str = "") -> None:
        self._on.counts[what] += 1
        self._say(f"{self._on.now:%d %H:%M} {what} {told}".rstrip())

    def workers(self, name: str) -> list[Worker]:
        """The workers of a processor."""
        return [worker for worker in self._on.workers if worker.name == name]

    def _any(self) -> Worker:
        return self._random.choice(self._on.workers)

    def _nth(self, worker: Worker, point: str) -> int:
        """At which time a point is deadly; `days` decides but once an hour."""
        return 1 if point in _ONCE else self._random.randrange(1, _AFTER if worker.name == "hours" else 3)

    # --- workers ---------------------------------------------------------------------------------------------------

    def kill_at_a_point(self, point: str, worker: Worker | None = None) -> None:
        """Let a worker die where it hurts, and start it again."""
        worker = worker or self._any()
        nth = self._nth(worker, point)
        worker.kill()  # it must be started anew to know its fate, which is one more kill
        worker.start(point, nth)
        if point == REVOKED:
            self._on.await_progress(2)
            other = self._random.choice([w for w in self.workers(worker.name) if w is not worker])
            other.kill()
            time.sleep(SESSION_S + 1)  # its tasks go over, and some come back with it
            other.start()
        worker.await_end()
        self._note(f"killed at {point}", f"{worker}, time {nth}")
        worker.start()

    def kill_at_points(self, *points: str) -> None:
        """Let as many workers die, each at a point of its own; each is started again at once."""
        doomed = dict(zip(self._random.sample(self._on.workers, len(points)), points, strict=True))
        for worker, point in doomed.items():
            worker.kill()
            worker.start(point, self._nth(worker, point))
        end = time.monotonic() + 90
        while doomed:
            for worker in [worker for worker in doomed if worker.has_ended()]:
                self._note(f"killed at {doomed.pop(worker)}", f"{worker} {worker.haunted}")
                worker.start()
            if time.monotonic() > end:
                raise FaultError(f"{', '.join(f'{w} never came to {p}' for w, p in doomed.items())}")
            time.sleep(0.02)

    def kill_at_random(self) -> None:
        """Kill a worker, now; sometimes its tasks have gone over before it comes back."""
        worker = self._any()
        time.sleep(self._random.uniform(0, 1.5))
        worker.kill()
        self._note("killed at random", str(worker))
        time.sleep(self._random.choice([0, 0, SESSION_S + 0.5]))
        worker.start()

    def kill_all(self) -> None:
        """Kill all workers at once."""
        for worker in self._on.workers:
            worker.kill()
            self._note("killed at random", str(worker))
        for worker in self._on.workers:
            worker.start()

    def sleep_and_come_back(self, *points: str) -> None:
        """Stop workers, each at a point of its own or ("") now, for longer than sessions and transactions last.

        They come back as zombies.
        """
        stopped = dict(zip(self._random.sample(self.workers("hours"), len(points)), points, strict=True))
        for worker, point in stopped.items():
            if point:
                worker.kill()
                worker.start(point, self._random.randrange(1, _AFTER), "STOP")
        for worker, point in stopped.items():
            if point:
                worker.await_stop()
            else:
                worker.send(signal.SIGSTOP)
            self._note(f"stopped at {point or 'random'}", f"{worker} {worker.haunted}")
        time.sleep(max(SESSION_S, self._on.transaction_s) + self._random.uniform(0, 2))
        self._on.await_progress(1)  # others have done what they were about to do
        for worker in stopped:
            worker.haunted = ""
            worker.send(signal.SIGCONT)

    def die_with_an_open_transaction(self) -> None:
        """A worker dies with all produced and does not come back for longer than the transaction may take.

        Those that take over and commit behind its open transaction die soon after: the next must not miss that commit.
        """
        worker = self._random.choice(self.workers("hours"))
        worker.kill()
        worker.start("before_commit", self._random.randrange(2, _AFTER))
        worker.await_end()
        self._note("killed at before_commit", f"{worker}, for long")
        self._await_commit_behind()
        for other in self.workers("hours"):
            if other is not worker:
                other.kill()
                self._note("killed behind an open transaction", str(other))
                other.start()
        self._on.await_progress(2)
        worker.start()

    def _await_commit_behind(self) -> None:
        """Wait until somebody has written behind the open transaction of a changelog."""
        log, name = KafkaLog(self._on.settings.kafka), "hours.v1.changelog"
        try:
            ends = {p: log.end(name, p, committed=False) for p in range(log.partitions(name))}
            dead = {p: end for p, end in ends.items() if log.end(name, p) < end}
            late = time.monotonic() + self._on.transaction_s
            while dead and time.monotonic() < late:
                if any(log.end(name, p, committed=False) > end for p, end in dead.items()):
                    self._note("commits behind an open transaction")
                    return
                time.sleep(0.05)
        finally:
            log.close()

    def foreign_open_transaction(self) -> None:
        """Somebody else dies with a transaction open on an input."""
        command = [sys.executable, "-m", "tests.faults.worker", "open-transaction", "plant.counter.v1"]
        partition = str(self._random.randrange(6))
        code = subprocess.run([*command, partition], cwd=ROOT, env=self._on.environment, check=False).returncode
        assert code == -signal.SIGKILL
        self._note("killed with a transaction open", f"a foreign producer, partition {partition}")

    # --- the others ------------------------------------------------------------------------------------------------

    def kill_a_broker(self) -> None:
        """Kill a broker; it comes back a little later."""
        number = self._random.randrange(1, 4)
        self._on.cluster.kill_broker(number)
        self._note("killed a broker", str(number))
        time.sleep(self._random.uniform(0, 5))
        self._on.cluster.start_broker(number)
        self._on.cluster.wait_in_sync()

    def kill_the_registry(self) -> None:
        """The registry is away while a worker starts and the others go on."""
        self._on.cluster.kill_registry()
        self._note("killed the registry")
        try:
            self.kill_at_random()
            time.sleep(4)
        finally:
            self._on.cluster.start_registry()

    def one_of_all(self) -> None:
        """Any fault."""
        at_random: Sequence[Callable[[], None]] = (
            *[self.kill_at_random] * 4,
            *[lambda: self.kill_at_a_point(self._random.choice(POINTS))] * 4,
            lambda: self.kill_at_a_point(REVOKED, self._random.choice(self.workers("hours"))),
            lambda: self.sleep_and_come_back(""),
            lambda: self.sleep_and_come_back(self._random.choice(["begin", "before_commit", "offsets_sent"])),
            self.kill_all,
            self.die_with_an_open_transaction,
            self.foreign_open_transaction,
            self.kill_a_broker,
            self.kill_the_registry,
        )
        self._random.choice(at_random)()
