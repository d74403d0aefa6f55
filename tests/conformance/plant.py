"""A small plant of processors that uses every part of a host: batches, ticks, state, a table, two lanes."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from streams import Batch, Col, Context, Emit, Keyed, Processor, Records
from streams.contracts import Contracts, load
from streams.topology import CLOCK, COMMIT, PROGRESS, RUNTIME

_HERE = Path(__file__).parent / "contracts"
PLANT = load(_HERE / "avro", _HERE / "topics")
_INSTALLED = Contracts.installed()
_HOSTS = Contracts([_INSTALLED.topic(name) for name in (CLOCK, PROGRESS, COMMIT, RUNTIME)], _INSTALLED._rejected)
CONTRACTS = _HOSTS.merge(PLANT)  # no others: a cluster gets every topic of it for every driver
CounterRead: Any = PLANT.records["CounterRead"]
HourSummed: Any = PLANT.records["HourSummed"]
FactorSet: Any = PLANT.records["FactorSet"]
DayTotalled: Any = PLANT.records["DayTotalled"]

_HOUR = ["site_id", "period_start"]


class Hour(Keyed, key=("site_id", "period_start"), expires="period_start"):
    """The sum of an hour that is not forgotten yet."""

    site_id: Col[str]
    period_start: Col[datetime]
    energy_wh: Col[int]
    revision: Col[int]


def collect(ctx: Context[None], batch: Batch[Any]) -> None:
    """Add the readings of a batch to their hours."""
    new = (
        batch[CounterRead]
        .with_columns(period_start=pl.col("read_at").dt.truncate("1h"))
        .group_by(_HOUR, maintain_order=True)
        .agg(added_wh=pl.col("energy_wh").sum())
    )
    known = ctx.state(Hour).get(new)
    ctx.state(Hour).put(
        known.with_columns(
            energy_wh=pl.col("energy_wh").fill_null(0) + pl.col("added_wh"), revision=pl.col("revision").fill_null(-1)
        )
    )


def sum_hours(ctx: Context[None]) -> Iterator[Emit[Any]]:
    """Say each hour that has changed, with the factor in force."""
    changed = ctx.state(Hour).changed()
    if changed.height:
        raised = changed.with_columns(revision=pl.col("revision") + 1)
        factors = ctx.table(FactorSet)["factor_ppm"]
        factor = int(factors[-1]) if len(factors) else 1_000_000
        yield Emit(
            HourSummed, raised.with_columns(energy_wh=pl.col("energy_wh") * factor // 1_000_000, factor_ppm=factor)
        )
        ctx.state(Hour).put(raised)
    ctx.state(Hour).expire(ctx.now - timedelta(days=2))


HOURS: Processor[Any, Any, Any] = Processor(
    name="hours",
    version=1,
    reads=Records((CounterRead,)),
    writes=Records((HourSummed,)),
    tables=Records((FactorSet,)),
    state=(Hour,),
    on_batch=collect,
    on_tick=sum_hours,
    every=timedelta(minutes=15),
)


class Said(Keyed, key=("period_start",)):
    """What was said of a day."""

    period_start: Col[datetime]
    energy_wh: Col[int]
    revision: Col[int]


def total_days(ctx: Context[None]) -> Iterator[Emit[Any]]:
    """The day's total over all sites, once the hours are complete up to the tick."""
    if ctx.watermark(HourSummed) < ctx.now:
        ctx.hold(ctx.watermark(HourSummed))
    hours = ctx.table(HourSummed)
    if not hours.height:
        return
    days = (
        hours.with_columns(period_start=pl.col("period_start").dt.truncate("1d"))
        .group_by("period_start", maintain_order=True)
        .agg(total=pl.col("energy_wh").sum(), sites=pl.col("site_id").n_unique().cast(pl.Int64))
    )
    known = ctx.state(Said).get(days)
    new = known.filter(pl.col("energy_wh").is_null() | (pl.col("energy_wh") != pl.col("total"))).with_columns(
        energy_wh=pl.col("total"), revision=pl.col("revision").fill_null(-1) + 1, portfolio_id=pl.lit("all")
    )
    if new.height:
        ctx.state(Said).put(new)
        yield Emit(DayTotalled, new.drop("total"))


DAYS: Processor[Any, Any, Any] = Processor(
    name="days",
    version=1,
    writes=Records((DayTotalled,)),
    tables=Records((HourSummed,)),
    state=(Said,),
    on_tick=total_days,
    every=timedelta(hours=1),
    single=True,
)
