"""Power over any span as energy per quarter-hour, in whole Wh."""

import polars as pl

from energy.settlement import to_divided
from energy.time import QUARTER

US_PER_HOUR = 3_600_000_000


def by_quarter(frame: pl.DataFrame, *, start: str = "period_start", end: str = "period_end") -> pl.DataFrame:
    """Take spans apart at the quarter-hours of the clock.

    Args:
        frame: Rows with a UTC span ``[start, end)``; an empty or reversed one gives no row.
        start: Name of the start column.
        end: Name of the end column.

    Returns:
        A row per span and quarter-hour that it touches, in order: all columns, and ``quarter_start`` (UTC) and
        ``overlap_us`` (Int64), how many microseconds of the quarter-hour the span covers.
    """
    spans = frame.filter(pl.col(start) < pl.col(end))
    first = pl.col(start).dt.truncate("15m")
    rows = spans.with_columns(
        quarter_start=pl.datetime_ranges(first, pl.col(end), "15m", closed="left", time_zone="UTC")
    ).explode("quarter_start", empty_as_null=False)
    quarter_end = pl.col("quarter_start") + QUARTER
    covered = pl.min_horizontal(pl.col(end), quarter_end) - pl.max_horizontal(pl.col(start), "quarter_start")
    return rows.with_columns(overlap_us=covered.dt.total_microseconds())


def to_energy_wh(power_w: pl.Expr, duration_us: pl.Expr) -> pl.Expr:
    """Return the energy of a power held for a time: W x microseconds to whole Wh, half-even (Int64)."""
    return to_divided(power_w.cast(pl.Int128) * duration_us.cast(pl.Int128), US_PER_HOUR)
