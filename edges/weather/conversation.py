"""When a forecast is issued, and what it says."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from edges import dataset
from edges.chance import EPOCH, generator, seconds
from streams import Conversation, Emit, Session
from streams.columns import UTC_MICROS
from topics import WeatherPredicted

_HOUR = timedelta(hours=1)
_HOUR_S = 3600


class Config(BaseModel):
    """The weather service.

    Attributes:
        data: Folder with the data set's files.
        first_day: The Monday that the data set's first row begins.
        start: No forecast before this.
        seed: Of the errors.
        weather_cell: Where the forecast is for.
        source: Who makes it.
        every_h: Hours between forecasts, on whole such spans since 1970 (00, 06, 12, 18 UTC).
        horizon_h: Hours that it covers.
        temperature_error_c: Standard deviation of the error an hour ahead, in K.
        irradiance_error: The same of the logarithm of irradiance.
        humidity_error: The same of the relative humidity, as a ratio.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str = ""
    first_day: date = dataset.FIRST_DAY
    start: datetime = datetime(2023, 4, 10, 7, tzinfo=UTC)
    seed: int = Field(default=2022, ge=0)
    weather_cell: str = "fontana"
    source: str = "simulated/citylearn-2022"
    every_h: int = Field(default=6, ge=1)
    horizon_h: int = Field(default=48, ge=1)
    temperature_error_c: float = Field(default=0.3, ge=0)
    irradiance_error: float = Field(default=0.05, ge=0)
    humidity_error: float = Field(default=0.015, ge=0)


class Forecaster(Session):
    """When the next forecast is issued."""

    next_at: datetime | None = None

    def wake_at(self) -> datetime | None:
        """The next issue."""
        return self.next_at or EPOCH


Talk = Conversation[Forecaster, Config]


def on_wake(talk: Talk) -> Iterator[Emit[WeatherPredicted]]:
    """Issue the newest forecast that is due; at the first wake one at once."""
    session, config = talk.session, talk.config
    step = _HOUR * config.every_h
    if session.next_at is None and talk.now < config.start:
        session.next_at = config.start
        return
    if session.next_at is not None and talk.now < session.next_at:
        return
    issued_at = talk.now - (talk.now - EPOCH) % step if session.next_at is not None else talk.now
    session.next_at = talk.now - (talk.now - EPOCH) % step + step
    # The start may lie off the grid of issues; then the first forecast is the one at the start.
    yield Emit(WeatherPredicted, forecast(config, max(issued_at, config.start)))


def forecast(config: Config, issued_at: datetime) -> pl.DataFrame:
    """Return the forecast that is issued at a time: one row for each whole hour that begins then or later."""
    first = -((EPOCH - issued_at) // _HOUR)
    hours = [EPOCH + _HOUR * (first + number) for number in range(config.horizon_h)]
    rows = [dataset.row_of(hour, config.first_day) for hour in hours]
    actual = dataset.weather(config.data)[rows]
    walk = generator(config.seed, "weather", seconds(issued_at)).standard_normal((4, config.horizon_h)).cumsum(axis=1)
    warmer, brighter, clearer, wetter = walk
    return actual.select(
        weather_cell=pl.lit(config.weather_cell),
        source=pl.lit(config.source),
        issued_at=pl.lit(issued_at).dt.convert_time_zone("UTC").cast(UTC_MICROS),
        period_start=pl.Series(hours, dtype=UTC_MICROS),
        period_end=pl.Series([hour + _HOUR for hour in hours], dtype=UTC_MICROS),
        temperature_c=pl.col("temperature_c") + pl.Series(warmer * config.temperature_error_c),
        irradiance_global_w_per_m2=pl.col("irradiance_global_w_per_m2") * pl.Series(_factor(config, brighter)),
        irradiance_direct_w_per_m2=pl.col("irradiance_direct_w_per_m2") * pl.Series(_factor(config, clearer)),
        humidity_ratio=(pl.col("humidity_percent") / 100 + pl.Series(wetter * config.humidity_error)).clip(0.0, 1.0),
        origin=pl.lit("weather"),
        origin_id=pl.format(
            "{}/{}/{}",
            pl.lit(config.weather_cell),
            pl.lit(issued_at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")),
            pl.Series([hour.strftime("%Y%m%dT%H%M%SZ") for hour in hours]),
        ),
    )


def _factor(config: Config, walk: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> dataset.Floats:
    made: dataset.Floats = np.exp(walk * config.irradiance_error)
    return made
