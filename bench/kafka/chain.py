"""The demo's chain on a cluster: an activation to its instructions, and readings to settlement lines a second.

Two runs, each a worker process a processor. In step: the demo's simulated world, whose clock gives the next tick once
all processors have reported the last one, so that no tick waits for an earlier one; activations come at an even pace
beside those of the market. At once: what that world wrote (readings, answers, prices, activations, ticks) is written
again in its order, as fast as the broker takes it, to a deployment of its own. Both must have the same settlement
lines.

``python -m bench.kafka.chain STARTS ROWS SECONDS`` is the process beside them that notes when records can be read.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from confluent_kafka import Consumer, TopicPartition

from bench.kafka import calls, data
from bench.kafka.place import Place, answer, until
from demo import homes
from demo.comparing import Source, compare
from demo.deployment import variables
from demo.on_kafka import spans
from demo.scenario import Plan, topology
from demo.workers import Workers
from streams.contracts.codec import Codec
from streams.contracts.topic import Lane, Topic
from streams.hosts.local import LocalHost
from streams.kafka.local.cluster import LocalCluster
from streams.kafka.log import KafkaLog
from streams.kafka.settings import Settings
from streams.kafka.topics import apply
from streams.topology import CLOCK
from topics import ActivationRequested, InstructionIssued, LineSettled, ReadingTaken

_SITES: Final = 2
_WHILE_LIGHT: Final = timedelta(hours=9)
"""Of the traded day: calls begin then."""
_FRAME: Final = 5
_START_S, _LOST_S, _END_S = 120.0, 40.0, 400.0
_MOMENT_S: Final = 0.002
"""Longer than the millisecond in which the broker took a tick: what is written next is later than it."""
_LOOK_S: Final = 0.2


class Chain:
    """A deployment of the demo's chain.

    Args:
        cluster: Where.
        prefix: Of all names there.
        plan: What is played.
        called: How many activations come beside the market's.
        folder: For histories and what the workers log.
    """

    def __init__(self, cluster: LocalCluster, prefix: str, plan: Plan, called: int, folder: Path) -> None:
        self.place, self.plan = Place(cluster, prefix, _SITES), plan
        self.folder = folder / prefix.strip(".")
        measured = homes.folder()
        counts: dict[Lane, int] = {"site": _SITES, "portfolio": 1, "account": 1, "reference": 1}
        world = topology(plan, measured, counts)
        since = plan.traded.since + _WHILE_LIGHT
        self.topology = replace(world, edges=(*world.edges, calls.edge(calls.Config(since=since, count=called))))
        history = self.folder / "history"
        given = variables(plan, measured, history, self.place.environment, counts)
        patient = str(self.place.settings.kafka.session_timeout_ms)  # the demo's is shorter than a broker allows
        self.environment = given | {
            "FLEXLOG_KAFKA__SESSION_TIMEOUT_MS": patient,
            "FLEXLOG_KAFKA__OPTIONS__LOG_LEVEL": "2",
        }
        apply(self.place.settings, self.topology, self.place.registry, lambda _: None)

    def workers(self) -> Workers:
        """A process a processor."""
        return Workers([spec.name for spec in self.topology.ordered], self.environment, self.folder / "logs")

    def begun(self) -> bool:
        """Whether all tasks are there, from what the workers say."""
        for spec in self.topology.processors:
            log = self.folder / "logs" / f"{spec.name}.log"
            if not log.exists() or log.read_text().count("goes on after commit") < self.topology.tasks(spec):
                return False
        return True

    def written(self) -> list[Topic]:
        """The topics that edges write, the clock's included."""
        names = {rec.__topic__.name: rec.__topic__ for edge in self.topology.edges for rec in edge.writes.types}
        return [names[name] for name in sorted(names)]

    def events(self, topic: Topic) -> pl.DataFrame:
        """All events of a topic, with ``partition``, ``offset`` and ``appended_ms``, in order of the last."""
        frames = []
        with closing(self.place.log()) as log:
            for slab in _slabs(log, topic):
                frame = self.place.codec.decode(topic, slab.keys, slab.values).frame
                frames.append(
                    frame.with_columns(
                        partition=pl.lit(slab.partition),
                        offset=pl.Series(slab.offsets),
                        appended_ms=pl.Series(slab.appended_at / 1e3),
                    )
                )
        return pl.concat(frames).sort("appended_ms", maintain_order=True)

    def looking(self, topic: Topic, rows: int, patience_s: float) -> "subprocess.Popen[str]":
        """A process that notes when what comes now can be read.

        It ends when so many came, when nothing more has come for so long, or when it is asked to.
        """
        starts = {self.place.topic(topic.name): self.place.ends(topic.name)}
        return self.place.child("bench.kafka.chain", json.dumps(starts), rows, patience_s)


