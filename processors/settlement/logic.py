"""What was cleared and delivered becomes lines; what changes later becomes lines with the difference."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import polars as pl

from energy.effective import holding
from energy.ids import composed, stamp, to_composed, to_stamp
from energy.rules import Rulebook
from processors.settlement import transfers as tr
from streams import Batch, Col, Context, Emit, Keyed
from topics import (
    ActivationRequested,
    BidCleared,
    ContractChanged,
    DeliveryMeasured,
    FlexibilityOffered,
    LineSettled,
    ProductDefined,
    RulePublished,
)

SHARES = ("capacity_share", "energy_share", "penalty_share")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Inputs = BidCleared | ActivationRequested | DeliveryMeasured


class Cleared(Keyed, key=("bid_id", "trade_id"), expires="period_start"):
    """The newest revision of what was cleared of a bid."""

    bid_id: Col[str]
    trade_id: Col[str]
    revision: Col[int]
    portfolio_id: Col[str]
    product_id: Col[str]
    direction: Col[str]
    period_start: Col[datetime]
    period_end: Col[datetime]
    quantity_w: Col[int]
    price_micros_per_mw_h: Col[int | None]
    price_micros: Col[int | None]
    currency: Col[str]


class Offered(
    Keyed, key=("portfolio_id", "product_id", "direction", "period_start", "site_id"), expires="period_start"
):
    """What a site had offered for a period when bids for it were first cleared."""

    portfolio_id: Col[str]
    product_id: Col[str]
    direction: Col[str]
    period_start: Col[datetime]
    site_id: Col[str]
    quantity_w: Col[int]


class Weighed(Keyed, key=("subject",), expires="period_start"):
    """A cleared period whose offers are known."""

    subject: Col[str]
    period_start: Col[datetime]


class Called(Keyed, key=("activation_id",), expires="period_start"):
    """The newest revision of an activation; a cancelled one has no quantity."""

    activation_id: Col[str]
    revision: Col[int]
    portfolio_id: Col[str]
    product_id: Col[str]
    bid_id: Col[str | None]
    period_start: Col[datetime]
    period_end: Col[datetime]
    quantity_w: Col[int]
    price_micros_per_mwh: Col[int | None]
    currency: Col[str]


class Delivered(Keyed, key=("activation_id", "resource_id", "period_start"), expires="period_start"):
    """The newest revision of what a site delivered."""

    activation_id: Col[str]
    resource_id: Col[str]
    period_start: Col[datetime]
    revision: Col[int]
    site_id: Col[str]
    requested_wh: Col[int]
    delivered_wh: Col[int]


class Open(Keyed, key=("subject",), expires="period_start"):
    """To be settled, or settled again: a product's cleared period, or an activation."""

    subject: Col[str]
    portfolio_id: Col[str]
    product_id: Col[str]
    activation_id: Col[str | None]
    period_start: Col[datetime]
    period_end: Col[datetime | None]


class Settled(Keyed, key=("subject",), expires="period_start"):
    """What has been settled before."""

    subject: Col[str]
    portfolio_id: Col[str]
    product_id: Col[str]
    activation_id: Col[str | None]
    period_start: Col[datetime]
    period_end: Col[datetime | None]


class Terms(Keyed, key=("topic", "entry", "valid_from")):
    """A version of a contract, product or rule as it was settled with."""

    topic: Col[str]
    entry: Col[str]
    valid_from: Col[datetime]
    content: Col[str]


STATE = (Cleared, Offered, Weighed, Called, Delivered, Open, Settled, Terms)


def on_batch(ctx: Context[None], batch: Batch[Inputs]) -> None:
    """Keep the newest revisions, and note what is to be settled."""
    if len(cleared := batch[BidCleared]):
        rows = newest(ctx, Cleared, cleared)
        ctx.state(Cleared).put(rows)
        subject = to_composed(pl.col("portfolio_id"), pl.col("product_id"), to_stamp(pl.col("period_start")))
        _open(ctx, rows.with_columns(subject=subject, activation_id=pl.lit(None, pl.String)))
    if len(called := batch[ActivationRequested]):
        ordered = pl.when(ActivationRequested.status == "ORDERED").then(ActivationRequested.quantity_w).otherwise(0)
        rows = newest(ctx, Called, called.with_columns(quantity_w=ordered))
        ctx.state(Called).put(rows)
        _open(ctx, rows.with_columns(subject=pl.col("activation_id")))
    if len(delivered := batch[DeliveryMeasured]):
        rows = newest(ctx, Delivered, delivered)
        ctx.state(Delivered).put(rows)
        _open(ctx, rows.with_columns(subject=pl.col("activation_id"), period_end=pl.lit(None)))


def newest(ctx: Context[None], kind: type[Keyed], rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that replace what is known: of each key the highest revision, of equal ones the last."""
    key = list(kind.__key__)
    latest = rows.sort("revision", maintain_order=True).unique(key, keep="last", maintain_order=True)
    known = ctx.state(kind).get(latest.select(key), suffix="_was")["revision_was"]
    return latest.filter(known.is_null() | (latest["revision"] >= known))


def _open(ctx: Context[None], rows: pl.DataFrame) -> None:
    # An activation's delivery does not say when the activation ends; the activation does, whichever is read first.
    known = ctx.state(Open).get(rows.unique("subject", keep="last", maintain_order=True), suffix="_was")
    ctx.state(Open).put(known.with_columns(period_end=pl.coalesce("period_end", "period_end_was")))


def on_tick(ctx: Context[None]) -> Iterator[Emit[LineSettled]]:
    """Settle what is complete."""
    _weigh(ctx)
    _reopen(ctx)
    if not len(ctx.state(Open)):
        return
    until = min(ctx.watermark(record) for record in (BidCleared, ActivationRequested, DeliveryMeasured))
    due = _due(ctx, until)
    if due.is_empty():
        return
    rules = Rulebook(ctx.table(RulePublished).to_dicts())
    _forget(ctx, rules)
    capacity = due.filter(pl.col("activation_id").is_null())
    called = tr.called_quarters(
        ctx.state(Called).get(due.select("activation_id").drop_nulls()).drop_nulls("revision")
    )
    accounts, terms = _agreed(ctx, rules, capacity, called)
    ready = _ready(capacity, called, due, accounts)
    if len(ready) < len(due):  # nobody to settle with is known yet
        ctx.hold(due.join(ready, on="subject", how="anti")["period_start"].min())  # type: ignore[arg-type]
    target = pl.concat(
        [
            tr.capacity_transfers(*_of_periods(ctx, ready), accounts, terms),
            tr.energy_transfers(
                called.join(ready, on="activation_id", how="semi", maintain_order="left"),
                _delivered(ctx, ready), accounts, terms,
            ),
        ],
        how="diagonal_relaxed",
    )  # fmt: skip
    yield Emit(LineSettled, _lines(ctx, target, ready))
    ctx.state(Settled).put(ready)
    ctx.state(Open).delete(ready)
