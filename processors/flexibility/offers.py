"""From batteries and quarter-hours to offers, and from offers to events."""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import fields
from datetime import datetime, timedelta

import polars as pl

from energy.effective import current, holding, unchanged_since
from energy.flexibility import Storage, apply_preferences, site_room, storage_offers
from energy.ids import to_composed
from energy.remembered import remembered
from energy.rules import Rulebook, rulebook
from energy.time import QUARTER, UTC_MICROS, instant, with_local
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
STATED = (*KEY, "site_id", *SAID, "revision", "status")
MORE = ("response_s", "max_duration_s", "rebound_ratio", "limit_group")
DIFFERS = ~pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_was")) for name in SAID)
NOTHING = {name: pl.lit(0, pl.Int64) for name in ("quantity_w", "energy_limit_wh", "price_micros_per_mwh")}
EVENT = {
    "step": pl.lit(0, pl.Int64),
    "period_end": pl.col("period_start") + QUARTER,
    "min_quantity_w": pl.lit(0, pl.Int64),
    "utilisation": pl.lit("ANY_LEVEL"),
}
DATES = ("valid_from", "valid_to")
VERSION = (*DATES, "status")
DAY = timedelta(days=1)
WORKED_OUT = (
    *(*KEY, "site_id", "quantity_w", "energy_limit_wh", "currency"),
    *("response_s", "max_duration_s", "rebound_ratio"),
)
STORAGE = tuple(
    field.name for field in fields(Storage) if not field.name.endswith("_limit_w") and field.name != "available"
)
MEANT = pl.col("only_product_id").is_null() | (pl.col("only_product_id") == pl.col("product_id"))
PRICE = pl.max_horizontal("price_micros_per_mwh", "least_micros_per_mwh")
LIMIT_GROUP = to_composed(pl.col("resource_id"), pl.col("local_date").dt.strftime("%Y%m%d"), pl.col("direction"))
ROOM_UP, ROOM_DOWN = site_room(pl.col("load_w"), pl.col("import_limit_w"), pl.col("export_limit_w"))
Ctx = Context[Config]


def timezones(ctx: Ctx, sites: pl.DataFrame) -> list[str]:
    """The time zones of sites."""
    held = current(ctx.state(Site).scan(), ctx.now, entry=["site_id"])
    return held.join(sites, on="site_id", how="semi")["timezone"].unique(maintain_order=True).to_list()


# What there is.


def slots(ctx: Ctx, sites: pl.DataFrame, since: datetime, until: datetime) -> pl.DataFrame:
    """The quarter-hours of the sites' batteries that are under contract and forecast.

    Args:
        ctx: the task's.
        sites: ``site_id``.
        since: of the quarter-hours that begin from then on.
        until: of those that begin before.

    Returns:
        A row per battery and quarter-hour: the columns of `terms` as they hold then, ``load_w`` (forecast of the site)
        and ``local_date``.
    """
    batteries = ctx.state(Battery).scan()
    mine = pl.col("resource_id").is_in(batteries.join(sites, on="site_id", how="semi")["resource_id"].implode())
    held = terms(batteries, ctx.state(Site).scan(), ctx.state(Contract).scan())
    forecast = loads(ctx, held.filter(mine)["site_id"], since, until)
    # From all terms: polars divides by a column of one row less exactly than by one of many.
    rows = held.join(forecast, on="site_id", maintain_order="left_right")
    starts = pl.col("period_start")
    rows = rows.filter(mine & (starts >= pl.col("begins")) & (pl.col("ends").is_null() | (starts < pl.col("ends"))))
    return with_local(rows)


@remembered
def terms(batteries: pl.DataFrame, sites: pl.DataFrame, contracts: pl.DataFrame) -> pl.DataFrame:
    """On which terms batteries are under contract, and from when to when.

    Returns:
        The columns of a battery, its site and its contract, of several the first by id, that hold from ``begins`` until
        ``ends`` (null: open): between two dates of any version of the three nothing changes.
    """
    places = batteries.select("resource_id", "site_id").unique(maintain_order=True)
    dated = pl.concat(
        [batteries.select("site_id", *DATES), sites.select("site_id", *DATES), contracts.select("site_id", *DATES)]
    )
    moments = (
        dated.unpivot(DATES, index="site_id", value_name="begins")
        .join(places, on="site_id")
        .select("resource_id", "begins")
        .drop_nulls()
        .unique(maintain_order=True)
        .sort("resource_id", "begins")
    )
    rows = moments.with_columns(ends=pl.col("begins").shift(-1).over("resource_id"))
    rows = holding(rows, batteries, entry=["resource_id"], on=["resource_id"], at="begins").drop(VERSION)
    rows = holding(rows, sites, entry=["site_id"], on=["site_id"], at="begins").drop(VERSION)
    rows = holding(rows, brought_in(contracts), entry=["contract_id"], on=["site_id"], at="begins").drop(VERSION)
    rows = rows.filter(pl.col("only_resource_id").is_null() | (pl.col("only_resource_id") == pl.col("resource_id")))
    return rows.unique(["resource_id", "begins"], keep="first", maintain_order=True)


