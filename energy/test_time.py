from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import polars as pl
import pytest

from energy import time as et

# Central European time (Directive 2000/84/EC): summer time from 2026-03-29 01:00 UTC to 2026-10-25 01:00 UTC.
BRUSSELS = "Europe/Brussels"
LOS_ANGELES = "America/Los_Angeles"


def stamps(*texts: str) -> pl.Series:
    return pl.Series("at", [datetime.fromisoformat(text).replace(tzinfo=UTC) for text in texts], dtype=et.UTC_MICROS)


@pytest.mark.parametrize(
    ("day", "start", "count"),
    [
        (date(2026, 1, 31), "2026-01-30 23:00", 96),
        (date(2026, 3, 29), "2026-03-28 23:00", 92),
        (date(2026, 3, 30), "2026-03-29 22:00", 96),
        (date(2026, 10, 25), "2026-10-24 22:00", 100),
    ],
)
def test_a_local_day_has_its_quarter_hours(day: date, start: str, count: int) -> None:
    first, end = et.local_day(day, BRUSSELS)
    quarters = et.quarters_of_day(day, BRUSSELS)
    assert first == datetime.fromisoformat(start).replace(tzinfo=UTC)
    assert len(quarters) == count
    assert quarters[0] == first
    assert quarters[-1] + et.QUARTER == end
    assert {later - earlier for earlier, later in pairwise(quarters)} == {et.QUARTER}


def test_days_tile_the_year_without_gap_or_overlap() -> None:
    for zone in (BRUSSELS, LOS_ANGELES, "Africa/Cairo", "America/Havana", "Asia/Kathmandu"):
        day, last = date(2026, 1, 1), et.local_day(date(2025, 12, 31), zone)[1]
        while day.year == 2026:
            start, end = et.local_day(day, zone)
            assert start == last, (zone, day)
            assert et.local_date(start, zone) == day
            assert et.local_date(end - timedelta(microseconds=1), zone) == day
            day, last = day + timedelta(days=1), end


def test_columns_agree_with_the_plain_functions_on_every_quarter_hour_of_a_year() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    quarters = [start + et.QUARTER * number for number in range(365 * 96)]
    for zone in (BRUSSELS, LOS_ANGELES, "Africa/Cairo", "America/Havana"):
        frame = pl.DataFrame({"at": pl.Series(quarters, dtype=et.UTC_MICROS)}).select(
            day=et.to_local_date(pl.col("at"), zone), start=et.to_day_start(pl.col("at"), zone)
        )
        days = {day: et.local_day(day, zone)[0] for day in frame["day"].unique(maintain_order=True)}
        assert frame["start"].null_count() == 0
        assert frame["start"].to_list() == [days[day] for day in frame["day"]]


def test_the_repeated_hour_has_the_same_clock_quarter_but_its_own_number() -> None:
    frame = pl.DataFrame({"at": stamps("2026-10-25 00:00", "2026-10-25 01:00", "2026-10-25 22:45")}).select(
        clock=et.to_clock_quarter(pl.col("at"), BRUSSELS), number=et.to_period_number(pl.col("at"), BRUSSELS)
    )
    # 00:00 UTC is 02:00 summer time, 01:00 UTC is 02:00 winter time; 22:45 UTC is 23:45.
    assert frame["clock"].to_list() == [8, 8, 95]
    assert frame["number"].to_list() == [9, 13, 100]


def test_the_missing_hour_is_left_out_of_clock_and_count() -> None:
    frame = pl.DataFrame({"at": stamps("2026-03-29 00:45", "2026-03-29 01:00", "2026-03-29 21:45")}).select(
        clock=et.to_clock_quarter(pl.col("at"), BRUSSELS), number=et.to_period_number(pl.col("at"), BRUSSELS)
    )
    assert frame["clock"].to_list() == [7, 12, 95]
    assert frame["number"].to_list() == [8, 9, 92]


def test_a_holiday_counts_as_weekend() -> None:
    christmas = date(2026, 12, 25)  # a Friday
    days = [date(2026, 12, 24), christmas, date(2026, 12, 26), date(2026, 12, 27), date(2026, 12, 28)]
    expected = ["WEEKDAY", "WEEKEND", "WEEKEND", "WEEKEND", "WEEKDAY"]
    assert [et.day_type(day, {christmas}) for day in days] == expected
    frame = pl.DataFrame({"day": days})
    assert frame.select(et.to_day_type(pl.col("day"), {christmas})).to_series().to_list() == expected
    assert frame.select(et.to_day_type(pl.col("day"))).to_series().to_list()[1] == "WEEKDAY"


def test_each_row_gets_the_wall_clock_of_its_own_time_zone() -> None:
    frame = pl.DataFrame({
        "period_start": stamps("2026-07-01 02:30", "2026-07-01 02:30", "2026-07-01 02:30"),
        "timezone": [LOS_ANGELES, BRUSSELS, LOS_ANGELES],
    })  # fmt: skip
    local = et.with_local(frame)
    assert local["local_date"].to_list() == [date(2026, 6, 30), date(2026, 7, 1), date(2026, 6, 30)]
    assert local["clock_quarter"].to_list() == [78, 18, 78]
    assert et.with_local(frame.head(0)).height == 0


def test_quarters_between_begin_inside_the_bounds() -> None:
    start = datetime(2026, 1, 1, 10, 7, tzinfo=UTC)
    assert et.quarters_between(start, start + timedelta(minutes=8)) == []
    assert et.quarters_between(start, start + timedelta(minutes=9)) == [datetime(2026, 1, 1, 10, 15, tzinfo=UTC)]
    assert et.quarter_start(start) == datetime(2026, 1, 1, 10, tzinfo=UTC)
    assert et.quarters_between(start, start - timedelta(hours=1)) == []
