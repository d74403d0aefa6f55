"""Probabilistic forecasts of load and PV: features, LightGBM quantile models, and models as bytes.

For a resource and a quarter-hour of a coming local day D, what is known is its power up to the end of day D - 2 (the
day before is not over when D is forecast), the calendar and a weather forecast. One set of models is trained for all
resources together, on powers relative to each one's own past, so that it learns shapes:

* load: what is above or below the usual of that time of day, per mean power of the last week;
* PV: the share of the envelope, the highest output of four weeks around that time of day (a clear-sky index); where
  the envelope is 0 it is night.

A model per quantile minimises the pinball loss (Koenker, Bassett 1978). The quantiles of a row are then put in order,
so that they do not cross (rearrangement: Chernozhukov, Fernandez-Val, Galichon 2010).

Powers are mean W of a quarter-hour, positive = consumption; PV is negative. Training repeats: one thread, and a
fixed seed. A set of models is bytes, and their SHA-256 stands in every forecast that is made with them.
"""

import hashlib
import json
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from energy.time import CLOCK_QUARTERS, WEEKEND, day_type, with_local

Purpose = Literal["LOAD", "PV"]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

QUANTILES = (0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95)
COLUMNS = ("q05_w", "q10_w", "q25_w", "q50_w", "q75_w", "q90_w", "q95_w")
MEAN_WEIGHTS = np.array([0.075, 0.1, 0.2, 0.25, 0.2, 0.1, 0.075])
"""Integral of the quantile function, linear between the quantiles and level beyond them."""
ALGORITHM = "lightgbm-quantile"
FORMAT = "flexlog-quantiles-1"
FEATURE_SET = "calendar-weather-lags-1"
KNOWN_DAYS = 2
"""The youngest day before the one that is forecast whose power is known."""
WEATHER = ("temperature_c", "irradiance_global_w_per_m2", "irradiance_direct_w_per_m2", "humidity_ratio")
LAGS = (
    "lag_2d",
    "lag_7d",
    "week_mean",
    "week_around",
    "week_low",
    "week_high",
    "weekday_mean",
    "month_around",
    "last_day",
)
"""Power at that time of the day: 2 and 7 days before; mean, mean with half an hour around, lowest and highest of the
seven known days; mean of the same weekdays, and of all days, of four weeks; and the mean of the last known day."""
FEATURES = ("clock_quarter", "day_sine", "day_cosine", "weekday", "free_day", *LAGS, *WEATHER)
USUAL = LAGS.index("month_around")
GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class Training:
    """How models are trained.

    Attributes:
        rounds: Trees of each quantile.
        leaves: Of a tree.
        rate: Learning rate.
        leaf_share: Least share of the rows in a leaf. Resources under one sky are no independent rows, so for PV it is
            large.
        feature_share: Share of the features that a tree sees, drawn with a fixed seed.
        bins: Of each feature.
        rows_max: Of more rows so many are taken, spread evenly over resources, days and times of day.
    """

    rounds: int = 50
    leaves: int = 15
    rate: float = 0.1
    leaf_share: float = 0.015
    feature_share: float = 1.0
    bins: int = 63
    rows_max: int = 16_000


SETTINGS = {"LOAD": Training(), "PV": Training(leaves=7, leaf_share=0.09, feature_share=0.5)}
SEED = 0


@dataclass(frozen=True, eq=False)
class Past:
    """Power by resource, local day and quarter-hour of the clock.

    Attributes:
        place: Row of each resource in `power_w`.
        first_day: Local date of the first column.
        power_w: Shape (resources, days, 96), NaN where not known; the repeated hour of autumn as its mean.
    """

    place: dict[str, int]
    first_day: date
    power_w: Floats


