"""Offers of many resources to one merit-order curve per zone, grid node, product, direction and period.

A step of the curve holds the offers of one price; steps are in the order of cost, cheapest first. All in whole W.

*Firm* is what can be held for a product's longest activation. Offers that share energy (``limit_group``,
``energy_limit_wh``) can together hold no more than energy / duration, given to the cheapest first; what is unreliable
counts by its reliability. Firm quantities are per period: energy that several periods share is promised once in each,
and a bid must leave it at that (`energy.bidding`).
"""

from collections.abc import Sequence

import polars as pl

MARKET = ("zone", "grid_node_id", "product_id", "direction", "period_start")
"""What makes one curve."""


def merit_order(
    offers: pl.DataFrame, *, hold_s: int, price_step_micros: int = 1, by: Sequence[str] = MARKET
) -> pl.DataFrame:
    """Aggregate offers to curves.

    Args:
        offers: The columns of `by`, ``resource_id, step, quantity_w, min_quantity_w, price_micros_per_mwh`` and
            ``limit_group, energy_limit_wh`` (null: no limit of energy; a null group is the offer's own),
            ``reliability`` (0 to 1, null is 1).
        hold_s: Seconds for which firm quantity must last.
        price_step_micros: Prices are rounded up to whole multiples of this, so that a curve has few steps and each
            covers its costs.
        by: Names of the columns that make a curve.

    Returns:
        Sorted by `by` and ``step`` (from 1): ``price_micros_per_mwh``, ``quantity_w`` of the step, ``cumulative_w`` up
        to it, ``firm_quantity_w`` of the step, ``min_quantity_w`` (smallest of its offers), ``resources`` in it; Int64.
    """
    price = -((-pl.col("price_micros_per_mwh")) // price_step_micros) * price_step_micros
    rows = offers.with_columns(price_micros_per_mwh=price, _group=_GROUP)
    rows = rows.sort(*by, "_group", "price_micros_per_mwh", "resource_id", "step")
    rows = rows.with_columns(_curve=pl.struct(by).rle_id(), _reached=pl.col("quantity_w").cum_sum())
    # The energy of a group lets it hold so much power in all, whichever of its steps gives it.
    bound = (_ENERGY * 3600 // hold_s).fill_null(_POWER)
    firm = pl.min_horizontal(_REACHED, bound) - pl.min_horizontal(_REACHED - pl.col("quantity_w"), bound)
    rows = rows.with_columns(_firm=firm)
    steps = rows.group_by("_curve", "price_micros_per_mwh", maintain_order=True).agg(pl.col(by).first(), **_STEP)
    steps = steps.sort("_curve", "price_micros_per_mwh")
    return steps.select(*by, *_NUMBERED)


_GROUP = pl.coalesce("limit_group", pl.concat_str("resource_id", pl.lit("/"), pl.col("step").cast(pl.String)))
_ENERGY = pl.col("energy_limit_wh").min().over("_curve", "_group")
_POWER = pl.col("quantity_w").sum().over("_curve", "_group")
# A running sum in each group is slow: groups are many and short. It is that of all rows since the group's first.
_REACHED = pl.col("_reached") - (pl.col("_reached") - pl.col("quantity_w")).min().over("_curve", "_group")
_STEP = {
    "quantity_w": pl.col("quantity_w").sum(),
    "firm_quantity_w": (pl.col("_firm") * pl.col("reliability").fill_null(1.0)).floor().cast(pl.Int64).sum(),
    "min_quantity_w": pl.col("min_quantity_w").min(),
    "resources": pl.col("resource_id").n_unique().cast(pl.Int64),
}
_NUMBERED = (
    pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over("_curve").alias("step"),
    pl.col("price_micros_per_mwh"),
    pl.col("quantity_w"),
    pl.col("quantity_w").cum_sum().over("_curve").alias("cumulative_w"),
    pl.col("firm_quantity_w", "min_quantity_w", "resources"),
)
