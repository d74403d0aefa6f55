"""The portfolio in the market: a bid curve and its clearing, the week, and what was asked and delivered."""

from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demo.charts.canvas import Canvas, Linear, Panel, nice_ticks, plain, seconds, steps, text_width
from demo.facts import Traded

_MICROS = 1e6
_QUARTER_S = 900.0


def curve(bids: pl.DataFrame, currency: str, width: int) -> str:
    """Draw a quarter-hour's bid curve: quantity along, price up; what the market took is filled.

    Args:
        bids: As of `demo.figures.curve`.
        currency: Of the prices.
        width: In px.
    """
    canvas = Canvas(width, 340, "the portfolio's bid curve in one quarter-hour, and how far the market took it")
    energy = bids["price_micros_per_mw_h"].is_null().all()
    column, unit = (
        ("price_micros_per_mwh", f"{currency}/MWh") if energy else ("price_micros_per_mw_h", f"{currency}/MW/h")
    )
    prices = bids[column].fill_null(0).to_numpy() / _MICROS
    quantities, won = bids["quantity_w"].to_numpy() / 1000, bids["won_w"].to_numpy() / 1000
    clearing = None if energy else bids["clearing_micros_per_mw_h"][0]
    used = canvas.legend(
        60,
        16,
        [("a-won", "bid and won"), ("a-offered", "bid, not won"), ("l-clear", "the market's dearest accepted price")],
        right=width - 14,
    )
    ticks = nice_ticks(0, max(prices.max(), (clearing or 0) / _MICROS) * 1.05, 5)
    widths = nice_ticks(0, float(quantities.sum()), 6)
    panel = Panel(canvas, Linear(0, widths[-1], 60, width - 18), Linear(0, ticks[-1], 290, used + 34))
    panel.y_axis(ticks)
    canvas.text(panel.left - 50, panel.top - 12, f"capacity price, {unit}" if not energy else f"price, {unit}", "unit")
    at = 0.0
    for row, (quantity, taken, price) in enumerate(zip(quantities, won, prices, strict=True)):
        tip = _step_tip(bids.row(row, named=True), currency)
        top = min(panel.y(price), panel.bottom - 2)
        canvas.rect(panel.x(at), top, panel.x(quantity) - panel.x(0), panel.bottom - top, "a-offered", tip=tip)
        if taken > 0:
            canvas.rect(panel.x(at), top, panel.x(taken) - panel.x(0), panel.bottom - top, "a-won", tip=tip)
        _step_name(canvas, panel, (at, quantity, top), bids.row(row, named=True), currency)
        at += quantity
    corners = np.cumsum(quantities)
    canvas.path(steps(panel.x.many(corners - quantities), panel.x.many(corners), panel.y.many(prices)), "l-offer")
    if clearing is not None:
        y = panel.y(clearing / _MICROS)
        canvas.line(panel.left, y, panel.right, y, "l-clear")
        canvas.text(panel.left + 6, y - 7, f"cleared at {plain(round(clearing / _MICROS, 2))} {unit}", "value")
    for tick in widths:
        canvas.text(panel.x(tick), panel.bottom + 17, plain(tick), "tick", anchor="middle")
    canvas.text(panel.right, panel.bottom + 36, "kW bid, cheapest first", "unit", anchor="end")
    return canvas.svg()


def _step_name(
    canvas: Canvas, panel: Panel, block: tuple[float, float, float], row: dict[str, Any], currency: str
) -> None:
    """Write into a block what its energy costs when activated, where there is room."""
    at, quantity, top = block
    price = row["price_micros_per_mwh"]
    if row["price_micros_per_mw_h"] is None or not isinstance(price, int) or panel.bottom - top < 40:
        return
    room = panel.x(quantity) - panel.x(0)
    amount = plain(round(price / _MICROS))
    for words in ((f"{amount} {currency}/MWh", "if activated"), (amount, "")):
        if max(map(text_width, words)) + 8 < room:
            for line, word in enumerate(words[::-1] if words[1] else words[:1]):
                cls = "onbar" if row["won_w"] > row["quantity_w"] / 2 else "tick"
                canvas.text(panel.x(at + quantity / 2), panel.bottom - 9 - 14 * line, word, cls, anchor="middle")
            return


