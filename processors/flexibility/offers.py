"""From batteries and quarter-hours to offers, and from offers to events."""

from collections.abc import Iterator, Sequence
from datetime import datetime

import polars as pl

from energy.effective import current, holding
from energy.flexibility import apply_preferences, site_room, storage_offers
from energy.ids import to_composed
from energy.rules import Rulebook
from energy.time import QUARTER, UTC_MICROS, with_local
from processors.flexibility.state import (
    OFFERED,
    Battery,
    Config,
    Contract,
    Level,
    Load,
    Offer,
    Preference,
    Site,
)
from streams import Context, Emit
from topics import FlexibilityOffered, PricePublished, ProductDefined, RulePublished

KEY = ("portfolio_id", *OFFERED)
SLOT = ("resource_id", "period_start")
SAID = ("quantity_w", "energy_limit_wh", "price_micros_per_mwh", "currency")
VERSION = ("valid_from", "valid_to", "status")
Ctx = Context[Config]


def timezones(ctx: Ctx, sites: pl.DataFrame) -> list[str]:
    """The time zones of sites."""
    held = current(ctx.state(Site).scan(), ctx.now, entry=["site_id"])
    return held.join(sites, on="site_id", how="semi")["timezone"].unique(maintain_order=True).to_list()


# What there is.


def slots(ctx: Ctx, sites: pl.DataFrame, starts: Sequence[datetime]) -> pl.DataFrame:
    """The quarter-hours of the sites' batteries that are under contract and forecast.

    Args:
        ctx: the task's.
        sites: ``site_id``.
        starts: of the quarter-hours.

    Returns:
        A row per battery and quarter-hour: the columns of `Battery`, of its `Site` and `Contract` as they hold then,
        ``load_w`` (forecast of the site) and ``local_date``.
    """
    batteries = ctx.state(Battery).scan()
    mine = batteries.join(sites, on="site_id", how="semi", maintain_order="left")
    mine = mine.select("resource_id").unique(maintain_order=True)
    times = pl.DataFrame({"period_start": list(starts)}, schema={"period_start": UTC_MICROS})
    rows = mine.join(times, how="cross", maintain_order="left_right")
    rows = holding(rows, batteries, entry=["resource_id"], on=["resource_id"]).drop(VERSION)
    rows = holding(rows, ctx.state(Site).scan(), entry=["site_id"], on=["site_id"]).drop(VERSION)
    rows = holding(rows, contracts(ctx), entry=["contract_id"], on=["site_id"]).drop(VERSION)
    rows = rows.filter(pl.col("only_resource_id").is_null() | (pl.col("only_resource_id") == pl.col("resource_id")))
    rows = rows.unique(SLOT, keep="first", maintain_order=True)  # of several contracts the first by id
    return with_local(rows.join(loads(ctx, starts), on=["site_id", "period_start"], maintain_order="left"))


def contracts(ctx: Ctx) -> pl.DataFrame:
    """The contracts that bring batteries into a portfolio."""
    rows = ctx.state(Contract).scan().filter(pl.col("kind").is_in(["FLEXIBILITY", "PACKAGE"]))
    return rows.filter(pl.col("portfolio_id") != "").select(
        "contract_id",
        *VERSION,
        "site_id",
        "portfolio_id",
        only_resource_id="resource_id",
        only_product_id="product_id",
        least_micros_per_mwh="min_price_micros_per_mwh",
    )


def loads(ctx: Ctx, starts: Sequence[datetime]) -> pl.DataFrame:
    """The forecast power of each site: the medians of its resources added."""
    if not starts:
        return pl.DataFrame(schema={"site_id": pl.String, "period_start": UTC_MICROS, "load_w": pl.Float64})
    rows = ctx.state(Load).scan((Load.period_start >= min(starts)) & (Load.period_start <= max(starts)))
    return rows.group_by("site_id", "period_start", maintain_order=True).agg(load_w=pl.col("q50_w").sum())


def preferences(ctx: Ctx) -> pl.DataFrame:
    """What owners want, a row per battery and preference for the time that it holds."""
    entry = ["site_id", "resource_id", "preference_id"]
    rows = ctx.state(Preference).scan().filter(pl.col("status") != "WITHDRAWN").sort(*entry, "valid_from")
    replaced = pl.col("valid_from").shift(-1).over(entry)
    rows = rows.with_columns(valid_to=pl.min_horizontal("valid_to", replaced)).filter(pl.col("status") == "ACTIVE")
    batteries = ctx.state(Battery).scan().select("site_id", battery_id="resource_id").unique(maintain_order=True)
    rows = rows.join(batteries, on="site_id", maintain_order="left_right")
    rows = rows.filter((pl.col("resource_id") == "") | (pl.col("resource_id") == pl.col("battery_id")))
    return rows.drop("resource_id").rename({"battery_id": "resource_id"})


# How full.


