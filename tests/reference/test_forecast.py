"""Forecasts of 17 real homes against the same quarter-hour seven days before (CityLearn Challenge 2022, Fontana)."""

import io
import tarfile
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from energy.forecast import WEATHER, Purpose, predict, train
from energy.time import UTC_MICROS, local_day, quarters_between

ARCHIVE = Path(__file__).parents[3] / "shared" / "data" / "citylearn2022" / "citylearn_challenge_2022_phase_all.tar.xz"
ZONE = "America/Los_Angeles"
MIDNIGHT = date(2022, 8, 1)
"""Row 0 is the first hour of a Monday, 1 August; rows are wall clock, and 2022/23 has the weekdays."""
PV_KW = (4, 4, 4, 5, 4, 4, 4, 4, 4, 5, 5, 5, 5, 5, 5, 5, 5)
WEEK = timedelta(days=7)

pytestmark = pytest.mark.skipif(not ARCHIVE.exists(), reason=f"reference data not present: {ARCHIVE}")


@pytest.fixture(scope="module")
def files() -> dict[str, pl.DataFrame]:
    with tarfile.open(ARCHIVE) as archive:
        members = {
            Path(member.name).name: archive.extractfile(member) for member in archive if member.name.endswith(".csv")
        }
        return {
            name: pl.read_csv(io.BytesIO(file.read()), infer_schema_length=None)
            for name, file in members.items()
            if file
        }


def starts_of(first: date, days: int) -> list[datetime]:
    return quarters_between(local_day(first, ZONE)[0], local_day(first + timedelta(days=days - 1), ZONE)[1])


def rows_of(starts: list[datetime]) -> list[int]:
    local = [start.astimezone(ZoneInfo(ZONE)) for start in starts]
    return [(at.date() - MIDNIGHT).days * 24 + at.hour for at in local]


def homes(files: dict[str, pl.DataFrame], purpose: Purpose, starts: list[datetime]) -> Iterator[pl.DataFrame]:
    rows = rows_of(starts)
    for number, kw in enumerate(PV_KW, 1):
        home = files[f"Building_{number}.csv"]
        load, pv = home["non_shiftable_load"].to_numpy() * 1000, -home["solar_generation"].to_numpy() * kw
        power = load if purpose == "LOAD" else pv
        yield pl.DataFrame({
            "resource_id": [f"home-{number:02d}"] * len(starts), "period_start": pl.Series(starts, dtype=UTC_MICROS),
            "power_w": power[rows], "timezone": [ZONE] * len(starts), "weather_cell": ["fontana"] * len(starts),
        })  # fmt: skip


def weather_forecast(files: dict[str, pl.DataFrame], starts: list[datetime]) -> pl.DataFrame:
    """The weather with the errors of a forecast a day ahead: 1.5 K, and a quarter of the irradiance."""
    chance = np.random.Generator(np.random.PCG64(2022))
    weather = files["weather.csv"][rows_of(starts[::4])]
    brightness = np.exp(chance.normal(0, 0.24, weather.height))
    columns = {
        "temperature_c": weather["outdoor_dry_bulb_temperature"] + chance.normal(0, 1.5, weather.height),
        "irradiance_global_w_per_m2": weather["diffuse_solar_irradiance"] * brightness,
        "irradiance_direct_w_per_m2": weather["direct_solar_irradiance"] * brightness,
        "humidity_ratio": weather["outdoor_relative_humidity"] / 100,
    }
    assert set(columns) == set(WEATHER)
    hours = pl.Series("period_start", starts[::4], dtype=UTC_MICROS)
    return pl.DataFrame({"weather_cell": ["fontana"] * len(hours), "period_start": hours} | columns)


def errors(files: dict[str, pl.DataFrame], purpose: Purpose, monday: date) -> tuple[float, float]:
    """Return the mean absolute errors in W of a week: forecast from what was known two days before, and naive."""
    starts = starts_of(monday - 4 * WEEK, 35)
    history = pl.concat(homes(files, purpose, starts))
    weather = weather_forecast(files, starts)
    begin = local_day(monday, ZONE)[0]
    models = train(history.filter(pl.col("period_start") < begin), weather, purpose=purpose)
    made = predict(models, history, history.filter(pl.col("period_start") >= begin), weather)
    assert made.height == 17 * 7 * 96
    before = history.select("resource_id", pl.col("period_start") + WEEK, naive_w="power_w")
    both = made.join(before, on=["resource_id", "period_start"], how="left", maintain_order="left")
    mine, naive = (both.select((pl.col(name) - pl.col("power_w")).abs().mean()).item() for name in ("q50_w", "naive_w"))
    return mine, naive


@pytest.mark.parametrize("purpose", ["LOAD", "PV"])
def test_forecasts_are_at_least_a_tenth_better_than_the_week_before(
    files: dict[str, pl.DataFrame], purpose: Purpose
) -> None:
    found = [errors(files, purpose, monday) for monday in (date(2023, 1, 16), date(2023, 5, 8))]
    mine, naive = (sum(values) for values in zip(*found, strict=True))
    assert mine < 0.9 * naive
