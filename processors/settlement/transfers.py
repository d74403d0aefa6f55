"""Who owes whom how much for what: pure functions of what was cleared, called, delivered and agreed.

A transfer is one row: ``payee`` receives ``amount_micros`` (which may be negative) from ``payer``.
"""

import polars as pl

from energy.ids import to_composed, to_stamp
from energy.periods import by_quarter, to_energy_wh
from energy.settlement import settle_deliveries, to_capacity_micros, to_scaled, to_split
from energy.time import QUARTER, UTC_MICROS

MOMENT = ("portfolio_id", "product_id", "period_start")
"""What contracts, accounts and rules are looked up by."""
QUARTERLY = ("activation_id", "period_start")
AMOUNTS = ("amount_micros", "energy_wh", "capacity_w", "basis_micros")
"""What a correction has the difference of."""


def capacity_transfers(
    cleared: pl.DataFrame, offered: pl.DataFrame, accounts: pl.DataFrame, terms: pl.DataFrame
) -> pl.DataFrame:
    """Pay capacity that was cleared, and share each period's pot by what the sites had offered.

    Args:
        cleared: Cleared bids: ``bid_id, trade_id``, `MOMENT`, ``direction, period_end, quantity_w,
            price_micros_per_mw_h, price_micros, currency``.
        offered: ``portfolio_id, product_id, direction, period_start, site_id, quantity_w``, as offered when cleared.
        accounts: `MOMENT`, ``aggregator_id, market_id``.
        terms: `MOMENT`, ``site_id, contract_id, account_id, counterparty_id, capacity_share_ppm``.
    """
    whole = pl.col("price_micros").fill_null(0)
    held = to_capacity_micros(
        pl.col("quantity_w"),
        pl.col("period_end") - pl.col("period_start"),
        pl.col("price_micros_per_mw_h").fill_null(0),
    )
    trade = pl.when(pl.col("trade_id") != "").then(to_composed(pl.col("bid_id"), pl.col("trade_id")))
    market = cleared.join(accounts, on=list(MOMENT), maintain_order="left").with_columns(
        kind=pl.lit("CAPACITY"),
        about=trade.otherwise(pl.col("bid_id")),
        payee="aggregator_id",
        payer="market_id",
        capacity_w="quantity_w",
        amount_micros=held + whole,
    )
    pot = [*MOMENT, "direction", "period_end", "currency"]
    pots = market.group_by(pot, maintain_order=True).agg(pot_micros=pl.col("amount_micros").sum())
    weights = offered.select(*MOMENT, "direction", "site_id", weight="quantity_w")
    rows = _shares(pots, weights, terms, by=[*MOMENT, "direction"], share="capacity_share_ppm").with_columns(
        reason_code=pl.lit("CAPACITY"),
        about=to_composed(pl.col("product_id"), pl.col("direction")),
        capacity_w="weight",
    )
    return pl.concat([_tidy(market), _tidy(rows)], how="diagonal")


def called_quarters(activations: pl.DataFrame) -> pl.DataFrame:
    """Return what was called per quarter-hour: the activations' columns, ``requested_wh``, and their own period."""
    quarters = by_quarter(activations).filter(pl.col("quantity_w") > 0)
    return quarters.with_columns(
        requested_wh=to_energy_wh(pl.col("quantity_w"), pl.col("overlap_us")),
        period_start="quarter_start",
        period_end=pl.col("quarter_start") + QUARTER,
    ).drop("quarter_start", "overlap_us")


