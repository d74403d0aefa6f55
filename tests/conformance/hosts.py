"""The hosts that the conformance cases run on: the log in memory, and a Kafka cluster."""

import time
import uuid
from typing import Any

from streams.contracts.registry import SchemaRegistry
from streams.hosts.log import AloneLog
from streams.kafka import topics
from streams.kafka.local.cluster import LocalCluster
from streams.kafka.log import KafkaLog
from streams.kafka.registry import RestRegistry
from streams.kafka.settings import KafkaSettings, Partitions, RegistrySettings, Settings
from streams.testing import MakeCluster, TopologyDriver
from streams.topology import Topology
from tests.conformance.plant import CONTRACTS, DAYS, HOURS

START = "2026-01-01 00:00"


class InMemory:
    """The embedded host's own log. It is fast: cases are many and large."""

    name = "memory"
    cluster: MakeCluster | None = None

    def few(self, many: int, few: int) -> int:
        """How much of something a case does: on a cluster each commit takes time."""
        del few
        return many

    def pause(self) -> None:
        """Let append times differ: in memory they always do."""

    def plant(self, **options: Any) -> TopologyDriver:
        """A driver of the plant."""
        made = {"partitions": 2, "cluster": self.cluster, **options}
        return TopologyDriver(HOURS, DAYS, at=START, contracts=CONTRACTS, **made)


class OnKafka(InMemory):
    """The same host on a cluster; every driver has topics of its own there."""

    name = "kafka"

    def __init__(self, running: LocalCluster) -> None:
        self._running = running
        self._registry_settings = RegistrySettings(url=running.registry_url)
        # One for all: ids and schemas are the same for every driver.
        self._registry = RestRegistry(self._registry_settings, prefix=f"{uuid.uuid4().hex[:8]}.", patience_s=20)
        self.cluster = self.make

    def few(self, many: int, few: int) -> int:
        """The smaller count."""
        del many
        return few

    def pause(self) -> None:
        """Kafka's append times are milliseconds."""
        time.sleep(0.005)

    def settings(self, topology: Topology) -> Settings:
        """Of a deployment of its own."""
        kafka = KafkaSettings(
            bootstrap_servers=self._running.bootstrap_servers,
            prefix=f"c{uuid.uuid4().hex[:10]}.",
            replication_factor=1,
            partitions=Partitions.model_validate(topology.partitions),
        )
        return Settings(kafka=kafka, registry=self._registry_settings)

    def make(self, topology: Topology) -> tuple[AloneLog, SchemaRegistry]:
        """Topics and a log on them."""
        settings = self.settings(topology)
        topics.apply(settings, topology, self._registry, lambda _: None)
        return KafkaLog(settings.kafka, origins=True, prompt=True), self._registry

    def close(self) -> None:
        """Let go of the registry."""
        self._registry.close()


Hosts = InMemory | OnKafka
