"""The measured year behind the simulators: 17 homes, the weather and the tariff, hour by hour.

Source: CityLearn Challenge 2022 (``citylearn_challenge_2022_phase_all`` in the wheel ``CityLearn==2.0.0``, MIT): load
and PV of 17 homes in Fontana, California, 8,760 hours, with batteries, a weather file and the retail tariff.

The files do not say which hours their rows are; it follows from them:

- *Day Type* runs from 1 (Monday) to 7 without a break, 1 August is a Monday and February has 28 days.
- PV output shifts by an hour between rows 2327 and 2328 and back between rows 5351 and 5352. So the rows are wall
  clock, with daylight saving ending on 6 November and beginning on 12 March, as in the USA in 2016 and 2017 (15 U.S.C.
  260a); of later years 2022/23 alone has the same weekdays and dates. *Daylight Savings Status* is always 0 and says
  nothing.
- The tariff changes at rows 1464 and 7296, and its peak has the hours 16 to 20: that is 1 October, 1 June and 16:00 to
  21:00 (seasons and peak of SCE's TOU-D-PRIME) if row 0, labelled hour 24 of 31 July, is the hour that begins on 1
  August at 00:00. A label names the beginning of its hour; row = 24 x days since 1 August + hour of the wall clock.
- In the night that daylight saving begins an hour's row is left out, in the night that it ends one is used twice.
- The weather is that of a typical year: it does not follow the measured PV from day to day (correlation of the daily
  anomalies -0.04). Its column *Diffuse Solar Radiation* is global: it reaches 1,017 W/m2 and exceeds the direct
  radiation on the horizontal by 160 W/m2 on clear hours. *Direct* is on the normal. The columns of predictions are the
  later values themselves.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from numpy.typing import NDArray

from streams.errors import StreamsError

TIMEZONE = "America/Los_Angeles"
FIRST_DAY = date(2022, 8, 1)
"""The Monday that row 0 begins. The measured year was 2016/17; 2022/23 has its weekdays, dates and clock changes."""
HOMES = 17
DAYS = 365
HOURS = DAYS * 24
_WEEKS = 364  # beyond the year it repeats by whole weeks

# The names of the wheel's columns, and those of later releases of the same files.
_HOME = {
    "month": ("Month", "month"),
    "day_type": ("Day Type", "day_type"),
    "load": ("Equipment Electric Power [kWh]", "non_shiftable_load"),
    "pv": ("Solar Generation [W/kW]", "solar_generation"),
}
_WEATHER = {
    "temperature_c": ("Outdoor Drybulb Temperature [C]", "outdoor_dry_bulb_temperature"),
    "humidity_percent": ("Relative Humidity [%]", "outdoor_relative_humidity"),
    "irradiance_global_w_per_m2": ("Diffuse Solar Radiation [W/m2]", "diffuse_solar_irradiance"),
    "irradiance_direct_w_per_m2": ("Direct Solar Radiation [W/m2]", "direct_solar_irradiance"),
}
_TARIFF = {"price": ("Electricity Pricing [$/kWh]", "electricity_pricing")}

Floats = NDArray[np.float64]


class DatasetError(StreamsError):
    """The folder with the measured year is missing or is not what it should be."""


@dataclass(frozen=True, eq=False)
class Battery:
    """A home's battery as the data set describes it.

    ``efficiency`` is of one way, charging or discharging: the root of the data set's (CityLearn, ``StorageDevice``).
    """

    capacity_wh: float
    power_w: float
    efficiency: float


@dataclass(frozen=True, eq=False)
class Homes:
    """The homes of the data set.

    Attributes:
        load_w: Mean load of each hour, shape (17, 8760), in W.
        pv_w: Mean PV output of each hour, shape (17, 8760), in W, positive.
        pv_nominal_w: Size of each PV plant, shape (17,), in W.
        batteries: One per home.
        month: Calendar month of each day, shape (365,).
        day_type: Weekday of each day, 1 = Monday, shape (365,).
    """

    load_w: Floats
    pv_w: Floats
    pv_nominal_w: Floats
    batteries: tuple[Battery, ...]
    month: NDArray[np.int64]
    day_type: NDArray[np.int64]


def row_of(start: datetime, first_day: date) -> int:
    """Return the row of the hour that holds an aware instant.

    Args:
        start: The instant.
        first_day: The Monday that row 0 begins; days outside its year take those of whole 364 days before or after.
    """
    local = start.astimezone(ZoneInfo(TIMEZONE))
    day = (local.date() - first_day).days
    return (day if 0 <= day < DAYS else day % _WEEKS) * 24 + local.hour


@lru_cache(maxsize=4)
def homes(folder: str) -> Homes:
    """Read the homes.

    Raises:
        DatasetError: The folder lacks a file or column, or one has another number of hours.
    """
    schema = json.loads(_text(folder, "schema.json"))["buildings"]
    names = sorted(schema, key=lambda name: int(name.rpartition("_")[2]))
    if len(names) != HOMES:
        raise DatasetError(f"{Path(folder) / 'schema.json'}: {len(names)} homes; expected {HOMES}")
    frames = [_read(folder, schema[name]["energy_simulation"], _HOME) for name in names]
    storage = [schema[name]["electrical_storage"]["attributes"] for name in names]
    nominal_w = np.array([schema[name]["pv"]["attributes"]["nominal_power"] for name in names]) * 1000
    # Noon of each day: the label of hour 0 still names the day before.
    noon = {name: frames[0][name].to_numpy().astype(np.int64)[12::24] for name in ("month", "day_type")}
    return Homes(
        load_w=np.array([frame["load"].to_numpy() for frame in frames]) * 1000,
        pv_w=np.array([frame["pv"].to_numpy() for frame in frames]) * nominal_w[:, None] / 1000,
        pv_nominal_w=nominal_w,
        batteries=tuple(
            Battery(one["capacity"] * 1000, one["nominal_power"] * 1000, one["efficiency"] ** 0.5) for one in storage
        ),
        **noon,
    )


@lru_cache(maxsize=4)
def weather(folder: str) -> pl.DataFrame:
    """Read the weather: temperature_c, humidity_percent, irradiance_global_w_per_m2, irradiance_direct_w_per_m2."""
    return _read(folder, "weather.csv", _WEATHER)


@lru_cache(maxsize=4)
def tariff(folder: str) -> Floats:
    """Read the retail price of each hour, in dollars per kWh, shape (8760,)."""
    return _read(folder, "pricing.csv", _TARIFF)["price"].to_numpy()


def _text(folder: str, name: str) -> str:
    if not folder:
        raise DatasetError("no folder with the measured year; set `data` in the edge's configuration")
    path = Path(folder) / name
    if not path.is_file():
        raise DatasetError(f"{path}: no such file; `data` must name the data set's folder")
    return path.read_text(encoding="utf-8")


def _read(folder: str, name: str, columns: Mapping[str, tuple[str, ...]]) -> pl.DataFrame:
    frame = pl.read_csv(_text(folder, name).encode(), infer_schema_length=None)
    chosen = {}
    for column, spellings in columns.items():
        found = next((spelling for spelling in spellings if spelling in frame.columns), None)
        if found is None:
            raise DatasetError(f"{Path(folder) / name}: no column {spellings[0]!r}; it has {', '.join(frame.columns)}")
        chosen[column] = pl.col(found).cast(pl.Float64)
    if frame.height != HOURS:
        raise DatasetError(f"{Path(folder) / name}: {frame.height} hours; expected {HOURS}")
    return frame.select(**chosen)