def energy_transfers(
    called: pl.DataFrame, delivered: pl.DataFrame, accounts: pl.DataFrame, terms: pl.DataFrame
) -> pl.DataFrame:
    """Pay what was delivered of what was called, charge what was not, and share both.

    A home's part of the payment goes by what it is credited, its delivery up to what was asked of it. Its part of the
    penalty goes by what it fell short of that; what nobody was asked for stays with the aggregator.

    Args:
        called: As `called_quarters` gives it.
        delivered: `QUARTERLY`, ``site_id, requested_wh, delivered_wh``.
        accounts: `MOMENT`, ``aggregator_id, market_id, penalty_rule_id, penalty_micros_per_mwh`` (null: the energy
            price times ``penalty_factor_ppm``), ``over_delivery_paid``.
        terms: `MOMENT`, ``site_id, contract_id, account_id, counterparty_id, energy_share_ppm, penalty_share_ppm``.
    """
    totals = delivered.group_by(QUARTERLY, maintain_order=True).agg(
        pl.col("delivered_wh").sum(), asked_wh=pl.col("requested_wh").sum()
    )
    factor = to_scaled(pl.col("price_micros_per_mwh").abs(), pl.col("penalty_factor_ppm"))
    rows = (
        called.with_columns(pl.col("price_micros_per_mwh").fill_null(0))
        .join(accounts, on=list(MOMENT), maintain_order="left")
        .join(totals, on=list(QUARTERLY), how="left", maintain_order="left")
        .with_columns(pl.col("delivered_wh", "asked_wh").fill_null(0))
        .with_columns(penalty_micros_per_mwh=pl.col("penalty_micros_per_mwh").fill_null(factor))
    )
    paid = [settle_deliveries(rows.filter("over_delivery_paid"), over_delivery_paid=True)]
    paid.append(settle_deliveries(rows.filter(~pl.col("over_delivery_paid"))))
    settled = (
        pl.concat(paid).sort(*QUARTERLY).with_columns(about="activation_id", payee="aggregator_id", payer="market_id")
    )
    energy = settled.with_columns(
        kind=pl.lit("ENERGY"), energy_wh="paid_wh", amount_micros="energy_micros", direction=pl.lit(None, pl.String)
    )
    short = settled.filter(pl.col("shortfall_wh") > 0).with_columns(
        kind=pl.lit("PENALTY"),
        energy_wh="shortfall_wh",
        amount_micros="penalty_micros",
        price_micros_per_mwh="penalty_micros_per_mwh",
        rule_id="penalty_rule_id",
    )
    zero = pl.lit(0, pl.Int64)
    requested, made = pl.col("requested_wh"), pl.col("delivered_wh")
    most = pl.when("over_delivery_paid").then(made).otherwise(pl.min_horizontal(made, requested))
    agreed = settled.select(*QUARTERLY, "over_delivery_paid")
    credited = delivered.join(agreed, on=list(QUARTERLY), maintain_order="left").select(
        *QUARTERLY, "site_id", weight=pl.max_horizontal(most, zero)
    )
    nobody = short.select(
        *QUARTERLY, site_id=pl.lit(""), weight=pl.max_horizontal(requested - pl.col("asked_wh"), zero)
    )
    missing = delivered.select(*QUARTERLY, "site_id", weight=pl.max_horizontal(requested - made, zero))
    lacking = pl.concat([missing, nobody])
    shares = [
        _shares(_pots(pots), weights, terms, by=list(QUARTERLY), share=share).with_columns(
            reason_code=pl.lit(code), about="activation_id", energy_wh="weight"
        )
        for pots, weights, share, code in (
            (energy, credited, "energy_share_ppm", "ENERGY"),
            (short, lacking, "penalty_share_ppm", "PENALTY"),
        )
        if len(pots)
    ]
    return pl.concat([_tidy(part) for part in (energy, short, *shares)], how="diagonal")


def _pots(rows: pl.DataFrame) -> pl.DataFrame:
    kept = ["activation_id", *MOMENT, "period_end", "currency"]
    rule = [pl.col("rule_id")] if "rule_id" in rows.columns else []
    return rows.select(*kept, *rule, pot_micros="amount_micros")


def _shares(
    pots: pl.DataFrame, weights: pl.DataFrame, terms: pl.DataFrame, *, by: list[str], share: str
) -> pl.DataFrame:
    """Split pots by weight to the micro, and give each site with a contract its share of its part."""
    holders = weights.filter(pl.col("weight") > 0).sort(*by, "site_id")
    parts = pots.join(holders, on=by, maintain_order="left_right").with_columns(
        basis_micros=to_split(pl.col("pot_micros"), pl.col("weight"), by)
    )
    rows = parts.join(terms, on=[*MOMENT, "site_id"], maintain_order="left").filter(pl.col(share).is_not_null())
    return rows.with_columns(
        kind=pl.lit("SHARE"),
        payee="account_id",
        payer="counterparty_id",
        share_ppm=share,
        amount_micros=to_scaled(pl.col("basis_micros"), pl.col(share)),
    )