def _step_tip(row: dict[str, Any], currency: str) -> str:
    parts = [f"step {row['step']}: {_kw(row['quantity_w'])} kW bid, {_kw(row['won_w'])} kW won"]
    for column, unit in (("price_micros_per_mw_h", "MW/h"), ("price_micros_per_mwh", "MWh when activated")):
        value = row[column]
        if isinstance(value, int):
            parts.append(f"{plain(round(value / _MICROS, 2))} {currency}/{unit}")
    return "\n".join(parts)


def _kw(value: object) -> str:
    return plain(value / 1000) if isinstance(value, int | float) else "0"


def week(frame: pl.DataFrame, activations: pl.DataFrame, traded: Traded, currency: str, width: int) -> str:
    """Draw the traded days: capacity bid and won, activations, and the market's price below.

    Args:
        frame: As of `demo.figures.week`.
        activations: As of `demo.facts.activations`.
        traded: The days.
        currency: Of the price.
        width: In px.
    """
    canvas = Canvas(width, 400, "capacity bid and won, activations and the market's price over the traded days")
    used = canvas.legend(
        46,
        16,
        [
            ("a-offered", "bid"),
            ("a-won", "won"),
            ("a-order", "activated"),
            ("l-bid", "bid's price"),
            ("l-price", "market's"),
        ],
        right=width - 14,
    )
    x = Linear(traded.since.timestamp(), traded.until.timestamp(), 46, width - 14)
    starts = seconds(frame["period_start"])
    ends = starts + _QUARTER_S
    offered, won = frame["offered_w"].to_numpy() / 1000, frame["won_w"].to_numpy() / 1000
    ticks = nice_ticks(0, max(float(offered.max()), 1.0), 5)
    panel = Panel(canvas, x, Linear(0, ticks[-1], 256, used + 28))
    panel.y_axis(ticks, "kW")
    for values, cls in ((offered, "a-offered"), (won, "a-won")):
        corners = steps(x.many(starts), x.many(ends), panel.y.many(values))
        canvas.band(corners[:, 0], np.full(len(corners), panel.bottom), corners[:, 1], cls)
    for row in activations.iter_rows(named=True):
        left = x(row["period_start"].timestamp())
        span = max(x(row["period_end"].timestamp()) - left, 1.0)
        canvas.rect(
            left, panel.y(row["asked_w"] / 1000), span, panel.bottom - panel.y(row["asked_w"] / 1000), "a-order"
        )
    panel.days(traded.since, traded.until, traded.timezone, label=False)
    asked, cleared = _prices(frame, "bid_micros_per_mw_h"), _prices(frame, "price_micros_per_mw_h")
    highest = np.nanmax(np.concatenate([asked, cleared, [1.0]]))
    marks = nice_ticks(0, float(highest), 2)
    lower = Panel(canvas, x, Linear(0, marks[-1], 366, 292))
    lower.y_axis(marks)
    canvas.text(46, lower.top - 9, f"price of capacity, {currency}/MW/h", "unit")
    canvas.path(steps(x.many(starts), x.many(ends), lower.y.many(cleared)), "l-price")
    canvas.path(steps(x.many(starts), x.many(ends), lower.y.many(asked)), "l-bid")
    lower.days(traded.since, traded.until, traded.timezone)
    zone = ZoneInfo(traded.timezone)
    canvas.hover({
        "x": [round(value, 1) for value in x.many(starts + _QUARTER_S / 2).tolist()],
        "at": [f"{start.astimezone(zone):%a %d %b %H:%M}" for start in frame["period_start"]],
        "top": round(panel.top),
        "bottom": round(lower.bottom),
        "series": [
            {"name": "bid", "values": [f"{plain(value)} kW" for value in offered.tolist()]},
            {"name": "won", "values": [f"{plain(value)} kW" for value in won.tolist()]},
            {"name": "bid price", "values": _shown(asked, currency)},
            {"name": "market", "values": _shown(cleared, currency)},
        ],
    })  # fmt: skip
    return canvas.svg()


