"""Keep the newest curves; at a gate, decide once."""

import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

import polars as pl
from pydantic import BaseModel, ConfigDict

from energy.bidding import Period, Problem, Product, Solution, Supply, price_scenarios, solve
from energy.ids import composed, stamp
from energy.rules import Rulebook, rulebook
from energy.time import instant
from streams import Batch, Col, Context, Emit, Keyed
from topics import BidSubmitted, GateScheduled, PortfolioAggregated, PricePublished, ProductDefined, RulePublished

STEP = ("portfolio_id", "zone", "product_id", "direction", "period_start", "step")
KEEP = timedelta(hours=2)
MILLION = 1_000_000
OPEN = GateScheduled.status.is_in(["SCHEDULED", "OPEN"])


class Config(BaseModel):
    """How a gate is met.

    Attributes:
        margin: this long before the close a bid is made with what is known; at least the length of a tick.
    """

    model_config = ConfigDict(frozen=True)

    margin: timedelta = timedelta(minutes=15)


class Supplied(Keyed, key=STEP, expires="period_start"):
    """A step of a curve as it was stated last."""

    portfolio_id: Col[str]
    zone: Col[str]
    product_id: Col[str]
    direction: Col[str]
    period_start: Col[datetime]
    step: Col[int]
    firm_quantity_w: Col[int]
    price_micros_per_mwh: Col[int]


class Done(Keyed, key=("gate_id",), expires="closes_at"):
    """A gate that has been bid at."""

    gate_id: Col[str]
    closes_at: Col[datetime]


def on_batch(ctx: Context[Config], batch: Batch[PortfolioAggregated]) -> None:
    """Keep the newest curves."""
    steps = batch[PortfolioAggregated].with_columns(
        firm_quantity_w=PortfolioAggregated.firm_quantity_w.fill_null(0),
        price_micros_per_mwh=PortfolioAggregated.price_micros_per_mwh.fill_null(0),
    )
    ctx.state(Supplied).put(steps.unique(STEP, keep="last", maintain_order=True))


def on_tick(ctx: Context[Config]) -> Iterator[Emit[BidSubmitted]]:
    """Bid at the gates that are due."""
    if not len(ctx.state(Supplied)):
        return
    gates = ctx.table(GateScheduled)
    if not len(gates):
        return
    now = instant(ctx.now)
    gates = gates.filter(
        OPEN & (GateScheduled.opens_at.is_null() | (GateScheduled.opens_at <= now)) & (GateScheduled.closes_at > now)
    )
    if not len(gates):
        return
    done = set(ctx.state(Done).scan()["gate_id"])
    for gate in gates.iter_rows(named=True):
        if gate["gate_id"] in done:
            continue
        decided = decides(ctx, gate)
        if decided is None:
            continue
        ctx.state(Done).put(pl.DataFrame({"gate_id": [gate["gate_id"]], "closes_at": [gate["closes_at"]]}))
        bids = [bid for portfolio in portfolios(ctx, gate) for bid in submission(ctx, gate, portfolio, decided)]
        if bids:
            yield Emit(BidSubmitted, bids)
    ctx.state(Supplied).expire(ctx.now - KEEP)
    ctx.state(Done).expire(ctx.now - KEEP)


def decides(ctx: Context[Config], gate: Mapping[str, Any]) -> Literal["WATERMARK", "DEADLINE"] | None:
    """What makes the decision fall at this tick; None while it can wait."""
    inputs_until = gate["inputs_until"]
    if inputs_until is not None and ctx.watermark(PortfolioAggregated) >= inputs_until:
        return "WATERMARK"
    return "DEADLINE" if ctx.now >= gate["closes_at"] - ctx.config.margin else None


def portfolios(ctx: Context[Config], gate: Mapping[str, Any]) -> list[str]:
    """The portfolios that have something for a gate, in order."""
    return _supply(ctx, gate)["portfolio_id"].unique().sort().to_list()


def _supply(ctx: Context[Config], gate: Mapping[str, Any]) -> pl.DataFrame:
    start = pl.col("period_start")
    return ctx.state(Supplied).scan(
        (pl.col("product_id") == gate["product_id"])
        & (pl.col("zone") == gate["zone"])
        & (start >= gate["period_start"])
        & (start < gate["period_end"])
        & (pl.col("firm_quantity_w") > 0)
    )


