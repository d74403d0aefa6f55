from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from energy.baseline import TEN_OF_TEN, HighXOfY, high_x_of_y
from energy.time import QUARTER, UTC_MICROS, quarters_of_day

ZONE = "Europe/Brussels"
DAY = date(2026, 2, 18)  # a Wednesday
PLAIN = HighXOfY(x=2, y=3)


def local(day: date, hour: int, minute: int = 0, fold: int = 0) -> datetime:
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=ZoneInfo(ZONE), fold=fold).astimezone(UTC)


def history_of(days: Mapping[date, float | Callable[[datetime], float | None]], resource: str = "r1") -> pl.DataFrame:
    """Whole local days: the same energy in every quarter-hour, or by its local time."""
    rows = []
    for day, level in days.items():
        for start in quarters_of_day(day, ZONE):
            energy = level(start.astimezone(ZoneInfo(ZONE))) if callable(level) else level
            rows.append((resource, start, energy))
    schema = {"resource_id": pl.String(), "period_start": UTC_MICROS, "energy_wh": pl.Float64()}
    return pl.DataFrame(rows, schema=schema, orient="row")


def wanted_of(*starts: datetime, resource: str = "r1", activation: str = "a1") -> pl.DataFrame:
    rows = [(resource, activation, start, ZONE) for start in starts]
    names = ["resource_id", "activation_id", "period_start", "timezone"]
    return pl.DataFrame(rows, schema=names, orient="row").with_columns(pl.col("period_start").cast(UTC_MICROS))


def before(number: int) -> date:
    return DAY - timedelta(days=number)


# Weekdays before the Wednesday: 1 Tue, 2 Mon, 5 Fri, 6 Thu, 7 Wed, 8 Tue, 9 Mon, 12 Fri, 13 Thu, 14 Wed, 15 Tue, 16 Mon
WEEKDAYS = (1, 2, 5, 6, 7, 8, 9, 12, 13, 14, 15, 16)


def energies(frame: pl.DataFrame) -> list[float | None]:
    return frame["energy_wh"].to_list()


def test_ten_of_ten_is_the_mean_of_the_last_ten_days_of_the_day_type() -> None:
    history = history_of({before(n): 1000.0 for n in range(1, 20)} | {before(n): 10.0 * n for n in WEEKDAYS})
    result = high_x_of_y(history, wanted_of(local(DAY, 18)), TEN_OF_TEN)
    # the ten latest weekdays: 10 * (1+2+5+6+7+8+9+12+13+14) / 10; the two before and all weekends stay out
    assert result.rows() == [("r1", "a1", local(DAY, 18), 77.0, 77.0, 1.0, 10)]


def test_high_x_of_y_takes_the_highest_of_the_latest() -> None:
    history = history_of({before(1): 100.0, before(2): 300.0, before(5): 200.0, before(6): 900.0})
    assert energies(high_x_of_y(history, wanted_of(local(DAY, 18)), PLAIN)) == [250.0]


def test_days_are_ranked_by_the_activations_quarter_hours_and_of_equal_ones_the_later_counts() -> None:
    def rising(at: datetime) -> float:
        return {0: 10.0, 15: 30.0}.get(at.minute, 9999.0) if at.hour == 18 else 5000.0

    def falling(at: datetime) -> float:
        return {0: 30.0, 15: 10.0}.get(at.minute, 1.0) if at.hour == 18 else 1.0

    history = history_of({before(1): falling, before(2): rising})
    wanted = wanted_of(local(DAY, 18), local(DAY, 18, 15))
    assert energies(high_x_of_y(history, wanted, HighXOfY(x=1, y=2))) == [30.0, 10.0]


def test_weekends_and_holidays_are_compared_with_each_other() -> None:
    saturday, sunday = before(4), before(3)
    history = history_of({before(1): 1.0, before(2): 2.0, sunday: 30.0, saturday: 40.0})
    wanted = wanted_of(local(DAY, 18))
    assert energies(high_x_of_y(history, wanted, PLAIN, holidays={DAY})) == [35.0]
    assert energies(high_x_of_y(history, wanted, PLAIN, holidays={before(2)})) == [1.0]
    assert energies(high_x_of_y(history, wanted, HighXOfY(x=4, y=4, by_day_type=False))) == [73.0 / 4]


