"""Estimate what each instructed site would have used, and again when the intervals behind it change."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Literal, cast

import polars as pl

from energy.baseline import HighXOfY, high_x_of_y
from energy.effective import holding
from energy.periods import by_quarter
from energy.rules import Rulebook, rulebook
from energy.time import day_type, instant, local_date, with_local
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

EVENT = ["site_id", "activation_id"]
PLACE = ["resource_id", "activation_id", "period_start"]
SPARE_DAYS = 1
"""Reference days read beyond those that a method needs, as one may lack readings."""
KEPT = timedelta(days=400)
STATED = ("energy_wh", "unadjusted_wh", "adjustment_ratio", "days_used", "quality")
"""What makes another revision where it differs."""


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
READ = ("resource_id", "commodity", "period_start", "energy_wh", "quality")
_USED = pl.DataFrame({"name": ["intervals"]})


@dataclass(frozen=True)
class Method:
    """A baseline method with the name and version that its estimates bear."""

    name: str
    version: int
    how: HighXOfY


def on_batch(ctx: Context[None], batch: Batch[InstructionIssued | IntervalMeasured]) -> None:
    """Note who is instructed when, and which intervals changed that estimates may rest on."""
    follow = batch[InstructionIssued].filter(
        (InstructionIssued.action == "FOLLOW") & InstructionIssued.activation_id.is_not_null()
    )
    if len(follow):
        spans = follow.group_by(EVENT, maintain_order=True).agg(
            pl.col("resource_id", "period_start").min(), pl.col("period_end").max()
        )
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
        late = batch[IntervalMeasured].filter(IntervalMeasured.period_end <= instant(until))
        ctx.state(Late).put(late.unique(["site_id", "period_start"], maintain_order=True))


def on_tick(ctx: Context[None]) -> Iterator[Emit[BaselineEstimated]]:
    """Estimate for the activations that are over."""
    if not len(ctx.state(Pending)) and not len(ctx.state(Late)):
        return
    rules = rulebook(ctx.table(RulePublished))
    if len(ctx.state(Late)):
        _mark(ctx, rules)
    pending = _events(ctx, ctx.state(Instructed).get(ctx.state(Pending).scan()).drop_nulls("period_end"))
    until = ctx.watermark(IntervalMeasured)
    over = (pl.col("period_end") <= instant(until)) & pl.col("timezone").is_not_null()
    due, waiting = pending.filter(over), pending.filter(~over)
    if len(waiting):
        ctx.hold(min(waiting["period_start"].to_list()))
    if due.is_empty():
        return
    due, methods = _with_methods(due, rules)
    for number, method in enumerate(methods):
        yield Emit(BaselineEstimated, _estimate(ctx, due.filter(pl.col("method") == number), method))
    ctx.state(Pending).delete(due)
    ctx.state(Used).put(_USED.with_columns(until=instant(until)))
    for kind in (Instructed, Estimated):
        ctx.state(kind).expire(ctx.now - KEPT)


def _events(ctx: Context[None], spans: pl.DataFrame) -> pl.DataFrame:
    """Return the activations of sites: when they are, of which product, the site's time zone and its meter.

    A site without a meter is estimated as the resource that was instructed, and comes out as MISSING.
    """
    calls = ctx.table(ActivationRequested).select(
        "activation_id", "product_id", called_from="period_start", called_to="period_end"
    )
    events = spans.join(calls, on="activation_id", how="left", maintain_order="left").with_columns(
        period_start=pl.coalesce("called_from", "period_start"), period_end=pl.coalesce("called_to", "period_end")
    )
    moments = events.select(*EVENT, "period_start")
    sites = ctx.table(SiteRegistered).select("site_id", "timezone", "valid_from", "valid_to", "status")
    zones = holding(moments, sites, entry=["site_id"], on=["site_id"]).select(*EVENT, "timezone")
    meters = ctx.table(ResourceRegistered).filter(ResourceRegistered.kind == "meter")
    meters = meters.select("site_id", "valid_from", "valid_to", "status", meter_id="resource_id")
    held = holding(moments, meters, entry=["meter_id"], on=["site_id"])
    one = held.unique(EVENT, keep="first", maintain_order=True).select(*EVENT, "meter_id")
    return (
        events.join(zones, on=EVENT, how="left", maintain_order="left")
        .join(one, on=EVENT, how="left", maintain_order="left")
        .with_columns(resource_id=pl.coalesce("meter_id", "resource_id"))
        .select(*EVENT, "resource_id", "product_id", "timezone", "period_start", "period_end")
    )


def _with_methods(events: pl.DataFrame, rules: Rulebook) -> tuple[pl.DataFrame, list[Method]]:
    """Add the number of each event's method: of the product, as the rules were when the activation began."""
    places = events.select("product_id", "period_start").unique(maintain_order=True)
    methods: dict[Method, int] = {}
    numbers = [
        methods.setdefault(method_of(rules, at, [product] if product else []), len(methods))
        for product, at in places.iter_rows()
    ]
    numbered = places.with_columns(method=pl.Series(numbers, dtype=pl.Int64))
    return events.join(numbered, on=places.columns, nulls_equal=True, maintain_order="left"), list(methods)


