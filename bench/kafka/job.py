"""The job: readings summed per site and quarter-hour; and two small ones that measure latency and restore."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from processors.intervals import SPEC as INTERVALS
from streams import Batch, Col, Context, Emit, Keyed, Processor, Records
from streams.contracts import Contracts, load
from streams.contracts.topic import Lane
from streams.topology import CLOCK, COMMIT, PROGRESS, RUNTIME, AnyProcessor, Topology
from topics import IntervalMeasured, ReadingTaken, RulePublished

_HERE = Path(__file__).parents[1] / "contracts"
BENCH = load(_HERE / "avro", _HERE / "topics")
_INSTALLED = Contracts.installed()
_SHARED = [ReadingTaken.__topic__.name, IntervalMeasured.__topic__.name, RulePublished.__topic__.name]
CONTRACTS = Contracts(
    [_INSTALLED.topic(name) for name in (CLOCK, PROGRESS, COMMIT, RUNTIME, *_SHARED)],
    _INSTALLED._rejected,  # noqa: SLF001 -- as the conformance plant does
).merge(BENCH)
QuarterSummed: Any = BENCH.records["QuarterSummed"]
ReadingEchoed: Any = BENCH.records["ReadingEchoed"]

_KEY = ["site_id", "period_start"]


class Quarter(Keyed, key=("site_id", "period_start"), expires="period_start"):
    """The sum of a quarter-hour that is not over yet."""

    site_id: Col[str]
    period_start: Col[datetime]
    power_w: Col[float]


def add(ctx: Context[None], batch: Batch[Any]) -> Iterator[Emit[Any]]:
    """Add the readings to their quarter-hours, and say those that are over: no reading comes late here."""
    readings = batch[ReadingTaken]
    added = (
        readings.lazy()
        .group_by("site_id", pl.col("occurred_at").dt.truncate("15m").alias("period_start"), maintain_order=True)
        .agg(pl.col("power_w").sum().alias("added"))
        .collect()
    )
    state = ctx.state(Quarter)
    state.put(state.get(added).with_columns(power_w=pl.col("power_w").fill_null(0.0) + pl.col("added")))
    newest = added["period_start"].max()
    assert isinstance(newest, datetime)
    over = state.scan(pl.col("period_start") < newest)
    if over.height:
        yield Emit(QuarterSummed, over)
        state.expire(newest)


SUMS: AnyProcessor = Processor(
    name="sums",
    version=1,
    reads=Records((ReadingTaken,)),
    writes=Records((QuarterSummed,)),
    state=(Quarter,),
    on_batch=add,
)


class Newest(Keyed, key=("site_id",)):
    """The newest reading of a site."""

    site_id: Col[str]
    occurred_at: Col[datetime]
    power_w: Col[float | None]


def _keep(ctx: Context[None], batch: Batch[Any]) -> pl.DataFrame:
    readings = batch[ReadingTaken]
    ctx.state(Newest).put(readings.unique("site_id", keep="last", maintain_order=True))
    return readings


def echo(ctx: Context[None], batch: Batch[Any]) -> Iterator[Emit[Any]]:
    """Keep the newest reading of each site, and send each reading on."""
    yield Emit(ReadingEchoed, _keep(ctx, batch).select("site_id", number="_offset", read_at="_appended_at"))


def keep(ctx: Context[None], batch: Batch[Any]) -> None:
    """Keep the newest reading of each site."""
    _keep(ctx, batch)


ECHO: AnyProcessor = Processor(
    name="echo",
    version=1,
    reads=Records((ReadingTaken,)),
    writes=Records((ReadingEchoed,)),
    state=(Newest,),
    on_batch=echo,
)
KEEP: AnyProcessor = Processor(
    name="keep",
    version=1,
    reads=Records((ReadingTaken,)),
    writes=Records((ReadingEchoed,)),
    state=(Newest,),
    on_batch=keep,
)
SPECS: Mapping[str, AnyProcessor] = {spec.name: spec for spec in (SUMS, ECHO, KEEP, INTERVALS)}


def topology(name: str, run: int, sites: int) -> Topology:
    """One of the processors under the name of a run, so that each begins with nothing; ``sites`` are the partitions."""
    partitions: dict[Lane, int] = {"site": sites, "portfolio": 1, "account": 1, "reference": 1}
    return Topology(CONTRACTS, (replace(SPECS[name], name=f"{name}-{run}"),), partitions=partitions, absent=True)
