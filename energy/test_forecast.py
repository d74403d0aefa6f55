from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from energy import forecast as ef
from energy.time import QUARTER, UTC_MICROS, local_day, quarters_between

ZONE = "Europe/Brussels"
FIRST = date(2026, 1, 5)  # a Monday
NO_WEATHER = pl.DataFrame(
    schema={"weather_cell": pl.String(), "period_start": UTC_MICROS} | dict.fromkeys(ef.WEATHER, pl.Float64())
)
QUICK = ef.Training(rounds=30, leaf_share=0.01)


def days(first: date, count: int, zone: str = ZONE) -> list[datetime]:
    return quarters_between(local_day(first, zone)[0], local_day(first + timedelta(days=count - 1), zone)[1])


def frame(
    starts: list[datetime], power: NDArray[np.float64] | list[float], resource: str = "r1", cell: str = "c"
) -> pl.DataFrame:
    return pl.DataFrame({
        "resource_id": [resource] * len(starts), "period_start": pl.Series(starts, dtype=UTC_MICROS),
        "power_w": np.asarray(power, dtype=np.float64), "timezone": [ZONE] * len(starts),
        "weather_cell": [cell] * len(starts),
    })  # fmt: skip


def shape(starts: list[datetime]) -> NDArray[np.float64]:
    """A load with an evening peak, higher at weekends."""
    local = [start.astimezone(ZoneInfo(ZONE)) for start in starts]
    hour = np.array([at.hour + at.minute / 60 for at in local])
    weekend = np.array([at.isoweekday() >= 6 for at in local])
    made: NDArray[np.float64] = 400 + 600 * np.exp(-(((hour - 19) / 2) ** 2)) + 300 * weekend * (hour > 9)
    return made


def noisy(seed: int, count: int = 28, resource: str = "r1", scale: float = 1.0) -> pl.DataFrame:
    starts = days(FIRST, count)
    noise = np.random.Generator(np.random.PCG64(seed)).normal(0, 50, len(starts))
    return frame(starts, scale * (shape(starts) + noise), resource)


def test_the_past_is_arranged_by_the_wall_clock() -> None:
    autumn = date(2026, 10, 25)
    starts = days(autumn, 2)
    assert len(starts) == 196
    past = ef.past_of(frame(starts, list(range(196))))
    assert past.power_w.shape == (1, 2, 96)
    assert past.first_day == autumn
    # 02:00 is the 9th and, an hour later, the 13th quarter-hour of that day: mean of 8 and 12
    assert past.power_w[0, 0, [7, 8, 12, 95]].tolist() == [7, 10, 16, 99]
    assert past.power_w[0, 1, [0, 95]].tolist() == [100, 195]
    spring = ef.past_of(frame(days(date(2026, 3, 29), 1), list(range(92))))
    assert np.isnan(spring.power_w[0, 0, 8:12]).all()
    assert spring.power_w[0, 0, 12] == 8