def method_of(rules: Rulebook, at: datetime, scopes: list[str]) -> Method:
    """Return the baseline method that the rules name at an instant."""
    adjustment = cast("Literal['NONE', 'RATIO', 'ADDITIVE']", rules.text("baseline.adjustment", at, scopes))
    how = HighXOfY(
        x=rules.long("baseline.x", at, scopes),
        y=rules.long("baseline.y", at, scopes),
        days_back=rules.long("baseline.days_back", at, scopes),
        days_min=rules.long("baseline.days_min", at, scopes),
        by_day_type=bool(rules.long("baseline.by_day_type", at, scopes)),
        adjustment=adjustment,
        cap=rules.double("baseline.adjustment_cap", at, scopes),
        window_from_s=rules.long("baseline.window_from", at, scopes),
        window_to_s=rules.long("baseline.window_to", at, scopes),
    )
    return Method(rules.text("baseline.method", at, scopes), rules.long("baseline.method_version", at, scopes), how)


def _mark(ctx: Context[None], rules: Rulebook) -> None:
    """Let be estimated again what may rest on intervals that changed.

    That is an activation later the same day, if the interval lies in its adjustment window, and one on a later day at
    about the same time, if the interval's day can be a reference. It may be too many, never too few.
    """
    late = ctx.state(Late).scan()
    ctx.state(Late).delete(late)
    sites = late["site_id"].unique(maintain_order=True).to_list()
    spans = ctx.state(Instructed).scan(pl.col("site_id").is_in(sites))
    if spans.is_empty():
        return
    events, methods = _with_methods(_events(ctx, spans).drop_nulls("timezone"), rules)
    windows = [method.how.window_from_s for method in methods]
    events = events.with_columns(window_s=pl.col("method").replace_strict(range(len(windows)), windows))
    busy = _quarters(spans, events).select("site_id", "local_date").unique(maintain_order=True)
    events = with_local(events).rename({"local_date": "event_date", "period_start": "start"})
    pairs = late.join(events, on="site_id", maintain_order="left_right").filter(
        pl.col("period_start") < pl.col("start")
    )
    pairs = with_local(pairs.drop("clock_quarter"))
    hour = timedelta(hours=1)  # clocks may have changed in between
    since = pl.col("start") - pl.duration(seconds="window_s") - hour
    span_us = (pl.col("period_end") - since + hour).dt.total_microseconds()
    into_us = (pl.col("period_start") - since).dt.total_microseconds() % (24 * 3_600_000_000)
    near = pairs.filter(into_us < span_us)
    same = near.filter(pl.col("local_date") == pl.col("event_date"))
    other = near.filter(pl.col("local_date") < pl.col("event_date")).join(
        busy, on=["site_id", "local_date"], how="anti", maintain_order="left"
    )
    ctx.state(Pending).put(pl.concat([same, other]).unique(EVENT, maintain_order=True))


