"""The plant as a deployment: what runners in processes of their own are told to run."""

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import polars as pl

from streams import Emit, Records
from streams.topology import Topology
from tests.conformance.plant import CONTRACTS, DAYS, HOURS, CounterRead, HourSummed
from tests.hosts.world import ANSWERER, METERS, START, TICKER

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


def looking(partitions: Mapping[Any, int]) -> Topology:
    """Instead of hours: at every tick what the history holds of each site's readings so far."""

    def on_tick(ctx: Any) -> Iterator[Emit[Any]]:
        rows = ctx.history(CounterRead, since=START, until=ctx.now)
        sums = rows.group_by("site_id", maintain_order=True).agg(
            pl.col("energy_wh").sum(), pl.len().cast(pl.Int64).alias("factor_ppm")
        )
        if sums.height:
            yield Emit(HourSummed, sums.with_columns(period_start=pl.lit(ctx.now), revision=pl.lit(0, pl.Int64)))

    hours = replace(HOURS, history=Records((CounterRead,)), on_tick=on_tick)
    return Topology(CONTRACTS, (hours, DAYS), (METERS, TICKER, ANSWERER), partitions)