def brought_in(contracts: pl.DataFrame) -> pl.DataFrame:
    """The contracts that bring batteries into a portfolio."""
    rows = contracts.filter(pl.col("kind").is_in(["FLEXIBILITY", "PACKAGE"]) & (pl.col("portfolio_id") != ""))
    return rows.select(
        "contract_id",
        *VERSION,
        "site_id",
        "portfolio_id",
        only_resource_id="resource_id",
        only_product_id="product_id",
        least_micros_per_mwh="min_price_micros_per_mwh",
    )


def loads(ctx: Ctx, sites: pl.Series, since: datetime, until: datetime) -> pl.DataFrame:
    """The forecast power of sites: the medians of their resources added."""
    rows = ctx.state(Load).scan((Load.period_start >= instant(since)) & (Load.period_start < instant(until)))
    rows = rows.filter(Load.site_id.is_in(sites.implode()))
    return rows.group_by("site_id", "period_start", maintain_order=True).agg(load_w=pl.col("q50_w").sum())


def preferences(ctx: Ctx) -> pl.DataFrame:
    """What owners want, a row per battery and preference for the time that it holds."""
    return wishes(ctx.state(Preference).scan(), ctx.state(Battery).scan())


@remembered
def wishes(preferences: pl.DataFrame, batteries: pl.DataFrame) -> pl.DataFrame:
    """The same of all versions of preferences and batteries."""
    entry = ["site_id", "resource_id", "preference_id"]
    rows = preferences.filter(pl.col("status") != "WITHDRAWN").sort(*entry, "valid_from")
    replaced = pl.col("valid_from").shift(-1).over(entry)
    rows = rows.with_columns(valid_to=pl.min_horizontal("valid_to", replaced)).filter(pl.col("status") == "ACTIVE")
    here = batteries.select("site_id", battery_id="resource_id").unique(maintain_order=True)
    rows = rows.join(here, on="site_id", maintain_order="left_right")
    rows = rows.filter((pl.col("resource_id") == "") | (pl.col("resource_id") == pl.col("battery_id")))
    return rows.drop("resource_id").rename({"battery_id": "resource_id"})


# How full.


def expected(ctx: Ctx, rows: pl.DataFrame) -> pl.Series:
    """The fill level that each battery is assumed to have ahead."""
    assumed = ctx.config.assumed_fill_level
    wanted = ctx.state(Preference).scan()["ready_fill_level"]
    if wanted.null_count() == len(wanted):
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
    book = rulebook(ctx.table(RulePublished))
    bought = products(ctx)
    priced = with_costs(ctx, rows, book)
    if priced is None:
        return None
    wanted = preferences(ctx)
    full = apply_preferences(priced, wanted).select(
        *STORAGE,
        *SLOT,
        *("site_id", "portfolio_id", "only_product_id", "response_s", "local_date"),
        pl.col("available") & pl.col("usable"),
        up_limit_w=ROOM_UP,
        down_limit_w=ROOM_DOWN,
        least_micros_per_mwh=pl.max_horizontal("least_micros_per_mwh", least(priced, wanted)),
    )
    parts = []
    for hold_s, some in bought:
        made = storage_offers(full, hold_s=hold_s).join(some, on="direction", maintain_order="left_right")
        parts.append(made.filter(MEANT).select(*WORKED_OUT, price_micros_per_mwh=PRICE, limit_group=LIMIT_GROUP))
    return pl.concat(parts) if parts else None


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


def products(ctx: Ctx) -> list[tuple[int, pl.DataFrame]]:
    """Which products a direction is offered for: ``direction, product_id, currency`` by the seconds to hold."""
    defined, published = ctx.table(ProductDefined), ctx.table(RulePublished)
    return bought_at(unchanged_since(ctx.now, defined, published), defined, published)


