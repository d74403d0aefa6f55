"""Who has an account with whom, and which shares and penalties were agreed: contracts, products and rules."""

import polars as pl

from energy.effective import holding
from energy.rules import Rulebook
from processors.settlement.transfers import MOMENT

SHARES = ("capacity_share", "energy_share", "penalty_share")


def terms_of(moments: pl.DataFrame, contracts: pl.DataFrame, rules: Rulebook) -> pl.DataFrame:
    """Return each site's contract at each moment, one for a product before one for all.

    Args:
        moments: `MOMENT`, once each.
        contracts: The table of ContractChanged.
        rules: Shares where the contract says nothing.

    Returns:
        `MOMENT`, ``site_id, contract_id, account_id, counterparty_id`` and the shares in millionths.
    """
    entries = contracts.filter(pl.col("kind") == "FLEXIBILITY").select(
        "contract_id", "site_id", "portfolio_id", "valid_from", "valid_to", "status", "account_id", "counterparty_id",
        *(f"{share}_ppm" for share in SHARES), only="product_id",
    )  # fmt: skip
    held = holding(moments, entries, entry=["contract_id"], on=["portfolio_id"])
    fitting = held.filter(pl.col("only").is_null() | (pl.col("only") == pl.col("product_id")))
    one = fitting.sort(*MOMENT, "site_id", pl.col("only").is_not_null(), "valid_from", "contract_id").unique(
        [*MOMENT, "site_id"], keep="last", maintain_order=True
    )
    usual = moments.with_columns(_of_rules(moments, rules, share) for share in SHARES)
    return (
        one.join(usual, on=list(MOMENT), maintain_order="left")
        .with_columns(pl.col(f"{share}_ppm").fill_null(pl.col(share)) for share in SHARES)
        .select(
            *MOMENT, "site_id", "contract_id", "account_id", "counterparty_id", *(f"{share}_ppm" for share in SHARES)
        )
    )


def _of_rules(moments: pl.DataFrame, rules: Rulebook, name: str) -> pl.Series:
    places = moments.select("product_id", "period_start").iter_rows()
    return pl.Series(name, [rules.long(f"settlement.{name}", at, [product]) for product, at in places], pl.Int64)


def accounts_of(moments: pl.DataFrame, terms: pl.DataFrame, products: pl.DataFrame, rules: Rulebook) -> pl.DataFrame:
    """Return the accounts of both sides and what was agreed between them, where both are known.

    Returns:
        `MOMENT`, ``aggregator_id`` (the counterparty of the portfolio's contracts), ``market_id``,
        ``penalty_rule_id, penalty_micros_per_mwh`` (where a rule gives the price itself), ``penalty_factor_ppm``,
        ``over_delivery_paid``.
    """
    own = terms.group_by(MOMENT, maintain_order=True).agg(aggregator_id=pl.col("counterparty_id").min())
    entries = products.select("product_id", "valid_from", "valid_to", "status", "market_id")
    markets = holding(moments, entries, entry=["product_id"], on=["product_id"]).select(*MOMENT, "market_id")
    both = own.join(markets, on=list(MOMENT), maintain_order="left")
    agreed = []
    for product, at in both.select("product_id", "period_start").iter_rows():
        fixed = rules.find("settlement.penalty_price", at, [product])
        agreed.append((
            "settlement.penalty_factor" if fixed is None else "settlement.penalty_price",
            None if fixed is None else rules.long("settlement.penalty_price", at, [product]),
            rules.long("settlement.penalty_factor", at, [product]),
            bool(rules.long("settlement.over_delivery_paid", at, [product])),
        ))  # fmt: skip
    schema = {
        "penalty_rule_id": pl.String(), "penalty_micros_per_mwh": pl.Int64(), "penalty_factor_ppm": pl.Int64(),
        "over_delivery_paid": pl.Boolean(),
    }  # fmt: skip
    return both.hstack(pl.DataFrame(agreed, schema=schema, orient="row"))


def contents(entries: pl.DataFrame, entry: str) -> pl.DataFrame:
    """Return versions of effective-dated entries with all that they say as one text, to tell whether it changed."""
    said = [name for name in entries.columns if name not in {"origin", "origin_id"} and not name.startswith("cause_")]
    return entries.select(
        topic=pl.lit(entry),
        entry=pl.concat_str(entry, pl.col("scope") if "scope" in entries.columns else pl.lit(""), separator="/"),
        valid_from="valid_from",
        content=pl.concat_str(pl.col(said).cast(pl.String).fill_null("-"), separator="|"),
    )
