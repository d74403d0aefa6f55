import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from edges import dataset

FIRST = date(2022, 8, 1)


def row(text: str) -> int:
    return dataset.row_of(datetime.fromisoformat(text).replace(tzinfo=UTC), FIRST)


@pytest.mark.parametrize(
    ("instant", "day", "hour"),
    [
        ("2022-08-01 07:00", 0, 0),  # midnight in summer time
        ("2022-08-01 17:59", 0, 10),
        ("2022-11-06 08:00", 97, 1),  # 01:00 summer time
        ("2022-11-06 09:00", 97, 1),  # 01:00 again, winter time
        ("2022-11-06 10:00", 97, 2),
        ("2023-03-12 09:00", 223, 1),
        ("2023-03-12 10:00", 223, 3),  # there is no 02:00
        ("2023-08-01 06:00", 364, 23),
        ("2023-08-01 07:00", 1, 0),  # a Tuesday, as day 1
        ("2022-08-01 06:00", 363, 23),  # a Sunday, as day 363
    ],
)
def test_a_row_is_an_hour_of_the_wall_clock(instant: str, day: int, hour: int) -> None:
    assert row(instant) == day * 24 + hour


def test_the_measured_rows_are_the_hours_that_the_module_says(measured: str) -> None:
    frame = pl.read_csv(Path(measured) / "Building_1.csv")
    hours = [datetime(2016, 8, 1) + timedelta(hours=number) for number in range(8760)]  # noqa: DTZ001 -- wall clock
    # Hour 24 is labelled with the day before.
    labels = [hour - timedelta(hours=1) if hour.hour == 0 else hour for hour in hours]
    assert frame["month"].to_list() == [at.month for at in labels]
    assert frame["day_type"].to_list() == [at.isoweekday() for at in labels]
    assert frame["hour"].to_list() == [at.hour or 24 for at in hours]
    assert frame["daylight_savings_status"].unique().to_list() == [0]


def test_the_measured_sun_shifts_where_the_clocks_change(measured: str) -> None:
    pv = dataset.homes(measured).pv_w.mean(axis=0).reshape(365, 24)
    # Daylight saving ended on 6 November 2016 and began on 12 March 2017 (15 U.S.C. 260a).
    autumn, spring = ((day - date(2016, 8, 1)).days for day in (date(2016, 11, 6), date(2017, 3, 12)))
    # From one day to the next the hour from 07:00 is what the hour from 08:00 was, or the reverse, and the evening too.
    for day, lighter, darker in ((autumn, 7, 17), (spring, 17, 7)):
        assert pv[day : day + 4, lighter].min() > 2 * pv[day - 4 : day, lighter].max()
        assert pv[day : day + 4, darker].max() < 0.65 * pv[day - 4 : day, darker].min()


def test_the_tariff_has_its_seasons_and_its_peak_on_the_wall_clock(measured: str) -> None:
    prices = dataset.tariff(measured).reshape(365, 24)
    # TOU-D-PRIME: peak from 16:00 to 21:00, summer from June to September.
    assert {tuple(np.flatnonzero(day > 0.3).tolist()) for day in prices} == {(16, 17, 18, 19, 20)}
    summer = [date(2016, 8, 1) + timedelta(days=day) for day in range(365) if prices[day].min() == pytest.approx(0.22)]
    assert {day.month for day in summer} == {6, 7, 8, 9}
    assert len(summer) == 122


def test_batteries_lose_the_root_of_the_round_trip_each_way(measured: str) -> None:
    battery = dataset.homes(measured).batteries[0]
    assert (battery.capacity_wh, battery.power_w) == (6400, 5000)
    assert battery.efficiency**2 == pytest.approx(0.9)


def test_what_is_missing_is_said_in_one_line(year: str, tmp_path: Path) -> None:
    with pytest.raises(dataset.DatasetError, match="no folder with the measured year; set `data`"):
        dataset.homes("")
    with pytest.raises(dataset.DatasetError, match=r"pricing\.csv: no such file"):
        dataset.tariff(str(tmp_path))
    (tmp_path / "pricing.csv").write_text("price\n1\n")
    with pytest.raises(dataset.DatasetError, match=r"no column 'Electricity Pricing \[\$/kWh\]'; it has price"):
        dataset.tariff(str(tmp_path))
    (tmp_path / "weather.csv").write_text("\n".join(Path(year, "weather.csv").read_text().splitlines()[:100]))
    with pytest.raises(dataset.DatasetError, match="99 hours; expected 8760"):
        dataset.weather(str(tmp_path))
    (tmp_path / "schema.json").write_text(json.dumps({"buildings": {"Building_1": {}}}))
    with pytest.raises(dataset.DatasetError, match="1 homes; expected 17"):
        dataset.homes(str(tmp_path))