def expected(ctx: Ctx, rows: pl.DataFrame) -> pl.Series:
    """The fill level that each battery is assumed to have ahead."""
    assumed = ctx.config.assumed_fill_level
    wishes = ctx.state(Preference).scan()
    if wishes["ready_fill_level"].null_count() == len(wishes):
        return pl.Series("expected", [assumed] * len(rows), pl.Float64)
    held = preferences(ctx).filter(
        (pl.col("valid_from") <= ctx.now) & (pl.col("valid_to").is_null() | (pl.col("valid_to") > ctx.now))
    )
    ready = held.group_by("resource_id", maintain_order=True).agg(expected=pl.col("ready_fill_level").max())
    found = rows.select("resource_id").join(ready, on="resource_id", how="left", maintain_order="left")
    return found["expected"].fill_null(assumed)


def assumed(ctx: Ctx, rows: pl.DataFrame) -> pl.DataFrame:
    """Slots with the fill level that is assumed ahead."""
    return rows.with_columns(expected(ctx, rows).alias("fill_level"), usable=pl.lit(value=True))


def levels(ctx: Ctx) -> pl.DataFrame:
    """The batteries that have reported: ``resource_id, site_id, fill_level, usable, expected``."""
    rows = ctx.state(Level).scan()
    if rows["fill_level"].null_count():
        held = current(ctx.state(Battery).scan(), ctx.now, entry=["resource_id"]).select("resource_id", "storage_wh")
        share = pl.col("stored_wh") / pl.col("storage_wh")
        rows = rows.join(held, on="resource_id", how="left", maintain_order="left")
        rows = rows.with_columns(pl.col("fill_level").fill_null(share)).filter(pl.col("fill_level").is_not_null())
    return rows[["resource_id", "site_id", "fill_level", "usable"]].hstack([expected(ctx, rows)])


def reported(ctx: Ctx, rows: pl.DataFrame) -> pl.DataFrame:
    """Slots with the fill level that the battery reported, as long as it has reported one."""
    told = levels(ctx).select("resource_id", "fill_level", "usable")
    found = assumed(ctx, rows).join(told, on="resource_id", how="left", suffix="_told", maintain_order="left")
    return found.with_columns(
        fill_level=pl.coalesce("fill_level_told", "fill_level"), usable=pl.coalesce("usable_told", "usable")
    ).drop("fill_level_told", "usable_told")


# What it is worth.


def worked_out(ctx: Ctx, rows: pl.DataFrame) -> pl.DataFrame | None:
    """The offers of slots with their fill levels; None while a retail price is not known.

    Args:
        ctx: the task's.
        rows: `slots` with ``fill_level, usable``.

    Returns:
        Rows of FlexibilityOffered less status, step and revision; none for a slot that has nothing to offer.
    """
    book = Rulebook(ctx.table(RulePublished).to_dicts())
    bought = products(ctx, book)
    priced = with_retail(ctx, rows)
    if priced["retail_micros_per_mwh"].null_count():
        return None
    wishes = preferences(ctx)
    up, down = site_room(pl.col("load_w"), pl.col("import_limit_w"), pl.col("export_limit_w"))
    times = priced["period_start"].unique(maintain_order=True)
    wear = pl.Series("wear_micros_per_mwh", [book.long("storage.wear", at) for at in times], pl.Int64)
    priced = priced.join(pl.DataFrame([times, wear]), on="period_start", how="left", maintain_order="left")
    full = apply_preferences(priced, wishes).with_columns(
        pl.col("available") & pl.col("usable"),
        up_limit_w=up,
        down_limit_w=down,
        least_micros_per_mwh=pl.max_horizontal("least_micros_per_mwh", least(priced, wishes)),
    )
    parts = []
    for (hold_s,), some in bought.group_by("hold_s", maintain_order=True):
        assert isinstance(hold_s, int)
        made = storage_offers(full, hold_s=hold_s).join(some, on="direction", maintain_order="left_right")
        parts.append(
            made.filter(pl.col("only_product_id").is_null() | (pl.col("only_product_id") == pl.col("product_id")))
        )
    if not parts:
        return None
    return pl.concat(parts).select(
        *KEY,
        "site_id",
        "quantity_w",
        "energy_limit_wh",
        "currency",
        "response_s",
        "max_duration_s",
        "rebound_ratio",
        price_micros_per_mwh=pl.max_horizontal("price_micros_per_mwh", "least_micros_per_mwh"),
        limit_group=to_composed(pl.col("resource_id"), pl.col("local_date").dt.strftime("%Y%m%d"), pl.col("direction")),
    )


