"""Forecasts beside what came true."""

from datetime import timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from demo.charts.canvas import Canvas, Linear, Panel, nice_ticks, plain, seconds
from demo.facts import Traded

_ON_A_PHONE = timedelta(days=3)
_MOST_HOMES = 24


def bands(frame: pl.DataFrame, traded: Traded, width: int) -> str:
    """Draw a home's forecast bands against the truth, load above and PV below.

    Args:
        frame: As of `demo.figures.forecast_of`.
        traded: The days; on a phone the first three.
        width: In px.
    """
    canvas = Canvas(width, 430, "forecast bands of a home's load and PV, and what was measured")
    used = canvas.legend(
        46,
        16,
        [("a-band90", "5 % to 95 %"), ("a-band50", "25 % to 75 %"), ("l-forecast", "median"), ("l-truth", "measured")],
        right=width - 14,
    )
    until = min(traded.until, traded.since + _ON_A_PHONE) if canvas.narrow else traded.until
    frame = frame.filter(pl.col("period_start") < until)
    x = Linear(traded.since.timestamp(), until.timestamp(), 46, width - 14)
    panels = {"load": (used + 34, 226.0, 1.0), "pv": (258.0, 398.0, -1.0)}
    for kind, (top, bottom, sign) in panels.items():
        rows = frame.filter(pl.col("kind") == kind)
        if rows.height:
            _panel(canvas, rows, x, (top, bottom), sign, "load, kW" if kind == "load" else "PV, kW produced")
    Panel(canvas, x, Linear(0, 1, 398, 258)).days(traded.since, until, traded.timezone)
    canvas.hover(_hover(frame, x, traded.timezone))
    return canvas.svg()


def _panel(canvas: Canvas, rows: pl.DataFrame, x: Linear, place: tuple[float, float], sign: float, unit: str) -> None:
    def kw(column: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        found: np.ndarray[tuple[int], np.dtype[np.float64]] = rows[column].to_numpy() * sign / 1000
        return found

    top, bottom = place
    columns = ("q05_w", "q25_w", "q50_w", "q75_w", "q95_w", "true_w")
    highest = max(float(kw(column).max()) for column in columns)
    lowest = min(float(kw(column).min()) for column in columns)
    ticks = nice_ticks(min(lowest, 0.0), max(highest, 0.2), 4)
    panel = Panel(canvas, x, Linear(ticks[0], ticks[-1], bottom, top))
    panel.y_axis(ticks)
    canvas.text(panel.left, panel.top - 8, unit, "unit")
    at = x.many(seconds(rows["period_start"]) + 450)
    for low, high, cls in (("q05_w", "q95_w", "a-band90"), ("q25_w", "q75_w", "a-band50")):
        canvas.band(at, panel.y.many(kw(low)), panel.y.many(kw(high)), cls)
    canvas.path(np.column_stack([at, panel.y.many(kw("q50_w"))]), "l-forecast")
    canvas.path(np.column_stack([at, panel.y.many(kw("true_w"))]), "l-truth")


def _hover(frame: pl.DataFrame, x: Linear, timezone: str) -> dict[str, object]:
    zone = ZoneInfo(timezone)
    wide = frame.select("kind", "period_start", "q05_w", "q50_w", "q95_w", "true_w")
    times = wide["period_start"].unique(maintain_order=True).sort()
    series = []
    for kind, name, sign in (("load", "load", 1), ("pv", "PV", -1)):
        rows = {row[1]: row[2:] for row in wide.filter(pl.col("kind") == kind).iter_rows()}
        texts: list[str | None] = []
        for time in times:
            row = rows.get(time)
            if row is None:
                texts.append(None)
                continue
            low, middle, high, true = (value * sign / 1000 for value in row)
            low, high = min(low, high), max(low, high)
            texts.append(f"{_kw(true)} kW, forecast {_kw(middle)} ({_kw(low)} to {_kw(high)})")
        series.append({"name": name, "values": texts})
    return {
        "x": [round(value, 1) for value in x.many(seconds(times) + 450).tolist()],
        "at": [f"{time.astimezone(zone):%a %d %b %H:%M}" for time in times],
        "top": 40,
        "bottom": 398,
        "series": series,
    }


def _kw(value: float) -> str:
    return plain(round(value, 2))


def by_home(frame: pl.DataFrame, width: int) -> str:
    """Draw each home's mean absolute error, of the forecast and of the same quarter-hour a week before.

    Args:
        frame: As of `demo.figures.forecast_by_site`; of many homes an even choice is drawn.
        width: In px.
    """
    if frame.height > _MOST_HOMES:
        places = np.linspace(0, frame.height - 1, _MOST_HOMES).round().astype(int)
        frame = frame[places.tolist()]
    canvas = Canvas(width, 60 + 20 * frame.height + 30, "forecast error of each home, beside that of the week before")
    used = canvas.legend(
        12, 16, [("a-forecast", "forecast"), ("a-naive", "same quarter-hour a week before")], right=width - 14
    )
    names = max((len(name) for name in frame["site_id"]), default=8) * 7 + 14
    ticks = nice_ticks(0, float(frame.select("forecast_mae_w", "naive_mae_w").max().max_horizontal()[0]), 5)
    bottom = used + 26 + 20 * frame.height
    x = Linear(0, ticks[-1], names, width - 24)
    for tick in ticks:
        canvas.line(x(tick), used + 20, x(tick), bottom, "grid")
        canvas.text(x(tick), bottom + 16, plain(tick), "tick", anchor="middle")
    canvas.text(x.end, bottom + 32, "mean absolute error, W", "unit", anchor="end")
    for place, (site, model, naive) in enumerate(frame.iter_rows()):
        y = used + 26 + 20 * place + 8
        canvas.text(names - 8, y + 4, site, "tick", anchor="end")
        tip = f"{site}: {model:.0f} W, a week before {naive:.0f} W"
        canvas.line(x(model), y, x(naive), y, "dumbbell")
        canvas.circle(x(naive), y, 4.5, "a-naive", tip=tip)
        canvas.circle(x(model), y, 5.5, "a-forecast", tip=tip)
    return canvas.svg()
