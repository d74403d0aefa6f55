"""A deployment of the plant on a cluster: runner processes that are killed, and the edges' host that goes on."""

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from streams.errors import AbortedError, FencedError
from streams.hosts.cores import everywhere
from streams.hosts.local import LocalHost
from streams.kafka import topics
from streams.kafka.child import PASSING
from streams.kafka.local.cluster import LocalCluster
from streams.kafka.log import KafkaLog
from streams.kafka.registry import RestRegistry
from streams.kafka.settings import KafkaSettings, Partitions, RegistrySettings, Settings
from tests.faults.plant import LANES, START, topology

ROOT = Path(__file__).parents[2]
SESSION_S = 3
BROKERS: Mapping[str, str] = {
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "group.min.session.timeout.ms": "1000",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
}
"""Settings of the brokers: they notice early what is dead, so that a case is short."""
CLIENTS: Mapping[str, str] = {"FLEXLOG_KAFKA__OPTIONS__CONNECTIONS_MAX_IDLE_MS": "5000"}
"""Of the workers: half of what it is elsewhere, for the same reason."""
_STEP = timedelta(minutes=30)
_STUCK_S = 180.0


class FaultError(AssertionError):
    """Something did what it must not do: it ended, or nothing went on."""


class Worker:
    """A runner process under a slot that stays."""

    def __init__(self, name: str, slot: int, deployment: "Deployment") -> None:
        self.name, self.slot, self._deployment = name, slot, deployment
        self.log = deployment.folder / f"{name}.{slot}.log"
        self.haunted = ""
        self.process: subprocess.Popen[bytes] | None = None

    def __str__(self) -> str:
        return f"{self.name}/{self.slot}"

    def start(self, point: str = "", nth: int = 1, number: str = "KILL") -> None:
        """Start it, to get a signal of its own at a point."""
        assert self.process is None
        self.haunted = f"{point}:{nth}:{number}" if point else ""
        command = [sys.executable, "-m", "tests.faults.worker", self.name, str(self.slot)]
        with self.log.open("ab") as out, everywhere():
            out.write(f"--- started {self.haunted}\n".encode())
            out.flush()
            self.process = subprocess.Popen(
                command + ([self.haunted] if point else []),
                cwd=ROOT,
                env=self._deployment.environment,
                stdout=out,
                stderr=out,
            )

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """As a power cut would."""
        if self.process is not None:
            process, self.process = self.process, None
            process.kill()
            process.wait()

    def has_ended(self) -> bool:
        """Whether it has killed itself."""
        assert self.process is not None
        code = self.process.poll()
        if code is None:
            return False
        if code != -signal.SIGKILL:
            raise FaultError(f"{self} was to die at {self.haunted} and ended with {code}")
        self.process = None
        return True

    def await_end(self, seconds: float = 60) -> None:
        """Wait until it has killed itself."""
        end = time.monotonic() + seconds
        while not self.has_ended():
            if time.monotonic() > end:
                raise FaultError(f"{self} never came to {self.haunted}")
            time.sleep(0.02)

    def await_stop(self, seconds: float = 60) -> None:
        """Wait until it has stopped itself."""
        assert self.process is not None
        stat = Path(f"/proc/{self.process.pid}/stat")
        end = time.monotonic() + seconds
        while stat.read_text().rpartition(")")[2].split()[0] not in "Tt":
            if time.monotonic() > end:
                raise FaultError(f"{self} never came to {self.haunted}")
            time.sleep(0.05)

    def await_line(self, *parts: str, since: int, seconds: float = 60) -> bool:
        """Wait until it has said one of these after so many bytes of its log; whether it has."""
        end = time.monotonic() + seconds
        while not any(part.encode() in self.log.read_bytes()[since:] for part in parts):
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True


