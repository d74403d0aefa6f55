"""Measure what sites delivered of activations: their baselines against their meters, per quarter-hour."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import polars as pl

from energy.periods import by_quarter, to_energy_wh
from energy.settlement import to_split
from energy.time import QUARTER, instant
from streams import Batch, Col, Context, Emit, Keyed
from topics import ActivationRequested, BaselineEstimated, DeliveryMeasured, InstructionIssued, IntervalMeasured

KEPT = timedelta(days=400)
APART = timedelta(days=1)
"""Quarter-hours that lie further apart than this are read from the history one by one."""
SITE = ["site_id", "period_start"]
CALL = ["activation_id", "site_id", "period_start"]
STATED = (
    "requested_wh",
    "baseline_wh",
    "measured_wh",
    "delivered_wh",
    "quality",
    "coverage",
    "method",
    "method_version",
)
"""What makes another revision where it differs."""
QUALITIES = ["MEASURED", "CALCULATED", "ESTIMATED", "MISSING"]
"""From best to worst."""
READ = ("resource_id", "commodity", "period_start", "energy_wh", "quality", "coverage")
Inputs = InstructionIssued | BaselineEstimated | IntervalMeasured


class Instruction(Keyed, key=("instruction_id", "set_no"), expires="period_end"):
    """One period of an instruction, or of its revocation."""

    instruction_id: Col[str]
    set_no: Col[int]
    site_id: Col[str]
    activation_id: Col[str]
    action: Col[str]
    supersedes_id: Col[str | None]
    period_start: Col[datetime]
    period_end: Col[datetime]
    quantity_w: Col[int]


class Baseline(Keyed, key=("activation_id", "site_id", "period_start"), expires="period_start"):
    """The newest revision of a baseline."""

    activation_id: Col[str]
    site_id: Col[str]
    period_start: Col[datetime]
    resource_id: Col[str]
    energy_wh: Col[float]
    quality: Col[str]
    method: Col[str]
    method_version: Col[int]


class Metered(Keyed, key=("resource_id", "period_start"), expires="period_start"):
    """The newest revision of a quarter-hour that a delivery rests on; ``energy_wh`` null: not known."""

    resource_id: Col[str]
    period_start: Col[datetime]
    energy_wh: Col[float | None]
    quality: Col[str]
    coverage: Col[float]


class Measured(Keyed, key=("activation_id", "site_id", "period_start"), expires="period_start"):
    """The newest revision of a delivery."""

    activation_id: Col[str]
    site_id: Col[str]
    period_start: Col[datetime]
    revision: Col[int]
    requested_wh: Col[int]
    baseline_wh: Col[int]
    measured_wh: Col[int]
    delivered_wh: Col[int]
    quality: Col[str]
    coverage: Col[float]
    method: Col[str]
    method_version: Col[int]


class Todo(Keyed, key=("site_id", "period_start")):
    """A site's quarter-hour to be measured, or measured again."""

    site_id: Col[str]
    period_start: Col[datetime]


STATE = (Instruction, Baseline, Metered, Measured, Todo)


def on_batch(ctx: Context[None], batch: Batch[Inputs]) -> None:
    """Keep instructions, baselines and what the meters of instructed sites say, and note what they change."""
    told = batch[InstructionIssued].filter(
        InstructionIssued.activation_id.is_not_null() & InstructionIssued.quantity_w.is_not_null()
    )
    if len(told):
        ctx.state(Instruction).put(told.unique(Instruction.__key__, keep="last", maintain_order=True))
        quarters = by_quarter(told).select("site_id", period_start="quarter_start")
        ctx.state(Todo).put(quarters.unique(SITE, maintain_order=True))
    if len(estimated := batch[BaselineEstimated].filter(BaselineEstimated.purpose == "SETTLEMENT")):
        ctx.state(Baseline).put(estimated.unique(CALL, keep="last", maintain_order=True))
        ctx.state(Todo).put(estimated.unique(SITE, maintain_order=True))
    if len(ctx.state(Metered)) and len(intervals := batch[IntervalMeasured]):
        known = ctx.state(Metered).get(intervals.select(Metered.__key__))["quality"]
        again = intervals.filter(known.is_not_null() & (intervals["commodity"] == "ELECTRICITY"))
        ctx.state(Metered).put(again.unique(Metered.__key__, keep="last", maintain_order=True))
        ctx.state(Todo).put(again.unique(SITE, maintain_order=True))


