"""The simulated surroundings of the market: what is needed, who else supplies it at which price, and what is called.

All of it is drawn for a local day from the seed, by the quarter-hour of the clock (0 to 95), and repeats. Need and
prices follow the day: little at night, more at midday, most in the evening.
"""

from dataclasses import dataclass
from datetime import date
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edges.chance import generator
from edges.market.config import Config
from energy.time import CLOCK_QUARTERS

Longs = NDArray[np.int64]

# Need of an hour relative to the greatest, and what capacity costs then relative to the average.
_NEED = (3, 3, 3, 3, 3, 3, 4, 5, 5, 5, 6, 7, 8, 8, 7, 7, 8, 10, 10, 10, 9, 7, 5, 4)
_DEARNESS = (7, 7, 7, 7, 7, 7, 8, 9, 9, 9, 9, 9, 9, 9, 10, 11, 12, 14, 15, 15, 14, 12, 9, 8)
# First and last quarter-hour of the clock at which calls begin, and how often: evening peak, midday, morning.
_CALLS = ((68, 80, 0.55), (44, 56, 0.3), (28, 36, 0.15))
_CALL_QUARTERS = (2, 4)


@dataclass(frozen=True, eq=False)
class Day:
    """A local day on the market.

    Attributes:
        need_w: What is needed, shape (96,).
        quantity_w: What each supplier offers, shape (suppliers, 96).
        capacity_price: Its price in micros per MW and hour, shape (suppliers, 96).
        energy_price: Its price in micros per MWh, shape (suppliers, 96).
        calls: First quarter-hour, length in quarter-hours, and share of the need, in the order of the day.
    """

    need_w: Longs
    quantity_w: Longs
    capacity_price: Longs
    energy_price: Longs
    calls: tuple[tuple[int, int, float], ...]


@lru_cache(maxsize=4)
def day_of(config: Config, day: date) -> Day:
    """Draw a day."""
    chance = generator(config.seed, "market day", day.toordinal())
    hour = np.arange(CLOCK_QUARTERS) // 4
    need = config.demand_w * np.array(_NEED)[hour] / max(_NEED) * chance.lognormal(0, 0.15)
    need = need * chance.lognormal(0, 0.1, 24)[hour] * chance.lognormal(0, 0.05, CLOCK_QUARTERS)
    quantity, capacity_price, energy_price = _suppliers(config)
    there = chance.random((config.suppliers, 24))[:, hour] < 0.9
    dearness = np.array(_DEARNESS)[hour] / 10 * chance.lognormal(0, 0.1)
    capacity = capacity_price[:, None] * dearness * chance.lognormal(0, 0.15, (config.suppliers, 24))[:, hour]
    energy = energy_price[:, None] * chance.lognormal(0, 0.1, (config.suppliers, 1)) * np.ones(CLOCK_QUARTERS)
    return Day(
        need_w=_whole(need, config.step_w),
        quantity_w=_whole(quantity[:, None] * there, config.step_w),
        capacity_price=_whole(capacity, 10_000),
        energy_price=_whole(energy, 1_000_000),
        calls=_calls(config, chance),
    )


def _suppliers(config: Config) -> tuple[NDArray[np.float64], ...]:
    """Draw who they are: some from 4 to 40 dollars per MW and hour, their energy from 180 to 600 dollars per MWh."""
    chance = generator(config.seed, "suppliers")
    size = chance.uniform(0.5, 1.5, config.suppliers)
    quantity = config.demand_w * config.supply_ratio * size / max(size.sum(), 1e-9)
    capacity_price = np.exp(np.linspace(np.log(4e6), np.log(40e6), config.suppliers))
    return quantity, capacity_price, chance.uniform(180e6, 600e6, config.suppliers)


def _calls(config: Config, chance: np.random.Generator) -> tuple[tuple[int, int, float], ...]:
    """Draw blocks that do not touch each other."""
    count = int(chance.integers(config.calls_per_day[0], config.calls_per_day[1] + 1))
    weights = np.array([weight for _, _, weight in _CALLS])
    taken = np.zeros(CLOCK_QUARTERS + 2, np.bool_)
    found: list[tuple[int, int, float]] = []
    for _ in range(20 * count):
        if len(found) == count:
            break
        first, last, _ = _CALLS[int(chance.choice(len(_CALLS), p=weights / weights.sum()))]
        begin = int(chance.integers(first, last + 1))
        length = int(chance.integers(_CALL_QUARTERS[0], _CALL_QUARTERS[1] + 1))
        share = float(chance.uniform(*config.call_share))
        if not taken[begin : begin + length + 2].any():
            taken[begin + 1 : begin + length + 1] = True
            found.append((begin, length, share))
    return tuple(sorted(found))


def _whole(values: NDArray[np.float64], step: int) -> Longs:
    rounded: Longs = np.rint(values / step).astype(np.int64) * step
    return rounded
