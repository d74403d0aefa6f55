"""Keep the newest offers; state the curves of the quarter-hours whose offers have changed."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import polars as pl

from energy.aggregation import merit_order
from energy.effective import unchanged_since
from energy.remembered import remembered
from energy.rules import rulebook
from energy.time import UTC_MICROS, instant
from streams import Batch, Col, Context, Emit, Keyed
from topics import FlexibilityOffered, PortfolioAggregated, ProductDefined, RulePublished, SiteRegistered

MARKET = ["portfolio_id", "product_id", "direction", "period_start"]
CURVE = ["portfolio_id", "zone", "product_id", "direction", "period_start", "step"]
BY = ("portfolio_id", "zone", "product_id", "direction", "period_start", "period_end", "currency")
STATED = ("quantity_w", "firm_quantity_w", "min_quantity_w", "resources", "price_micros_per_mwh")
DIFFERS = ~pl.all_horizontal(pl.col(name) == pl.col(f"{name}_was") for name in STATED).fill_null(value=False)
GONE = {name: pl.lit(0, pl.Int64) for name in ("quantity_w", "firm_quantity_w", "min_quantity_w", "resources")}
SHARE = (pl.col("here") / pl.col("known")).fill_null(0.0).clip(0.0, 1.0)
KEEP = timedelta(hours=2)


class Offer(Keyed, key=("resource_id", *MARKET, "step"), expires="period_start"):
    """The newest offer of a resource in a quarter-hour."""

    resource_id: Col[str]
    portfolio_id: Col[str]
    product_id: Col[str]
    direction: Col[str]
    period_start: Col[datetime]
    step: Col[int]
    period_end: Col[datetime]
    site_id: Col[str]
    quantity_w: Col[int]
    min_quantity_w: Col[int]
    limit_group: Col[str | None]
    energy_limit_wh: Col[int | None]
    reliability: Col[float | None]
    price_micros_per_mwh: Col[int]
    currency: Col[str]
    revision: Col[int]


class Known(Keyed, key=("portfolio_id", "resource_id")):
    """A resource that has ever offered for a portfolio."""

    portfolio_id: Col[str]
    resource_id: Col[str]


class Curve(Keyed, key=tuple(CURVE), expires="period_start"):
    """A step as it was stated last."""

    portfolio_id: Col[str]
    zone: Col[str]
    product_id: Col[str]
    direction: Col[str]
    period_start: Col[datetime]
    step: Col[int]
    period_end: Col[datetime]
    currency: Col[str]
    quantity_w: Col[int]
    firm_quantity_w: Col[int]
    min_quantity_w: Col[int]
    resources: Col[int]
    price_micros_per_mwh: Col[int]
    revision: Col[int]


def on_batch(ctx: Context[None], batch: Batch[FlexibilityOffered]) -> None:
    """Keep the newest revision of each offer."""
    offers = batch[FlexibilityOffered].with_columns(
        quantity_w=pl.when(FlexibilityOffered.status == "AVAILABLE").then(FlexibilityOffered.quantity_w).otherwise(0),
        price_micros_per_mwh=FlexibilityOffered.price_micros_per_mwh.fill_null(0),
    )
    ctx.state(Known).put(offers.unique(Known.__key__, maintain_order=True))
    key = list(Offer.__key__)
    newest = offers.sort("revision", maintain_order=True).unique(key, keep="last", maintain_order=True)
    known = ctx.state(Offer).get(newest.select(*key, new="revision"))["revision"]
    ctx.state(Offer).put(newest.filter((newest["revision"] > known).fill_null(value=True)))


def on_tick(ctx: Context[None]) -> Iterator[Emit[PortfolioAggregated]]:
    """State again what has changed."""
    changed = ctx.state(Offer).changed()
    if not len(changed):
        return
    markets = changed.select(MARKET).unique(maintain_order=True)
    starts = markets["period_start"].to_physical()
    first, last = (pl.lit(edge, UTC_MICROS) for edge in (starts.min(), starts.max()))
    offers = ctx.state(Offer).scan(Offer.period_start.is_between(first, last))
    offers = offers.join(markets, on=MARKET, how="semi", maintain_order="left")
    curves = stated(ctx, offers)
    events = differences(ctx, curves, markets)
    ctx.state(Offer).expire(ctx.now - KEEP)
    ctx.state(Curve).expire(ctx.now - KEEP)
    if len(events):
        ctx.state(Curve).put(events)
        yield Emit(
            PortfolioAggregated,
            with_coverage(ctx, events, offers).with_columns(
                grid_node_id=pl.lit(""),
                utilisation=pl.lit("ANY_LEVEL"),
                known_until=instant(ctx.watermark(FlexibilityOffered)),
                decided_by=pl.lit("WATERMARK"),
            ),
        )


def hold_s(ctx: Context[None], product_id: str) -> int:
    """Seconds for which a firm quantity must last: the longest activation, as often as one may come in a day."""
    scopes = (product_id, *kinds(ctx.table(ProductDefined)).get(product_id, ()))
    book = rulebook(ctx.table(RulePublished))
    longest = book.long("market.max_activation", ctx.now, scopes)
    return longest * book.long("market.max_activations_per_day", ctx.now, scopes)


@remembered
def kinds(products: pl.DataFrame) -> dict[str, tuple[str, ...]]:
    """The kind of each product, as it was defined last."""
    return {product: (kind,) for product, kind in products[["product_id", "kind"]].rows()}


def zones(ctx: Context[None]) -> pl.DataFrame:
    """The zone of each site, from its registration that is in force; a site without one is in zone ''."""
    sites = ctx.table(SiteRegistered)
    return zones_at(unchanged_since(ctx.now, sites), sites)


@remembered
def zones_at(at: datetime, sites: pl.DataFrame) -> pl.DataFrame:
    """The same at an instant."""
    newest = sites.filter(SiteRegistered.valid_from <= at).sort("valid_from", maintain_order=True)
    newest = newest.unique("site_id", keep="last", maintain_order=True)
    return newest.select("site_id", zone=SiteRegistered.zone.fill_null(""))


def stated(ctx: Context[None], offers: pl.DataFrame) -> pl.DataFrame:
    """The curves of offers: columns of `Curve` less the revision, steps from 0."""
    placed = offers.filter(pl.col("quantity_w") > 0).join(zones(ctx), on="site_id", how="left", maintain_order="left")
    placed = placed.with_columns(pl.col("zone").fill_null(""))
    book = rulebook(ctx.table(RulePublished))
    parts = []
    for (product_id,), part in placed.group_by("product_id", maintain_order=True):
        price_step = book.long("portfolio.price_step", ctx.now, (str(product_id),))
        curve = merit_order(part, hold_s=hold_s(ctx, str(product_id)), price_step_micros=price_step, by=BY)
        parts.append(curve.with_columns(pl.col("step") - 1).drop("cumulative_w"))
    return pl.concat(parts) if parts else pl.DataFrame(schema=_schema(without="revision"))


def _schema(without: str) -> dict[str, pl.DataType]:
    return {name: dtype for name, dtype in Curve.__columns__.items() if name != without}


def differences(ctx: Context[None], curves: pl.DataFrame, markets: pl.DataFrame) -> pl.DataFrame:
    """What differs from what was stated, with its revision; steps that are no more have quantity 0."""
    state = ctx.state(Curve)
    known = state.get(curves, suffix="_was")
    news = known.filter(DIFFERS).with_columns(revision=pl.col("revision_was").fill_null(-1) + 1)
    stated = state.scan(pl.col("quantity_w") > 0).join(markets, on=MARKET, how="semi", maintain_order="left")
    gone = stated.join(curves, on=CURVE, how="anti", maintain_order="left")
    names = list(Curve.__columns__)
    if not len(gone):
        return news.select(names)
    return pl.concat([news.select(names), gone.with_columns(pl.col("revision") + 1, **GONE).select(names)])


def with_coverage(ctx: Context[None], events: pl.DataFrame, offers: pl.DataFrame) -> pl.DataFrame:
    """The share of the portfolio's offering resources that offer in each quarter-hour."""
    known = resources(ctx.state(Known).scan())
    here = offers.group_by(MARKET, maintain_order=True).agg(here=pl.col("resource_id").n_unique())
    both = events.join(known, on="portfolio_id", how="left", maintain_order="left")
    both = both.join(here, on=MARKET, how="left", maintain_order="left")
    return both.with_columns(coverage=SHARE).drop("here", "known")


@remembered
def resources(known: pl.DataFrame) -> pl.DataFrame:
    """How many resources offer for each portfolio."""
    return known.group_by("portfolio_id", maintain_order=True).agg(known=pl.len())