def test_excluded_days_and_days_with_missing_energy_are_no_reference() -> None:
    history = history_of({
        before(1): 500.0,
        before(2): lambda at: None if (at.hour, at.minute) == (18, 15) else 700.0,
        before(5): 20.0, before(6): 30.0,
    })  # fmt: skip
    excluded = pl.DataFrame({"resource_id": ["r1", "r2"], "local_date": [before(1), before(6)]})
    result = high_x_of_y(history, wanted_of(local(DAY, 18), local(DAY, 18, 15)), PLAIN, excluded_days=excluded)
    assert energies(result) == [25.0, 25.0]
    assert result["days_used"].to_list() == [2, 2]


def test_no_baseline_without_enough_days_and_none_older_than_allowed() -> None:
    history = history_of({before(1): 10.0, before(8): 30.0})
    wanted = wanted_of(local(DAY, 18))
    few = high_x_of_y(history, wanted, HighXOfY(x=2, y=3, days_min=3))
    assert few.select("energy_wh", "unadjusted_wh", "days_used").rows() == [(None, None, 2)]
    assert energies(high_x_of_y(history, wanted, HighXOfY(x=2, y=3, days_back=7))) == [10.0]
    none = high_x_of_y(history.clear(), wanted, PLAIN)
    assert none.select("energy_wh", "days_used").rows() == [(None, 0)]


# Window 14:00 to 17:00 for an activation at 18:00: four hours to one hour before.
@pytest.mark.parametrize(
    ("seen", "ratio"),
    [(110.0, 1.1), (90.0, 0.9), (130.0, 1.2), (10.0, 0.8)],
)
def test_the_same_day_ratio_scales_the_baseline_up_to_the_cap(seen: float, ratio: float) -> None:
    def today(at: datetime) -> float:
        return seen if 14 <= at.hour < 17 else 9999.0

    history = history_of({before(1): 100.0, before(2): 100.0, DAY: today})
    result = high_x_of_y(history, wanted_of(local(DAY, 18)), HighXOfY(x=2, y=2, adjustment="RATIO", cap=0.2))
    assert energies(result) == pytest.approx([100 * ratio])
    assert result["unadjusted_wh"].to_list() == [100.0]
    assert result["adjustment_ratio"].to_list() == pytest.approx([ratio])


def test_a_ratio_says_nothing_where_the_baseline_exports() -> None:
    history = history_of({before(1): lambda at: -100.0 if at.hour < 18 else 50.0, DAY: -120.0})
    result = high_x_of_y(history, wanted_of(local(DAY, 18)), HighXOfY(x=1, y=1, adjustment="RATIO"))
    assert result.select("energy_wh", "adjustment_ratio").rows() == [(50.0, 1.0)]


@pytest.mark.parametrize(("seen", "energy"), [(-90.0, 60.0), (-130.0, 40.0), (-107.0, 43.0)])
def test_an_additive_adjustment_shifts_by_the_mean_difference_up_to_the_cap(seen: float, energy: float) -> None:
    history = history_of({before(1): lambda at: -100.0 if at.hour < 18 else 50.0, DAY: seen})
    result = high_x_of_y(history, wanted_of(local(DAY, 18)), HighXOfY(x=1, y=1, adjustment="ADDITIVE", cap=0.2))
    assert energies(result) == pytest.approx([energy])
    assert result["adjustment_ratio"].to_list() == pytest.approx([energy / 50])


def test_quarter_hours_under_instructions_and_missing_ones_are_left_out_of_the_window() -> None:
    def today(at: datetime) -> float | None:
        return {14: 500.0, 15: None}.get(at.hour, 110.0)

    history = history_of({before(1): 100.0, DAY: today})
    busy = [local(DAY, 14) + QUARTER * number for number in range(4)]
    excluded = pl.DataFrame({"resource_id": ["r1"] * 4, "period_start": busy}).cast({"period_start": UTC_MICROS})
    method = HighXOfY(x=1, y=1, adjustment="RATIO")
    result = high_x_of_y(history, wanted_of(local(DAY, 18)), method, excluded_periods=excluded)
    assert energies(result) == pytest.approx([110.0])
    whole_window = pl.DataFrame(
        {"resource_id": ["r1"] * 16, "period_start": [local(DAY, 14) + QUARTER * number for number in range(16)]},
    ).cast({"period_start": UTC_MICROS})
    bare = high_x_of_y(history, wanted_of(local(DAY, 18)), method, excluded_periods=whole_window)
    assert bare.select("energy_wh", "adjustment_ratio").rows() == [(100.0, 1.0)]


