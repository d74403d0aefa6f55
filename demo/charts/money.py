"""The money: from the market to the homes, and how the past was corrected."""

import math
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from demo.charts.canvas import Canvas, Linear, Panel, local_days, nice_ticks, plain, text_width
from demo.facts import Traded
from demo.figures import Corrections

_MICROS = 1e6
_HOUR_S = 3600.0
_MOST_HOMES = 40


def amount(micros: float) -> str:
    """An amount of money in units of the currency, with as many decimals as it takes."""
    value = micros / _MICROS
    text = f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:,.2f}"
    return text.replace("-", "−")  # noqa: RUF001  # a minus sign


def steps_of(flows: pl.DataFrame) -> list[tuple[str, int, str]]:
    """Return the waterfall's steps: name, micros from the aggregator's side, class.

    Args:
        flows: As of `demo.figures.flows`.
    """
    pots = {row["pot"]: row for row in flows.iter_rows(named=True)}

    def of(pot: str, column: str) -> int:
        return -int(pots[pot][column]) if pot in pots else 0

    found = [
        ("market pays for capacity", of("CAPACITY", "to_market_micros"), "a-in"),
        ("market pays for energy", of("ENERGY", "to_market_micros"), "a-in"),
        ("penalty for shortfall", of("PENALTY", "to_market_micros"), "a-out"),
        ("homes' share of capacity", of("CAPACITY", "to_homes_micros"), "a-homes"),
        ("homes' share of energy", of("ENERGY", "to_homes_micros"), "a-homes"),
        ("penalty borne by homes", of("PENALTY", "to_homes_micros"), "a-in"),
    ]
    return [step for step in found if step[1]]


def waterfall(flows: pl.DataFrame, currency: str, width: int) -> str:
    """Draw how the market's money becomes the homes' and the aggregator's.

    Args:
        flows: As of `demo.figures.flows`.
        currency: Of the amounts.
        width: In px.
    """
    found = steps_of(flows)
    kept = sum(micros for _, micros, _ in found)
    canvas = Canvas(width, 24 + 34 * (len(found) + 1) + 34, "what the market pays, what the homes get, what remains")
    names = 176.0
    at, low, high = 0, 0, 0
    for _, micros, _ in found:
        at += micros
        low, high = min(low, at), max(high, at)
    ticks = nice_ticks(low / _MICROS, max(high / _MICROS, 0.01), 4 if canvas.narrow else 6)
    bottom = 24 + 34.0 * (len(found) + 1)
    x = Linear(ticks[0], ticks[-1], names, width - 64)
    for tick in ticks:
        canvas.line(x(tick), 18, x(tick), bottom, "zero" if tick == 0 else "grid")
        canvas.text(x(tick), bottom + 16, plain(tick), "tick", anchor="middle")
    canvas.text(x.end, bottom + 31, currency, "unit", anchor="end")
    at = 0
    for place, (name, micros, cls) in enumerate([*found, ("aggregator keeps", 0, "a-keep")]):
        y = 24 + 34.0 * place
        start, end = (0, kept) if cls == "a-keep" else (at, at + micros)
        canvas.text(names - 10, y + 17, name, "label", anchor="end")
        canvas.rect(x(start / _MICROS), y + 2, x(end / _MICROS) - x(start / _MICROS), 22, cls, radius=2)
        shown = f"{'' if cls == 'a-keep' or micros < 0 else '+'}{amount(end - start)}"
        right = max(x(start / _MICROS), x(end / _MICROS))
        room = right + 6 + text_width(shown) < width
        canvas.text(right + 6 if room else width - 2, y + 17, shown, "value", anchor="start" if room else "end")
        if cls != "a-keep":
            canvas.line(x(end / _MICROS), y + 24, x(end / _MICROS), y + 36, "link")
        at += micros
    return canvas.svg()


