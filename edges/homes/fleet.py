"""The homes that are simulated: who they are, and what they use and produce within each hour."""

from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from edges import dataset
from edges.chance import generator, instant
from edges.homes.battery import Batteries
from edges.homes.config import Config
from streams.columns import UTC_MICROS

Floats = NDArray[np.float64]

KINDS = ("battery", "load", "meter", "pv")  # in the order of their ids
BATTERY, LOAD, METER, PV = range(4)
STEP_S = 300
STEPS = 3  # in a quarter-hour
STEPS_PER_HOUR = 12
QUARTER_S = 900
_MIDDLES = (np.arange(STEPS_PER_HOUR) + 0.5) / STEPS_PER_HOUR  # of the steps, in hours


@dataclass(frozen=True, eq=False)
class Fleet:
    """The homes of one configuration.

    Attributes:
        sites: Their ids, ascending.
        number: The place of each id in all arrays.
        base: The measured home that each is made of.
        load_scale: Factor on its load; 1 for the measured homes.
        pv_scale: Factor on its PV.
        days: The day that stands for each day of the year, shape (homes, 365); its own for the measured homes.
        pv_nominal_w: Size of the PV plant.
        batteries: The batteries, with their owners' reserves.
        reserve: Fill level that each owner keeps.
        columns: The columns of a quarter-hour's readings that are always the same: 4 kinds x 3 steps a home.
        battery_columns: The columns of the batteries' states that are always the same.
    """

    sites: tuple[str, ...]
    number: dict[str, int]
    base: NDArray[np.int64]
    load_scale: Floats
    pv_scale: Floats
    days: NDArray[np.int64]
    pv_nominal_w: Floats
    batteries: Batteries
    reserve: Floats
    columns: pl.DataFrame
    battery_columns: pl.DataFrame

    def __len__(self) -> int:
        return len(self.sites)


@lru_cache(maxsize=4)
def fleet(config: Config) -> Fleet:
    """Make the homes of a configuration.

    The first 17 are the measured ones. A further one is one of them with its days exchanged for others of the same
    weekday and month and its load and PV scaled by 0.85 to 1.15; PV keeps its days, for one sun shines on all.

    Raises:
        DatasetError: The data set is not there.
    """
    source = dataset.homes(config.data)
    count = config.homes
    width = max(2, len(str(count)))
    sites = tuple(f"home-{number:0{width}d}" for number in range(1, count + 1))
    base = np.arange(count) % dataset.HOMES
    real = np.arange(count) < dataset.HOMES
    chance = generator(config.seed, "homes")
    load_scale, pv_scale = chance.uniform(0.85, 1.15, (2, count))
    reserve = chance.choice(np.array(config.reserves), count)
    storage = [source.batteries[home] for home in base]
    capacity_wh = np.array([one.capacity_wh for one in storage])
    columns = _columns(sites)
    return Fleet(
        sites=sites,
        number={site: home for home, site in enumerate(sites)},
        base=base,
        load_scale=np.where(real, 1.0, load_scale),
        pv_scale=np.where(real, 1.0, pv_scale),
        days=_days(source, real, config.seed),
        pv_nominal_w=source.pv_nominal_w[base],
        batteries=Batteries(
            capacity_wh=capacity_wh,
            reserve_wh=capacity_wh * reserve,
            power_w=np.array([one.power_w for one in storage]),
            efficiency=np.array([one.efficiency for one in storage]),
        ),
        reserve=reserve,
        columns=columns,
        battery_columns=columns[:: len(KINDS) * STEPS].select(
            "site_id", "resource_id", actuator_id=pl.lit(""), available=pl.lit(value=True)
        ),
    )


def _days(source: dataset.Homes, real: NDArray[np.bool_], seed: int) -> NDArray[np.int64]:
    days = np.tile(np.arange(dataset.DAYS), (len(real), 1))
    groups = source.month * 7 + source.day_type
    for group in np.unique(groups):
        alike = np.flatnonzero(groups == group)
        drawn = generator(seed, "days", int(group)).random((len(real), len(alike))).argsort(axis=1)
        days[:, alike] = np.where(real[:, None], alike, alike[drawn])
    return days