def on_tick(ctx: Context[None]) -> Iterator[Emit[DeliveryMeasured]]:
    """Measure what is over and has its baselines; the watermark waits for the others."""
    if not len(ctx.state(Todo)):
        return
    until = min(ctx.watermark(record) for record in (InstructionIssued, BaselineEstimated, IntervalMeasured))
    due = ctx.state(Todo).scan(Todo.period_start <= instant(until - QUARTER))
    if due.is_empty():
        return
    rows = _asked(ctx, due)
    lacking = rows.filter((pl.col("requested_wh") > 0) & pl.col("quality_b").is_null())
    if len(lacking):
        ctx.hold(min(lacking["period_start"].to_list()))
        due = due.join(lacking, on=SITE, how="anti", maintain_order="left")
        rows = rows.join(lacking, on=SITE, how="anti", maintain_order="left")
    if len(rows):
        yield Emit(DeliveryMeasured, _revised(ctx, shared(_with_meters(ctx, rows))))
    ctx.state(Todo).delete(due)
    if ctx.now.date() != ctx.since.date():
        for kind in (Instruction, Baseline, Metered, Measured):
            ctx.state(kind).expire(ctx.now - KEPT)


def _asked(ctx: Context[None], due: pl.DataFrame) -> pl.DataFrame:
    """Return what was asked of each site by each activation; 0 where a delivery was measured and nothing is now."""
    sites = due["site_id"].unique(maintain_order=True).to_list()
    first, last = min(due["period_start"].to_list()), max(due["period_start"].to_list())
    here = pl.col("site_id").is_in(sites)
    told = ctx.state(Instruction).scan(
        here & (pl.col("period_start") < instant(last + QUARTER)) & (pl.col("period_end") > instant(first))
    )
    asked = requested(told).join(due, on=SITE, how="semi", maintain_order="left")
    known = ctx.state(Measured).scan(here & pl.col("period_start").is_between(instant(first), instant(last)))
    ended = known.join(due, on=SITE, how="semi", maintain_order="left").join(asked, on=CALL, how="anti")
    calls = ctx.table(ActivationRequested).select(
        "activation_id", "portfolio_id", "product_id", "direction", called_from="period_start"
    )
    rows = pl.concat([asked, ended.select(asked.columns).with_columns(requested_wh=pl.lit(0, pl.Int64))])
    return ctx.state(Baseline).get(rows.join(calls, on="activation_id", maintain_order="left"), suffix="_b")


def requested(instructions: pl.DataFrame) -> pl.DataFrame:
    """Return what instructions ask for: per activation, site and quarter-hour, in whole Wh.

    An instruction counts until another one takes it back or replaces it.

    Args:
        instructions: The columns of `Instruction`.

    Returns:
        `CALL` and ``requested_wh``.
    """
    ended = (
        instructions.drop_nulls("supersedes_id")
        .group_by("supersedes_id", maintain_order=True)
        .agg(ended_at=pl.col("period_start").min())
    )
    standing = (
        instructions.filter(pl.col("action") == "FOLLOW")
        .join(ended, left_on="instruction_id", right_on="supersedes_id", how="left", maintain_order="left")
        .with_columns(period_end=pl.min_horizontal("period_end", "ended_at"))
    )
    quarters = by_quarter(standing).with_columns(
        period_start="quarter_start", requested_wh=to_energy_wh(pl.col("quantity_w"), pl.col("overlap_us"))
    )
    return quarters.group_by(CALL, maintain_order=True).agg(pl.col("requested_wh").sum())


def _with_meters(ctx: Context[None], rows: pl.DataFrame) -> pl.DataFrame:
    """Add what the meters say; a meter's quarter-hour is read from the history the first time."""
    rows = rows.with_columns(resource_id="resource_id_b")
    places = rows.select("site_id", *Metered.__key__).unique(maintain_order=True)
    unknown = places.filter(ctx.state(Metered).get(places)["quality"].is_null())
    if len(unknown):
        ctx.state(Metered).put(_read(ctx, unknown))
    return ctx.state(Metered).get(rows, suffix="_m")


