"""The demo's chain on a real Kafka, with workers killed on the way, beside the same run in one process."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from demo.comparing import Compared, Source, compare
from demo.deployment import variables
from demo.foreign import JavaClient, Told, properties, sums
from demo.scenario import Plan, topology
from demo.screen import Phases, Step
from demo.workers import Kill, Workers
from streams.contracts.codec import Codec
from streams.contracts.topic import Lane
from streams.hosts.local import LocalHost
from streams.kafka import topics
from streams.kafka.local.cluster import LocalCluster
from streams.kafka.log import KafkaLog
from streams.kafka.registry import RestRegistry
from streams.kafka.settings import Settings
from streams.topology import Topology

SETTLE = timedelta(days=2, hours=6)
"""After the last traded day: the latest readings come 28 hours late, what they change is stated a day after that."""
_PATIENCE_S = 60.0
MONEY = ("settlement.line.v1", "settlement.statement.v1")
LINES = MONEY[0]


@dataclass
class Outcome:
    """What a run on Kafka gave.

    Attributes:
        compared: Each topic in both runs.
        told: What a client that shares no code with flexlog reads of the settlement.
        kills: Those that were done, and whether the worker was still at work.
        planned: How many there were to be.
        restarts: How often a worker was started again.
        ticks: How many ticks the clock gave.
        commits: How many commits the workers made.
        seconds: By phase.
        memory_mb: The most that a process had, by name.
        total_mb: The most that all had together.
    """

    compared: list[Compared] = field(default_factory=list)
    told: Told | None = None
    kills: list[tuple[Kill, bool]] = field(default_factory=list)
    planned: int = 0
    restarts: int = 0
    ticks: int = 0
    commits: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    memory_mb: dict[str, float] = field(default_factory=dict)
    total_mb: float = 0.0

    @property
    def ran_s(self) -> float:
        """Seconds in which simulated time passed on Kafka."""
        return sum(self.seconds.get(name, 0.0) for name in ("learn", "trade", "settle"))

    @property
    def ticks_per_s(self) -> float:
        """How fast simulated time passed on Kafka, kills included."""
        return self.ticks / self.ran_s if self.ran_s else 0.0

    @property
    def problems(self) -> list[str]:
        """What is not as it should be."""
        found = [
            f"{one.topic}: {one.differing} events differ; the first: {one.first}"
            for one in self.compared
            if one.differing
        ]
        found += [
            f"{one.topic}: there is nothing in it" for one in self.compared if one.topic in MONEY and not one.rows[0]
        ]
        if self.told is not None and self.told.problem:
            found.append(self.told.problem)
        if len(self.kills) < self.planned:
            found.append(f"only {len(self.kills)} of {self.planned} kills came about")
        return found

    def as_json(self) -> dict[str, Any]:
        """For people's programs."""
        return {
            "equal": not self.problems,
            "topics": [
                {"topic": one.topic, "embedded": one.rows[0], "kafka": one.rows[1], "differing": one.differing}
                for one in self.compared
            ],
            "java_client": None
            if self.told is None
            else {"lines": self.told.lines, "accounts": self.told.accounts, "equal": not self.told.problem},
            "kills": [
                {"phase": kill.phase, "at": kill.at.isoformat(), "worker": kill.worker, "at_work": at_work}
                for kill, at_work in self.kills
            ],
            "kills_planned": self.planned,
            "restarts": self.restarts,
            "ticks": self.ticks,
            "commits": self.commits,
            "seconds": {name: round(took, 1) for name, took in self.seconds.items()},
            "ticks_per_s": round(self.ticks_per_s, 2),
            "memory_mb": {name: round(held) for name, held in self.memory_mb.items()},
            "total_mb": round(self.total_mb),
            "problems": self.problems,
        }


def spans(plan: Plan) -> dict[str, tuple[datetime, datetime]]:
    """The phases of a run, UTC."""
    traded = plan.traded
    return {
        "learn": (plan.start, traded.since),
        "trade": (traded.since, traded.until),
        "settle": (traded.until, traded.until + SETTLE),
    }


@dataclass(frozen=True)
class Stage:
    """Where a run takes place.

    Attributes:
        data: Folder with the measured year.
        work: An empty folder for the histories and what the workers log.
        cluster: It runs, and is empty.
        partitions: Of each lane, in both runs.
        phases: Where progress is shown.
        client: It reads the settlement in the end.
    """

    data: Path
    work: Path
    cluster: LocalCluster
    partitions: Mapping[Lane, int]
    phases: Phases
    client: JavaClient


