"""Which readings come late, twice or never, and which homes refuse, fall silent or deliver short: drawn, not stored."""

from enum import StrEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edges.chance import generator
from edges.homes.config import Config
from edges.homes.fleet import KINDS, QUARTER_S, STEPS

OUTAGE_QUARTERS = 4
"""The longest outage, in quarter-hours; all lengths up to it are equally likely."""
_MEAN_OUTAGE = (1 + OUTAGE_QUARTERS) / 2
_LATE_QUARTERS = 16
_DAY_QUARTERS = (80, 112)
_SECOND_AT_ONCE = 0.8

FINE, LATE, DAY_LATE, TWICE, AGAIN, LOST = range(6)
"""What becomes of a reading: sent; sent later; a day later; twice at once; now and a quarter later; never."""


class Answer(StrEnum):
    """How a home takes an instruction."""

    FOLLOW = "FOLLOW"
    SHORT = "SHORT"
    REFUSE = "REFUSE"
    SILENT = "SILENT"


def connected(config: Config, at_s: int) -> NDArray[np.bool_]:
    """Return which homes have a connection at a time, shape (homes,): outages begin and end on quarter-hours."""
    up = np.ones(config.homes, np.bool_)
    if config.faults.outage_share > 0:
        quarter = at_s - at_s % QUARTER_S
        for ago in range(OUTAGE_QUARTERS):
            up &= _outages(config, quarter - ago * QUARTER_S) <= ago
    return up


@lru_cache(maxsize=4 * OUTAGE_QUARTERS)
def _outages(config: Config, quarter_s: int) -> NDArray[np.int64]:
    """Draw how many quarter-hours the outages last that begin now; 0 where none begins."""
    chance = generator(config.seed, "outage", quarter_s)
    begins = chance.random(config.homes) < config.faults.outage_share / _MEAN_OUTAGE
    return np.where(begins, chance.integers(1, OUTAGE_QUARTERS + 1, config.homes), 0)


def fates(config: Config, end_s: int) -> NDArray[np.int64]:
    """Return what becomes of each reading of a quarter-hour, shape (homes, 4, 3)."""
    shares = config.faults
    limits = np.cumsum([
        shares.late_share,
        shares.day_late_share,
        shares.duplicate_share * _SECOND_AT_ONCE,
        shares.duplicate_share * (1 - _SECOND_AT_ONCE),
        shares.lost_share,
    ])  # fmt: skip
    shape = (config.homes, len(KINDS), STEPS)
    if limits[-1] <= 0:
        return np.zeros(shape, np.int64)
    drawn = generator(config.seed, "fate", end_s).random(shape)
    kinds = np.array([LATE, DAY_LATE, TWICE, AGAIN, LOST, FINE])
    return kinds[np.searchsorted(limits, drawn, side="right")]


def delay_s(config: Config, fate: int, end_s: int, reading: int) -> int:
    """Return how much later than its quarter-hour's end a reading comes, in seconds."""
    if fate == AGAIN:
        return QUARTER_S
    first, last = (1, _LATE_QUARTERS) if fate == LATE else _DAY_QUARTERS
    return QUARTER_S * int(generator(config.seed, "delay", end_s, reading).integers(first, last + 1))


def answer(config: Config, home: int, activation: str) -> tuple[Answer, int]:
    """Return how a home takes an instruction of an activation, and after how many seconds it says so.

    A home that refused does so again when it is asked again.
    """
    shares = config.faults
    chance = generator(config.seed, f"answer {activation}")
    drawn = chance.random(config.homes)[home]
    delay = 20 + 10 * int(chance.integers(0, 4, config.homes)[home])
    for kind, share in (
        (Answer.REFUSE, shares.refuse_share),
        (Answer.SILENT, shares.silent_share),
        (Answer.SHORT, shares.short_share),
    ):
        if drawn < share:
            return kind, delay
        drawn -= share
    return Answer.FOLLOW, delay
