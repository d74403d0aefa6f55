"""Remember registrations, levels and forecasts; offer the next day once, and the next hours when they change."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from energy.effective import current
from energy.time import QUARTER, instant, local_date, local_day, quarter_start
from processors.flexibility import offers as of
from processors.flexibility.state import (
    Ahead,
    Battery,
    Changed,
    Config,
    Contract,
    Fresh,
    Level,
    Load,
    Offer,
    Preference,
    Site,
    Told,
)
from streams import Batch, Context, Emit, Keyed, State
from topics import (
    ContractChanged,
    FlexibilityOffered,
    LoadPredicted,
    PreferenceSet,
    ResourceRegistered,
    SiteRegistered,
    StateReported,
)

Input = StateReported | ResourceRegistered | SiteRegistered | PreferenceSet | ContractChanged | LoadPredicted
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
SAID = [
    "resource_id",
    "site_id",
    "occurred_at",
    "fill_level",
    "stored_wh",
    "available",
    "overridden",
    "fault_code",
]
NEAR = ["fill_level", "usable", "expected", "fill_level_told", "usable_told", "until_told"]


def on_batch(ctx: Context[Config], batch: Batch[Input]) -> None:
    """Remember the newest of everything."""
    if len(levels := batch[StateReported]):
        remember_levels(ctx.state(Level), levels)
    if len(forecasts := batch[LoadPredicted]):
        remember_forecasts(ctx, forecasts)
    for record, keyed in ((ResourceRegistered, Battery), (SiteRegistered, Site), (PreferenceSet, Preference)):
        register(ctx, batch[record], keyed)
    register(ctx, batch[ContractChanged], Contract)


def register(ctx: Context[Config], entries: pl.DataFrame, keyed: type[Keyed]) -> None:
    """Keep entries, the last of each key, and note their sites."""
    if not len(entries):
        return
    if keyed is Battery:
        entries = entries.filter((pl.col("role") == "STORAGE") & (pl.col("storage_wh") > 0)).with_columns(
            pl.col("fill_level_min").fill_null(0.0),
            pl.col("fill_level_max").fill_null(1.0),
            pl.col("charge_efficiency").fill_null(1.0),
            pl.col("discharge_efficiency").fill_null(1.0),
        )
    elif keyed is Site:
        entries = entries.with_columns(pl.col("zone").fill_null(""))
    ctx.state(keyed).put(entries.unique(keyed.__key__, keep="last", maintain_order=True))
    ctx.state(Changed).put(entries.select("site_id").unique(maintain_order=True))


def remember_levels(state: State, levels: pl.DataFrame) -> None:
    """Keep what each battery reported last. A few rows every tick: plain Python is faster than queries here."""
    newest: dict[str, tuple[Any, ...]] = {}
    for resource, site, at, fill, stored, *said in levels[SAID].rows():
        if resource not in newest or at >= newest[resource][2]:
            available, overridden, fault = said
            usable = available is not False and not overridden and fault is None
            newest[resource] = resource, site, at, fill, stored, usable
    rows = pl.DataFrame(list(newest.values()), schema=Level.__columns__, orient="row")
    known = state.get(rows[["resource_id"]])["occurred_at"].to_list()
    newer = [was is None or row[2] >= was for row, was in zip(newest.values(), known, strict=True)]
    state.put(rows if all(newer) else rows.filter(newer))


def remember_forecasts(ctx: Context[Config], forecasts: pl.DataFrame) -> None:
    """Keep the forecast of each quarter-hour that was issued last."""
    key = list(Load.__key__)
    newest = forecasts.sort("issued_at", maintain_order=True).unique(key, keep="last", maintain_order=True)
    known = ctx.state(Load).get(newest.select(key))["issued_at"]
    newest = newest.filter((newest["issued_at"] >= known).fill_null(value=True))
    ctx.state(Load).put(newest)
    last = newest.group_by("site_id", maintain_order=True).agg(last=pl.col("period_start").max())
    was = ctx.state(Fresh).get(last, suffix="_was")
    ctx.state(Fresh).put(was.with_columns(last=pl.max_horizontal("last", "last_was")))


def on_tick(ctx: Context[Config]) -> Iterator[Emit[FlexibilityOffered]]:
    """Offer what is due and what has changed."""
    if len(ctx.state(Fresh)):
        plan(ctx)
    if len(ctx.state(Ahead)):
        yield from day_ahead(ctx)
    if len(ctx.state(Changed)):
        yield from registered_anew(ctx)
    if not len(ctx.state(Offer)):
        return
    yield from near_term(ctx)
    if (ctx.now - EPOCH) // HOUR > (ctx.since - EPOCH) // HOUR:
        ctx.state(Offer).expire(ctx.now - HOUR)
        ctx.state(Load).expire(ctx.now - HOUR)


# The next day.


def plan(ctx: Context[Config]) -> None:
    """Note from when on the local days with new forecasts are offered."""
    fresh = ctx.state(Fresh).scan()
    sites = current(ctx.state(Site).scan(), ctx.now, entry=["site_id"]).select("site_id", "timezone")
    rows = [
        _ahead(site, local_date(last, timezone), timezone, ctx.config)
        for site, last, timezone in fresh.join(sites, on="site_id", maintain_order="left").iter_rows()
    ]
    ctx.state(Ahead).put(pl.DataFrame(rows, schema=Ahead.__columns__, orient="row"))
    ctx.state(Fresh).delete(fresh)


def _ahead(site: str, day: date, timezone: str, config: Config) -> tuple[str, date, datetime, datetime]:
    clock = time(config.offer_hour, config.offer_minute)
    offer_at = datetime.combine(day - DAY, clock, ZoneInfo(timezone)).astimezone(UTC)
    return site, day, offer_at, local_day(day, timezone)[1]


def day_ahead(ctx: Context[Config]) -> Iterator[Emit[FlexibilityOffered]]:
    """Offer the local days that are due, as far as their costs are known."""
    due = ctx.state(Ahead).scan((Ahead.offer_at <= ctx.now) & (Ahead.ends > ctx.now))
    ctx.state(Ahead).expire(ctx.now)
    for (day,), sites in due.group_by("day", maintain_order=True):
        assert isinstance(day, date)
        begins = {local_day(day, zone)[0] for zone in of.timezones(ctx, sites)}
        ends = sites["ends"].max()
        assert isinstance(ends, datetime)
        soon = quarter_start(ctx.now) + QUARTER
        slots = of.slots(ctx, sites, max(soon, min(begins, default=ends)), ends)
        slots = slots.filter(pl.col("local_date") == day)
        made = of.worked_out(ctx, of.assumed(ctx, slots))
        if made is None:  # no retail price yet
            continue
        yield from of.changes(ctx, slots, made)
        ctx.state(Ahead).delete(sites)


# What changes.


def registered_anew(ctx: Context[Config]) -> Iterator[Emit[FlexibilityOffered]]:
    """Work out again what sites offer of which something registered has changed."""
    changed = ctx.state(Changed).scan()
    ctx.state(Changed).delete(changed)
    soon = quarter_start(ctx.now) + QUARTER
    offered = ctx.state(Offer).scan(Offer.period_start >= instant(soon)).join(changed, on="site_id", how="semi")
    if not len(offered):
        return
    last = offered["period_start"].max()
    assert isinstance(last, datetime)
    slots = of.slots(ctx, changed, soon, last + QUARTER)
    slots = slots.join(offered, on="period_start", how="semi", maintain_order="left")
    near = pl.col("period_start") < instant(ctx.now + ctx.config.near)
    held = pl.concat([of.assumed(ctx, slots.filter(~near)), of.reported(ctx, slots.filter(near))])
    made = of.worked_out(ctx, held)
    if made is not None:
        yield from of.changes(ctx, slots, made, offered)


def near_term(ctx: Context[Config]) -> Iterator[Emit[FlexibilityOffered]]:
    """Offer the next hours anew where batteries are not as full as was assumed."""
    config = ctx.config
    if not len(ctx.state(Level)):
        return
    told = ctx.state(Told).get(of.levels(ctx), suffix="_told")
    stale = ctx.now + config.near / 2
    moved = [_moved(row, stale, config.threshold) for row in told[NEAR].rows()]
    if not any(moved):
        return
    due = told.filter(moved)
    soon, until = quarter_start(ctx.now) + QUARTER, ctx.now + config.near
    slots = of.slots(ctx, due, soon, until)
    full = due.select("resource_id", "fill_level", "usable")
    made = of.worked_out(ctx, slots.join(full, on="resource_id", maintain_order="left"))
    if made is None:
        return
    ctx.state(Told).put(due.with_columns(until=instant(until)))
    yield from of.changes(ctx, slots, made)


def _moved(row: tuple[Any, ...], stale: datetime, threshold: float) -> bool:
    """Whether a battery is not as it was offered, or what was offered of it as it is ends soon."""
    fill, usable, expected, fill_told, usable_told, until = row
    if until is None:
        return bool(abs(fill - expected) > threshold or not usable)
    if abs(fill - fill_told) > threshold or usable != usable_told:
        return True
    return bool(until <= stale and (abs(fill - expected) > threshold or not usable))