def play(plan: Plan, stage: Stage, kills: Sequence[Kill] = ()) -> Outcome:
    """Run a plan in one process and on a cluster, and compare.

    Args:
        plan: What to play.
        stage: Where.
        kills: Which workers are killed, in order of time.
    """
    chain = topology(plan, stage.data, stage.partitions)
    environment = variables(plan, stage.data, stage.work / "history", stage.cluster.environment(), stage.partitions)
    outcome = Outcome(planned=len(kills), seconds=stage.phases.seconds)
    with ExitStack() as stack:
        settings = stack.enter_context(_settings(environment))
        registry = stack.enter_context(
            closing(RestRegistry(settings.registry, prefix=settings.kafka.prefix, patience_s=_PATIENCE_S))
        )
        with stage.phases.phase("topics", "topics and schemas") as step:
            topics.apply(settings, chain, registry, lambda done: step(0.5, done.name))
        names = [spec.name for spec in chain.ordered]
        with Workers(names, environment, stage.work / "logs", kills, _others(stage.cluster)) as workers:
            # They start while the embedded run takes its time; that run's log is needed to the end.
            alone = stack.enter_context(LocalHost(chain, start=plan.start, folder=stage.work / "embedded"))
            with stage.phases.phase("embedded") as step:
                until = spans(plan)["settle"][1]
                alone.run(until, _dated(step, plan.start, until, plan))
            _on_kafka(plan, chain, settings, registry, stage.phases, workers, outcome)
        with stage.phases.phase("compare") as step:
            used = [name for name in sorted(chain.contracts.topics) if chain.writers(name)]
            looking = stack.enter_context(closing(KafkaLog(settings.kafka, prompt=True, inputs=used)))
            # All at once: a client takes half a second to find a partition that it has not read before.
            looking.expect({(name, p): 0 for name in used for p in range(looking.partitions(name))})
            sources = Source("embedded", alone.log, alone.codec), Source("Kafka", looking, Codec(registry))
            for number, name in enumerate(used):
                step(number / len(used), name)
                outcome.compared.append(compare(chain.topic(name), *sources))
        with stage.phases.phase("client", "one in Java reads the lines"):
            read = stage.client.sums(
                settings.kafka.topic(LINES), properties(settings.kafka.bootstrap_servers, settings.registry.url)
            )
            outcome.told = Told(read, sums(chain.topic(LINES), sources[0]))
    return outcome


def _on_kafka(
    plan: Plan,
    chain: Topology,
    settings: Settings,
    registry: RestRegistry,
    phases: Phases,
    workers: Workers,
    outcome: Outcome,
) -> None:
    """Let the edges act here and the workers follow."""
    log = KafkaLog(settings.kafka, prompt=True, slot="edges", check=workers.check)
    specs = {spec.name: spec for spec in chain.processors}
    with LocalHost(chain, start=plan.start, cluster=(log, registry), elsewhere=True) as host:
        board = host.board

        def busy(name: str) -> bool:
            due = board.last_due(specs[name], board.ticks[-1]) if board.ticks else None
            return due is not None and board.reports(specs[name], due) is None

        workers.busy = busy
        for name, (since, until) in spans(plan).items():
            with phases.phase(name) as step:
                said = _dated(step, since, until, plan)

                def passed(now: datetime, said: Callable[[datetime], None] = said) -> None:
                    workers.reached(now)
                    said(now)

                host.run(until, passed)
        outcome.ticks, outcome.commits = len(board.ticks), host.commits()
    outcome.kills, outcome.restarts = workers.killed, workers.restarts
    outcome.memory_mb, outcome.total_mb = workers.peak_mb, workers.total_mb


def _others(cluster: LocalCluster) -> dict[str, int]:
    """Processes beside the workers: what they take of memory counts too."""
    found = {one.title: one.pid for one in cluster.status().processes if one.pid is not None}
    return found | {"edges": os.getpid()}


@contextmanager
def _settings(environment: Mapping[str, str]) -> Iterator[Settings]:
    """The settings that the workers will read; here, where a person looks on, the clients keep to themselves."""
    environment = {**environment, "FLEXLOG_KAFKA__OPTIONS__LOG_LEVEL": "2"}
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield Settings.load()
    finally:
        for name, held in before.items():
            if held is None:
                del os.environ[name]
            else:
                os.environ[name] = held


def _dated(step: Step, since: datetime, until: datetime, plan: Plan) -> Callable[[datetime], None]:
    """Say the simulated local date beside the bar."""
    zone, span = ZoneInfo(plan.traded.timezone), (until - since).total_seconds()

    def said(now: datetime) -> None:
        local = now.astimezone(zone)
        step((now - since).total_seconds() / span, f"{local:%a} {local.day} {local:%b %Y %H:%M}")

    return said
