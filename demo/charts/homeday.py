"""A home's day: what it used, produced and stored, and what it delivered against its baseline."""

from datetime import timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demo.charts.canvas import Canvas, Linear, Panel, nice_ticks, plain, seconds, steps, text_width
from demo.figures import HomeDay

_QUARTER = timedelta(minutes=15)
_LEGEND = (
    ("a-load", "load"),
    ("a-pv", "PV"),
    ("l-meter", "at the meter"),
    ("l-baseline", "baseline"),
    ("a-asked", "activation"),
    ("a-delivered", "delivered"),
    ("a-fill", "battery's fill level"),
)


def _kw(frame: pl.DataFrame, column: str) -> NDArray[np.float64]:
    return frame[column].cast(pl.Float64).fill_null(float("nan")).to_numpy() / 1000


def draw(day: HomeDay, width: int) -> str:
    """Draw a home's day.

    Power above, positive = the home takes from the grid; below the battery's fill level. Where there was an activation
    the background is tinted, and what lies between baseline and meter is what the home delivered.
    """
    canvas = Canvas(width, 440, f"{day.site_id} on one day: load, PV, meter, baseline, delivery and battery")
    frame = day.quarters
    left, right = 46.0, width - 20.0
    used = canvas.legend(left, 16, _LEGEND, right=right)
    x = Linear(day.since.timestamp(), day.until.timestamp(), left, right)
    starts = seconds(frame["period_start"])
    ends = starts + _QUARTER.total_seconds()
    ticks = _power_ticks(frame)
    power = Panel(canvas, x, Linear(ticks[0], ticks[-1], 318, used + 30))
    asked = _kw(frame, "requested_w")
    for first, last in _runs(asked):
        canvas.rect(x(starts[first]), power.top, x(ends[last]) - x(starts[first]), power.bottom - power.top, "a-asked")
    power.y_axis(ticks, "kW")
    for column, cls in (("load_w", "a-load"), ("pv_w", "a-pv")):
        corners = steps(x.many(starts), x.many(ends), power.y.many(_kw(frame, column)))
        canvas.band(corners[:, 0], np.full(len(corners), power.y(0)), corners[:, 1], cls)
    meter, baseline = _kw(frame, "meter_w"), _kw(frame, "baseline_w")
    _delivery(canvas, power, (starts, ends), meter, baseline)
    canvas.path(_corners(power, starts, ends, meter), "l-meter")
    canvas.path(_corners(power, starts, ends, baseline), "l-baseline")
    free = left
    for first, last in _runs(asked):
        asked_kw = float(np.nanmax(asked[first : last + 1]))
        middle = (x(starts[first]) + x(ends[last])) / 2
        told = f"{asked_kw:.1f} kW" if canvas.narrow else f"asked {asked_kw:.1f} kW"
        half = text_width(told) / 2
        if middle - half > free:  # the next one may be too near to be named too
            canvas.text(middle, power.top - 5, told, "asked", anchor="middle")
            free = middle + half
    level = Panel(canvas, x, Linear(0, 100, 408, 350))
    level.y_axis([0, 50, 100], "%")
    if day.fill.height > 1:
        filled = level.y.many(day.fill["fill_level"].to_numpy() * 100)
        at = x.many(seconds(day.fill["occurred_at"]))
        canvas.band(at, np.full(len(at), level.bottom), filled, "a-fill")
        canvas.path(np.column_stack([at, filled]), "l-fill")
    level.hours(day.since, day.until, day.timezone, every=6 if canvas.narrow else 3)
    canvas.hover(_hover(day, x, starts, power.top, level.bottom))
    return canvas.svg()


def _power_ticks(frame: pl.DataFrame) -> list[float]:
    known = np.concatenate([_kw(frame, column) for column in ("load_w", "pv_w", "meter_w", "baseline_w")])
    known = known[~np.isnan(known)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    return nice_ticks(min(low, 0.0), max(high, 0.5), 6)


def _corners(
    panel: Panel, starts: NDArray[np.float64], ends: NDArray[np.float64], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    return steps(panel.x.many(starts), panel.x.many(ends), panel.y.many(values))


def _runs(values: NDArray[np.float64]) -> list[tuple[int, int]]:
    """First and last place of each run of positive values."""
    on = np.concatenate([[False], np.nan_to_num(values) > 0, [False]])
    edges = np.flatnonzero(on[1:] != on[:-1])
    return [(int(first), int(last) - 1) for first, last in edges.reshape(-1, 2)]


def _delivery(
    canvas: Canvas,
    panel: Panel,
    times: tuple[NDArray[np.float64], NDArray[np.float64]],
    meter: NDArray[np.float64],
    baseline: NDArray[np.float64],
) -> None:
    """Fill from baseline to meter: delivered where the meter is lower, missing where it is higher."""
    for start, end, measured, expected in zip(*times, meter, baseline, strict=True):
        if not np.isnan(measured + expected):
            top, bottom = panel.y(max(measured, expected)), panel.y(min(measured, expected))
            cls = "a-delivered" if measured < expected else "a-short"
            canvas.rect(panel.x(start), top, panel.x(end) - panel.x(start), bottom - top, cls)


def _hover(day: HomeDay, x: Linear, starts: NDArray[np.float64], top: float, bottom: float) -> dict[str, object]:
    zone = ZoneInfo(day.timezone)
    names = {
        "load": "load_w",
        "PV": "pv_w",
        "battery": "battery_w",
        "meter": "meter_w",
        "baseline": "baseline_w",
        "asked": "requested_w",
        "delivered": "delivered_w",
    }
    half = _QUARTER.total_seconds() / 2
    return {
        "x": [round(value, 1) for value in x.many(starts + half).tolist()],
        "at": [f"{start.astimezone(zone):%H:%M}" for start in day.quarters["period_start"]],
        "top": round(top),
        "bottom": round(bottom),
        "series": [
            {"name": name, "values": [_shown(value) for value in _kw(day.quarters, column).tolist()]}
            for name, column in names.items()
        ],
    }


def _shown(value: float) -> str | None:
    return None if np.isnan(value) else f"{plain(round(value, 2))} kW"
