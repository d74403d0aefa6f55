"""Faults, one by one and at random. Each ends with all workers running again."""

import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from confluent_kafka.admin import AdminClient

from streams.kafka.log import KafkaLog
from tests.faults.deployment import ROOT, SESSION_S, Deployment, FaultError, Worker
from tests.faults.worker import POINTS, REJOINED, REVOKED, WOKE

_AFTER = 5
_AWAY = "waiting for the cluster"
_ONCE = ("restore", "assigned", REVOKED)
"""At which of its first so many times a point is deadly."""


class Chaos:
    """Disturbs a deployment.

    Args:
        deployment: that runs.
        seed: of all that is random.
        say: told what is done.

    Attributes:
        unrefused: zombies that nobody refused.
    """

    def __init__(self, deployment: Deployment, seed: object, say: Callable[[str], None] = lambda _: None) -> None:
        self._on = deployment
        self._random = random.Random(str(seed))
        self._say = say
        self.unrefused: list[str] = []

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
        return 1 if point in _ONCE or worker.name == "days" else self._random.randrange(1, _AFTER)

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

        They come back as zombies: those that were stopped at a point hold a batch of a task that others have taken and
        decided meanwhile, and must be refused.
        """
        stopped = dict(zip(self._random.sample(self.workers("hours"), len(points)), points, strict=True))
        for worker, point in stopped.items():
            if point:
                worker.kill()
                worker.start(point, self._random.randrange(2, _AFTER), "STOP")
        for worker, point in stopped.items():
            if point:
                worker.await_stop()
            else:
                worker.send(signal.SIGSTOP)
            self._note(f"stopped at {point or 'random'}", f"{worker} {worker.haunted}")
        time.sleep(max(SESSION_S, self._on.transaction_s) + self._random.uniform(0, 2))
        self._on.await_progress(1)  # others have done what they were about to do
        said = {worker: worker.log.stat().st_size for worker in stopped}
        for worker in stopped:
            worker.haunted = ""
            worker.send(signal.SIGCONT)
        for worker, point in stopped.items():
            if point:
                self._must_be_refused(worker, point, said[worker])

    def _must_be_refused(self, worker: Worker, point: str, since: int) -> None:
        if not worker.await_line(WOKE, since=since):
            raise FaultError(f"{worker} never woke at {point}")
        if worker.await_line("dropped: ", "tries again: ", since=since, seconds=20):
            self._note(f"refused what it held at {point}", str(worker))
        else:
            self.unrefused.append(f"{worker} at {point}")

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

    def kill_a_broker(self, number: int | None = None, *, go_on_without: bool | None = None) -> None:
        """Kill a broker, any or this one.

        It comes back a little later, or when all have gone on without it.
        """
        number = number or self._random.randrange(1, 4)
        self._on.cluster.kill_broker(number)
        begin = time.monotonic()
        if self._random.random() < 0.5 if go_on_without is None else go_on_without:
            self._on.await_progress(2)
        else:
            time.sleep(self._random.uniform(0, 5))
        self._note("killed a broker", f"{number}, away for {time.monotonic() - begin:.1f} s")
        self._on.cluster.start_broker(number)
        self._on.cluster.wait_in_sync()

    def fill_a_disk(self, number: int | None = None) -> None:
        """Fill the disk of a broker; there is room again when all have gone on without it."""
        number = number or self._random.randrange(1, 4)
        self._fill(number)
        self._on.await_progress(2)
        self._on.cluster.start_broker(number)
        self._on.cluster.wait_in_sync()

    def fill_the_only_disk(self) -> None:
        """Fill the disk of the only broker: all say that they wait, and go on when there is room again."""
        said = {worker: worker.log.stat().st_size for worker in self._on.workers}
        self._fill(1)
        time.sleep(SESSION_S + self._on.transaction_s)  # nobody's membership or transaction outlasts this
        silent = [str(worker) for worker, since in said.items() if not worker.await_line(_AWAY, since=since, seconds=5)]
        self._on.cluster.start_broker(1)
        assert not silent, f"{', '.join(silent)} did not say that the cluster is away"

    def _fill(self, number: int) -> None:
        """No file of a broker can grow any more, as on a full disk: its next append fails, and it ends itself."""
        pid = self._on.cluster.status().processes[number - 1].pid
        assert pid is not None
        _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, most))
        end = time.monotonic() + 60
        while self._on.cluster.status().processes[number - 1].pid is not None:
            if time.monotonic() > end:
                raise FaultError(f"broker {number} goes on without a disk")
            time.sleep(0.1)
        self._note("filled a broker's disk", str(number))

    def coordinator(self) -> int:
        """The broker that knows who owns the tasks of `hours`."""
        kafka = self._on.settings.kafka
        admin, group = AdminClient({**kafka.common(), "log_level": 0}), kafka.topic("hours.v1")
        return int(admin.describe_consumer_groups([group], request_timeout=30)[group].result().coordinator.id)

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
            lambda: self.sleep_and_come_back(self._random.choice(["begin", REJOINED, "before_commit", "offsets_sent"])),
            self.kill_all,
            self.die_with_an_open_transaction,
            self.foreign_open_transaction,
            self.kill_a_broker,
            self.fill_a_disk,
            self.kill_the_registry,
        )
        self._random.choice(at_random)()