def _prices(frame: pl.DataFrame, column: str) -> NDArray[np.float64]:
    return frame[column].cast(pl.Float64).fill_null(float("nan")).to_numpy() / _MICROS


def _shown(prices: NDArray[np.float64], currency: str) -> list[str | None]:
    return [None if np.isnan(value) else f"{value:.2f} {currency}/MW/h" for value in prices.tolist()]


def delivery(activations: pl.DataFrame, traded: Traded, width: int) -> str:
    """Draw each activation: energy asked, and how much of it was delivered.

    Args:
        activations: As of `demo.facts.activations`.
        traded: The days; an activation belongs to the local day of its begin.
        width: In px.
    """
    canvas = Canvas(width, 290, "energy asked and delivered in each activation")
    hours = (pl.col("period_end") - pl.col("period_start")).dt.total_seconds() / 3600
    blocks = activations.group_by("activation_id", "block_start", maintain_order=True).agg(
        asked=(pl.col("asked_w") * hours).sum() / 1000,
        delivered=pl.col("delivered_wh").fill_null(0).sum() / 1000,
        power=pl.col("asked_w").max() / 1000,
        quarters=pl.len(),
    )
    used = canvas.legend(
        46,
        16,
        [
            ("a-delivered", "delivered"),
            ("a-hollow", "asked"),
            ("a-short", "missing"),
            ("a-over", "more than asked: unpaid"),
        ],
        right=width - 14,
    )
    most = max(*blocks["asked"], *blocks["delivered"], 0.1) if blocks.height else 1.0
    ticks = nice_ticks(min(0.0, *blocks["delivered"], 0.0), most, 5)
    panel = Panel(canvas, Linear(0, max(blocks.height, 1), 46, width - 14), Linear(ticks[0], ticks[-1], 246, used + 28))
    panel.y_axis(ticks, "kWh")
    zone = ZoneInfo(traded.timezone)
    local = [start.astimezone(zone) for start in blocks["block_start"]]
    room = panel.x(1) - panel.x(0)
    bar = min(room * 0.72, 44)
    for place, row in enumerate(blocks.iter_rows(named=True)):
        left = panel.x(place + 0.5) - bar / 2
        asked, done = row["asked"], row["delivered"]
        share = done / asked if asked else 0.0
        tip = (
            f"{local[place]:%a %d %b %H:%M}, {row['quarters']} quarter-hours of {plain(row['power'])} kW\n"
            f"asked {asked:.2f} kWh, delivered {done:.2f} kWh ({share:.0%})"
        )
        paid = min(max(done, 0.0), asked)
        canvas.rect(left, panel.y(0), bar, panel.y(paid) - panel.y(0), "a-delivered")
        if done < asked:
            canvas.rect(left, panel.y(asked), bar, panel.y(paid) - panel.y(asked), "a-short")
        elif done > asked:
            canvas.rect(left, panel.y(done), bar, panel.y(asked) - panel.y(done), "a-over")
        canvas.rect(left, panel.y(asked), bar, panel.y(0) - panel.y(asked), "a-hollow", tip=tip)
    _day_names(canvas, panel, [f"{time:%a} {time.day}" for time in local])
    return canvas.svg()


def _day_names(canvas: Canvas, panel: Panel, days: Sequence[str]) -> None:
    """Name runs of the same day below their bars."""
    first = 0
    for place in range(1, len(days) + 1):
        if place == len(days) or days[place] != days[first]:
            left, right = panel.x(first), panel.x(place)
            if first:
                canvas.line(left, panel.top, left, panel.bottom + 6, "grid")
            canvas.text((left + right) / 2, panel.bottom + 20, days[first], "tick", anchor="middle")
            first = place
