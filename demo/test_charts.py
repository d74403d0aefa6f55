"""The pictures, from frames: what is drawn has the size that the figures say."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from demo import facts, figures
from demo.charts import chain, dispatch, forecast, homeday, market, money
from demo.charts.canvas import NARROW, WIDE, Canvas, Linear, local_days, nice_ticks, plain, steps, trace
from demo.conftest import TRADED
from demo.facts import Query, Traded
from streams.testing import utc

Rect = dict[str, float]


def rects(svg: str, cls: str) -> list[Rect]:
    """The rectangles of a class, as numbers."""
    return [
        {name: float(one.get(name, "0")) for name in ("x", "y", "width", "height")}
        for one in ET.fromstring(svg).iter("rect")
        if one.get("class") == cls
    ]


def texts(svg: str) -> list[str]:
    return [one.text or "" for one in ET.fromstring(svg).iter("text")]


def test_ticks_are_round_and_cover_the_range() -> None:
    assert nice_ticks(0, 37, 4) == [0, 10, 20, 30, 40]
    assert nice_ticks(-0.03, 0.04, 4) == [-0.04, -0.02, 0, 0.02, 0.04]
    assert nice_ticks(0, 0, 3)[0] == 0
    assert [plain(value) for value in (0.0, -0.5, 1200, 2.50)] == ["0", "\N{MINUS SIGN}0.5", "1,200", "2.5"]


def test_a_scale_a_stepped_line_and_a_gap() -> None:
    assert Linear(0, 10, 100, 0)(2.5) == 75
    assert steps(np.array([0.0, 1]), np.array([1.0, 2]), np.array([5.0, 6])).tolist() == [
        [0, 5],
        [1, 5],
        [1, 6],
        [2, 6],
    ]
    assert trace(np.array([[0, 0], [1, 1.25], [np.nan, 0], [3, 3]])) == "M0 0L1 1.2M3 3"


def test_names_cannot_break_out_of_a_picture() -> None:
    canvas = Canvas(100, 50, 'a "label"')
    canvas.text(0, 0, "<script>&")
    canvas.rect(0, 0, 1, 1, "a", tip="<b>")
    canvas.hover({"at": ['"><script>']})
    svg = canvas.svg()
    assert "<script>" not in svg
    assert texts(svg) == ["<script>&"]


def test_local_days_follow_the_clock() -> None:
    zone = ZoneInfo("America/Los_Angeles")
    days = local_days(utc("2023-03-11 08:00"), utc("2023-03-14 07:00"), zone)
    assert days == [utc("2023-03-11 08:00"), utc("2023-03-12 08:00"), utc("2023-03-13 07:00")]


def test_all_pictures_are_well_formed_at_both_widths(told: Query) -> None:
    pictures: dict[str, Callable[[int], str]] = {
        "chain": lambda w: chain.draw(facts.counts(told), w),
        "week": lambda w: market.week(figures.week(told, TRADED), facts.activations(told), TRADED, "USD", w),
        "curve": lambda w: market.curve(figures.curve(told), "USD", w),
        "delivery": lambda w: market.delivery(facts.activations(told), TRADED, w),
        "bands": lambda w: forecast.bands(figures.forecast_of(told, TRADED, "home-01"), TRADED, w),
        "by_home": lambda w: forecast.by_home(figures.forecast_by_site(told, TRADED), w),
        "waterfall": lambda w: money.waterfall(figures.flows(told), "USD", w),
        "homes": lambda w: money.homes(figures.homes_money(told), "USD", w),
        "corrections": lambda w: money.corrections(figures.corrections(told), TRADED, "USD", w),
    }
    trouble = figures.trouble(told)
    assert trouble is not None
    pictures["dispatch"] = lambda w: dispatch.draw(trouble, TRADED.timezone, w)
    for name, draw in pictures.items():
        for width in (WIDE, NARROW):
            svg = draw(width)
            root = ET.fromstring(svg)
            assert root.get("viewBox", "").startswith(f"0 0 {width} "), name
            assert "nan" not in svg, name
            outside = [one for one in texts_at(root) if not 0 <= one <= width]
            assert not outside, name


def texts_at(root: ET.Element) -> list[float]:
    return [float(one.get("x", "0")) for one in root.iter("text")]


def test_a_bid_is_as_wide_as_its_kilowatts_and_filled_as_far_as_it_was_won(told: Query) -> None:
    svg = market.curve(figures.curve(told), "USD", WIDE)
    offered, won = rects(svg, "a-offered"), rects(svg, "a-won")
    # The legend has the first of each; then 8 and 4 kW were bid, and 6 of the 8 were won.
    assert offered[1]["width"] / offered[2]["width"] == pytest.approx(8 / 4, rel=0.01)
    assert [one["width"] / offered[1]["width"] for one in won[1:]] == [pytest.approx(6 / 8, rel=0.01)]
    assert offered[2]["height"] / offered[1]["height"] == pytest.approx(9 / 5, rel=0.01)  # dollars per MW and hour
    assert "cleared at 7 USD/MW/h" in texts(svg)


def test_a_bid_without_capacity_price_is_drawn_by_its_energy_price() -> None:
    bids = pl.DataFrame({
        "period_start": [utc("2023-05-08 19:00")], "step": [0], "quantity_w": [5000], "won_w": [0],
        "price_micros_per_mw_h": pl.Series([None], dtype=pl.Int64), "price_micros_per_mwh": [200_000_000],
        "clearing_micros_per_mw_h": pl.Series([None], dtype=pl.Int64),
    })  # fmt: skip
    assert "price, USD/MWh" in texts(market.curve(bids, "USD", WIDE))


def test_delivered_and_missing_make_up_what_was_asked(told: Query) -> None:
    svg = market.delivery(facts.activations(told), TRADED, WIDE)
    delivered, missing, asked = (rects(svg, cls)[1:] for cls in ("a-delivered", "a-short", "a-hollow"))
    assert asked[0]["height"] == pytest.approx(delivered[0]["height"] + missing[0]["height"], abs=0.2)
    assert delivered[0]["height"] / asked[0]["height"] == pytest.approx(3100 / 5000, abs=0.01)


def test_the_waterfall_ends_at_what_the_aggregator_keeps(told: Query) -> None:
    found = money.steps_of(figures.flows(told))
    assert [micros for _, micros, _ in found] == [7500, 500_000, -30_000, -5000, -408_000, 10_000]
    assert sum(micros for _, micros, _ in found) == 74_500
    assert "0.07" in texts(money.waterfall(figures.flows(told), "USD", WIDE))


def test_corrections_are_drawn_when_they_became_known(told: Query) -> None:
    found = figures.corrections(told)
    assert found.intervals.rows() == [(utc("2023-05-08 20:00"), 1)]
    assert found.deliveries.rows() == [(utc("2023-05-09 09:00"), 1)]
    assert found.money.rows() == [(utc("2023-05-09 10:00"), 8000, -8000)]
    svg = money.corrections(found, TRADED, "USD", WIDE)
    (up,), (down,) = rects(svg, "a-in"), rects(svg, "a-out")
    assert up["height"] == pytest.approx(down["height"])
    # Two local days are drawn, 27 hours after the first began it became known.
    x = Linear(0, 48, 50, WIDE - 14)
    assert up["x"] == pytest.approx(x(27), abs=0.1)


def test_each_home_of_a_troubled_activation_has_its_fate(told: Query) -> None:
    trouble = figures.trouble(told)
    assert trouble is not None
    assert (trouble.activation_id, trouble.quantity_w) == ("a", 10_000)
    first, second = dispatch.orders(trouble)
    assert (first.site_id, first.outcome, first.fell_out) == ("home-01", "followed", False)
    assert (second.site_id, second.outcome, second.fell_out) == ("home-02", "refused", True)
    assert second.revoked_at == utc("2023-05-08 18:48")
    svg = dispatch.draw(trouble, TRADED.timezone, WIDE)
    assert {"5.0 kW, followed", "5.0 kW, refused"} <= set(texts(svg))


@pytest.mark.parametrize(
    ("statuses", "revoked", "outcome"),
    [
        (["ACCEPTED", "STARTED", "SUCCEEDED"], False, "followed"),
        ([], True, "no answer"),
        (["SENT"], True, "no answer"),
        (["REJECTED"], True, "refused"),
        (["ACCEPTED", "STARTED", "ABORTED"], True, "stopped: storage empty"),
        (["ACCEPTED"], True, "taken back"),
        (["ACCEPTED", "OVERRIDDEN"], True, "overridden"),
    ],
)
def test_what_became_of_an_instruction(statuses: list[str], revoked: bool, outcome: str) -> None:
    start = utc("2023-05-08 19:00")
    rows = [("i", "home", "FOLLOW", start, start, start + timedelta(hours=1), 1000, None)]
    if revoked:
        rows.append(("r", "home", "REVOKE", start, start, start + timedelta(hours=1), 1000, "i"))  # type: ignore[arg-type]
    names = ["instruction_id", "site_id", "action", "issued_at", "since", "until", "quantity_w", "supersedes_id"]
    reports = pl.DataFrame(
        [("i", "home", status, start, "STORAGE_EMPTY" if status == "ABORTED" else None) for status in statuses],
        schema={"instruction_id": pl.String, "site_id": pl.String, "status": pl.String,
                "occurred_at": pl.Datetime("us", "UTC"), "reason_code": pl.String},
        orient="row",
    )  # fmt: skip
    orders = pl.DataFrame(rows, schema=names, orient="row")
    trouble = figures.Trouble("a", start, start + timedelta(hours=1), 1000, orders, reports)
    (order,) = dispatch.orders(trouble)
    assert (order.outcome, order.fell_out) == (outcome, revoked)


def test_a_home_s_day_shades_what_lies_between_baseline_and_meter(told: Query) -> None:
    day = figures.home_day(
        told, "home-01", datetime(2023, 5, 8, tzinfo=ZoneInfo(TRADED.timezone)).date(), TRADED.timezone, "x"
    )
    quarters = {row["period_start"]: row for row in day.quarters.iter_rows(named=True)}
    first = quarters[utc("2023-05-08 19:00")]
    # Wh in a quarter-hour, times four: newest revisions of load, PV and meter; 600 Wh were expected.
    assert (first["load_w"], first["pv_w"], first["meter_w"], first["baseline_w"]) == (1200, -2000, -3600, 2400)
    assert (first["requested_w"], first["delivered_w"], first["forecast_w"]) == (5000, 6000, 1000 - 1700)
    assert day.fill["fill_level"].to_list() == [0.9, 0.5]
    svg = homeday.draw(day, WIDE)
    (_, delivered), (short,) = rects(svg, "a-delivered"), rects(svg, "a-short")
    # 6 kW were delivered in the first quarter-hour; in the second the meter lay 0.4 kW above its baseline.
    assert short["height"] / delivered["height"] == pytest.approx(0.4 / 6, abs=0.01)
    assert delivered["x"] == pytest.approx(Linear(0, 24, 46, WIDE - 20)(12), abs=0.1)  # noon


def test_homes_days_are_picked_by_what_happened(told: Query) -> None:
    titles = [(day.title, day.site_id) for day in figures.home_days(told, TRADED)]
    assert titles == [
        ("a home that delivered", "home-01"),
        ("a home that fell out and was replaced", "home-02"),
        ("a home that fell short", "home-01"),
    ]


def test_of_many_homes_an_even_choice_is_drawn() -> None:
    count = 500
    frame = pl.DataFrame({
        "account_id": [f"account-{number:03d}" for number in range(count)],
        "capacity_micros": list(range(count, 0, -1)), "energy_micros": [0] * count,
    })  # fmt: skip
    assert len(rects(money.homes(frame, "USD", WIDE), "a-capacity")) - 1 <= 40
    errors = pl.DataFrame({
        "site_id": [f"h{number}" for number in range(count)], "forecast_mae_w": [float(n) for n in range(count)],
        "naive_mae_w": [600.0] * count,
    })  # fmt: skip
    shown = [text for text in texts(forecast.by_home(errors, WIDE)) if re.fullmatch(r"h\d+", text)]
    assert (len(shown), shown[0], shown[-1]) == (24, "h0", "h499")


def test_a_short_day_is_drawn_whole() -> None:
    traded = Traded(utc("2023-03-12 08:00"), utc("2023-03-13 07:00"), "America/Los_Angeles")  # 23 hours
    starts = [traded.since + timedelta(minutes=15 * number) for number in range(92)]
    frame = pl.DataFrame({
        "period_start": starts, "offered_w": [1000.0] * 92, "won_w": [500.0] * 92,
        "price_micros_per_mw_h": [1_000_000] * 92, "bid_micros_per_mw_h": [None, *([900_000] * 91)],
    })  # fmt: skip
    none = pl.DataFrame(schema={"period_start": pl.Datetime, "period_end": pl.Datetime, "asked_w": pl.Int64})
    assert "Sun 12 Mar" in texts(market.week(frame, none, traded, "USD", WIDE))
