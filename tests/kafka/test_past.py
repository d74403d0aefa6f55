"""What happened on a cluster is run again from there, and brought into a history."""

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

from streams.cli import main
from streams.history import History
from streams.hosts.local import LocalHost
from streams.hosts.log import count
from streams.kafka.local.cluster import LocalCluster
from streams.kafka.settings import ClickHouseSettings, Settings
from streams.kafka.sinking import SinkWorker
from streams.topology import Topology
from tests.conformance.hosts import OnKafka
from tests.conformance.plant import CONTRACTS, DAYS, HourSummed
from tests.hosts import world
from tests.hosts.test_replay import changed

CHANGED: list[Any] = []


def plant(*, partitions: Mapping[Any, int]) -> Topology:
    del partitions
    return world.topology(*(CHANGED or ()))


@pytest.fixture(scope="module")
def settings(cluster: LocalCluster) -> Settings:
    """A deployment on which the plant ran for three hours."""
    hosts, topology = OnKafka(cluster), world.topology()
    made = hosts.settings(topology)
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(hosts, "settings", lambda _: made)
    with LocalHost(topology, start=world.START, cluster=hosts.make(topology)) as host:
        host.run(world.START + timedelta(hours=3))
    hosts.close()
    return made


def flexlog(settings: Settings, monkeypatch: pytest.MonkeyPatch, *words: str) -> Any:
    for name, value in {
        "KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
        "KAFKA__PREFIX": settings.kafka.prefix,
        "REGISTRY__URL": settings.registry.url,
    }.items():
        monkeypatch.setenv(f"FLEXLOG_{name}", value)
    return CliRunner().invoke(main, [*words, "--topology", "tests.kafka.test_past:plant"])


def test_the_past_of_a_cluster_gives_the_same_bytes_or_its_first_difference(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = flexlog(settings, monkeypatch, "replay", "--json")
    assert same.exit_code == 0, same.output
    outcome = json.loads(same.stdout.splitlines()[-1])
    assert outcome["commits"] > 20
    assert outcome["mismatches"] == []
    wrong = changed(lambda rows: rows.with_columns(pl.col("energy_wh") + 1))
    monkeypatch.setattr("tests.kafka.test_past.CHANGED", [wrong, DAYS])
    other = flexlog(settings, monkeypatch, "replay")
    assert other.exit_code == 1
    assert "row 0 field energy_wh: recorded " in other.output


def test_two_sinks_one_after_the_other_bring_each_row_once(settings: Settings, tmp_path: Path) -> None:
    """The second finds nothing to do; a history that is thrown away is made again."""
    held = settings.model_copy(update={"clickhouse": ClickHouseSettings(interface="chdb", path=tmp_path)})
    brought = []
    for _ in range(2):
        sink = SinkWorker(held, CONTRACTS)
        sink.run(once=True)
        brought.append(dict(sink.rows))
    assert brought[1] == {}
    hosts = world.topology()
    from streams.kafka.past import ClusterPast

    with ClusterPast(settings, hosts) as past:
        there = {name: count(past.log, name) for name in CONTRACTS.topics}
    assert brought[0] == {name: number for name, number in there.items() if number}
    assert there[HourSummed.__topic__.name] > 10
    with History.embedded(tmp_path, CONTRACTS) as history:
        table = HourSummed.__topic__.name.replace(".", "_")
        rows, places = history.query(f"SELECT count(), uniqExact(_partition, _offset) FROM {table}").row(0)
    assert rows == places == there[HourSummed.__topic__.name]