def submission(
    ctx: Context[Config], gate: Mapping[str, Any], portfolio_id: str, decided_by: Literal["WATERMARK", "DEADLINE"]
) -> list[BidSubmitted]:
    """The bids of a portfolio at a gate, as one set; empty where there is nothing worth a bid."""
    products = ctx.table(ProductDefined).filter(
        (ProductDefined.product_id == gate["product_id"]) & (ProductDefined.valid_from <= ctx.now)
    )
    if not len(products):
        return []
    product = products.row(-1, named=True)
    book = rulebook(ctx.table(RulePublished))
    scopes = (product["product_id"], product["kind"])
    resolution = timedelta(seconds=product["resolution_s"])
    count = int((gate["period_end"] - gate["period_start"]) / resolution)
    starts = [gate["period_start"] + i * resolution for i in range(count)]
    periods, supplied = _periods(ctx, gate, portfolio_id, product, book, starts)
    problem = Problem(
        Product(product["step_w"], product["min_quantity_w"], product["pricing"]),
        tuple(periods),
        levels=book.long("bidding.price_levels", ctx.now, scopes),
    )
    solution = solve(problem)
    return _events(
        solution,
        problem,
        starts,
        {
            "portfolio_id": portfolio_id,
            "gate_id": gate["gate_id"],
            "product_id": product["product_id"],
            "zone": gate["zone"],
            "direction": product["direction"],
            "currency": product["currency"],
            "max_duration_s": book.long("market.max_activation", ctx.now, scopes),
            "known_until": ctx.watermark(PortfolioAggregated),
            "coverage": supplied / count,
            "decided_by": decided_by,
        },
        resolution,
    )


def _periods(
    ctx: Context[Config],
    gate: Mapping[str, Any],
    portfolio_id: str,
    product: Mapping[str, Any],
    book: Rulebook,
    starts: list[datetime],
) -> tuple[list[Period], int]:
    """The periods of the model, and how many of them have supply."""
    scopes = (product["product_id"], product["kind"])
    supply: dict[datetime, list[Supply]] = {}
    rows = _supply(ctx, gate).filter(
        (pl.col("portfolio_id") == portfolio_id) & (pl.col("direction") == product["direction"])
    )
    for start, quantity_w, cost in rows.select("period_start", "firm_quantity_w", "price_micros_per_mwh").iter_rows():
        supply.setdefault(start, []).append(Supply(quantity_w, cost))
    prices = _scenarios(ctx, gate, book, scopes, starts)
    margin = book.long("bidding.energy_margin", ctx.now, scopes)
    ratio = book.double("bidding.activation_ratio", ctx.now, scopes)
    periods = []
    for start, clearing in zip(starts, prices, strict=True):
        held = tuple(supply.get(start, ()))
        dearest = max((step.cost_micros_per_mwh for step in held), default=0)
        asked = dearest + dearest * margin // MILLION
        periods.append(Period(product["resolution_s"], held, clearing, ratio, asked))
    return periods, len(supply)


def _scenarios(
    ctx: Context[Config], gate: Mapping[str, Any], book: Rulebook, scopes: tuple[str, ...], starts: list[datetime]
) -> list[tuple[int, ...]]:
    since = ctx.now - timedelta(seconds=book.long("bidding.history", ctx.now, scopes))
    price = PricePublished
    past = ctx.table(PricePublished).filter(
        (price.kind == "CLEARING")
        & (price.product_id == gate["product_id"])
        & (price.zone == gate["zone"])
        & (price.period_start >= since)
    )
    if not len(past):
        return [()] * len(starts)
    return price_scenarios(
        past.select("period_start", price_micros="price_micros_per_mw_h"),
        starts,
        timezone=book.text("market.time_zone", ctx.now, scopes),
        count=book.long("bidding.scenarios", ctx.now, scopes),
        seed=int.from_bytes(hashlib.sha256(gate["gate_id"].encode()).digest()[:8], "big"),
    )


def _events(
    solution: Solution, problem: Problem, starts: list[datetime], same: dict[str, Any], resolution: timedelta
) -> list[BidSubmitted]:
    chosen = [
        (start, period, step, bid)
        for start, period, bids in zip(starts, problem.periods, solution.bids, strict=True)
        for step, bid in enumerate(bids)
    ]
    return [
        BidSubmitted(
            bid_id=composed(same["gate_id"], same["portfolio_id"], stamp(start), str(step)),
            revision=0,
            set_id=composed(same["gate_id"], same["portfolio_id"], "0"),
            set_no=number,
            set_size=len(chosen),
            status="SUBMITTED",
            period_start=start,
            period_end=start + resolution,
            step=step,
            quantity_w=bid.quantity_w,
            min_quantity_w=min(problem.product.min_quantity_w, bid.quantity_w),
            conditions=[],
            direct=False,
            price_micros_per_mwh=period.energy_micros_per_mwh,
            price_micros_per_mw_h=bid.price_micros,
            **same,
        )
        for number, (start, period, step, bid) in enumerate(chosen, 1)
    ]