def past_of(history: pl.DataFrame) -> Past:
    """Arrange measured power by the wall clock.

    Args:
        history: ``resource_id, period_start`` (quarter-hours), ``power_w`` (mean; null where missing), ``timezone``.
    """
    known = with_local(history.drop_nulls("power_w").sort("resource_id", "period_start"))
    names = known["resource_id"].unique(maintain_order=True).to_list()
    place = {name: number for number, name in enumerate(names)}
    if not names:
        return Past({}, date(1970, 1, 1), np.full((0, 1, CLOCK_QUARTERS), np.nan))
    first = known["local_date"].min()
    assert isinstance(first, date)
    day = (known["local_date"] - first).dt.total_days().to_numpy()
    resource = known["resource_id"].replace_strict(place, return_dtype=pl.Int64).to_numpy()
    quarter = known["clock_quarter"].to_numpy()
    shape = (len(names), int(day.max()) + 1, CLOCK_QUARTERS)
    total, count = np.zeros(shape), np.zeros(shape)
    np.add.at(total, (resource, day, quarter), known["power_w"].to_numpy())
    np.add.at(count, (resource, day, quarter), 1.0)
    return Past(place, first, np.where(count > 0, total / np.maximum(count, 1.0), np.nan))


@dataclass(frozen=True, eq=False)
class Models:
    """A trained set: one LightGBM model as text per quantile.

    Attributes:
        purpose: LOAD (forecasts are not negative) or PV (not positive).
        texts: In the order of `QUANTILES`.
        feature_set: What they were trained on.
    """

    purpose: Purpose
    texts: tuple[str, ...]
    feature_set: str = FEATURE_SET

    def dumps(self) -> bytes:
        """Return the set as bytes: JSON, compressed."""
        content = {"format": FORMAT, "feature_set": self.feature_set, "purpose": self.purpose, "models": self.texts}
        return zlib.compress(json.dumps(content, sort_keys=True).encode(), level=6)


def fingerprint(payload: bytes) -> str:
    """Return the SHA-256 of a set of models, in hexadecimal."""
    return hashlib.sha256(payload).hexdigest()


@lru_cache(maxsize=16)
def loads(payload: bytes) -> Models:
    """Read what `Models.dumps` wrote.

    Raises:
        ValueError: The bytes are no set of models, or one of another format or of other features.
    """
    try:
        content = json.loads(zlib.decompress(payload))
    except (zlib.error, ValueError) as error:
        raise ValueError(f"not a set of forecast models: {error}") from error
    found = content.get("format"), content.get("feature_set")
    if found != (FORMAT, FEATURE_SET) or len(content["models"]) != len(QUANTILES):
        raise ValueError(f"forecast models of {found} cannot be used; this is {(FORMAT, FEATURE_SET)}")
    return Models(content["purpose"], tuple(content["models"]))


def train(
    history: pl.DataFrame,
    weather: pl.DataFrame,
    *,
    purpose: Purpose,
    settings: Training | None = None,
    holidays: Collection[date] = (),
) -> Models:
    """Train the models of all quantiles on what was measured.

    Args:
        history: ``resource_id, period_start, power_w, timezone, weather_cell`` (null: without weather): quarter-hours
            of some weeks.
        weather: ``weather_cell, period_start`` (hours or shorter) and the columns of `WEATHER` (null where unknown), as
            it was forecast; one row each.
        purpose: LOAD or PV.
        settings: How.
        holidays: Local dates that count as weekend.

    Returns:
        The models.

    Raises:
        ValueError: No quarter-hour has a past to be forecast from.
    """
    import lightgbm  # noqa: PLC0415  # slow to import

    chosen = settings or SETTINGS[purpose]
    known = history.drop_nulls("power_w").sort("resource_id", "period_start")
    past = past_of(known)
    known = known[_thinned(np.arange(known.height), 3 * chosen.rows_max)]  # features of all would need much memory
    rows = _matrix(past, known, weather, holidays, purpose)
    usable = _thinned(np.flatnonzero((rows.scale > 0) & ~np.isnan(rows.usual)), chosen.rows_max)
    if not len(usable):
        raise ValueError(f"nothing to train {purpose} models on: no quarter-hour has a measured past")
    scale = rows.scale[usable]
    parameters = _parameters(chosen, len(usable))
    data = lightgbm.Dataset(
        rows.values[usable],
        label=(known["power_w"].to_numpy()[usable] - rows.usual[usable]) / scale,
        weight=scale / scale.mean(),  # so that the loss is in W
        feature_name=list(FEATURES),
        params=parameters,
        free_raw_data=False,
    )
    texts = []
    for quantile in QUANTILES:
        booster = lightgbm.train(parameters | {"alpha": quantile}, data, num_boost_round=chosen.rounds)
        texts.append(booster.model_to_string())
    return Models(purpose, tuple(texts))


