"""Where a benchmark runs: a cluster of its own on this machine, deployments on it, and processes beside it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import polars as pl
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from bench.kafka import data
from bench.kafka.job import QuarterSummed, topology
from streams.contracts.codec import Codec
from streams.kafka import topics
from streams.kafka.local.cluster import LocalCluster
from streams.kafka.log import KafkaLog
from streams.kafka.registry import RestRegistry
from streams.kafka.settings import KafkaSettings, Partitions, RegistrySettings, Settings

ROOT: Final = Path(__file__).parents[2]
_AGAIN_S, _SLICE_S = 0.02, 0.2


class Place:
    """A deployment on a cluster: its own prefix, its own partition count."""

    def __init__(self, cluster: LocalCluster, prefix: str, sites: int) -> None:
        self.settings = Settings(
            kafka=KafkaSettings(
                bootstrap_servers=cluster.bootstrap_servers,
                prefix=prefix,
                replication_factor=1,
                partitions=Partitions(site=sites, portfolio=1, account=1),
                health_port=0,
            ),
            registry=RegistrySettings(url=cluster.registry_url),
        )
        self.registry = RestRegistry(self.settings.registry, prefix=prefix)
        self.codec = Codec(self.registry)
        self.partitions = sites
        self.environment = {
            **os.environ,
            **cluster.environment(),
            "FLEXLOG_KAFKA__PREFIX": prefix,
            "FLEXLOG_KAFKA__REPLICATION_FACTOR": "1",
            "FLEXLOG_KAFKA__PARTITIONS__SITE": str(sites),
            "FLEXLOG_KAFKA__PARTITIONS__PORTFOLIO": "1",
            "FLEXLOG_KAFKA__PARTITIONS__ACCOUNT": "1",
            "PYTHONPATH": str(ROOT),
            "POLARS_MAX_THREADS": "1",
        }
        self._admin = AdminClient(self.settings.kafka.common() | {"log_level": 0})
        self._runs: dict[str, int] = {}

    def topic(self, name: str) -> str:
        """A topic's name on the cluster."""
        return self.settings.kafka.topic(name)

    def install(self, name: str) -> int:
        """A fresh run of a processor, with the topics that it needs."""
        run = self._runs[name] = self._runs.get(name, 0) + 1
        topics.apply(self.settings, topology(name, run, self.partitions), self.registry, lambda _: None)
        return run

    def writer(self) -> data.Writer:
        """Writes rows as an edge would."""
        return data.Writer(self.settings, self.codec, self.partitions)

    def child(self, module: str, *arguments: object, **more: str) -> "subprocess.Popen[str]":
        """A Python process of ours."""
        command = [sys.executable, "-m", module, *map(str, arguments)]
        return subprocess.Popen(command, env={**self.environment, **more}, stdout=subprocess.PIPE, text=True, cwd=ROOT)

    def runner(self, name: str, run: int, slot: int, rows: int, patience_s: float = 30.0) -> "subprocess.Popen[str]":
        """A runner that ends when it has consumed so many rows, or when nothing has come for so long."""
        return self.child("bench.kafka.worker", name, run, slot, rows, patience_s)

    def log(self) -> KafkaLog:
        """For looking at topics."""
        return KafkaLog(self.settings.kafka, prompt=True)

    def ends(self, topic: str) -> dict[int, int]:
        """The last stable offsets of a topic."""
        log = self.log()
        try:
            return log.ends(topic)
        finally:
            log.close()

    def owned(self, group: str) -> int:
        """How many partitions the members of a group have."""
        found = self._admin.describe_consumer_groups([group])[group].result()
        return sum(len(member.assignment.topic_partitions) for member in found.members if member.assignment)

    def make(self, name: str) -> None:
        """A topic that is none of ours, without the prefix."""
        self._admin.create_topics([NewTopic(name, self.partitions, 1)])[name].result()

    def plain(self, name: str) -> list[tuple[bytes, bytes]]:
        """Keys and values of all that is committed on such a topic."""
        consumer = Consumer(
            {
                **self.settings.kafka.common(),
                "group.id": "look",
                "log_level": 0,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
            }
        )
        count = len(consumer.list_topics(name).topics[name].partitions)
        consumer.assign([TopicPartition(name, partition, 0) for partition in range(count)])
        found, ended = [], 0
        while ended < count:
            message = consumer.poll(10)
            if message is None:
                raise RuntimeError(f"{name} cannot be read to its end")
            if message.error():
                ended += 1
            else:
                found.append((message.key() or b"", message.value() or b""))
        consumer.close()
        return found

    def since(self, topic: Any, starts: Mapping[int, int]) -> pl.DataFrame:
        """What stands on a topic from these offsets on, decoded."""
        log = self.log()
        frames = [topic.empty()]
        try:
            for partition, start in starts.items():
                slab = log.read(topic.name, partition, start, limit=10_000_000)
                decoded = self.codec.decode(topic, slab.keys, slab.values)
                assert not decoded.rejected
                frames.append(decoded.frame)
        finally:
            log.close()
        found: pl.DataFrame = pl.concat(frames)
        return found


