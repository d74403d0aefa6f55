"""What must hold after any faults."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

import polars as pl

from streams.contracts.codec import Codec
from streams.hosts.local import LocalHost
from streams.hosts.log import Log
from streams.hosts.replay import ReplayHost
from streams.hosts.task import Limits
from streams.kafka.log import KafkaLog
from streams.topology import COMMIT, Topology
from tests.faults.deployment import Deployment
from tests.faults.plant import START

MADE = ("plant.hour.v1", "plant.day.v1")
GIVEN = ("plant.counter.v1", "plant.factor.v1")
_ALL = 10_000_000


@dataclass(frozen=True)
class Proof:
    """What was looked at."""

    commits: int
    inputs: int
    outputs: int


def prove(deployment: Deployment, until: datetime) -> Proof:
    """Nothing is lost, nothing doubled.

    Raises:
        AssertionError: it is not so.
    """
    topology = deployment.topology
    log = KafkaLog(deployment.settings.kafka, origins=True, prompt=True)
    try:
        codec = Codec(deployment.registry)
        commits = codec.decode_events(topology.topic(COMMIT), log.read(COMMIT, 0, 0, limit=_ALL).events)
        inputs = cuts_tile_the_inputs(log, commits)
        outcome = ReplayHost(topology, log, codec, _no_history, _no_history).run()
        assert outcome.mismatches == [], str(outcome.mismatches[0])
        assert (outcome.commits, outcome.skipped) == (len(commits), {})
        found = worlds(log, codec, topology)
    finally:
        log.close()
    with LocalHost(topology, start=START, limits=Limits(batch_rows=50)) as calm:
        calm.run(until)
        expected = worlds(calm.log, calm.codec, topology)
    for name in (*GIVEN, *MADE):
        equal(name, expected[name], found[name], topology)
    assert outcome.records == sum(len(found[name]) for name in MADE)
    return Proof(len(commits), inputs, outcome.records)


def cuts_tile_the_inputs(log: Log, commits: list[dict[str, Any]]) -> int:
    """Commit numbers count on by one, each cut begins where the last ended, and the last ends where all ends."""
    numbers: dict[str, int] = {}
    places: dict[tuple[str, str, int], int] = {}
    for event in commits:
        task = event["task"]
        assert event["commit_no"] == numbers.get(task, 0) + 1, f"{task}: {event['commit_no']} after {numbers.get(task)}"
        numbers[task] = event["commit_no"]
        for item in event["inputs"]:
            place = (task, item["topic"], item["partition"])
            assert item["from_offset"] == places.get(place, 0), f"{task} {event['commit_no']}: {item}"
            assert item["to_offset"] > item["from_offset"]
            places[place] = item["to_offset"]
    partitions = log.partitions("plant.counter.v1")
    assert set(numbers) == {"days.v1.0", *(f"hours.v1.{partition}" for partition in range(partitions))}
    inputs = 0
    for partition in range(partitions):
        done = places.get((f"hours.v1.{partition}", "plant.counter.v1", partition), 0)
        slab = log.read("plant.counter.v1", partition, 0, limit=_ALL)
        inputs += len(slab)
        left = [offset for offset in slab.offsets.tolist() if offset >= done]
        assert not left, f"plant.counter.v1[{partition}]: {len(left)} records from {left[0]} on were never consumed"
    return inputs


def worlds(log: Log, codec: Codec, topology: Topology) -> dict[str, pl.DataFrame]:
    """The rows of every topic of the plant, by partition and offset."""
    found = {}
    for name in (*GIVEN, *MADE):
        topic = topology.topic(name)
        frames = [topic.empty()]
        for partition in range(log.partitions(name)):
            slab = log.read(name, partition, 0, limit=_ALL)
            decoded = codec.decode(topic, slab.keys, slab.values)
            assert not decoded.rejected
            frames.append(decoded.frame)
        found[name] = pl.concat(frames)
    return found


def equal(name: str, expected: pl.DataFrame, actual: pl.DataFrame, topology: Topology) -> None:
    """The same rows, the same newest row of each identity, the same sums."""
    identity = list(topology.topic(name).identity)
    every = list(expected.columns)
    if not expected.sort(every).equals(actual.sort(every)):
        lost = expected.join(actual, on=every, how="anti", nulls_equal=True)
        new = actual.join(expected, on=every, how="anti", nulls_equal=True)
        told = f"{len(expected)} rows undisturbed, {len(actual)} here"
        raise AssertionError(f"{name}: {told}; lost {lost.head(3).to_dicts()}, new {new.head(3).to_dicts()}")
    newest = [f.unique(identity, keep="last", maintain_order=True).sort(identity) for f in (expected, actual)]
    assert newest[0].equals(newest[1]), f"{name}: the newest rows differ"
    for column, dtype in expected.schema.items():
        if dtype.is_integer():
            assert newest[0][column].sum() == newest[1][column].sum(), f"{name}: sum of {column}"


def _no_history(*_: object) -> NoReturn:
    raise AssertionError("the plant reads no history")
