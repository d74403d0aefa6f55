"""Whoever comes back under a slot ends what was left open there, before anybody waits for it."""

import time
import uuid

import pytest

from streams.kafka.cluster import Cluster
from streams.kafka.local.cluster import LocalCluster
from streams.kafka.log import KafkaLog
from streams.kafka.settings import KafkaSettings

TIMEOUT_MS = 60_000


@pytest.mark.parametrize(("slot", "ends"), [("p.v1.0", True), ("p.v1.1", False)])
def test_an_open_transaction_of_the_same_slot_is_ended_at_the_start(
    cluster: LocalCluster, slot: str, *, ends: bool
) -> None:
    settings = KafkaSettings(
        bootstrap_servers=cluster.bootstrap_servers,
        prefix=f"s{uuid.uuid4().hex[:10]}.",
        replication_factor=1,
        transaction_timeout_ms=TIMEOUT_MS,
    )
    Cluster(settings).create({settings.topic("a"): (1, {})})
    died, back = KafkaLog(settings, slot="p.v1.0"), KafkaLog(settings, slot=slot)
    try:
        left = died.transaction("p")
        left.append("a", 0, [b"k"], [b"v"])
        left.flush()
        assert back.end("a", 0) == 0
        back.clear()
        until = time.monotonic() + TIMEOUT_MS / 1_000 / (6 if ends else 20)
        while time.monotonic() < until and back.end("a", 0) == 0:
            time.sleep(0.05)
        assert (back.end("a", 0) > 0) == ends
    finally:
        back.close()
        died.close()
