"""Settlement baselines: what a resource would have used, had it not been activated.

*High X of Y* (CAISO "10 of 10", PJM "high 4 of 5", NYISO "high 5 of 10"; "10 of 10" of AEMO is the case X = Y = 10):

1. The Y latest days before the activation's day that are *eligible*: of the same day type, not excluded (days with
   instructions), with energy known for each of the activation's quarter-hours.
2. Of them the X with the highest mean energy in the activation's quarter-hours; of equal ones the later.
3. The mean of the X days per quarter-hour is the unadjusted baseline.
4. The same-day adjustment scales it (RATIO) or shifts it (ADDITIVE) by what the day of the activation was above or
   below the baseline in a window before the activation, by at most a cap (+-20 % is usual).

Days are matched by the local wall clock, so a quarter-hour is compared with the same time of day across daylight
saving. In the repeated hour of autumn both quarter-hours are compared with the one of other days, and as a reference
they count as their mean; a day that lacks one of the activation's quarter-hours, for want of readings or because
the clock jumped over it in spring, is not eligible.

High X of Y is biased upward, as it picks high days (Lind 2023, doi 10.1016/j.jup.2023.101688).
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from typing import Literal

import polars as pl

from energy.time import UTC_MICROS, to_day_type, with_local

Adjustment = Literal["NONE", "RATIO", "ADDITIVE"]
EVENT = ("resource_id", "activation_id")


@dataclass(frozen=True)
class HighXOfY:
    """A baseline method (rules ``baseline.*``).

    Attributes:
        x: Days that are averaged.
        y: Latest eligible days that they are picked from.
        days_back: How many days before the activation's day are looked at.
        days_min: With fewer days there is no baseline.
        by_day_type: Whether weekdays are compared with weekdays only, and weekends and holidays with such.
        adjustment: NONE; RATIO multiplies with actual / baseline of the window (not where that baseline is not
            positive, as at a site that exports); ADDITIVE adds the mean difference of the window.
        cap: Limit of the adjustment, as a share of the unadjusted baseline, of its mean size where ADDITIVE.
        window_from_s: How long before the activation the window starts.
        window_to_s: How long before the activation it ends.
    """

    x: int
    y: int
    days_back: int = 45
    days_min: int = 1
    by_day_type: bool = True
    adjustment: Adjustment = "NONE"
    cap: float = 0.2
    window_from_s: int = 4 * 3600
    window_to_s: int = 3600


TEN_OF_TEN = HighXOfY(x=10, y=10)
"""AEMO: mean of the last ten eligible days of the day type."""


def high_x_of_y(
    history: pl.DataFrame,
    wanted: pl.DataFrame,
    method: HighXOfY,
    *,
    excluded_days: pl.DataFrame | None = None,
    excluded_periods: pl.DataFrame | None = None,
    holidays: Collection[date] = (),
) -> pl.DataFrame:
    """Estimate the baselines of many activations of many resources at once.

    Args:
        history: ``resource_id, period_start, energy_wh`` per quarter-hour, once each; null energy is missing. It
            holds `method.days_back` days, and the activation's day up to its start for the adjustment.
        wanted: ``resource_id, activation_id, period_start, timezone``: the quarter-hours of the activations.
        method: How to.
        excluded_days: ``resource_id, local_date`` that are no reference.
        excluded_periods: ``resource_id, period_start`` that say nothing in an adjustment window, as the resource was
            under instructions then.
        holidays: Local dates that count as weekend.

    Returns:
        ``resource_id, activation_id, period_start``, ``energy_wh``, ``unadjusted_wh`` (Float64, null without enough
        days), ``adjustment_ratio`` (adjusted / unadjusted, 1 where that is 0), ``days_used`` (Int64); rows as wanted.
    """
    targets = _placed(wanted.select(*EVENT, "period_start", "timezone"))
    window = _window(targets, method)
    slots = pl.concat([targets.with_columns(asked=True), window.with_columns(asked=False)])
    days = _reference_days(history, slots, method, excluded_days, holidays)
    chosen = _chosen_days(days, targets, method)
    profile = _profile(days, chosen)
    seen = window.join(history.drop_nulls("energy_wh"), on=["resource_id", "period_start"], maintain_order="left")
    if excluded_periods is not None:
        out = excluded_periods.select("resource_id", "period_start")
        seen = seen.join(out, on=["resource_id", "period_start"], how="anti", maintain_order="left")
    adjusted = _adjusted(targets, seen, profile, method)
    return wanted.select(*EVENT, "period_start").join(
        adjusted, on=[*EVENT, "period_start"], how="left", maintain_order="left"
    )


def _placed(wanted: pl.DataFrame) -> pl.DataFrame:
    """Add the activation's local day, and each quarter-hour's clock time and days after it."""
    local = with_local(wanted)
    first = pl.col("local_date").sort_by("period_start").first().over(EVENT)
    return local.with_columns(event_date=first).with_columns(
        offset=(pl.col("local_date") - pl.col("event_date")).dt.total_days()
    )


def _window(targets: pl.DataFrame, method: HighXOfY) -> pl.DataFrame:
    """Return the quarter-hours of the adjustment windows, placed as the targets are."""
    if method.adjustment == "NONE":
        return targets.clear()
    starts = targets.group_by(EVENT, maintain_order=True).agg(
        pl.col("period_start").min().alias("start"), pl.col("timezone", "event_date").first()
    )
    start = pl.col("start")
    quarters = pl.datetime_ranges(
        (start - pl.duration(seconds=method.window_from_s)).dt.truncate("15m"),
        start - pl.duration(seconds=method.window_to_s),
        "15m",
        closed="left",
        time_zone="UTC",
    )
    rows = starts.with_columns(period_start=quarters).explode("period_start").drop_nulls("period_start")
    local = with_local(rows.with_columns(pl.col("period_start").cast(UTC_MICROS)))
    offset = (pl.col("local_date") - pl.col("event_date")).dt.total_days()
    return local.with_columns(offset=offset).select(targets.columns)


def _reference_days(
    history: pl.DataFrame,
    slots: pl.DataFrame,
    method: HighXOfY,
    excluded_days: pl.DataFrame | None,
    holidays: Collection[date],
) -> pl.DataFrame:
    """Return the energy of the earlier days in the slots' clock quarters: one row per event, slot and day."""
    zones = slots.select("resource_id", "timezone").unique(maintain_order=True)
    known = with_local(
        history.drop_nulls("energy_wh").join(zones, on="resource_id", how="inner", maintain_order="left")
    )
    if excluded_days is not None:
        out = excluded_days.select("resource_id", "local_date")
        known = known.join(out, on=["resource_id", "local_date"], how="anti", maintain_order="left")
    places = slots.select(*EVENT, "event_date", "offset", "clock_quarter", "asked").unique(maintain_order=True)
    rows = places.join(known, on=["resource_id", "clock_quarter"], maintain_order="left_right").with_columns(
        day=pl.col("local_date") - pl.duration(days=pl.col("offset"))
    )
    age = (pl.col("event_date") - pl.col("day")).dt.total_days()
    keep = age.is_between(1, method.days_back)
    if method.by_day_type:
        keep &= to_day_type(pl.col("day"), holidays) == to_day_type(pl.col("event_date"), holidays)
    rows = rows.filter(keep)
    if excluded_days is not None:
        out = excluded_days.select("resource_id", day="local_date")
        rows = rows.join(out, on=["resource_id", "day"], how="anti", maintain_order="left")
    slot = [*EVENT, "offset", "clock_quarter", "asked", "day"]
    # Sorted, so that a sum of floats does not depend on the order of the history.
    return rows.sort(*slot, "period_start").group_by(slot, maintain_order=True).agg(pl.col("energy_wh").mean())