def _columns(sites: tuple[str, ...]) -> pl.DataFrame:
    rows = len(KINDS) * STEPS
    site = pl.Series("site_id", sites, pl.String)
    kind = pl.Series("kind", [kind for kind in KINDS for _ in range(STEPS)])
    return pl.DataFrame({
        "site_id": site.gather(np.repeat(np.arange(len(sites)), rows)),
        "kind": kind.gather(np.tile(np.arange(rows), len(sites))),
    }).select(
        "site_id",
        resource_id=pl.concat_str("site_id", "kind", separator="/"),
        commodity=pl.lit("ELECTRICITY"),
        duration_s=pl.lit(float(STEP_S)),
        quality=pl.lit("MEASURED"),
    )  # fmt: skip


@lru_cache(maxsize=32)
def powers(config: Config, hour_s: int) -> tuple[Floats, Floats]:
    """Return load and PV of every home in the twelve steps of an hour, in W; PV is negative.

    The measurement has one value an hour; what happens inside it is drawn (load) or follows the neighbouring hours
    (PV), such that the mean over the hour is the measured value.

    Args:
        config: The homes.
        hour_s: Beginning of the hour, in seconds since 1970.

    Returns:
        Two arrays of shape (homes, 12).
    """
    made, source = fleet(config), dataset.homes(config.data)
    before, now, after = (
        dataset.row_of(instant(hour_s) + timedelta(hours=hour), config.first_day) for hour in (-1, 0, 1)
    )
    chance = generator(config.seed, "hour", hour_s)
    load_w = source.load_w[made.base, made.days[:, now // 24] * 24 + now % 24] * made.load_scale
    load = load_w[:, None] * _even(chance.gamma(4.0, size=(len(made), STEPS_PER_HOUR)))
    pv_w = source.pv_w[made.base, now] * made.pv_scale
    shape = _ramp(*(source.pv_w[made.base, row] for row in (before, now, after)))
    clouds = chance.uniform(0.9, 1.1, (len(made), STEPS_PER_HOUR))
    pv = -pv_w[:, None] * _even(shape * clouds)
    load.flags.writeable = pv.flags.writeable = False
    return load, pv


def _even(shape: Floats) -> Floats:
    """Scale each row to a mean of 1; rows of zeros become ones."""
    mean = shape.mean(axis=1, keepdims=True)
    scaled: Floats = np.divide(shape, mean, out=np.ones_like(shape), where=mean > 0)
    scaled /= scaled.mean(axis=1, keepdims=True)
    return scaled


def _ramp(before: Floats, now: Floats, after: Floats) -> Floats:
    """Join the middles of three hours by straight lines: the middle hour's twelve steps."""
    rising, falling = _MIDDLES[_MIDDLES < 0.5] + 0.5, _MIDDLES[_MIDDLES > 0.5] - 0.5
    first = before[:, None] * (1 - rising) + now[:, None] * rising
    second = now[:, None] * (1 - falling) + after[:, None] * falling
    return np.concatenate([first, second], axis=1)


def readings(made: Fleet, end_s: int, power_w: Floats) -> pl.DataFrame:
    """Return a quarter-hour's readings of all homes, complete and in the order of their identity.

    Args:
        made: The homes.
        end_s: End of the quarter-hour, in seconds since 1970.
        power_w: Power by home, kind and step, shape (homes, 4, 3).
    """
    steps = np.arange(end_s - QUARTER_S + STEP_S, end_s + 1, STEP_S) * 1_000_000
    taken = pl.Series("occurred_at", np.tile(steps, len(made) * len(KINDS))).cast(UTC_MICROS)
    return made.columns.hstack([taken, pl.Series("power_w", power_w.ravel())])


def states(made: Fleet, end_s: int, stored_wh: Floats) -> pl.DataFrame:
    """Return the states of all batteries at the end of a quarter-hour, in the order of their identity."""
    at = pl.Series("occurred_at", np.full(len(made), end_s * 1_000_000)).cast(UTC_MICROS)
    level = pl.Series("fill_level", stored_wh / made.batteries.capacity_wh)
    return made.battery_columns.hstack([at, level, pl.Series("stored_wh", stored_wh)])
