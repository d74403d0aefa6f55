"""Estimate what each instructed site would have used, and again when the intervals behind it change."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl

from energy.baseline import HighXOfY, high_x_of_y
from energy.effective import holding
from energy.periods import by_quarter
from energy.rules import Rulebook
from energy.time import QUARTER, UTC_MICROS, to_local_date
from streams import Batch, Col, Context, Emit, Keyed
from topics import (
    ActivationRequested,
    BaselineEstimated,
    InstructionIssued,
    IntervalMeasured,
    ResourceRegistered,
    RulePublished,
    SiteRegistered,
)

DAY = timedelta(days=1)
CLOCK_CHANGE = timedelta(hours=1)
FIRST_DAYS = 14
"""How far back is read first; further only where that holds too few days."""
KEPT = timedelta(days=400)
STATED = ("energy_wh", "unadjusted_wh", "adjustment_ratio", "days_used", "quality")
"""What makes another revision where it differs."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Instructed(Keyed, key=("site_id", "activation_id"), expires="period_end"):
    """From when until when a site was under instructions of an activation."""

    site_id: Col[str]
    activation_id: Col[str]
    resource_id: Col[str]
    period_start: Col[datetime]
    period_end: Col[datetime]


class Pending(Keyed, key=("site_id", "activation_id")):
    """A baseline to be estimated, or estimated again."""

    site_id: Col[str]
    activation_id: Col[str]


class Estimated(Keyed, key=("resource_id", "activation_id", "period_start"), expires="period_start"):
    """The newest revision of a baseline."""

    resource_id: Col[str]
    activation_id: Col[str]
    period_start: Col[datetime]
    revision: Col[int]
    energy_wh: Col[float]
    unadjusted_wh: Col[float]
    adjustment_ratio: Col[float]
    days_used: Col[int]
    quality: Col[str]


class Used(Keyed, key=("name",)):
    """Up to when intervals have entered estimates: one row."""

    name: Col[str]
    until: Col[datetime]


class Late(Keyed, key=("site_id", "period_start")):
    """A quarter-hour of a site that was stated, or stated again, after estimates that may rest on it."""

    site_id: Col[str]
    period_start: Col[datetime]


STATE = (Instructed, Pending, Estimated, Used, Late)
_USED = pl.DataFrame({"name": ["intervals"]})


def on_batch(ctx: Context[None], batch: Batch[InstructionIssued | IntervalMeasured]) -> None:
    """Note who is instructed when, and which intervals changed that estimates may rest on."""
    follow = batch[InstructionIssued].filter(
        (InstructionIssued.action == "FOLLOW") & InstructionIssued.activation_id.is_not_null()
    )
    if len(follow):
        spans = follow.sort("resource_id").group_by("site_id", "activation_id", maintain_order=True).agg(
            pl.col("resource_id").first(), pl.col("period_start").min(), pl.col("period_end").max()
        )  # fmt: skip
        known = ctx.state(Instructed).get(spans, suffix="_was")
        spans = known.with_columns(
            resource_id=pl.min_horizontal("resource_id", "resource_id_was"),
            period_start=pl.min_horizontal("period_start", "period_start_was"),
            period_end=pl.max_horizontal("period_end", "period_end_was"),
        )
        ctx.state(Instructed).put(spans)
        ctx.state(Pending).put(spans)
    if len(ctx.state(Used)):
        until = ctx.state(Used).get(_USED)["until"].item()
        late = batch[IntervalMeasured].filter(IntervalMeasured.period_end <= until)
        ctx.state(Late).put(late.unique(["site_id", "period_start"], maintain_order=True))


def on_tick(ctx: Context[None]) -> Iterator[Emit[BaselineEstimated]]:
    """Estimate for the activations that are over."""
    if len(ctx.state(Late)):
        _mark(ctx)
    if not len(ctx.state(Pending)):
        return
    rules = Rulebook(ctx.table(RulePublished).to_dicts())
    until = ctx.watermark(IntervalMeasured)
    pending = _events(ctx, ctx.state(Instructed).get(ctx.state(Pending).scan()).drop_nulls("period_end"))
    due = pending.filter((pl.col("period_end") <= until) & pl.col("timezone").is_not_null())
    if len(due) < len(pending):
        waiting = pending.join(due, on=["site_id", "activation_id"], how="anti")
        ctx.hold(min(waiting["period_start"].to_list()))
    if due.is_empty():
        return
    for method, scope in _methods(due, rules):
        of_method = due.filter(pl.col("product_id") == scope) if scope else due.filter(pl.col("product_id").is_null())
        yield Emit(BaselineEstimated, _estimate(ctx, of_method, method, rules))
    ctx.state(Pending).delete(due)
    ctx.state(Used).put(_USED.with_columns(until=pl.lit(until, UTC_MICROS)))
    if ctx.now.date() != ctx.since.date():
        ctx.state(Instructed).expire(ctx.now - KEPT)
        ctx.state(Estimated).expire(ctx.now - KEPT)