def homes(frame: pl.DataFrame, currency: str, width: int) -> str:
    """Draw what each home receives, for its capacity and for its energy.

    Args:
        frame: As of `demo.figures.homes_money`; of many homes an even choice is drawn.
        currency: Of the amounts.
        width: In px.
    """
    if frame.height > _MOST_HOMES:
        frame = frame.gather_every(-(-frame.height // _MOST_HOMES))
    canvas = Canvas(width, 280, "what each home receives")
    used = canvas.legend(50, 16, [("a-capacity", "capacity"), ("a-energy", "energy, less penalties")], right=width - 14)
    lows = frame.select(pl.min_horizontal("capacity_micros", "energy_micros", pl.lit(0)).min()).item() or 0
    highs = frame.select((pl.col("capacity_micros") + pl.col("energy_micros").clip(0)).max()).item() or 1
    ticks = nice_ticks(lows / _MICROS, highs / _MICROS, 5)
    panel = Panel(canvas, Linear(0, max(frame.height, 1), 50, width - 14), Linear(ticks[0], ticks[-1], 230, used + 26))
    panel.y_axis(ticks, currency)
    room = panel.x(1) - panel.x(0)
    bar = min(room * 0.72, 36)
    for place, (account, capacity, energy) in enumerate(frame.iter_rows()):
        left = panel.x(place + 0.5) - bar / 2
        tip = (
            f"{account}: {amount(capacity + energy)} {currency} ({amount(capacity)} capacity, {amount(energy)} energy)"
        )
        base = max(capacity, 0) if energy > 0 else 0
        for start, size, cls in ((0, capacity, "a-capacity"), (base, energy, "a-energy")):
            low, high = panel.y(start / _MICROS), panel.y((start + size) / _MICROS)
            canvas.rect(left, low, bar, high - low, cls, tip=tip)
        if room > 14:  # else the names do not fit
            canvas.text(left + bar / 2, panel.bottom + 16, account.rpartition("-")[2], "tick", anchor="middle")
    canvas.text(panel.right, panel.bottom + 36, "homes' accounts, the most first", "unit", anchor="end")
    return canvas.svg()


def corrections(found: Corrections, traded: Traded, currency: str, width: int) -> str:
    """Draw when the past changed: restated intervals, restated deliveries, correction lines, by the hour.

    Counts are drawn by their logarithm, for one home's lost day restates as much as all others in a month.

    Args:
        found: As of `demo.figures.corrections`.
        traded: The traded days; what became known afterwards is drawn behind them.
        currency: Of the amounts.
        width: In px.
    """
    canvas = Canvas(width, 390, "restated intervals and deliveries, and correction lines, by when they became known")
    known = [frame["known_at"].max() for frame in (found.intervals, found.deliveries, found.money) if frame.height]
    latest = max([traded.until, *(time for time in known if isinstance(time, datetime))])
    zone = ZoneInfo(traded.timezone)
    last = local_days(traded.since, latest + timedelta(days=1, hours=1), zone)[-1]
    x = Linear(traded.since.timestamp(), last.timestamp(), 50, width - 14)
    lanes = [
        ("intervals restated in an hour (logarithmic)", found.intervals, (34.0, 116.0), "a-interval"),
        ("deliveries restated in an hour (logarithmic)", found.deliveries, (154.0, 216.0), "a-delivered"),
    ]
    thick = max(x(_HOUR_S) - x(0), 2.0)
    for name, frame, (top, bottom), cls in lanes:
        rows = frame.filter(pl.col("known_at") >= traded.since)
        most = max([9, *rows["revised"]])
        marks = [0, *(10**power for power in range(len(str(most))) if most < 100 or power)]
        panel = Panel(canvas, x, Linear(0, math.log10(1 + most), bottom, top))
        panel.y_axis([math.log10(1 + mark) for mark in marks], form=lambda level: plain(round(10**level - 1)))
        panel.days(traded.since, last, traded.timezone, label=False)
        canvas.text(50, top - 10, name, "unit")
        for at, count in rows.select("known_at", "revised").iter_rows():
            y = panel.y(math.log10(1 + count))
            tip = f"{at.astimezone(zone):%a %d %b %H:%M}: {count}"
            canvas.rect(x(at.timestamp()), y, thick, bottom - y, cls, tip=tip)
    _money_lane(canvas, found.money, x, traded, thick, currency)
    lower = Panel(canvas, x, Linear(0, 1, 360, 254))
    lower.days(traded.since, last, traded.timezone)
    return canvas.svg()


def _money_lane(canvas: Canvas, money: pl.DataFrame, x: Linear, traded: Traded, thick: float, currency: str) -> None:
    low = min([0, *money["down_micros"]]) / _MICROS
    high = max([0, *money["up_micros"]]) / _MICROS
    ticks = nice_ticks(low, high if high > low else low + 0.01, 4)
    panel = Panel(canvas, x, Linear(ticks[0], ticks[-1], 360, 254))
    panel.y_axis(ticks)
    canvas.text(50, 244, f"correction lines: given to and taken from accounts, {currency}", "unit")
    zone = ZoneInfo(traded.timezone)
    for at, up, down in money.iter_rows():
        tip = f"{at.astimezone(zone):%a %d %b %H:%M}: +{up / _MICROS:.4f} and {down / _MICROS:.4f} {currency}"
        left = x(at.timestamp())
        canvas.rect(left, panel.y(0), thick, panel.y(up / _MICROS) - panel.y(0), "a-in", tip=tip)
        canvas.rect(left, panel.y(0), thick, panel.y(down / _MICROS) - panel.y(0), "a-out", tip=tip)
