"""Chance that repeats: every draw of a simulator follows from its seed, a purpose and a time, never from a state."""

import zlib
from datetime import UTC, datetime, timedelta

import numpy as np

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""When a conversation that has not begun wants to be woken: at once."""


def generator(seed: int, purpose: str, *at: int) -> np.random.Generator:
    """Return the generator of one purpose at one time: the same whenever it is asked for, so restarts change nothing.

    Args:
        seed: Of the simulation, 0 or more.
        purpose: What is drawn; two purposes are independent.
        at: Numbers that tell one draw of this purpose from another, usually a time; 0 or more.
    """
    return np.random.default_rng([seed, zlib.crc32(purpose.encode()), *at])


def seconds(instant: datetime) -> int:
    """Return the whole seconds since 1970 of an aware instant."""
    return (instant - EPOCH) // timedelta(seconds=1)


def instant(second: int) -> datetime:
    """Return the instant so many seconds after 1970."""
    return EPOCH + timedelta(seconds=second)