def _slabs(log: KafkaLog, topic: Topic) -> Iterator[Any]:
    for partition in range(log.partitions(topic.name)):
        at = log.start(topic.name, partition)
        while len(slab := log.read(topic.name, partition, at)):
            yield slab
            at = slab.next_offset


# In step.


def in_step(chain: Chain) -> tuple[dict[str, Any], float]:
    """Play the plan; how long activations waited for their instructions, and the seconds of the whole.

    Raises:
        RuntimeError: no activation was answered.
    """
    topic = InstructionIssued.__topic__
    looking = chain.looking(topic, sys.maxsize, _END_S)
    try:
        with chain.workers() as workers:
            until(chain.begun, "the chain's workers", _START_S)
            begin = time.monotonic()
            log = KafkaLog(chain.place.settings.kafka, prompt=True, slot="edges", check=workers.check)
            world = (log, chain.place.registry)
            with LocalHost(chain.topology, start=chain.plan.start, cluster=world, elsewhere=True) as host:
                host.run(spans(chain.plan)["settle"][1])
            took = time.monotonic() - begin
        time.sleep(_LOOK_S)
        looking.terminate()
        seen = answer(looking, _START_S)["seen"]
    finally:
        looking.kill()
    read = {"partition": pl.Int32, "offset": pl.Int64, "readable_ms": pl.Float64}
    told = chain.events(topic).join(pl.DataFrame(seen, read, orient="row"), on=["partition", "offset"])
    ticks, called = chain.events(chain.topology.topic(CLOCK)), chain.events(ActivationRequested.__topic__)
    return calls.summary(calls.waits(called, ticks, told)), took


# At once.


@dataclass(frozen=True)
class Run:
    """Records of one partition, in order, and when each was appended (ms)."""

    topic: str
    partition: int
    at: np.ndarray[Any, np.dtype[np.int64]]
    keys: list[bytes]
    values: list[bytes]


class Recorded:
    """What the edges of a run wrote, up to a tick.

    Args:
        runs: All of it but the clock's.
        clock: The ticks.
        until_ms: When something was appended that the last tick brought.

    Attributes:
        ticks: When each tick was appended, ms.
    """

    def __init__(self, runs: Sequence[Run], clock: Run, until_ms: float) -> None:
        self._runs, self._clock = runs, clock
        self.ticks = clock.at[clock.at <= until_ms]

    def count(self, topic: str) -> int:
        """How many records of a topic there are."""
        return sum(int(np.searchsorted(run.at, self.ticks[-1], "right")) for run in self._runs if run.topic == topic)

    def write(self, writer: data.Writer) -> None:
        """Write it: before each tick what was appended before it, after each what was later than it."""
        clock, done = self._clock, [0] * len(self._runs)
        for number, tick in enumerate(self.ticks):
            for index, run in enumerate(self._runs):
                low, high = done[index], int(np.searchsorted(run.at, tick, "right"))
                writer.put(run.topic, run.keys[low:high], run.values[low:high], [run.partition] * (high - low))
                done[index] = high
            writer.flush()
            writer.put(clock.topic, clock.keys[number : number + 1], clock.values[number : number + 1], [0])
            writer.flush()
            time.sleep(_MOMENT_S)


def recorded(chain: Chain, codec: Codec) -> Recorded:
    """What the edges of a run wrote, up to the tick that brought its last settlement line.

    Args:
        chain: The run.
        codec: Its ids of schemas stand in the values.
    """
    clock = chain.topology.topic(CLOCK)
    ended = chain.events(LineSettled.__topic__)["appended_ms"].to_list()[-1:]
    if not ended:
        raise RuntimeError("the chain has settled nothing")
    runs, ticks = list[Run](), list[Run]()
    with closing(KafkaLog(chain.place.settings.kafka, inputs=[topic.name for topic in chain.written()])) as log:
        for topic in chain.written():
            head = b"\0" + codec.schema_id(topic).to_bytes(4, "big")
            for partition, end in log.ends(topic.name).items():
                (ticks if topic is clock else runs).extend(_run(log, topic, partition, end, head))
    return Recorded(runs, ticks[0], ended[0])


