"""Money and energy in whole numbers: what an account receives, to the micro, with nothing lost in rounding.

Units: energy Wh, power W, prices micros per MWh and micros per MW and hour, amounts micros (millionths of the
currency), all integers; positive = the account receives. Products are 128 bits wide (Wh times micros overflows 64)
and rounded half-even once. Where an amount is split, the parts sum to it exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import polars as pl

WH_PER_MWH = 1_000_000
PPM = 1_000_000
MICROSECOND = timedelta(microseconds=1)
W_US_PER_MW_H = 1_000_000 * 3_600_000_000
"""Watt microseconds in a megawatt hour."""


def divide(numerator: int, denominator: int) -> int:
    """Divide whole numbers, rounding half-even; the denominator is positive."""
    quotient, rest = divmod(numerator, denominator)
    return quotient + (2 * rest > denominator or (2 * rest == denominator and quotient % 2))


def to_divided(numerator: pl.Expr, denominator: int) -> pl.Expr:
    """Divide a column by a positive whole number, rounding half-even: Int64, an error where it does not fit."""
    wide, by = numerator.cast(pl.Int128), pl.lit(denominator, pl.Int128)
    quotient = wide // by
    twice = (wide - quotient * by) * 2
    up = (twice > by) | ((twice == by) & (quotient % 2 != 0))
    return (quotient + up.cast(pl.Int128)).cast(pl.Int64)


def energy_micros(energy_wh: int, price_micros_per_mwh: int) -> int:
    """Return what energy costs: Wh x micros/MWh / 1,000,000, half-even."""
    return divide(energy_wh * price_micros_per_mwh, WH_PER_MWH)


def to_energy_micros(energy_wh: pl.Expr, price_micros_per_mwh: pl.Expr) -> pl.Expr:
    """Return what energy costs, in columns."""
    return to_divided(energy_wh.cast(pl.Int128) * price_micros_per_mwh.cast(pl.Int128), WH_PER_MWH)


def capacity_micros(capacity_w: int, duration: timedelta, price_micros_per_mw_h: int) -> int:
    """Return what capacity held for a time costs: W x h x micros/MW/h / 1,000,000, half-even."""
    return divide(capacity_w * (duration // MICROSECOND) * price_micros_per_mw_h, W_US_PER_MW_H)


def to_capacity_micros(capacity_w: pl.Expr, duration: pl.Expr, price_micros_per_mw_h: pl.Expr) -> pl.Expr:
    """Return what capacity held for a time costs, in columns; `duration` is a duration column."""
    product = capacity_w.cast(pl.Int128) * duration.dt.total_microseconds().cast(pl.Int128)
    return to_divided(product * price_micros_per_mw_h.cast(pl.Int128), W_US_PER_MW_H)


def scale(amount: int, ppm: int) -> int:
    """Return a share of an amount, in millionths, half-even."""
    return divide(amount * ppm, PPM)


def to_scaled(amount: pl.Expr, ppm: pl.Expr) -> pl.Expr:
    """Return a share of an amount, in millionths, in columns."""
    return to_divided(amount.cast(pl.Int128) * ppm.cast(pl.Int128), PPM)


def split(amount: int, weights: Sequence[int]) -> list[int]:
    """Split an amount by weights so that the parts sum to it (largest remainder; of equal ones the first).

    Args:
        amount: What to split; the parts of a negative one are those of the positive one, negated.
        weights: Not negative. Where all are 0 each counts the same.

    Returns:
        A part for each weight; nothing without weights.
    """
    if amount < 0:
        return [-part for part in split(-amount, weights)]
    counted = list(weights) if any(weights) else [1] * len(weights)
    parts, rests = [], []
    for weight in counted:
        part, rest = divmod(amount * weight, sum(counted))
        parts.append(part)
        rests.append(rest)
    for number in sorted(range(len(parts)), key=lambda index: -rests[index])[: amount - sum(parts)]:
        parts[number] += 1
    return parts


def to_split(amount: pl.Expr, weight: pl.Expr, by: Sequence[str]) -> pl.Expr:
    """Split amounts in columns: `split` within each group of rows.

    Args:
        amount: The amount of the row's group, the same in all its rows.
        weight: Not negative.
        by: Names of the columns that make a group.

    Returns:
        A part for each row (Int64); those of a group sum to its amount.
    """
    wide = weight.cast(pl.Int128)
    counted = pl.when(wide.sum().over(by) == 0).then(pl.lit(1, pl.Int128)).otherwise(wide)
    total = counted.sum().over(by)
    product = amount.cast(pl.Int128).abs() * counted
    part = product // total
    over = part * total - product  # the remainder, negated
    left = amount.cast(pl.Int128).abs() - part.sum().over(by)
    more = over.rank("ordinal").over(by).cast(pl.Int128) <= left
    return ((part + more.cast(pl.Int128)) * amount.sign().cast(pl.Int128)).cast(pl.Int64)


def share(amount: int, ppm: Sequence[int]) -> list[int]:
    """Split an amount by millionths; the last part is what they leave of it."""
    return split(amount, [*ppm, PPM - sum(ppm)])


def carry(values: Sequence[int], divisor: int, carried: int = 0) -> tuple[list[int], int]:
    """Divide each value and carry what rounding leaves to the next.

    Each quotient is rounded half away from zero, as billing rounds; what it is too much or too little by goes to the
    next value. So the results up to any point sum to the rounded sum of the values up to there.

    Args:
        values: Numerators.
        divisor: Positive.
        carried: Numerator left over from values before.

    Returns:
        The quotients, and the numerator left over.
    """
    results = []
    for value in values:
        carried += value
        size = (2 * abs(carried) + divisor) // (2 * divisor)
        result = size if carried >= 0 else -size
        carried -= result * divisor
        results.append(result)
    return results, carried


def split_hour(quantity: int, parts: int = 4) -> list[int]:
    """Split an hour's quantity evenly over its quarter-hours, carrying the remainder: 3 becomes 1, 1, 0, 1.

    Source: Energinet, splitting of hourly values (0.003 becomes 0.001, 0.001, 0.000, 0.001).
    """
    return carry([quantity] * parts, parts)[0]


@dataclass(frozen=True)
class Delivered:
    """What a delivery is paid: energy in Wh, amounts in micros; a penalty is negative."""

    paid_wh: int
    shortfall_wh: int
    energy_micros: int
    penalty_micros: int

    @property
    def amount_micros(self) -> int:
        """Payment less penalty."""
        return self.energy_micros + self.penalty_micros


def settle_delivery(
    requested_wh: int,
    delivered_wh: int,
    *,
    price_micros_per_mwh: int,
    penalty_micros_per_mwh: int,
    over_delivery_paid: bool = False,
) -> Delivered:
    """Settle what was delivered of what was requested (USEF flexibility settlement; UFTP 3.x, settle phase).

    Paid is what was delivered in the direction asked for, up to what was requested unless over-delivery is paid. The
    penalty is single-sided: for what is missing of the request, which is more than all of it where a delivery went the
    wrong way.

    Args:
        requested_wh: Not negative.
        delivered_wh: Positive in the direction requested.
        price_micros_per_mwh: What a MWh delivered is paid.
        penalty_micros_per_mwh: What a MWh missing costs.
        over_delivery_paid: Whether more than requested is paid too.
    """
    paid_wh = max(0, delivered_wh if over_delivery_paid else min(delivered_wh, requested_wh))
    shortfall_wh = max(0, requested_wh - delivered_wh)
    penalty = -energy_micros(shortfall_wh, penalty_micros_per_mwh)
    return Delivered(paid_wh, shortfall_wh, energy_micros(paid_wh, price_micros_per_mwh), penalty)


def settle_deliveries(frame: pl.DataFrame, *, over_delivery_paid: bool = False) -> pl.DataFrame:
    """Settle deliveries in columns: `settle_delivery` of each row.

    Args:
        frame: ``requested_wh, delivered_wh, price_micros_per_mwh, penalty_micros_per_mwh`` (Int64).
        over_delivery_paid: Whether more than requested is paid too.

    Returns:
        The rows with ``paid_wh, shortfall_wh, energy_micros, penalty_micros`` (Int64).
    """
    requested, delivered = pl.col("requested_wh"), pl.col("delivered_wh")
    paid = delivered if over_delivery_paid else pl.min_horizontal(delivered, requested)
    zero = pl.lit(0, pl.Int64)
    return frame.with_columns(
        paid_wh=pl.max_horizontal(paid, zero), shortfall_wh=pl.max_horizontal(requested - delivered, zero)
    ).with_columns(
        energy_micros=to_energy_micros(pl.col("paid_wh"), pl.col("price_micros_per_mwh")),
        penalty_micros=-to_energy_micros(pl.col("shortfall_wh"), pl.col("penalty_micros_per_mwh")),
    )


def imbalance_price(*, system_imbalance: float, mip: int, mdp: int, alpha: int) -> int:
    """Return the price of imbalance (Elia, one-price rule with the additional incentive alpha).

    Args:
        system_imbalance: Negative where the system is short; any unit.
        mip: Marginal incremental price, micros per MWh.
        mdp: Marginal decremental price, micros per MWh.
        alpha: Additional incentive, micros per MWh.

    Returns:
        MIP + alpha where the system is short, else MDP - alpha.
    """
    return mip + alpha if system_imbalance < 0 else mdp - alpha