_TEXTS = (
    "kind", "reason_code", "about", "payee", "payer", "portfolio_id", "product_id", "site_id", "contract_id", "bid_id",
    "activation_id", "rule_id", "currency",
)  # fmt: skip
_NUMBERS = (*AMOUNTS, "share_ppm", "price_micros_per_mwh", "price_micros_per_mw_h", "price_micros")
_TIMES = ("period_start", "period_end")
NONE = pl.DataFrame(
    schema=dict.fromkeys(_TEXTS, pl.String()) | dict.fromkeys(_TIMES, UTC_MICROS) | dict.fromkeys(_NUMBERS, pl.Int64())
)
"""No transfers, with all columns that transfers may have."""


def _tidy(rows: pl.DataFrame) -> pl.DataFrame:
    return rows[[name for name in NONE.columns if name in rows.columns]]


def two_lines(transfers: pl.DataFrame) -> pl.DataFrame:
    """Return the two lines of opposite sign of each transfer, ``first_id`` composed of business keys.

    What was paid is said on both sides alike: ``energy_wh``, ``capacity_w`` and ``basis_micros`` have the same sign.
    """
    period = to_stamp(pl.col("period_start"))
    account, about = pl.col("account_id"), pl.col("about")
    share = to_composed(account, pl.col("kind"), pl.col("reason_code"), about, pl.col("site_id"), period)
    market = to_composed(account, pl.col("kind"), about, period)
    sides = [
        transfers.rename({"payee": "account_id", "payer": "counterparty_id"}),
        transfers.rename({"payer": "account_id", "payee": "counterparty_id"}).with_columns(-pl.col("amount_micros")),
    ]
    both = pl.concat(sides, how="diagonal")
    return both.with_columns(first_id=pl.when(pl.col("kind") == "SHARE").then(share).otherwise(market)).drop("about")


def differences(target: pl.DataFrame, settled: pl.DataFrame) -> pl.DataFrame:
    """Return the lines that take what has been settled to what it should be.

    Args:
        target: Lines as they should be, as `two_lines` gives them.
        settled: All lines so far of the same subjects, corrections included, with the columns of LineSettled.

    Returns:
        New lines of the target as they are, then for each that changed or went away one with the differences of
        `AMOUNTS`: ``line_id, correction_no, corrects_line_id``.
    """
    if settled.is_empty():
        none, zero = pl.lit(None, pl.String), pl.lit(0, pl.Int64)
        return target.with_columns(correction_no=zero, corrects_line_id=none).rename({"first_id": "line_id"})
    known = _standing(settled)
    descriptive = [name for name in target.columns if name not in {*AMOUNTS, "first_id"}]
    pairs = target.join(
        known.select("first_id", "number", pl.col(AMOUNTS).name.suffix("_was")),
        on="first_id", how="left", maintain_order="left",
    )  # fmt: skip
    gone = known.join(target, on="first_id", how="anti", maintain_order="left").select(
        *(pl.col(name) for name in descriptive),
        "first_id",
        "number",
        *(pl.lit(None, pl.Int64).alias(name) for name in AMOUNTS),
        pl.col(AMOUNTS).name.suffix("_was"),
    )
    rows = pl.concat([pairs, gone], how="diagonal")
    moved = [
        pl.when(pl.col(name).is_not_null() | pl.col(f"{name}_was").is_not_null())
        .then(pl.col(name).fill_null(0) - pl.col(f"{name}_was").fill_null(0))
        .alias(name)
        for name in AMOUNTS
    ]
    number = pl.col("number").fill_null(0)
    changed = pl.any_horizontal((pl.col(name) != 0).fill_null(False) for name in AMOUNTS)
    return (
        rows.with_columns(*moved)
        .filter(pl.col("number").is_null() | changed)
        .with_columns(
            line_id=pl.when(number > 0).then(pl.col("first_id") + "/" + number.cast(pl.String)).otherwise("first_id"),
            correction_no=number,
            corrects_line_id=pl.when(number > 0).then("first_id"),
        )
        .drop("first_id", "number", *(f"{name}_was" for name in AMOUNTS))
    )


def _standing(settled: pl.DataFrame) -> pl.DataFrame:
    """Sum first lines with their corrections; ``number`` is the next correction's."""
    described = [name for name in settled.columns if name not in {*AMOUNTS, "correction_no"}]
    summed = [pl.when(pl.col(name).is_not_null().any()).then(pl.col(name).sum()).alias(name) for name in AMOUNTS]
    return (
        settled.with_columns(first_id=pl.coalesce("corrects_line_id", "line_id"))
        .sort("first_id", "correction_no")
        .group_by("first_id", maintain_order=True)
        .agg(pl.col(described).last(), *summed, number=pl.col("correction_no").max() + 1)
    )
