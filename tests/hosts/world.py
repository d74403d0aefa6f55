"""Edges for the plant, so that an embedded host runs by itself: meters, a clock, a counter of what was summed.

Run as a program it lets a host go on in a folder until it is killed.
"""

import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import Field

from streams import Edge, Emit, Records, Session
from streams.hosts.local import LocalHost
from streams.hosts.task import Limits
from streams.topology import CLOCK, Topology
from tests.conformance.plant import CONTRACTS, DAYS, HOURS, CounterRead, FactorSet, HourSummed

START = datetime(2026, 1, 1, tzinfo=UTC)
END = START + timedelta(hours=12)
SITES = ("s1", "s2", "s4", "s6")  # two of each partition of two
Ticked: Any = CONTRACTS.topic(CLOCK).record


class Beat(Session):
    """Something that comes again and again."""

    next_at: datetime = START
    count: int = 0

    def wake_at(self) -> datetime | None:
        return self.next_at


class Seen(Session):
    """What a site's sums were, in the order they came."""

    sums: list[int] = Field(default_factory=list)


def meters(sites: Sequence[str]) -> Any:
    """An edge with a reading of each site every five minutes."""

    def measure(talk: Any) -> Iterator[Emit[Any]]:
        beat = talk.session
        rows = [
            {"site_id": site, "counter_id": site, "read_at": talk.now, "energy_wh": (beat.count * 7 + number) % 50}
            for number, site in enumerate(sites)
        ]
        beat.next_at, beat.count = talk.now + timedelta(minutes=5), beat.count + 1
        yield Emit(CounterRead, [CounterRead.from_dict(row) for row in rows])

    return Edge(name="meters", version=1, session=Beat, writes=Records((CounterRead,)), keys=("all",), on_wake=measure)


def tick(talk: Any) -> Iterator[Emit[Any]]:
    """A tick every quarter of an hour."""
    beat = talk.session
    event = {"clock_id": "c", "tick_at": talk.now, "sequence": beat.count, "missed": 0, "simulated": True}
    beat.next_at, beat.count = talk.now + timedelta(minutes=15), beat.count + 1
    yield Emit(Ticked, [Ticked.from_dict(event)])


def answer(talk: Any, event: Any) -> Iterator[Emit[Any]]:
    """Note every sum; each tenth moves the factor."""
    talk.session.sums.append(event.energy_wh)
    if len(talk.session.sums) % 10 == 0:
        factor = {"factor_id": talk.key, "valid_from": talk.now, "factor_ppm": 1_000_000 + len(talk.session.sums)}
        yield Emit(FactorSet, [FactorSet.from_dict(factor)])


METERS = meters(SITES)
TICKER: Any = Edge(name="clock", version=1, session=Beat, writes=Records((Ticked,)), keys=("clock",), on_wake=tick)
ANSWERER: Any = Edge(
    name="answerer",
    version=1,
    session=Seen,
    reads=Records((HourSummed,)),
    writes=Records((FactorSet,)),
    key="site_id",
    on_event=answer,
)


def topology(*processors: Any, partitions: int = 2) -> Topology:
    """The plant with its edges."""
    lanes: Any = {"site": partitions, "portfolio": 1, "account": 1, "reference": 1}
    return Topology(CONTRACTS, processors or (HOURS, DAYS), (METERS, TICKER, ANSWERER), lanes)


def host(folder: Path | None = None, made: Topology | None = None) -> LocalHost:
    """A host of the plant."""
    return LocalHost(made or topology(), start=START, folder=folder, limits=Limits(batch_rows=3))


def bytes_of(log: Any, *topics: str) -> dict[tuple[str, int], list[tuple[bytes | None, bytes | None]]]:
    """Keys and values of topics, by partition."""
    found = {}
    for topic in topics:
        for partition in range(log.partitions(topic)):
            slab = log.read(topic, partition, 0, limit=10_000_000)
            found[topic, partition] = list(zip(slab.keys, slab.values, strict=True))
    return found


if __name__ == "__main__":

    def say(word: object) -> None:
        sys.stdout.write(f"{word}\n")
        sys.stdout.flush()

    with host(Path(sys.argv[1])) as running:
        running.run(END, say)
    say("done")