class Deployment:
    """Topics of its own on a cluster, three runners of `hours`, one of `days`.

    Args:
        cluster: one or three brokers and a registry, with `BROKERS` as their settings.
        folder: for the logs of the workers.
        transaction_s: after this the cluster ends a dead worker's transaction.
    """

    def __init__(self, cluster: LocalCluster, folder: Path, *, transaction_s: int = 4) -> None:
        self.cluster = cluster
        self.transaction_s = transaction_s
        self.folder = folder
        self.counts: Counter[str] = Counter()
        self.topology = topology()
        copies = len(cluster.bootstrap_servers.split(","))
        kafka = KafkaSettings(
            bootstrap_servers=cluster.bootstrap_servers,
            prefix=f"f{uuid.uuid4().hex[:8]}.",
            replication_factor=copies,
            partitions=Partitions.model_validate(LANES),
            batch_rows=10,
            session_timeout_ms=SESSION_S * 1_000,
            transaction_timeout_ms=transaction_s * 1_000,
        )
        self.settings = Settings(kafka=kafka, registry=RegistrySettings(url=cluster.registry_url))
        named = {
            "PREFIX": kafka.prefix,
            "REPLICATION_FACTOR": copies,
            "BATCH_ROWS": kafka.batch_rows,
            "SESSION_TIMEOUT_MS": kafka.session_timeout_ms,
            "TRANSACTION_TIMEOUT_MS": kafka.transaction_timeout_ms,
        } | {f"PARTITIONS__{lane.upper()}": count for lane, count in LANES.items()}
        own = {f"FLEXLOG_KAFKA__{name}": str(value) for name, value in named.items()} | dict(CLIENTS)
        self.environment = {**os.environ, **cluster.environment(), **own, "POLARS_MAX_THREADS": "1"}
        self.workers = [Worker("hours", slot, self) for slot in range(3)] + [Worker("days", 0, self)]
        self.registry = RestRegistry(self.settings.registry, prefix=kafka.prefix)
        self.failure: BaseException | None = None
        self.now = START
        self._moved = time.monotonic()

    def __enter__(self) -> Self:
        topics.apply(self.settings, self.topology, self.registry, lambda _: None)
        for worker in self.workers:
            worker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            for worker in self.workers:
                if worker.process is not None and worker.process.poll() is None:
                    worker.send(signal.SIGUSR1)
            time.sleep(0.5)
        for worker in self.workers:
            worker.kill()
        self.registry.close()
        if error is not None:
            error.add_note(self.told())

    def told(self) -> str:
        """What the workers said last."""
        parts = []
        for worker in self.workers:
            lines = worker.log.read_text(errors="replace").splitlines() if worker.log.exists() else []
            parts += [f"--- {worker} ---", *lines[-60:]]
        return "\n".join(parts)

    def go_on(self, disturb: Callable[[], None], least: timedelta) -> datetime:
        """Let simulated time pass while something disturbs, and at least so long; the end of it."""
        self._moved = time.monotonic()
        log = KafkaLog(self.settings.kafka, slot="edges", prompt=True, check=self._check)
        over = threading.Event()

        def disturbing() -> None:
            try:
                disturb()
            except BaseException as error:  # noqa: BLE001 -- the main thread raises it
                self.failure = self.failure or error
            finally:
                over.set()

        with LocalHost(self.topology, start=START, cluster=(log, self.registry), elsewhere=True) as host:
            thread = threading.Thread(target=disturbing, daemon=True)
            thread.start()
            until = host.now
            while not over.is_set() or host.now < START + least:
                until += _STEP
                self._run(host, until)
            thread.join()
            self._check()
            return host.now

    def _run(self, host: LocalHost, until: datetime) -> None:
        def on(now: datetime) -> None:
            self.now, self._moved = now, time.monotonic()

        while True:
            try:
                host.run(until, on)
            except (AbortedError, FencedError):  # the edges too go on after the last commit
                self.counts["edges began again"] += 1
                host.restore()
            else:
                return

    def await_progress(self, ticks: int = 2, seconds: float = _STUCK_S) -> None:
        """Wait until so many ticks have been decided by all."""
        goal, end = self.now + ticks * timedelta(minutes=15), time.monotonic() + seconds
        while self.now < goal:
            if self.failure is not None:
                raise self.failure
            if time.monotonic() > end:
                raise FaultError(f"nothing goes on at {self.now}")
            time.sleep(0.02)

    def _check(self) -> None:
        """Called while the edges' host waits: does everybody live?"""
        for worker in self.workers:
            process = worker.process
            code = process.poll() if process is not None and not worker.haunted else None
            if code is None or worker.process is not process:  # it lives, or was killed just now
                continue
            if code == PASSING:
                self.counts["workers that began again"] += 1
                worker.process = None
                worker.start()
            else:
                self.failure = self.failure or FaultError(f"{worker} ended with {code}, though nobody killed it")
        if self.failure is not None:
            raise self.failure
        if time.monotonic() - self._moved > _STUCK_S:
            raise FaultError(f"nothing has gone on since {self.now}")