def _chosen_days(days: pl.DataFrame, targets: pl.DataFrame, method: HighXOfY) -> pl.DataFrame:
    """Return the X highest of the Y latest complete days of each event."""
    needed = targets.group_by(EVENT, maintain_order=True).agg(
        pl.struct("offset", "clock_quarter").n_unique().alias("needed")
    )
    complete = (
        days.filter("asked")
        .group_by(*EVENT, "day", maintain_order=True)
        .agg(pl.len().alias("slots"), pl.col("energy_wh").mean().alias("level"))
        .join(needed, on=EVENT, maintain_order="left")
        .filter(pl.col("slots") == pl.col("needed"))
    )
    latest = (
        complete.sort(*EVENT, "day", descending=[False, False, True])
        .group_by(EVENT, maintain_order=True)
        .head(method.y)
    )
    high = latest.sort(*EVENT, "level", "day", descending=[False, False, True, True])
    return high.group_by(EVENT, maintain_order=True).head(method.x).select(*EVENT, "day")


def _profile(days: pl.DataFrame, chosen: pl.DataFrame) -> pl.DataFrame:
    """Average the chosen days per slot."""
    used = chosen.group_by(EVENT, maintain_order=True).agg(pl.len().cast(pl.Int64).alias("days_used"))
    mean = (
        days.join(chosen, on=[*EVENT, "day"], how="semi", maintain_order="left")
        .group_by(*EVENT, "offset", "clock_quarter", maintain_order=True)
        .agg(pl.col("energy_wh").mean().alias("unadjusted_wh"))
    )
    return mean.join(used, on=EVENT, maintain_order="left")


def _adjusted(
    targets: pl.DataFrame,
    seen: pl.DataFrame,
    profile: pl.DataFrame,
    method: HighXOfY,
) -> pl.DataFrame:
    """Return the targets with their baselines, adjusted by what was seen in the window."""
    slot = [*EVENT, "offset", "clock_quarter"]
    rows = targets.join(profile, on=slot, how="left", maintain_order="left").with_columns(
        days_used=pl.col("days_used").fill_null(0)
    )
    rows = rows.with_columns(
        unadjusted_wh=pl.when(pl.col("days_used") >= method.days_min).then(pl.col("unadjusted_wh"))
    )
    sums = (
        seen.join(profile, on=slot, maintain_order="left")
        .sort(*EVENT, "period_start")
        .group_by(EVENT, maintain_order=True)
        .agg(actual=pl.col("energy_wh").sum(), base=pl.col("unadjusted_wh").sum(), quarters=pl.len())
    )
    rows = rows.join(sums, on=EVENT, how="left", maintain_order="left")
    actual, base, plain = pl.col("actual"), pl.col("base"), pl.col("unadjusted_wh")
    if method.adjustment == "ADDITIVE":
        limit = method.cap * plain.abs().mean().over(EVENT)
        shift = pl.max_horizontal(pl.min_horizontal((actual - base) / pl.col("quarters"), limit), -limit)
        energy = plain + shift.fill_null(0.0)
    else:
        ratio = (actual / base).clip(1.0 - method.cap, 1.0 + method.cap)
        energy = plain * pl.when(base > 0).then(ratio).otherwise(1.0)
    return rows.with_columns(energy_wh=energy).select(
        *EVENT,
        "period_start",
        "energy_wh",
        "unadjusted_wh",
        pl.when(plain == 0).then(1.0).otherwise(pl.col("energy_wh") / plain).alias("adjustment_ratio"),
        "days_used",
    )