def _quarters(spans: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    """Return the quarter-hours under instructions with their local dates, of the sites of some events."""
    places = events.select("site_id", "timezone", meter_id="resource_id").unique(maintain_order=True)
    quarters = by_quarter(spans).drop("period_start").rename({"quarter_start": "period_start"})
    return with_local(quarters.join(places, on="site_id", maintain_order="left_right"))


def _estimate(ctx: Context[None], events: pl.DataFrame, method: Method) -> pl.DataFrame:
    """Return the estimates that differ from the last ones, each with its revision."""
    sites = events["site_id"].unique(maintain_order=True).to_list()
    busy = _quarters(ctx.state(Instructed).scan(pl.col("site_id").is_in(sites)), events)
    days = busy.select("local_date", resource_id="meter_id").unique(maintain_order=True)
    periods = busy.select("period_start", resource_id="meter_id").unique(maintain_order=True)
    wanted = by_quarter(events).select("resource_id", "activation_id", "timezone", period_start="quarter_start")
    history = _history(ctx, events, wanted, days, method.how)
    rows = high_x_of_y(history, wanted, method.how, excluded_days=days, excluded_periods=periods)
    missing = pl.col("energy_wh").is_null()
    few = pl.col("days_used") < method.how.x
    made = rows.with_columns(
        pl.col("energy_wh", "unadjusted_wh").fill_null(0.0),
        # A shift may take a small baseline below zero, of which no ratio can tell.
        adjustment_ratio=pl.when(missing).then(1.0).otherwise(pl.col("adjustment_ratio").clip(lower_bound=0.0)),
        quality=pl.when(missing)
        .then(pl.lit("MISSING"))
        .otherwise(pl.when(few).then(pl.lit("ESTIMATED")).otherwise(pl.lit("CALCULATED"))),
    )
    known = ctx.state(Estimated).get(made, suffix="_was")
    differs = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}_was")) for name in STATED)
    new = known.filter(differs).with_columns(revision=pl.col("revision_was").fill_null(-1) + 1)
    ctx.state(Estimated).put(new)
    sites_of = events.select("site_id", "resource_id", "activation_id")
    return new.join(sites_of, on=PLACE[:2], maintain_order="left").select(
        "site_id", *PLACE, "revision", *STATED,
        period_end=pl.col("period_start") + timedelta(minutes=15),
        commodity=pl.lit("ELECTRICITY"), method=pl.lit(method.name), method_version=pl.lit(method.version, pl.Int64),
        purpose=pl.lit("SETTLEMENT"), known_until=instant(ctx.watermark(IntervalMeasured)),
    )  # fmt: skip


def _history(
    ctx: Context[None], events: pl.DataFrame, wanted: pl.DataFrame, busy: pl.DataFrame, how: HighXOfY
) -> pl.DataFrame:
    """Read the meters' quarter-hours: so many days as are needed, and all if some of them lack readings."""
    first, last = min(events["period_start"].to_list()), max(events["period_end"].to_list())
    sites = events["site_id"].unique(maintain_order=True).to_list()
    meters = events["resource_id"].unique(maintain_order=True).to_list()
    for days in sorted({min(_days_needed(events, busy, how), how.days_back), how.days_back}):
        since = first - timedelta(days=days + 1)
        read = ctx.history(IntervalMeasured, since=since, until=last, keys=sites, columns=READ)
        history = read.filter(
            pl.col("resource_id").is_in(meters)
            & (IntervalMeasured.commodity == "ELECTRICITY")
            & (IntervalMeasured.quality != "MISSING")
        ).select("resource_id", "period_start", "energy_wh")
        latest = replace(how, x=how.y, adjustment="NONE")
        found = high_x_of_y(history, wanted, latest, excluded_days=busy)["days_used"]
        if days == how.days_back or found.min() == how.y:
            break
    return history


def _days_needed(events: pl.DataFrame, busy: pl.DataFrame, how: HighXOfY) -> int:
    """Return how many days before the first of some events hold enough reference days for each, if none lacks any."""
    out: dict[str, set[date]] = {}
    for resource, day in busy.select("resource_id", "local_date").iter_rows():
        out.setdefault(resource, set()).add(day)
    first = min(events["period_start"].to_list())
    most = 0
    for resource, zone, start in events.select("resource_id", "timezone", "period_start").iter_rows():
        day = local_date(start, zone)
        kind, found, back = day_type(day), 0, 0
        while found < how.y + SPARE_DAYS and back < how.days_back:
            back += 1
            before = day - timedelta(days=back)
            alike = not how.by_day_type or day_type(before) == kind
            found += alike and before not in out.get(resource, set())
        most = max(most, back - (start - first).days)
    return most
