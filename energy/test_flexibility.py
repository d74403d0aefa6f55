from dataclasses import asdict, astuple, replace
from datetime import UTC, datetime

import polars as pl
import pytest

from energy.flexibility import DOWN, UP, Storage, apply_preferences, site_room, storage_offers
from energy.time import UTC_MICROS

# 6.4 kWh, 5 kW, half full; 0.95 and 0.9 one way
BATTERY = Storage(
    power_min_w=-5000, power_max_w=4000, storage_wh=6400, fill_level=0.5, fill_level_min=0.1, fill_level_max=0.9,
    charge_efficiency=0.95, discharge_efficiency=0.9, retail_micros_per_mwh=200_000_000, wear_micros_per_mwh=30_000_000,
)  # fmt: skip


def test_a_battery_by_hand() -> None:
    offers = BATTERY.offers()
    # up: 0.4 x 6400 = 2560 Wh inside, x 0.9 = 2304 Wh outside, enough for 5 kW; costs 30 + (1 / 0.855 - 1) x 200 EUR
    assert astuple(offers[UP]) == pytest.approx((5000, 2304, 63_918_129, 2304 * 3600 / 5000, 1 / 0.855), rel=1e-12)
    # down: 2560 / 0.95 = 2694.7 Wh outside; costs 0.855 x 30 + 0.145 x 200 EUR
    seconds = 2560 / 0.95 * 3600 / 4000
    assert astuple(offers[DOWN]) == pytest.approx((4000, 2694, 54_650_000, seconds, 0.855), rel=1e-12)


def test_a_quantity_must_last_for_the_time_asked() -> None:
    # 2304 Wh last one hour at 2304 W; 2694.7 Wh at 2694 W
    offers = BATTERY.offers(hold_s=3600)
    assert (offers[UP].quantity_w, offers[DOWN].quantity_w) == (2304, 2694)
    assert offers[UP].max_duration_s >= 3600


def test_the_tighter_of_the_technical_and_the_owners_limits_counts() -> None:
    kept = replace(BATTERY, owner_fill_min=0.3, owner_fill_max=0.95).offers()
    assert kept[UP].energy_limit_wh == 1152  # 0.2 x 6400 x 0.9
    assert kept[DOWN].energy_limit_wh == 2694  # the technical 0.9
    assert replace(BATTERY, owner_fill_min=0.05).offers()[UP] == BATTERY.offers()[UP]


def test_nothing_is_offered_where_there_is_nothing() -> None:
    assert UP not in replace(BATTERY, fill_level=0.1).offers()
    assert UP not in replace(BATTERY, fill_level=0.05).offers()
    assert DOWN not in replace(BATTERY, fill_level=0.9).offers()
    assert replace(BATTERY, available=False).offers() == {}
    assert UP not in replace(BATTERY, power_min_w=0.0).offers()
    assert DOWN not in replace(BATTERY, down_limit_w=-10.0).offers()


def test_the_connection_limits_the_power_and_not_the_energy() -> None:
    offers = replace(BATTERY, up_limit_w=1500.9).offers()
    assert offers[UP].quantity_w == 1500
    assert offers[UP].energy_limit_wh == 2304


def test_room_of_a_site_by_its_forecast_load() -> None:
    frame = pl.DataFrame({
        "load": [3000.0, -6000.0, 500.0], "import": [5000.0, 5000.0, None], "export": [4000.0, 4000.0, None]
    })  # fmt: skip
    up, down = site_room(pl.col("load"), pl.col("import"), pl.col("export"))
    rooms = frame.select(up=up, down=down)
    assert rooms["up"].to_list()[:2] == [7000.0, 0.0]
    assert rooms["down"].to_list()[:2] == [2000.0, 11000.0]
    assert rooms["up"][2] > 1e12
    assert rooms["down"][2] > 1e12


def test_many_batteries_in_many_periods_give_what_each_gives_alone() -> None:
    kinds = [replace(BATTERY, fill_level=level, retail_micros_per_mwh=price)
             for level in (0.05, 0.1, 0.4, 0.9, 1.0) for price in (-50_000_001, 0, 333_333_333)]  # fmt: skip
    slots = pl.DataFrame([asdict(kind) | {"resource_id": f"r{number}"} for number, kind in enumerate(kinds)])
    rows = storage_offers(slots, hold_s=1800)
    assert rows.columns[0] == "resource_id"
    assert "fill_level" not in rows.columns
    for number, kind in enumerate(kinds):
        mine = {row["direction"]: row for row in rows.filter(resource_id=f"r{number}").iter_rows(named=True)}
        alone = kind.offers(hold_s=1800)
        assert mine.keys() == alone.keys()
        for direction, offered in alone.items():
            assert asdict(offered) == {name: mine[direction][name] for name in asdict(offered)}