def test_both_quarter_hours_of_the_repeated_hour_are_compared_with_the_one_of_other_days() -> None:
    autumn = date(2026, 10, 25)
    history = history_of({autumn - timedelta(days=n): lambda at: 40.0 if at.hour == 2 else 1.0 for n in (1, 7, 8)})
    wanted = wanted_of(local(autumn, 2, fold=0), local(autumn, 2, fold=1))
    assert wanted["period_start"].n_unique() == 2
    assert energies(high_x_of_y(history, wanted, PLAIN)) == [40.0, 40.0]


def test_a_day_with_the_repeated_hour_counts_as_its_mean() -> None:
    autumn, later = date(2026, 10, 25), date(2026, 10, 31)
    history = history_of({autumn: lambda at: 100.0 if at.fold else 40.0})
    assert energies(high_x_of_y(history, wanted_of(local(later, 2)), PLAIN)) == [70.0]


def test_a_day_whose_clock_jumped_over_the_activations_time_is_not_eligible() -> None:
    spring, later = date(2026, 3, 29), date(2026, 4, 4)
    history = history_of({spring: 1000.0, spring - timedelta(days=1): 50.0})
    assert energies(high_x_of_y(history, wanted_of(local(later, 2, 30)), PLAIN)) == [50.0]
    assert energies(high_x_of_y(history, wanted_of(local(later, 3)), PLAIN)) == [525.0]


def test_an_activation_and_its_window_may_run_over_midnight() -> None:
    def by_hour(at: datetime) -> float:
        return {22: 20.0, 23: 100.0, 0: 10.0}.get(at.hour, 9999.0)

    history = history_of({before(2): by_hour, before(1): by_hour, DAY: lambda at: 22.0 if at.hour == 22 else 0.0})
    wanted = wanted_of(local(DAY, 23, 45), local(DAY + timedelta(days=1), 0))
    # Of Tuesday and Monday the higher counts: at midnight after Tuesday came 0 Wh, on the day itself, after Monday 10.
    method = HighXOfY(x=1, y=1, adjustment="RATIO", window_from_s=6300, window_to_s=2700)
    result = high_x_of_y(history, wanted, replace(method, y=2))
    assert energies(result) == pytest.approx([110.0, 11.0])
    early = wanted_of(local(DAY, 0), local(DAY, 0, 15))
    window = history_of({before(3): by_hour, before(2): by_hour, before(1): lambda at: 24.0 if at.hour == 22 else 10.0})
    # Window 22:15 to 23:15 of the evening before: 3 x 24 + 10 Wh against 3 x 20 + 100 Wh, so the cap of 0.8 counts.
    adjusted = high_x_of_y(window, early, method)
    assert energies(adjusted) == pytest.approx([8.0, 8.0])


def test_many_resources_and_activations_do_not_mix_and_the_order_of_the_history_changes_nothing() -> None:
    one = history_of({before(n): 0.1 * n for n in WEEKDAYS})
    two = history_of({before(n): 100.3 / n for n in WEEKDAYS}, "r2")
    history = pl.concat([one, two])
    wanted = pl.concat([
        wanted_of(local(DAY, 18), local(DAY, 18, 15)),
        wanted_of(local(DAY, 18), resource="r2"),
        wanted_of(local(before(1), 9), resource="r2", activation="a2"),
    ])  # fmt: skip
    whole = high_x_of_y(history, wanted, HighXOfY(x=3, y=10, adjustment="RATIO"))
    assert whole.select("resource_id", "activation_id", "period_start").equals(wanted.drop("timezone"))
    alone = high_x_of_y(two, wanted.filter(pl.col("activation_id") == "a2"), HighXOfY(x=3, y=10, adjustment="RATIO"))
    assert whole.tail(1).equals(alone)
    method = HighXOfY(x=10, y=12, adjustment="RATIO")
    whole = high_x_of_y(history, wanted, method)
    for seed in range(5):
        shuffled = history.sample(fraction=1.0, shuffle=True, seed=seed)
        assert high_x_of_y(shuffled, wanted, method).equals(whole)
