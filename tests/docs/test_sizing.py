"""The figures of the page on sizing that follow from contracts and declarations follow from these."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from streams.contracts.codec import Codec
from streams.contracts.examples import read_examples
from streams.contracts.registry import MemoryRegistry
from streams.kafka.settings import Partitions
from streams.topology import Topology, discover
from topics import CONTRACTS

PAGE = " ".join((Path(__file__).parents[2] / "docs/explanation/sizing.md").read_text().split())


@pytest.fixture(scope="module")
def topology() -> Topology:
    """What is installed, with the partition counts of a deployment that sets none."""
    return discover(partitions=Partitions().by_lane())


def _sizes(name: str) -> list[int]:
    topic = CONTRACTS.topic(name)
    blank = {field.name: None for field in topic.fields if field.nullable}
    events = [blank | example for example in read_examples(topic)]
    return [len(value) for value in Codec(MemoryRegistry()).encode_events(topic, events)]


def test_records_are_as_large_as_the_page_says() -> None:
    assert f"A reading of the contract's examples is {max(_sizes('telemetry.reading.v1'))} bytes" in PAGE
    assert f"an interval {max(_sizes('telemetry.interval.v1'))}." in PAGE
    low, high = sorted(_sizes("registry.site.v1"))
    assert f"site's examples are {low} to {high} bytes" in PAGE


def test_an_end_in_a_progress_report_takes_as_much_as_the_page_says() -> None:
    topic = CONTRACTS.topic("stream.progress.v1")
    one, *_ = read_examples(topic)
    sizes = [
        len(value)
        for value in Codec(MemoryRegistry()).encode_events(topic, [one, one | {"outputs": one["outputs"] * 21}])
    ]
    said = re.search(r"about (\d+) bytes each, at each tick", PAGE)
    assert said is not None
    assert abs((sizes[1] - sizes[0]) / 20 - int(said[1])) < 2


def test_tasks_and_commits_are_as_many_as_the_page_says(topology: Topology) -> None:
    def commits(least: timedelta) -> int:
        day = timedelta(days=1)
        return sum(topology.tasks(spec) * (day // max(spec.every, least)) for spec in topology.processors)

    assert f"there are {sum(map(topology.tasks, topology.processors))} tasks" in PAGE
    assert f"With a tick every minute they make {commits(timedelta(minutes=1)):,} commits a day" in PAGE
    assert f"with one every quarter-hour {commits(timedelta(minutes=15)):,}." in PAGE


def test_tables_and_histories_are_used_by_as_many_as_the_page_says(topology: Topology) -> None:
    def users(name: str) -> int:
        return sum(name in {rec.__topic__.name for rec in spec.tables.types} for spec in topology.processors)

    words = ["none", "one", "two", "three", "four", "five", "six", "seven"]
    assert f"`registry.site.v1` is a table of {words[users('registry.site.v1')]} processors" in PAGE
    assert f"`registry.resource.v1` of {words[users('registry.resource.v1')]}." in PAGE
    reading = sum(bool(spec.history.types) for spec in topology.processors)
    assert f"the {words[reading]} processors that read it" in PAGE
