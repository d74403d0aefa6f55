from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from edges import dataset
from edges.conftest import Drive
from edges.weather import Config, spec
from edges.weather.conversation import forecast
from streams.testing import utc
from topics import WeatherPredicted

START = utc("2023-05-08 07:00")


def exact(year: str) -> Config:
    return Config(data=year, start=START, temperature_error_c=0, irradiance_error=0, humidity_error=0)


def test_a_forecast_is_issued_at_the_start_and_every_six_hours_for_48(drive: Drive, year: str) -> None:
    driver = drive(spec(Config(data=year, start=START)), at=START)
    driver.host.run(utc("2023-05-09 00:00"))
    issues = driver.read(WeatherPredicted).group_by("issued_at", maintain_order=True).agg(
        pl.len(), pl.col("period_start").min(), pl.col("period_end").max()
    )  # fmt: skip
    assert issues["issued_at"].to_list() == [START, *(utc(f"2023-05-{at}:00") for at in ("08 12", "08 18", "09 00"))]
    assert issues["len"].to_list() == [48] * 4
    assert issues["period_start"].to_list() == issues["issued_at"].to_list()
    assert set((issues["period_end"] - issues["issued_at"]).to_list()) == {timedelta(hours=48)}


def test_without_errors_it_is_the_weather_of_the_data_set(year: str) -> None:
    made = forecast(exact(year), START)
    rows = dataset.weather(year)[[dataset.row_of(at, dataset.FIRST_DAY) for at in made["period_start"]]]
    assert made["temperature_c"].to_list() == rows["temperature_c"].to_list()
    assert made["irradiance_global_w_per_m2"].to_list() == rows["irradiance_global_w_per_m2"].to_list()
    assert made["humidity_ratio"].to_list() == (rows["humidity_percent"] / 100).to_list()
    # 12:00 in Los Angeles is 19:00 UTC in summer; the made-up sun is highest then.
    assert made["period_start"][made["irradiance_global_w_per_m2"].arg_max() or 0] == utc("2023-05-08 19:00")


@pytest.mark.parametrize(("hour", "expected_c"), [(1, 0.3), (4, 0.6), (24, 1.47), (48, 2.08)])
def test_errors_grow_with_the_root_of_the_horizon(year: str, hour: int, expected_c: float) -> None:
    config, true = Config(data=year, start=START), exact(year)
    errors = []
    for number in range(400):
        at = START + timedelta(hours=6 * number)
        errors.append(forecast(config, at)["temperature_c"][hour - 1] - forecast(true, at)["temperature_c"][hour - 1])
    # The standard error of 400 draws is 3.5 %; four of them.
    assert np.std(errors) == pytest.approx(expected_c, rel=0.14)
    assert abs(np.mean(errors)) < 4 * expected_c / 20


def test_night_stays_dark_and_ratios_stay_ratios(year: str) -> None:
    made = forecast(Config(data=year, start=START, humidity_error=0.5), START)
    dark = pl.col("period_start").dt.convert_time_zone("America/Los_Angeles").dt.hour().is_in([0, 3, 23])
    assert made.filter(dark)["irradiance_global_w_per_m2"].to_list() == [0.0] * 6
    assert made["humidity_ratio"].is_between(0, 1).all()


def test_a_restart_forecasts_the_same(drive: Drive, year: str) -> None:
    worlds = []
    for crash in (False, True):
        driver = drive(spec(Config(data=year, start=START)), at=START)
        for hour in range(30):
            driver.host.run(START + timedelta(hours=hour))
            if crash:
                driver.crash_and_restore()
        worlds.append(driver.read(WeatherPredicted))
    assert worlds[0].equals(worlds[1])