def test_features_of_the_past_by_hand() -> None:
    # each day has one level: 100, 200, ... W; at 12:00 it is 10 W more
    starts = days(FIRST, 30)
    level = [100.0 * (number // 96 + 1) + 10 * (number % 96 == 48) for number in range(len(starts))]
    at = starts[29 * 96 + 48]  # day 30: known are days 1 to 28, the week is days 22 to 28
    target = frame([at], [0.0])
    rows = ef._matrix(ef.past_of(frame(starts, level)), target, NO_WEATHER, (), "LOAD")
    found = dict(zip(ef.FEATURES, rows.values[0], strict=True))
    scale = 2500 + 10 / 96
    assert rows.scale[0] == pytest.approx(scale)
    assert rows.usual[0] == pytest.approx(1450 + 2)  # days 1 to 28, one of five quarter-hours is 10 W higher
    expected = {
        "clock_quarter": 48, "day_sine": 0, "day_cosine": -1, "weekday": 2, "free_day": 0,
        "lag_2d": 2810 / scale, "lag_7d": 2310 / scale, "week_mean": 2510 / scale, "week_around": 2502 / scale,
        "week_low": 2210 / scale, "week_high": 2810 / scale,
        "weekday_mean": ((2300 + 1600 + 900 + 200) / 4 + 10 / 3) / scale,
        "month_around": 1452 / scale, "last_day": (2800 + 10 / 96) / scale,
    }  # fmt: skip
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-9), name
    assert np.isnan([found[name] for name in ef.WEATHER]).all()
    holiday = ef._matrix(ef.past_of(frame(starts, level)), target, NO_WEATHER, {date(2026, 2, 3)}, "LOAD")
    assert holiday.values[0, ef.FEATURES.index("free_day")] == 1


def test_pv_is_measured_by_the_highest_of_four_weeks_within_an_hour() -> None:
    starts = days(FIRST, 30)
    power = np.zeros(len(starts))
    power[3 * 96 + 48] = -800.0  # once, at 12:00 of day 4
    power[20 * 96 + 52] = -500.0
    targets = frame([starts[29 * 96 + quarter] for quarter in (43, 44, 48, 52, 53, 56, 57)], [0.0] * 7)
    rows = ef._matrix(ef.past_of(frame(starts, power)), targets, NO_WEATHER, (), "PV")
    assert rows.scale.tolist() == [0, 800, 800, 800, 500, 500, 0]
    assert rows.usual.tolist() == [0] * 7


def test_nothing_is_known_of_the_day_before_and_later() -> None:
    history = noisy(1, 31)
    targets = history.tail(96).drop("power_w")
    models = ef.train(history.head(28 * 96), NO_WEATHER, purpose="LOAD", settings=QUICK)
    cut = history.with_columns(power_w=pl.when(pl.int_range(pl.len()) < 29 * 96).then("power_w").otherwise(9e6))
    assert ef.predict(models, cut, targets, NO_WEATHER).equals(ef.predict(models, history, targets, NO_WEATHER))
    older = history.with_columns(power_w=pl.when(pl.int_range(pl.len()) < 28 * 96).then("power_w").otherwise(9e6))
    assert not ef.predict(models, older, targets, NO_WEATHER).equals(ef.predict(models, history, targets, NO_WEATHER))


def test_quantiles_are_in_order_and_cover_what_they_say() -> None:
    history = pl.concat([noisy(seed, 35, f"r{seed}", scale) for seed, scale in enumerate((1.0, 1.0, 5.0, 0.1))])
    cut = local_day(FIRST + timedelta(days=28), ZONE)[0]
    models = ef.train(history.filter(pl.col("period_start") < cut), NO_WEATHER, purpose="LOAD")
    targets = history.filter(pl.col("period_start") >= cut)
    made = ef.predict(models, history, targets, NO_WEATHER)
    values = made.select(ef.COLUMNS).to_numpy()
    assert (np.diff(values, axis=1) >= 0).all()
    assert (values >= 0).all()
    covered = made.select(pl.col("power_w").is_between("q05_w", "q95_w").mean()).item()
    assert 0.80 < covered < 0.97
    # the noise has a standard deviation of 50 W: a mean absolute error of 40 W is the least that can be had
    first = made.filter(pl.col("resource_id") == "r0")
    assert 38 < first.select((pl.col("q50_w") - pl.col("power_w")).abs().mean()).item() < 48
    assert made.select(pl.col("mean_w").is_between("q05_w", "q95_w").all()).item()


def test_pv_follows_the_weather_and_is_dark_at_night() -> None:
    starts = days(FIRST, 35)
    hour = np.array([start.hour + start.minute / 60 for start in starts])
    clear = np.clip(np.sin((hour - 7) / 10 * np.pi), 0, None) * (hour > 7) * (hour < 17)
    cloud = np.random.Generator(np.random.PCG64(3)).uniform(0.2, 1, 35)[np.arange(len(starts)) // 96]
    history = pl.concat([frame(starts, -3000 * clear * cloud, "a"), frame(starts, -9000 * clear * cloud, "b")])
    weather = frame(starts, 800 * clear * cloud).select(
        "weather_cell", "period_start", irradiance_global_w_per_m2="power_w"
    )
    weather = weather.with_columns(pl.lit(None, pl.Float64).alias(n) for n in ef.WEATHER if n not in weather.columns)
    cut = local_day(FIRST + timedelta(days=28), ZONE)[0]
    models = ef.train(history.filter(pl.col("period_start") < cut), weather, purpose="PV")
    targets = history.filter(pl.col("period_start") >= cut)
    seen, blind = (ef.predict(models, history, targets, known) for known in (weather, NO_WEATHER))
    errors = [made.select((pl.col("q50_w") - pl.col("power_w")).abs().mean()).item() for made in (seen, blind)]
    assert errors[0] < 0.5 * errors[1]
    assert (seen.select(pl.max_horizontal(ef.COLUMNS)).to_series() <= 0).all()
    night = seen.filter((pl.col("period_start").dt.hour() < 5) | (pl.col("period_start").dt.hour() > 18))
    assert night.height > 0
    assert (night.select(pl.sum_horizontal(*ef.COLUMNS, "mean_w")).to_series() == 0).all()


def test_training_repeats_to_the_byte_whatever_the_order_of_the_rows() -> None:
    history = pl.concat([noisy(1, 21, "a"), noisy(2, 21, "b")])
    few = ef.Training(rounds=10, leaf_share=0.01, feature_share=0.5, rows_max=1000)
    payload = ef.train(history, NO_WEATHER, purpose="LOAD", settings=few).dumps()
    shuffled = history.sample(fraction=1.0, shuffle=True, seed=5)
    assert ef.train(shuffled, NO_WEATHER, purpose="LOAD", settings=few).dumps() == payload
    assert ef.fingerprint(payload) == ef.fingerprint(bytes(payload))
    assert len(ef.fingerprint(payload)) == 64
    other = ef.train(history.head(-96), NO_WEATHER, purpose="LOAD", settings=few).dumps()
    assert ef.fingerprint(other) != ef.fingerprint(payload)


def test_models_read_back_forecast_the_same() -> None:
    history = noisy(1)
    models = ef.train(history, NO_WEATHER, purpose="LOAD", settings=QUICK)
    targets = frame(days(FIRST + timedelta(days=29), 1), [0.0] * 96).drop("power_w")
    again = ef.loads(models.dumps())
    assert again.purpose == "LOAD"
    assert ef.predict(again, history, targets, NO_WEATHER).equals(ef.predict(models, history, targets, NO_WEATHER))


def test_bytes_that_are_no_models_are_refused() -> None:
    with pytest.raises(ValueError, match="not a set of forecast models"):
        ef.loads(b"something else")
    older = ef.Models("LOAD", ("",) * len(ef.QUANTILES), feature_set="calendar-0")
    with pytest.raises(ValueError, match="calendar-0"):
        ef.loads(older.dumps())


def test_resources_without_a_past_get_no_forecast_and_gaps_do_no_harm() -> None:
    history = noisy(1).with_columns(power_w=pl.when(pl.int_range(pl.len()) % 7 == 0).then(None).otherwise("power_w"))
    models = ef.train(history, NO_WEATHER, purpose="LOAD", settings=QUICK)
    starts = days(FIRST + timedelta(days=29), 1)
    targets = pl.concat([frame(starts, [0.0] * 96, "new"), frame(starts, [0.0] * 96)]).drop("power_w")
    made = ef.predict(models, history, targets, NO_WEATHER)
    assert made["resource_id"].unique().to_list() == ["r1"]
    assert made.height == 96
    assert (
        not made.select(pl.any_horizontal(pl.col(ef.COLUMNS).is_nan() | pl.col(ef.COLUMNS).is_null())).to_series().any()
    )
    assert ef.predict(models, history, targets.head(0), NO_WEATHER).height == 0
    with pytest.raises(ValueError, match="nothing to train LOAD models on"):
        ef.train(history.head(96), NO_WEATHER, purpose="LOAD")


def test_weather_is_that_of_the_hour() -> None:
    start = datetime(2026, 2, 1, 12, tzinfo=UTC)
    hours = pl.DataFrame({
        "weather_cell": ["c", "c", "d"],
        "period_start": pl.Series([start, start + timedelta(hours=2), start], dtype=UTC_MICROS),
        "temperature_c": [1.0, 3.0, 9.0],
    }).with_columns(pl.lit(None, pl.Float64).alias(name) for name in ef.WEATHER[1:])  # fmt: skip
    local = frame([start - QUARTER, start, start + 3 * QUARTER, start + 4 * QUARTER, start + 8 * QUARTER], [0.0] * 5)
    found = ef._weather(local, hours)[:, 0]
    assert found.tolist()[1:3] == [1.0, 1.0]
    assert found.tolist()[4] == 3.0
    assert np.isnan(found[[0, 3]]).all()


def test_of_several_weather_forecasts_the_newest_of_long_enough_before_counts() -> None:
    start = datetime(2026, 2, 1, 12, tzinfo=UTC)
    issues = [start - timedelta(hours=hours) for hours in (48, 24, 12, 6)]
    rows = pl.DataFrame({
        "weather_cell": ["c"] * 4 + ["d"], "issued_at": [*issues, start], "period_start": [start] * 5,
        "temperature_c": [48.0, 24.0, 12.0, 6.0, 0.0],
    })  # fmt: skip
    chosen = ef.weather_as_known(rows, timedelta(hours=12))
    assert chosen["temperature_c"].to_list() == [12.0, 0.0]
    assert ef.weather_as_known(rows, timedelta(hours=13))["temperature_c"].to_list() == [24.0, 0.0]
