"""A processor's new version on a real cluster: built beside the old one, compared, and taking over."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from streams import Context, Emit
from streams.contracts.codec import Codec
from streams.hosts.engine import Cut
from streams.hosts.local import LocalHost
from streams.hosts.task import Forerunner
from streams.kafka.cluster import Cluster
from streams.kafka.local.cluster import LocalCluster
from streams.kafka.versions import aside
from streams.kafka.worker import Supervisor
from streams.testing import TopologyDriver
from streams.topology import PROGRESS, Topology
from tests.conformance.plant import CONTRACTS, HOURS, HourSummed, sum_hours
from tests.hosts.world import START
from tests.kafka.plant import plant
from tests.kafka.test_run import Deployment, until

HOUR = timedelta(hours=1)
OLD, NEW = "tests.kafka.plant:plant", "tests.kafka.test_versions:newer"
Sum = tuple[str, Any, int, int]


def sum_in_kwh(ctx: Context[None]) -> Iterator[Emit[Any]]:
    """What version 2 does otherwise: a thousandth."""
    for emit in sum_hours(ctx):
        yield Emit(HourSummed, pl.DataFrame(emit.rows).with_columns(pl.col("energy_wh") + 1_000_000))


def newer(partitions: Mapping[Any, int]) -> Topology:
    """The plant with version 2 of hours."""
    old = plant(partitions)
    hours = replace(HOURS, version=2, on_tick=sum_in_kwh)
    return replace(old, processors=(hours, old.processors[1]))


@pytest.fixture
def deployment(cluster: LocalCluster) -> Iterator[Deployment]:
    made = Deployment(cluster)
    made.apply()
    yield made
    made.registry.close()


def test_cuts_lie_before_the_end_of_the_older_version_or_after_it() -> None:
    driver = TopologyDriver(HOURS, at="2026-01-01 00:00", contracts=CONTRACTS)
    task, place = driver.host.tasks[0], ("plant.counter.v1", 0)
    task.ends = {(aside(2, "plant.hour.v1"), 0): 99}
    task.follow(Forerunner(1_000, {place: 10}, {("plant.hour.v1", 0): 7}))

    def cut(low: int, high: int, tick: int | None = None) -> Cut:
        return task._up_to_forerunner(Cut({place: (low, high)}, tick=tick))

    assert cut(0, 8, 900) == Cut({place: (0, 8)}, tick=900)
    assert cut(8, 9) == Cut({place: (8, 9)})
    assert cut(8, 15) == Cut({place: (8, 10)})
    assert cut(8, 15, 1_500) == Cut({place: (8, 10)})  # what the old one had consumed before its next tick
    assert cut(10, 10, 1_000) == Cut({place: (10, 10)}, tick=1_000)
    assert task.quiet
    assert cut(10, 15, 1_500) == Cut({place: (10, 15)}, tick=1_500)
    assert not task.quiet
    assert task.ends == {("plant.hour.v1", 0): 7}  # from now on it reports what the old one had written
    driver.close()


def sums(edges: LocalHost, deployment: Deployment, topic: str) -> list[Sum]:
    """Each sum that was said, by site, hour and revision."""
    codec, rows = Codec(deployment.registry), []
    for partition in range(2):
        slab = edges.log.read(topic, partition, 0, limit=100_000)
        events = codec.decode_events(deployment.topology.topic("plant.hour.v1"), slab.events)
        rows += [(e["site_id"], e["period_start"], e["revision"], e["energy_wh"]) for e in events]
    assert len({row[:3] for row in rows}) == len(rows)  # none twice
    return sorted(rows)


def ticks(edges: LocalHost, deployment: Deployment, version: int) -> list[Any]:
    """The ticks that a version has reported for all to see."""
    slab = edges.log.read(PROGRESS, 0, 0, limit=100_000)
    events = Codec(deployment.registry).decode_events(deployment.topology.topic(PROGRESS), slab.events)
    return sorted({event["tick_at"] for event in events if event["task"].startswith(f"hours.v{version}.")})


def test_a_new_version_is_built_beside_the_old_one_and_takes_over_where_that_ended(deployment: Deployment) -> None:
    environment = deployment.environment
    lines: list[Any] = []

    def runners(topology: str, *start: str) -> Supervisor:
        options = ["--start", *start] if start else []
        return Supervisor(topology=topology, environment=environment, options=options, tell=lines.append)

    # All others know the new version before it takes over.
    deployment.topology = newer(deployment.settings.kafka.partitions.by_lane())
    deployment.apply()
    edges = deployment.edges()
    try:
        with runners(NEW) as days:
            with runners(OLD) as old:
                old.start(["hours"])
                days.start(["days"])
                edges.run(START + HOUR)

                with runners(NEW) as refused:
                    refused.start(["hours"])
                    assert refused.wait(20)
                    assert refused.exit_code == 1
                    assert "version 1 has been at work" in refused.status()[0].reason

                with runners(NEW, "shadow") as beside:
                    beside.start(["hours"])
                    edges.run(START + 2 * HOUR)
                    shadow = aside(2, "plant.hour.v1")
                    made = Cluster(deployment.settings.kafka)
                    until(lambda: deployment.settings.kafka.topic(shadow) in made.names())
                    seen = sums(edges, deployment, "plant.hour.v1")
                    expected = [(*row[:3], row[3] + 1_000_000) for row in seen]
                    until(lambda: len(sums(edges, deployment, shadow)) >= len(expected))
                    assert sums(edges, deployment, shadow) == expected
                assert ticks(edges, deployment, 2) == []
                edges.run(START + 3 * HOUR)  # the old one goes on alone: it is ahead now
                ended = sums(edges, deployment, "plant.hour.v1")
            with runners(NEW, "take-over") as new:
                new.start(["hours"])
                edges.run(START + 4 * HOUR)
                first = new.kill("hours")
                edges.run(START + 5 * HOUR)
                assert first is not None
                assert new.status()[0].starts == 2
            assert (old.exit_code, beside.exit_code, new.exit_code) == (0, 0, 0)
        found = sums(edges, deployment, "plant.hour.v1")
        assert [row for row in found if row in ended] == ended
        later = [row for row in found if row not in ended]
        assert later
        assert all(row[3] > 1_000_000 for row in later)
        assert len(sums(edges, deployment, shadow)) == len(ended)  # what the old one said, and nothing after
        quarter = timedelta(minutes=15)
        assert ticks(edges, deployment, 1) == [START + n * quarter for n in range(13)]
        assert ticks(edges, deployment, 2) == [START + n * quarter for n in range(13, 21)]

        with runners(OLD) as refused:
            refused.start(["hours"])
            assert refused.wait(20)
            assert "has been taken over by version 2" in refused.status()[0].reason
    finally:
        edges.close()