def _read(ctx: Context[None], places: pl.DataFrame) -> pl.DataFrame:
    sites = places["site_id"].unique(maintain_order=True).to_list()
    spans: list[tuple[datetime, datetime]] = []
    for start in places["period_start"].unique(maintain_order=True).sort().to_list():
        if spans and start - spans[-1][1] <= APART:
            spans[-1] = (spans[-1][0], start + QUARTER)
        else:
            spans.append((start, start + QUARTER))
    reads = [
        ctx.history(IntervalMeasured, since=since, until=until, keys=sites, columns=READ) for since, until in spans
    ]
    electric = pl.concat(reads).filter(IntervalMeasured.commodity == "ELECTRICITY").drop("commodity")
    found = places.join(electric, on=list(Metered.__key__), how="left", maintain_order="left")
    return found.with_columns(pl.col("quality").fill_null("MISSING"), pl.col("coverage").fill_null(0.0))


def shared(rows: pl.DataFrame) -> pl.DataFrame:
    """Return what each activation was delivered by each site in each quarter-hour.

    Where several activations ask the same site, the deviation of its meter from its baseline counts once: each gets
    what it asked for, and what is over or missing is shared by what was asked. The first activation's baseline counts,
    for its adjustment window holds no other activation; the others' baselines are what is measured plus their part.
    What was not measured proves nothing: where the baseline or the reading is missing, it is taken to be equal to the
    other, and nothing was delivered; nor was it where nobody was asked.

    Args:
        rows: `CALL`, ``called_from, direction, requested_wh``; of the baseline ``energy_wh_b, quality_b, method_b,
            method_version_b``, of the meter ``energy_wh_m, quality_m, coverage_m``, null where there is none.

    Returns:
        The rows, with `STATED` as in DeliveryMeasured.
    """
    whole = [
        pl.when(pl.col(f"quality_{side}") != "MISSING").then(pl.col(f"energy_wh_{side}")).round(0, mode="half_to_even")
        .cast(pl.Int64).alias(f"wh_{side}")
        for side in ("b", "m")
    ]  # fmt: skip
    up = pl.col("direction") == "UP"
    wanted = pl.when(up).then("requested_wh").otherwise(-pl.col("requested_wh"))
    asked = pl.col("requested_wh") > 0
    placed = (
        rows.sort(*SITE, "called_from", "activation_id")
        .with_columns(*whole)
        .with_columns(baseline=pl.col("wh_b").filter(asked).drop_nulls().first().over(SITE))
    )
    over = pl.col("baseline") - pl.col("wh_m") - wanted.sum().over(SITE)
    known = pl.col("baseline").is_not_null() & pl.col("wh_m").is_not_null()
    part = wanted + to_split(over, pl.col("requested_wh"), SITE)
    worst = pl.max_horizontal(
        pl.col(name).fill_null("MISSING").replace_strict(QUALITIES, range(len(QUALITIES)))
        for name in ("quality_b", "quality_m")
    ).replace_strict(range(len(QUALITIES)), QUALITIES)
    measured = pl.coalesce("wh_m", "baseline", "wh_b", pl.lit(0, pl.Int64))
    return placed.with_columns(part=pl.when(known & asked).then(part).otherwise(pl.lit(0, pl.Int64))).with_columns(
        measured_wh=measured,
        baseline_wh=measured + pl.col("part"),
        delivered_wh=pl.when(up).then("part").otherwise(-pl.col("part")),
        quality=worst,
        coverage=pl.col("coverage_m").fill_null(0.0),
        method="method_b",
        method_version="method_version_b",
    )  # fmt: skip


def _revised(ctx: Context[None], rows: pl.DataFrame) -> pl.DataFrame:
    """Return the deliveries that differ from the last ones, each with its revision."""
    known = ctx.state(Measured).get(rows.select(*CALL, *STATED), suffix="_was")
    differs = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}_was")) for name in STATED)
    new = rows.with_columns(revision=known["revision_was"].fill_null(-1) + 1).filter(known.select(differs).to_series())
    ctx.state(Measured).put(new)
    return new.select(
        "portfolio_id", *CALL, "resource_id", "revision", "product_id", "direction",
        *STATED, period_end=pl.col("period_start") + QUARTER,
    )  # fmt: skip