def answer(
    process: "subprocess.Popen[str]", timeout_s: float = 900, check: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """The last line of a process, which is JSON.

    Args:
        process: It ends by itself; what it says is read meanwhile, for a full pipe would hold it.
        timeout_s: It is killed after that.
        check: Called while it is waited for; may raise.

    Raises:
        RuntimeError: it failed, said nothing, or did not end.
    """
    end = time.monotonic() + timeout_s
    try:
        while True:
            try:
                out, _ = process.communicate(timeout=_SLICE_S)
                break
            except subprocess.TimeoutExpired:
                check()
                if time.monotonic() > end:
                    raise RuntimeError(f"{process.args!r} did not end within {timeout_s:.0f} s") from None
    except BaseException:
        process.kill()
        process.communicate()
        raise
    lines = out.strip().splitlines()
    if process.returncode or not lines:
        raise RuntimeError(f"{process.args!r} ended with {process.returncode} and said {lines[-1:]}")
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def raw(place: Place, topic: str, rows: int) -> float:
    """Rows a second of the plain consumer."""
    found = answer(place.child("bench.kafka.raw", place.topic(topic), rows))
    return float(found["rows"] / found["seconds"])


def sums(place: Place, rows: int, expected: pl.DataFrame) -> tuple[float, dict[str, Any]]:
    """Rows a second of one runner that sums; what it said is compared with what must come out."""
    run = place.install("sums")
    topic = QuarterSummed.__topic__
    starts = place.ends(topic.name)
    told = answer(place.runner("sums", run, 0, rows))
    same(place.since(topic, starts), expected, "flexlog")
    if told["consumed"] != rows:
        raise RuntimeError(f"flexlog consumed {told['consumed']:,} of {rows:,} readings")
    return pace(told), told


def pace(told: dict[str, Any]) -> float:
    """Rows a second of a runner from its first commit with rows to its last.

    The others' clocks too begin with what they consume first: none counts how long it takes to connect.
    """
    return float((told["consumed"] - told["first_rows"]) / (told["last"] - told["first"]))


def same(found: pl.DataFrame, expected: pl.DataFrame, who: str) -> None:
    """Compare sums: the same rows, and each power exactly.

    Raises:
        RuntimeError: they differ.
    """
    names = ["site_id", "period_start", "power_w"]
    ordered = found.select(names).sort(names[:2])
    if not ordered.equals(expected.select(names)):
        off = expected.join(ordered, on=names[:2], how="full", suffix="_found").filter(
            ~pl.col("power_w").eq_missing(pl.col("power_w_found"))
        )
        raise RuntimeError(f"{who}: {off.height:,} of {expected.height:,} sums differ: {off.head(5)}")


def until(done: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
    """Wait for something."""
    end = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > end:
            raise RuntimeError(f"{what}: not within {timeout_s:.0f} s")
        time.sleep(_AGAIN_S)


def lines(command: Sequence[str], environment: Mapping[str, str], cwd: Path) -> "subprocess.Popen[str]":
    """A process of somebody else's."""
    return subprocess.Popen(command, env=dict(environment), stdout=subprocess.PIPE, text=True, cwd=cwd)
