"""Note what was asked and what would have been; state what was delivered."""

from collections.abc import Iterator
from datetime import datetime

import polars as pl

from energy.periods import US_PER_HOUR, by_quarter
from energy.settlement import to_divided
from energy.time import QUARTER
from streams import Batch, Col, Context, Emit, Keyed
from topics import ActivationRequested, BaselineEstimated, DeliveryMeasured, InstructionIssued, IntervalMeasured

PLACE = ("activation_id", "site_id", "period_start")
STATED = ("baseline_wh", "measured_wh", "requested_wh", "method", "method_version", "quality", "coverage")
WORST_LAST = ("MEASURED", "CALCULATED", "ESTIMATED", "MISSING")


class Asked(Keyed, key=PLACE):
    """What a site's instructions ask for in a quarter-hour, less what was taken back, in W µs."""

    activation_id: Col[str]
    site_id: Col[str]
    period_start: Col[datetime]
    asked_w_us: Col[int]


class Waiting(Keyed, key=("activation_id", "site_id")):
    """An instructed site whose baseline is not there yet, and when its activation begins."""

    activation_id: Col[str]
    site_id: Col[str]
    period_start: Col[datetime]


class Baseline(Keyed, key=PLACE):
    """The newest baseline of a site in a quarter-hour of an activation."""

    activation_id: Col[str]
    site_id: Col[str]
    period_start: Col[datetime]
    resource_id: Col[str]
    commodity: Col[str]
    energy_wh: Col[float]
    method: Col[str]
    method_version: Col[int]
    quality: Col[str]


class Stated(Keyed, key=PLACE):
    """A delivery as it was stated last."""

    activation_id: Col[str]
    site_id: Col[str]
    period_start: Col[datetime]
    baseline_wh: Col[int]
    measured_wh: Col[int]
    requested_wh: Col[int]
    method: Col[str]
    method_version: Col[int]
    quality: Col[str]
    coverage: Col[float]
    revision: Col[int]


class Watched(Keyed, key=("resource_id", "commodity", "period_start")):
    """A quarter-hour of a meter on which deliveries rest."""

    resource_id: Col[str]
    commodity: Col[str]
    period_start: Col[datetime]
    site_id: Col[str]


class Touched(Keyed, key=("site_id", "period_start")):
    """A quarter-hour of a site whose deliveries are to be worked out, or worked out again."""

    site_id: Col[str]
    period_start: Col[datetime]


STATE = (Asked, Waiting, Baseline, Stated, Watched, Touched)


def on_batch(ctx: Context[None], batch: Batch[InstructionIssued | BaselineEstimated | IntervalMeasured]) -> None:
    """Note what was asked, what would have been, and which meters spoke again."""
    told = batch[InstructionIssued].filter(InstructionIssued.activation_id.is_not_null())
    if len(told):
        _ask(ctx, told)
    baselines = batch[BaselineEstimated].filter(BaselineEstimated.purpose == "SETTLEMENT")
    if len(baselines):
        newest = baselines.sort("revision", maintain_order=True).unique(PLACE, keep="last", maintain_order=True)
        ctx.state(Baseline).put(newest)
        ctx.state(Watched).put(newest.unique(Watched.__key__, keep="last", maintain_order=True))
        ctx.state(Touched).put(newest.unique(Touched.__key__, maintain_order=True))
    if len(ctx.state(Watched)) and len(batch[IntervalMeasured]):
        spoken = batch[IntervalMeasured].select(Watched.__key__).unique(maintain_order=True)
        again = ctx.state(Watched).get(spoken).drop_nulls("site_id")
        ctx.state(Touched).put(again.unique(Touched.__key__, maintain_order=True))


def _ask(ctx: Context[None], told: pl.DataFrame) -> None:
    """Add what is asked; what is taken back counts against it."""
    sign = pl.when(pl.col("action") == "REVOKE").then(-1).otherwise(1)
    rows = by_quarter(told.with_columns(sign=sign)).with_columns(period_start="quarter_start")
    new = rows.group_by(PLACE, maintain_order=True).agg(
        added=(pl.col("sign") * pl.col("quantity_w").fill_null(0) * pl.col("overlap_us")).sum()
    )
    known = ctx.state(Asked).get(new)
    ctx.state(Asked).put(known.with_columns(asked_w_us=pl.col("asked_w_us").fill_null(0) + pl.col("added")))
    first = told.filter(InstructionIssued.action == "FOLLOW").group_by("activation_id", "site_id", maintain_order=True)
    sites = ctx.state(Waiting).get(first.agg(pl.col("period_start").min()), suffix="_was")
    ctx.state(Waiting).put(sites.with_columns(period_start=pl.min_horizontal("period_start", "period_start_was")))