def _run(log: KafkaLog, topic: Topic, partition: int, end: int, head: bytes) -> list[Run]:
    at, keys, values = list[Any](), list[bytes](), list[bytes]()
    start = log.start(topic.name, partition)
    while start < end:
        slab = log.read(topic.name, partition, start, stop=end)
        at.append(slab.appended_at // 1_000)
        keys += [key or b"" for key in slab.keys]
        values += [head + value[_FRAME:] for value in slab.events]
        start = slab.next_offset
    return [Run(topic.name, partition, np.concatenate(at), keys, values)] if at else []


def at_once(chain: Chain, told: Recorded, lines: int) -> dict[str, Any]:
    """Write what was recorded, and wait until so many settlement lines can be read.

    Raises:
        RuntimeError: they do not come.
    """
    looking = chain.looking(LineSettled.__topic__, lines, _LOST_S)
    try:
        with chain.workers() as workers:
            until(chain.begun, "the chain's workers", _START_S)
            begin = time.time()
            told.write(chain.place.writer())
            written = time.time() - begin
            seen = answer(looking, _END_S, workers.check)["seen"]
    finally:
        looking.kill()
    if len(seen) != lines:
        raise RuntimeError(f"{len(seen):,} of {lines:,} settlement lines, and then none for {_LOST_S:.0f} s")
    seconds = max(readable for _, _, readable in seen) / 1e3 - begin
    readings = told.count(ReadingTaken.__topic__.name)
    return {
        "readings": readings,
        "lines": lines,
        "ticks": len(told.ticks),
        "seconds": seconds,
        "written_s": written,
        "per_s": readings / seconds,
        "peak_mb": workers.total_mb,
    }


def same_lines(one: Chain, other: Chain) -> None:
    """See that both have the same settlement lines, in any order.

    Raises:
        RuntimeError: they differ.
    """
    topic = LineSettled.__topic__
    with closing(one.place.log()) as first, closing(other.place.log()) as second:
        sources = (Source("in step", first, one.place.codec), Source("at once", second, other.place.codec))
        found = compare(topic, *sources)
    if not found.equal:
        raise RuntimeError(f"{topic.name}: {found.differing:,} events differ; the first: {found.first}")


def measure(cluster: LocalCluster, plan: Plan, called: int, folder: Path) -> dict[str, Any]:
    """Both runs: ``activation``, and ``chain``.

    Raises:
        RuntimeError: something is missing, or the two runs differ.
    """
    paced = Chain(cluster, "paced.", plan, called, folder)
    activation, took = in_step(paced)
    full = Chain(cluster, "full.", plan, called, folder)
    found = at_once(full, recorded(paced, full.place.codec), paced.events(LineSettled.__topic__).height)
    same_lines(paced, full)
    return {"activation": activation, "chain": {"homes": plan.homes, **found, "in_step_s": took}}


def look(starts: Mapping[str, Mapping[str, int]], rows: int, patience_s: float) -> None:
    """Note when records can be read: partition, offset and milliseconds since 1970, as one line of JSON at the end."""
    over: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: over.append(1))
    consumer = Consumer(
        {
            **Settings.load().kafka.common(),
            "group.id": "look",
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 10,
        }
    )
    consumer.assign([TopicPartition(name, int(p), at) for name, ends in starts.items() for p, at in ends.items()])
    seen: list[tuple[int | None, int | None, float]] = []
    newest = 0.0
    while len(seen) < rows and not over and not (newest and time.monotonic() - newest > patience_s):
        first = consumer.poll(_LOOK_S)
        if first is None:
            continue
        messages = [first, *consumer.consume(20_000, 0)]
        now, newest = time.time() * 1e3, time.monotonic()
        seen += [(message.partition(), message.offset(), now) for message in messages if not message.error()]
    consumer.close()
    print(json.dumps({"seen": seen}), flush=True)


if __name__ == "__main__":
    look(json.loads(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