def _thinned(rows: Ints, most: int) -> Ints:
    """Take about so many rows: multiples of the golden ratio fall evenly, whatever period the rows have."""
    return rows if len(rows) <= most else rows[np.arange(len(rows)) * GOLDEN % 1 < most / len(rows)]


def _parameters(settings: Training, rows: int) -> dict[str, Any]:
    return {
        "objective": "quantile",
        "num_leaves": settings.leaves,
        "learning_rate": settings.rate,
        "min_data_in_leaf": max(1, int(settings.leaf_share * rows)),
        "feature_fraction": settings.feature_share,
        "max_bin": settings.bins,
        "seed": SEED,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }


def predict(
    models: Models,
    history: pl.DataFrame,
    targets: pl.DataFrame,
    weather: pl.DataFrame,
    *,
    holidays: Collection[date] = (),
) -> pl.DataFrame:
    """Forecast quarter-hours.

    Args:
        models: What to forecast with.
        history: As for `train`: the four weeks before.
        targets: ``resource_id, period_start, timezone, weather_cell``.
        weather: As for `train`, for the targets.
        holidays: Local dates that count as weekend.

    Returns:
        The targets that have a past, in their order, with the columns of `COLUMNS` and ``mean_w``; W, quantiles in
        order and on the purpose's side of 0.
    """
    rows = _matrix(past_of(history), targets, weather, holidays, models.purpose)
    relative = np.zeros((targets.height, len(QUANTILES)))
    lit = np.flatnonzero(rows.scale > 0)
    if len(lit):
        for number, booster in enumerate(_boosters(models.texts)):
            relative[lit, number] = booster.predict(rows.values[lit], num_threads=1)
    power = np.sort(relative * np.nan_to_num(rows.scale)[:, None] + np.nan_to_num(rows.usual)[:, None], axis=1)
    power = np.clip(power, 0.0, None) if models.purpose == "LOAD" else np.clip(power, None, 0.0)
    columns = [pl.Series(name, power[:, number]) for number, name in enumerate(COLUMNS)]
    made = targets.with_columns(*columns, pl.Series("mean_w", power @ MEAN_WEIGHTS))
    return made.filter(pl.Series(~np.isnan(rows.scale)))


@lru_cache(maxsize=4)
def _boosters(texts: tuple[str, ...]) -> tuple[Any, ...]:
    import lightgbm  # noqa: PLC0415  # slow to import

    return tuple(lightgbm.Booster(model_str=text) for text in texts)


@dataclass(frozen=True, eq=False)
class _Rows:
    """What models see of rows.

    Attributes:
        values: Features, shape (rows, features), those of power relative to `scale`; NaN where unknown.
        scale: What the row's power is measured by, W; 0 where it is always 0, NaN where nothing is known.
        usual: What it is counted from, W.
    """

    values: Floats
    scale: Floats
    usual: Floats


def _matrix(
    past: Past, targets: pl.DataFrame, weather: pl.DataFrame, holidays: Collection[date], purpose: Purpose
) -> _Rows:
    local = with_local(targets)
    quarter = local["clock_quarter"].to_numpy()
    angle = quarter * (2 * np.pi / CLOCK_QUARTERS)
    dates = local["local_date"]
    days = dates.unique(maintain_order=True)
    free = pl.Series([float(day_type(day, holidays) == WEEKEND) for day in days], dtype=pl.Float64)
    day_number = (dates - past.first_day).dt.total_days().to_numpy()
    place = targets["resource_id"].replace_strict(past.place, default=-1, return_dtype=pl.Int64).to_numpy()
    lags, scale = np.full((len(place), len(LAGS)), np.nan), np.full(len(place), np.nan)
    for number in np.unique(day_number):
        here = np.flatnonzero((day_number == number) & (place >= 0))
        profile, level = _day_profile(past, int(number), purpose)
        lags[here] = profile[place[here], :, quarter[here]]
        scale[here] = level[place[here], quarter[here]]
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(scale[:, None] > 0, lags / scale[:, None], np.nan)
    usual = lags[:, USUAL] if purpose == "LOAD" else np.zeros(len(place))
    calendar = [
        quarter,
        np.sin(angle),
        np.cos(angle),
        dates.dt.weekday().to_numpy(),
        dates.replace_strict(days, free, return_dtype=pl.Float64).to_numpy() if len(days) else np.empty(0),
    ]
    return _Rows(np.column_stack([*calendar, relative, _weather(local, weather)]).astype(np.float64), scale, usual)


