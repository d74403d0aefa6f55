"""The plant as a deployment: what runners in processes of their own are told to run."""

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from streams.topology import Topology
from tests.conformance.plant import CONTRACTS, DAYS, HOURS
from tests.hosts.world import ANSWERER, METERS, TICKER

_log = logging.getLogger(__name__)


def plant(partitions: Mapping[Any, int]) -> Topology:
    """Hours and days, with their edges."""
    return Topology(CONTRACTS, (HOURS, DAYS), (METERS, TICKER, ANSWERER), partitions)


def slow(partitions: Mapping[Any, int]) -> Topology:
    """Hours whose handler takes a minute, as a solver may."""

    def on_tick(ctx: Any) -> None:
        _log.warning("begins to work for a minute")
        time.sleep(60)

    return Topology(CONTRACTS, (replace(HOURS, on_tick=on_tick), DAYS), (METERS, TICKER, ANSWERER), partitions)
