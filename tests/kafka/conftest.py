"""What several tests of the log on a cluster need: topics of its own, and logs on them."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from streams.kafka.cluster import Cluster
from streams.kafka.local.cluster import LocalCluster
from streams.kafka.log import KafkaLog
from streams.kafka.settings import KafkaSettings
from tests.kafka.onlog import LEAD, Make


@pytest.fixture
def settings(cluster: LocalCluster) -> KafkaSettings:
    made = KafkaSettings(
        bootstrap_servers=cluster.bootstrap_servers,
        prefix=f"l{uuid.uuid4().hex[:10]}.",
        replication_factor=1,
        session_timeout_ms=6_000,
    )
    config = {"message.timestamp.type": "LogAppendTime", "cleanup.policy": "delete", "retention.ms": "-1"}
    names = {"a": 2, "b": 1, "many": 8, LEAD: 2}
    Cluster(made).create({made.topic(name): (count, config) for name, count in names.items()})
    return made


@pytest.fixture
def make(settings: KafkaSettings) -> Iterator[Make]:
    """Logs as other processes would have them; all are closed at the end."""
    logs: list[KafkaLog] = []

    def made(**options: Any) -> KafkaLog:
        logs.append(KafkaLog(settings, **{"prompt": True, **options}))
        return logs[-1]

    yield made
    for log in logs:
        log.crash = None
        log.close()