def test_limits_may_be_absent_or_null() -> None:
    names = ["owner_fill_min", "owner_fill_max", "available", "up_limit_w", "down_limit_w"]
    slots = pl.DataFrame([asdict(BATTERY)])
    plain = storage_offers(slots)
    assert storage_offers(slots.drop(names)).equals(plain)
    nulls = slots.with_columns(pl.lit(None).alias(name) for name in names)
    assert storage_offers(nulls.cast(slots.select(names).schema)).equals(plain)


MONDAY_EVENING = datetime(2026, 2, 16, 21, 45, tzinfo=UTC)  # 22:45 in Brussels


def wish(**fields: object) -> pl.DataFrame:
    base: dict[str, object] = {
        "resource_id": "r1", "valid_from": datetime(2026, 1, 1, tzinfo=UTC), "valid_to": None,
        "automation": "AUTOMATIC", "available": None, "weekdays": None, "day_from_s": None, "day_to_s": None,
        "fill_level_min": None, "fill_level_max": None,
    }  # fmt: skip
    schema = {
        "resource_id": pl.String(), "valid_from": UTC_MICROS, "valid_to": UTC_MICROS, "automation": pl.String(),
        "available": pl.Boolean(), "weekdays": pl.Int64(), "day_from_s": pl.Int64(), "day_to_s": pl.Int64(),
        "fill_level_min": pl.Float64(), "fill_level_max": pl.Float64(),
    }  # fmt: skip
    return pl.DataFrame([base | fields], schema=schema)


def wanted(*wishes: pl.DataFrame, at: datetime = MONDAY_EVENING) -> tuple[bool, float, float]:
    slots = pl.DataFrame({"resource_id": ["r1"], "period_start": [at], "timezone": ["Europe/Brussels"]})
    slots = slots.cast({"period_start": UTC_MICROS})
    row: tuple[bool, float, float] = (
        apply_preferences(slots, pl.concat(wishes)).select("available", "owner_fill_min", "owner_fill_max").row(0)
    )
    return row


OUT = {"available": False}
CLOCK_22_45, CLOCK_23, CLOCK_6 = 81_900, 82_800, 21_600


@pytest.mark.parametrize(
    ("fields", "available"),
    [
        (OUT, False),
        ({"automation": "OFF"}, False),
        ({"automation": "ASK"}, True),
        (OUT | {"resource_id": "r2"}, True),
        (OUT | {"valid_from": datetime(2026, 2, 16, 21, 46, tzinfo=UTC)}, True),
        (OUT | {"valid_to": MONDAY_EVENING}, True),
        (OUT | {"weekdays": 0b0000001}, False),
        (OUT | {"weekdays": 0b1111110}, True),
        (OUT | {"day_from_s": CLOCK_23 - 1, "day_to_s": 86_400}, False),
        (OUT | {"day_from_s": CLOCK_23, "day_to_s": 86_400}, True),
        (OUT | {"day_from_s": 0, "day_to_s": CLOCK_22_45}, True),
        (OUT | {"day_from_s": 0, "day_to_s": CLOCK_22_45 + 1}, False),
        (OUT | {"day_from_s": CLOCK_22_45, "day_to_s": CLOCK_6, "weekdays": 0b0000001}, False),
        (OUT | {"day_from_s": CLOCK_22_45, "day_to_s": CLOCK_6, "weekdays": 0b1111110}, True),
    ],
)
def test_an_owners_opt_out_holds_in_its_window_only(fields: dict[str, object], available: bool) -> None:
    assert wanted(wish(**fields)) == (available, 0.0, 1.0)


def test_after_midnight_a_window_still_belongs_to_the_day_it_began() -> None:
    night = wish(available=False, day_from_s=CLOCK_23, day_to_s=CLOCK_6, weekdays=0b0000001)
    tuesday_early, monday_early = datetime(2026, 2, 17, 4, 45, tzinfo=UTC), datetime(2026, 2, 16, 4, 45, tzinfo=UTC)
    assert wanted(night, at=tuesday_early)[0] is False
    assert wanted(night, at=monday_early)[0] is True
    assert wanted(night, at=datetime(2026, 2, 17, 5, tzinfo=UTC))[0] is True


def test_of_several_preferences_the_tightest_counts() -> None:
    wishes = wish(fill_level_min=0.2, fill_level_max=0.8), wish(fill_level_min=0.3), wish(fill_level_max=0.7)
    assert wanted(*wishes) == (True, 0.3, 0.7)
    assert wanted(*wishes, wish(available=False))[0] is False
