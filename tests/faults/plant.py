"""The plant as the fault suite runs it: many sites on six partitions, and the edges of the embedded tests."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from streams import Edge, Emit, Records
from streams.contracts.topic import Lane
from streams.topology import Topology
from tests.conformance.plant import CONTRACTS, DAYS, HOURS, CounterRead
from tests.hosts.world import ANSWERER, START, TICKER, Beat

__all__ = ["LANES", "SITES", "START", "topology"]

SITES = tuple(f"site-{number}" for number in range(18))
LANES: Mapping[Lane, int] = {"site": 6, "portfolio": 1, "account": 1, "reference": 1}


def measure(talk: Any) -> Iterator[Emit[Any]]:
    """A reading of each site every five minutes."""
    beat = talk.session
    rows = [
        {"site_id": site, "counter_id": site, "read_at": talk.now, "energy_wh": (beat.count * 7 + number) % 50}
        for number, site in enumerate(SITES)
    ]
    beat.next_at, beat.count = talk.now + timedelta(minutes=5), beat.count + 1
    yield Emit(CounterRead, [CounterRead.from_dict(row) for row in rows])


METERS: Any = Edge(
    name="meters", version=1, session=Beat, writes=Records((CounterRead,)), keys=("all",), on_wake=measure
)


def topology(partitions: Mapping[Lane, int] = LANES) -> Topology:
    """Three tasks of `hours` for each of two runners or more, one of `days`, and the edges."""
    return Topology(CONTRACTS, (HOURS, DAYS), (METERS, TICKER, ANSWERER), partitions)