def on_tick(ctx: Context[None]) -> Iterator[Emit[DeliveryMeasured]]:
    """State the deliveries whose baseline or meter has something new."""
    if len(ctx.state(Touched)):
        touched = ctx.state(Touched).scan()
        ctx.state(Touched).delete(touched)
        events = measured(ctx, touched)
        if len(events):
            ctx.state(Stated).put(events)
            yield Emit(DeliveryMeasured, events)
    if len(ctx.state(Waiting)):
        starts = ctx.state(Waiting).scan()["period_start"]
        ctx.hold(min(starts.to_list()))


def measured(ctx: Context[None], touched: pl.DataFrame) -> pl.DataFrame:
    """The deliveries of these sites and quarter-hours that are new or differ from what was stated."""
    baselines = ctx.state(Baseline).scan(pl.col("period_start").is_in(touched["period_start"].unique().implode()))
    baselines = baselines.join(touched, on=["site_id", "period_start"], how="semi", maintain_order="left")
    ctx.state(Waiting).delete(baselines.select("activation_id", "site_id").unique(maintain_order=True))
    rows = ctx.state(Asked).get(baselines).filter(pl.col("asked_w_us").fill_null(0) > 0)
    calls = ctx.table(ActivationRequested).select("activation_id", "portfolio_id", "product_id", "direction")
    rows = rows.join(calls, on="activation_id", maintain_order="left")
    if not len(rows):
        return rows
    rows = with_delivery(rows.join(meters(ctx, rows), on=Watched.__key__, how="left", maintain_order="left"))
    known = ctx.state(Stated).get(rows, suffix="_was")
    same = pl.all_horizontal(pl.col(name) == pl.col(f"{name}_was") for name in STATED).fill_null(value=False)
    news = known.filter(~same).with_columns(revision=pl.col("revision_was").fill_null(-1) + 1)
    return news.select(
        *("portfolio_id", "activation_id", "resource_id", "period_start", "period_end", "revision", "site_id"),
        *("product_id", "direction", "delivered_wh", *STATED),
    )


def meters(ctx: Context[None], rows: pl.DataFrame) -> pl.DataFrame:
    """What the meters said, from the history: one read for all."""
    first, last = rows["period_start"].min(), rows["period_start"].max()
    assert isinstance(first, datetime)
    assert isinstance(last, datetime)
    keys = rows["site_id"].unique(maintain_order=True).to_list()
    intervals = ctx.history(IntervalMeasured, since=first, until=last + QUARTER, keys=keys)
    return intervals.select(
        *Watched.__key__, metered_wh="energy_wh", metered_quality="quality", metered_coverage="coverage"
    )


def with_delivery(rows: pl.DataFrame) -> pl.DataFrame:
    """Add what was requested and delivered, in whole Wh rounded half-even, and how good the figures are."""
    lost = (pl.col("metered_quality").fill_null("MISSING") == "MISSING") | pl.col("metered_wh").is_null()
    no_base = pl.col("quality") == "MISSING"
    base = pl.when(no_base).then(pl.col("metered_wh")).otherwise(pl.col("energy_wh")).fill_null(0.0)
    grade = {name: number for number, name in enumerate(WORST_LAST)}
    worse = pl.max_horizontal(
        pl.col("quality").replace_strict(grade, return_dtype=pl.Int64),
        pl.when(lost).then(3).otherwise(
            pl.col("metered_quality").replace_strict(grade, default=3, return_dtype=pl.Int64)
        ),
    )  # fmt: skip
    rows = rows.with_columns(
        baseline_wh=base.round(mode="half_to_even").cast(pl.Int64),
        measured_wh=pl.when(lost).then(base).otherwise("metered_wh").round(mode="half_to_even").cast(pl.Int64),
        requested_wh=to_divided(pl.col("asked_w_us"), US_PER_HOUR),
        quality=worse.replace_strict(dict(enumerate(WORST_LAST)), return_dtype=pl.String),
        coverage=pl.col("metered_coverage").fill_null(0.0),
        period_end=pl.col("period_start") + QUARTER,
    )
    up = pl.col("baseline_wh") - pl.col("measured_wh")
    return rows.with_columns(delivered_wh=pl.when(pl.col("direction") == "UP").then(up).otherwise(-up))