def least(rows: pl.DataFrame, wishes: pl.DataFrame) -> pl.Series:
    """The least price that the owner of each slot's battery wants then."""
    wished = wishes.filter(pl.col("min_price_micros_per_mwh").is_not_null())
    if not len(wished):
        return pl.Series("least", [None] * len(rows), pl.Int64)
    starts = pl.col("period_start")
    both = rows.select(SLOT).join(wished, on="resource_id", maintain_order="left_right")
    both = both.filter(
        (starts >= pl.col("valid_from")) & (pl.col("valid_to").is_null() | (starts < pl.col("valid_to")))
    )
    most = both.group_by(SLOT, maintain_order=True).agg(least=pl.col("min_price_micros_per_mwh").max())
    return rows.select(SLOT).join(most, on=SLOT, how="left", maintain_order="left")["least"]


def products(ctx: Ctx, book: Rulebook) -> pl.DataFrame:
    """Which product a direction is offered for: ``direction, product_id, currency, hold_s``."""
    held = current(ctx.table(ProductDefined), ctx.now, entry=["product_id"])
    held = held.filter(pl.col("commodity") == "ELECTRICITY")
    hold = book.long("storage.hold", ctx.now)
    parts = []
    for direction in ("UP", "DOWN"):
        buying = held.filter(pl.col("direction").is_in([direction, "SYMMETRIC"]))
        parts.append((buying if len(buying) else held).with_columns(direction=pl.lit(direction)))
    return pl.concat(parts).select(
        "direction", "product_id", "currency", hold_s=pl.max_horizontal("resolution_s", pl.lit(hold, pl.Int64))
    )


def with_retail(ctx: Ctx, rows: pl.DataFrame) -> pl.DataFrame:
    """Slots with the retail price of their zone; while it is not published, that of a day before."""
    table = ctx.table(PricePublished)
    prices = table.filter((pl.col("kind") == "RETAIL") & pl.col("price_micros_per_mwh").is_not_null())
    prices = prices.select(
        "zone", "period_start", until="period_end", retail_micros_per_mwh="price_micros_per_mwh"
    ).sort("period_start", maintain_order=True)
    wanted = rows.select("zone", "period_start").unique(maintain_order=True).sort("period_start", "zone")
    known = _price_at(wanted, prices).rename({"retail_micros_per_mwh": "published"})
    before = wanted.with_columns(pl.col("period_start").dt.offset_by("-1d"))
    found = known.hstack([_price_at(before, prices)["retail_micros_per_mwh"]])
    found = found.with_columns(retail_micros_per_mwh=pl.coalesce("published", "retail_micros_per_mwh"))
    return rows.join(found.drop("published"), on=["zone", "period_start"], how="left", maintain_order="left")


def _price_at(wanted: pl.DataFrame, prices: pl.DataFrame) -> pl.DataFrame:
    found = wanted.join_asof(prices, on="period_start", by="zone", check_sortedness=False)
    over = (pl.col("until") <= pl.col("period_start")).fill_null(value=True)
    return found.select(
        "zone", "period_start", retail_micros_per_mwh=pl.when(~over).then(pl.col("retail_micros_per_mwh"))
    )


# What is said.


def changes(
    ctx: Ctx, rows: pl.DataFrame, made: pl.DataFrame, offered: pl.DataFrame | None = None
) -> Iterator[Emit[FlexibilityOffered]]:
    """State what differs from what was offered.

    Args:
        ctx: the task's.
        rows: the slots that were worked out.
        made: what they offer now.
        offered: what was offered for them; looked up where it is not given.
    """
    state = ctx.state(Offer)
    if offered is None:
        if not len(rows):
            return
        offered = state.scan(Offer.period_start.is_between(rows["period_start"].min(), rows["period_start"].max()))
        offered = offered.join(rows, on=SLOT, how="semi", maintain_order="left")
    was = offered.select(*KEY, "revision", *SAID)
    both = made.join(was, on=KEY, how="left", suffix="_was", maintain_order="left")
    same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_was")) for name in SAID)
    news = both.filter(~same).with_columns(revision=pl.col("revision").fill_null(-1) + 1, status=pl.lit("AVAILABLE"))
    gone = offered.filter(pl.col("quantity_w") > 0).join(made, on=KEY, how="anti", maintain_order="left")
    gone = gone.with_columns(
        pl.col("revision") + 1,
        *(pl.lit(0, pl.Int64).alias(name) for name in ("quantity_w", "energy_limit_wh", "price_micros_per_mwh")),
        status=pl.lit("WITHDRAWN"),
    )
    said = [*KEY, "site_id", *SAID, "revision", "status"]
    if len(news) or len(gone):
        state.put(pl.concat([news.select(said), gone.select(said)]))
    more = ["response_s", "max_duration_s", "rebound_ratio", "limit_group"]
    for frame in (news.select(*said, *more), gone.select(said).drop("energy_limit_wh", "price_micros_per_mwh")):
        if len(frame):
            yield Emit(FlexibilityOffered, _events(frame))


def _events(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(
        step=pl.lit(0, pl.Int64),
        period_end=pl.col("period_start") + QUARTER,
        min_quantity_w=pl.lit(0, pl.Int64),
        utilisation=pl.lit("ANY_LEVEL"),
    )
