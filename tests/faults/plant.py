"""The plant as the fault suite runs it: many sites on six partitions, and the edges of the embedded tests."""

from collections.abc import Mapping

from streams.contracts.topic import Lane
from streams.topology import Topology
from tests.conformance.plant import CONTRACTS, DAYS, HOURS
from tests.hosts.world import ANSWERER, START, TICKER, meters

__all__ = ["LANES", "SITES", "START", "topology"]

SITES = tuple(f"site-{number}" for number in range(18))
LANES: Mapping[Lane, int] = {"site": 6, "portfolio": 1, "account": 1, "reference": 1}
METERS = meters(SITES)


def topology(partitions: Mapping[Lane, int] = LANES) -> Topology:
    """Three tasks of `hours` for each of two runners or more, one of `days`, and the edges."""
    return Topology(CONTRACTS, (HOURS, DAYS), (METERS, TICKER, ANSWERER), partitions)
