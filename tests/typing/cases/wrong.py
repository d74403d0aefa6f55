"""Each marked line is a mistake that mypy must find; the others are right."""

from collections.abc import Iterator
from datetime import UTC, datetime

import polars as pl
from pydantic import BaseModel, ConfigDict

from streams import Batch, Col, Context, Emit, Keyed, Processor, records
from topics import IntervalMeasured, LoadPredicted, ReadingTaken, StateReported


class Config(BaseModel):
    model_config = ConfigDict(frozen=True)
    limit_w: float = 1.0


class Open(Keyed, key=("site_id",)):
    site_id: Col[str]
    at: Col[datetime]


def reads_one(ctx: Context[Config], batch: Batch[ReadingTaken]) -> None:
    rows: pl.DataFrame = batch[ReadingTaken]
    rows.filter(ReadingTaken.power_w > ctx.config.limit_w)
    rows.filter(ReadingTaken.powr_w > 0)  # error: attr-defined
    batch[StateReported]  # error: index
    ctx.config.limit_kw  # error: attr-defined
    ctx.state(ReadingTaken)  # error: arg-type
    ctx.table(Open)  # error: arg-type
    ctx.state(Open).put([1])  # error: arg-type
    ctx.hold("2026-01-01")  # error: arg-type


def writes_intervals(ctx: Context[Config]) -> Iterator[Emit[IntervalMeasured]]:
    yield Emit(IntervalMeasured, ctx.state(Open).scan())


def writes_forecasts(ctx: Context[Config]) -> Iterator[Emit[LoadPredicted]]:
    yield Emit(LoadPredicted, ctx.state(Open).scan())
    yield Emit(IntervalMeasured, ctx.state(Open).scan())  # error: arg-type


def reads_both(ctx: Context[Config], batch: Batch[ReadingTaken | StateReported]) -> None:
    batch[ReadingTaken]
    batch[StateReported]


RIGHT = Processor(
    name="right",
    version=1,
    reads=records(ReadingTaken, StateReported),
    writes=records(IntervalMeasured),
    state=(Open,),
    on_batch=reads_one,
    on_tick=writes_intervals,
    config=Config(),
)

WRITES_OTHER = Processor(
    name="writes_other",
    version=1,
    reads=records(ReadingTaken),
    writes=records(IntervalMeasured),
    on_batch=reads_one,
    on_tick=writes_forecasts,  # error: arg-type
    config=Config(),
)

READS_LESS = Processor(
    name="reads_less",
    version=1,
    reads=records(ReadingTaken),
    writes=records(IntervalMeasured),
    on_batch=reads_both,  # error: arg-type
    on_tick=writes_intervals,
    config=Config(),
)

NO_CONFIG = Processor(
    name="no_config",
    version=1,
    reads=records(ReadingTaken),
    writes=records(IntervalMeasured),
    on_batch=reads_one,  # error: arg-type
    on_tick=writes_intervals,  # error: arg-type
    config=3,
)

ReadingTaken(site_id="s", resource_id="r", commodity="ELECTRICITY", occurred_at=datetime.now(UTC), quality="MEASURED")
ReadingTaken(site_id=1, resource_id="r", commodity="ELECTRICITY", occurred_at=datetime.now(UTC), quality="MEASURED")  # error: arg-type
ReadingTaken(site_id="s", resource_id="r", commodity="ELEKTRO", occurred_at=datetime.now(UTC), quality="MEASURED")  # error: arg-type
ReadingTaken(site="s", resource_id="r", commodity="ELECTRICITY", occurred_at=datetime.now(UTC), quality="MEASURED")  # error: call-arg