def _weather(local: pl.DataFrame, weather: pl.DataFrame) -> Floats:
    """Return the weather of each row's quarter-hour: that of the last period that began within the hour."""
    rows = local.select("period_start", "weather_cell").with_row_index("_row").sort("period_start", maintain_order=True)
    found = rows.join_asof(
        weather.select("weather_cell", "period_start", *WEATHER).sort("period_start"),
        on="period_start",
        by="weather_cell",
        tolerance=timedelta(minutes=59),
        check_sortedness=False,
    ).sort("_row")
    return found.select(pl.col(name).cast(pl.Float64).fill_null(float("nan")) for name in WEATHER).to_numpy()


def _day_profile(past: Past, day: int, purpose: Purpose) -> tuple[Floats, Floats]:
    """Return what is known when a day is forecast.

    Returns:
        The features of `LAGS` in W, shape (resources, features, 96); what the day's powers are measured by, shape
        (resources, 96).
    """
    known = past.power_w[:, : max(0, day - KNOWN_DAYS + 1)]
    week, month = known[:, max(0, day - 8) :], known[:, max(0, day - 29) :]
    shape = (known.shape[0], CLOCK_QUARTERS)
    weekly = [_lag(known, day, 7 * number, shape) for number in (1, 2, 3, 4)]
    last, week_mean = _lag(known, day, KNOWN_DAYS, shape), _mean(week, 1)
    features = np.stack([
        last,
        weekly[0],
        week_mean,
        _around(week_mean, 2),
        -_highest(-week),
        _highest(week),
        _around(_mean(np.stack(weekly, 1), 1), 1),
        _around(_mean(month, 1), 2),
        np.broadcast_to(_mean(last, 1)[:, None], shape),
    ], axis=1)  # fmt: skip
    if purpose == "PV":  # an hour around, so that a change of the clock stays within
        envelope = _highest(np.abs(month))
        return features, np.fmax.reduce([np.roll(envelope, step, axis=-1) for step in range(-4, 5)])
    level = _mean(np.abs(week), (1, 2))
    level = np.where(np.isnan(level), _mean(np.abs(month), (1, 2)), level)
    return features, np.broadcast_to(level[:, None], shape)


def _mean(values: Floats, axis: int | tuple[int, ...]) -> Floats:
    """Return the mean of what is known, NaN where nothing is."""
    known = ~np.isnan(values)
    count = known.sum(axis=axis)
    total = np.where(known, values, 0.0).sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _around(profile: Floats, reach: int) -> Floats:
    """Return the mean of each quarter-hour and its neighbours; the day is closed to a ring."""
    return _mean(np.stack([np.roll(profile, step, axis=-1) for step in range(-reach, reach + 1)], 0), 0)


def _highest(values: Floats) -> Floats:
    """Return the highest of what is known over the days, NaN where nothing is."""
    found = np.where(np.isnan(values), -np.inf, values).max(axis=1, initial=-np.inf)
    return np.where(np.isinf(found), np.nan, found)


def _lag(known: Floats, day: int, days: int, shape: tuple[int, int]) -> Floats:
    place = day - days
    return known[:, place] if 0 <= place < known.shape[1] else np.full(shape, np.nan)


def weather_as_known(forecasts: pl.DataFrame, lead: timedelta) -> pl.DataFrame:
    """Pick of several weather forecasts the one that was known some time ahead.

    Args:
        forecasts: ``weather_cell, issued_at, period_start`` and any others.
        lead: How long before the period.

    Returns:
        For each cell and period the row issued last of those issued that long before, else the one issued first.
    """
    key = ["weather_cell", "period_start"]
    ahead = pl.col("issued_at") <= pl.col("period_start") - lead
    ranked = forecasts.sort(*key, "issued_at").with_columns(_ahead=ahead)
    early = ranked.filter("_ahead").unique(key, keep="last", maintain_order=True)
    first = ranked.unique(key, keep="first", maintain_order=True).join(early, on=key, how="anti", maintain_order="left")
    return pl.concat([early, first]).drop("_ahead").sort(key)