@remembered
def bought_at(at: datetime, defined: pl.DataFrame, published: pl.DataFrame) -> list[tuple[int, pl.DataFrame]]:
    """The same by what holds at an instant."""
    held = current(defined, at, entry=["product_id"]).filter(pl.col("commodity") == "ELECTRICITY")
    hold = rulebook(published).long("storage.hold", at)
    parts = []
    for direction in ("UP", "DOWN"):
        buying = held.filter(pl.col("direction").is_in([direction, "SYMMETRIC"]))
        parts.append((buying if len(buying) else held).with_columns(direction=pl.lit(direction)))
    bought = pl.concat(parts).select(
        "direction", "product_id", "currency", hold_s=pl.max_horizontal("resolution_s", pl.lit(hold, pl.Int64))
    )
    return [(some["hold_s"][0], some) for some in bought.partition_by("hold_s", maintain_order=True)]


def with_costs(ctx: Ctx, rows: pl.DataFrame, book: Rulebook) -> pl.DataFrame | None:
    """Slots with the retail price of their zone and the wear; None while a price is not known.

    While a retail price is not published, that of a day before counts. There are few zones and quarter-hours, however
    many batteries: plain Python is faster than queries here.
    """
    wanted = rows.select("zone", "period_start").unique(maintain_order=True)
    slots, tariff = wanted.rows(), tariffs(ctx.table(PricePublished))
    prices = [tariff.price(zone, at) for zone, at in slots]
    prices = [
        tariff.price(zone, at - DAY) if price is None else price
        for price, (zone, at) in zip(prices, slots, strict=True)
    ]
    if None in prices:
        return None
    costs = wanted.hstack(
        [
            pl.Series("retail_micros_per_mwh", prices, pl.Int64),
            pl.Series("wear_micros_per_mwh", [book.long("storage.wear", at) for _, at in slots], pl.Int64),
        ]
    )
    return rows.join(costs, on=["zone", "period_start"], how="left", maintain_order="left")


class Tariffs:
    """The retail prices of zones over time.

    Args:
        published: rows of PricePublished.
    """

    def __init__(self, published: pl.DataFrame) -> None:
        retail = published.filter((pl.col("kind") == "RETAIL") & pl.col("price_micros_per_mwh").is_not_null())
        columns = retail.sort("period_start", maintain_order=True)
        self._prices: dict[str, tuple[list[datetime], list[tuple[datetime, int]]]] = {}
        for zone, since, until, price in columns[["zone", "period_start", "period_end", "price_micros_per_mwh"]].rows():
            starts, prices = self._prices.setdefault(zone, ([], []))
            starts.append(since)
            prices.append((until, price))

    def price(self, zone: str, at: datetime) -> int | None:
        """The price per MWh of the last period that has begun, unless it is over."""
        starts, prices = self._prices.get(zone, ([], []))
        begun = bisect_right(starts, at)
        until, price = prices[begun - 1] if begun else (at, None)
        return price if at < until else None


tariffs = remembered(Tariffs)


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
        starts = rows["period_start"].to_physical()
        first, last = (pl.lit(edge, UTC_MICROS) for edge in (starts.min(), starts.max()))
        offered = state.scan(Offer.period_start.is_between(first, last))
        offered = offered.join(rows, on=SLOT, how="semi", maintain_order="left")
    both = made.join(offered.select(*KEY, "revision", *SAID), on=KEY, how="left", suffix="_was", maintain_order="left")
    news = both.filter(DIFFERS).with_columns(revision=pl.col("revision").fill_null(-1) + 1, status=pl.lit("AVAILABLE"))
    said, gone = news.select(*STATED, *MORE), offered.clear()
    if both["revision"].count() < len(offered):  # not all that was offered still is
        gone = offered.filter(pl.col("quantity_w") > 0).join(made, on=KEY, how="anti", maintain_order="left")
        gone = gone.with_columns(pl.col("revision") + 1, **NOTHING, status=pl.lit("WITHDRAWN")).select(STATED)
    state.put(pl.concat([said.select(STATED), gone]) if len(gone) else said)
    for frame in (said, gone.drop("energy_limit_wh", "price_micros_per_mwh")):
        if len(frame):
            yield Emit(FlexibilityOffered, frame.with_columns(**EVENT))
