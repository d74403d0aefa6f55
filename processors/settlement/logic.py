"""What was cleared and delivered becomes lines; what changes later becomes lines with the difference."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import polars as pl

from energy.ids import composed, stamp, to_composed, to_stamp
from energy.remembered import remembered
from energy.rules import rulebook
from energy.time import instant
from processors.settlement import transfers as tr
from processors.settlement.state import Called, Cleared, Delivered, Offered, Open, Settled, Terms, Weighed
from processors.settlement.terms import accounts_of, contents, terms_of
from streams import Batch, Context, Emit, Keyed
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

Inputs = BidCleared | ActivationRequested | DeliveryMeasured
MICROSECOND = timedelta(microseconds=1)
OFFER = (*Offered.__columns__, "status")
APART = timedelta(days=1)
"""Periods that lie further apart than this are read from the history one by one."""


def on_batch(ctx: Context[None], batch: Batch[Inputs]) -> None:
    """Keep the newest revisions, and note what is to be settled."""
    if len(cleared := batch[BidCleared]):
        rows = _newest(ctx, Cleared, cleared)
        ctx.state(Cleared).put(rows)
        period = to_composed(pl.col("portfolio_id"), pl.col("product_id"), to_stamp(pl.col("period_start")))
        _open(ctx, rows.with_columns(subject="capacity/" + period, activation_id=pl.lit(None, pl.String)))
    if len(called := batch[ActivationRequested]):
        ordered = pl.when(ActivationRequested.status == "ORDERED").then(ActivationRequested.quantity_w).otherwise(0)
        rows = _newest(ctx, Called, called.with_columns(quantity_w=ordered))
        ctx.state(Called).put(rows)
        _open(ctx, rows.with_columns(subject="activation/" + pl.col("activation_id"), period_end=None))
    if len(delivered := batch[DeliveryMeasured]):
        rows = _newest(ctx, Delivered, delivered)
        ctx.state(Delivered).put(rows)
        _open(ctx, rows.with_columns(subject="activation/" + pl.col("activation_id"), period_end=None))


def _newest(ctx: Context[None], kind: type[Keyed], rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that replace what is known: of each key the highest revision, of equal ones the last."""
    key = list(kind.__key__)
    latest = rows.sort("revision", maintain_order=True).unique(key, keep="last", maintain_order=True)
    known = ctx.state(kind).get(latest.select(key), suffix="_was")["revision_was"]
    return latest.filter(known.is_null() | (latest["revision"] >= known))


def _open(ctx: Context[None], rows: pl.DataFrame) -> None:
    first = rows.group_by("subject", maintain_order=True).agg(
        pl.col("portfolio_id", "product_id", "activation_id").first(),
        pl.col("period_start").min(),
        pl.col("period_end").max().cast(pl.Datetime("us", "UTC")),
    )
    known = ctx.state(Open).get(first, suffix="_was")
    ctx.state(Open).put(known.with_columns(period_start=pl.min_horizontal("period_start", "period_start_was")))


def on_tick(ctx: Context[None]) -> Iterator[Emit[LineSettled]]:
    """Settle what is complete."""
    if ctx.now.date() != ctx.since.date():
        _forget(ctx)
    if not len(ctx.state(Open)) and not len(ctx.state(Settled)):
        return
    _weigh(ctx)
    _reopen(ctx)
    due = _due(ctx)
    if due.is_empty():
        return
    rules = rulebook(ctx.table(RulePublished))
    called = tr.called_quarters(ctx.state(Called).get(due.select("activation_id").drop_nulls()).drop_nulls("revision"))
    moments = pl.concat([rows.select(tr.MOMENT) for rows in (due.filter(pl.col("activation_id").is_null()), called)])
    moments = moments.unique(maintain_order=True)
    terms = terms_of(moments, ctx.table(ContractChanged), rules)
    accounts = accounts_of(moments, terms, ctx.table(ProductDefined), rules)
    ready = _ready(ctx, due, called, accounts)
    called = called.join(ready, on="activation_id", how="semi", maintain_order="left")
    target = [tr.NONE]
    if ready["activation_id"].null_count():
        target.append(tr.capacity_transfers(*_cleared(ctx, ready), accounts, terms))
    if len(called):
        target.append(tr.energy_transfers(called, _delivered(ctx, called), accounts, terms))
    yield Emit(LineSettled, _lines(ctx, tr.two_lines(pl.concat(target, how="diagonal")), ready))
    ctx.state(Settled).put(ready)
    ctx.state(Open).delete(ready)


def _forget(ctx: Context[None]) -> None:
    """Drop what is too old to be settled again."""
    rules = rulebook(ctx.table(RulePublished))
    if rules.find("settlement.correction_window", ctx.now) is None:
        return
    before = ctx.now - timedelta(seconds=rules.long("settlement.correction_window", ctx.now))
    for kind in (Cleared, Offered, Weighed, Called, Delivered, Open, Settled):
        ctx.state(kind).expire(before)


def _weigh(ctx: Context[None]) -> None:
    """Keep what the sites had offered for newly cleared periods: what they offer later changes no capacity share."""
    fresh = ctx.state(Open).changed().filter(pl.col("activation_id").is_null())
    if fresh.is_empty():
        return
    known = ctx.state(Weighed).get(fresh.select("subject"), suffix="_was")["period_start_was"]
    fresh = fresh.filter(known.is_null())
    if fresh.is_empty():
        return
    for since, until in _spans(fresh["period_start"]):
        offers = ctx.history(FlexibilityOffered, since=since, until=until, columns=OFFER)
        offers = offers.filter(FlexibilityOffered.status == "AVAILABLE")
        of_fresh = offers.join(fresh, on=list(tr.MOMENT), how="semi", maintain_order="left")
        ctx.state(Offered).put(of_fresh.group_by(Offered.__key__, maintain_order=True).agg(pl.col("quantity_w").sum()))
    ctx.state(Weighed).put(fresh)


def _spans(starts: pl.Series) -> list[tuple[datetime, datetime]]:
    """Return spans that hold all starts, with no long gap inside: one read of the history each."""
    spans: list[tuple[datetime, datetime]] = []
    for start in starts.unique(maintain_order=True).sort().to_list():
        if spans and start - spans[-1][1] <= APART:
            spans[-1] = (spans[-1][0], start + MICROSECOND)
        else:
            spans.append((start, start + MICROSECOND))
    return spans


@remembered
def _agreed(contracts: pl.DataFrame, products: pl.DataFrame, rules: pl.DataFrame) -> pl.DataFrame:
    """What contracts, products and rules say, version by version."""
    return pl.concat([
        contents(contracts, "contract_id"),
        contents(products, "product_id"),
        contents(rules.filter(RulePublished.rule_id.str.starts_with("settlement.")), "rule_id"),
    ])  # fmt: skip


def _reopen(ctx: Context[None]) -> None:
    """Open again what a changed contract, product or rule governs."""
    now = _agreed(ctx.table(ContractChanged), ctx.table(ProductDefined), ctx.table(RulePublished))
    known = ctx.state(Terms).get(now, suffix="_was")
    changed = known.filter(pl.col("content").ne_missing(pl.col("content_was")))
    if changed.is_empty():
        return
    ctx.state(Terms).put(changed)
    again = ctx.state(Settled).scan(Settled.period_end > changed["valid_from"].min())
    ctx.state(Open).put(again.with_columns(pl.when(pl.col("activation_id").is_null()).then("period_end")))


def _due(ctx: Context[None]) -> pl.DataFrame:
    """Return what is over and known in full, each with the time that it covers or covered when it was last settled."""
    until = min(ctx.watermark(record) for record in (BidCleared, ActivationRequested, DeliveryMeasured))
    rows = ctx.state(Open).scan()
    called = ctx.state(Called).get(rows.select("activation_id"))
    settled = ctx.state(Settled).get(rows.select("subject"))
    # Lines are for whole quarter-hours, also where an activation begins within one.
    start, end = pl.coalesce("called_from", "period_start").dt.truncate("15m"), pl.coalesce("period_end", "called_to")
    covered = {
        "period_start": pl.min_horizontal(start, "settled_from"), "period_end": pl.max_horizontal(end, "settled_to")
    }  # fmt: skip
    return (
        rows.with_columns(
            called_from=called["period_start"], called_to=called["period_end"],
            settled_from=settled["period_start"], settled_to=settled["period_end"],
        )
        .filter(end <= instant(until))
        .with_columns(**covered)
        .select(rows.columns)
    )  # fmt: skip


def _ready(ctx: Context[None], due: pl.DataFrame, called: pl.DataFrame, accounts: pl.DataFrame) -> pl.DataFrame:
    """Return what can be settled: where the accounts of both sides are known. The rest holds the watermark."""
    places = pl.concat([due.filter(pl.col("activation_id").is_null()), called], how="diagonal")
    without = places.join(accounts, on=list(tr.MOMENT), how="anti", maintain_order="left")
    if without.is_empty():
        return due
    ctx.hold(min(without["period_start"].to_list()))
    return due.join(without, on="subject", how="anti", maintain_order="left").join(
        without, on="activation_id", how="anti", maintain_order="left"
    )


def _cleared(ctx: Context[None], ready: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the clearing and the offers of the periods to be settled."""
    periods = ready.filter(pl.col("activation_id").is_null())
    first, last = min(periods["period_start"].to_list()), max(periods["period_start"].to_list())
    within = pl.col("period_start").is_between(instant(first), instant(last))
    cleared = ctx.state(Cleared).scan(within & (pl.col("quantity_w") > 0))
    offered = ctx.state(Offered).scan(within)
    moment = list(tr.MOMENT)
    return (
        cleared.join(periods, on=moment, how="semi", maintain_order="left"),
        offered.join(periods, on=moment, how="semi", maintain_order="left"),
    )


def _delivered(ctx: Context[None], called: pl.DataFrame) -> pl.DataFrame:
    """Return what each site delivered of the activations to be settled."""
    ids = called["activation_id"].unique(maintain_order=True).to_list()
    rows = ctx.state(Delivered).scan(pl.col("activation_id").is_in(ids))
    return rows.group_by(*tr.QUARTERLY, "site_id", maintain_order=True).agg(
        pl.col("requested_wh", "delivered_wh").sum()
    )


def _lines(ctx: Context[None], target: pl.DataFrame, ready: pl.DataFrame) -> pl.DataFrame:
    """Return the new lines: whole ones of what is settled for the first time, differences of the rest."""
    known = ctx.state(Settled).get(ready.select("subject"), suffix="_was")["period_end_was"]
    again = ready.filter(known.is_not_null())
    first = _among(target, ready.filter(known.is_null())) if len(again) else target
    parts = [tr.differences(first, LineSettled.__topic__.empty()).with_columns(run_kind=pl.lit("FIXING"))]
    if len(again):
        reads = [ctx.history(LineSettled, since=since, until=until) for since, until in _spans(_quarters(again))]
        changes = tr.differences(_among(target, again), _among(pl.concat(reads), again))
        parts.append(changes.with_columns(run_kind=pl.lit("CORRECTION")))
    return pl.concat(parts, how="diagonal").with_columns(run_id=pl.lit(composed("settlement", stamp(ctx.now))))


def _quarters(subjects: pl.DataFrame) -> pl.Series:
    return pl.concat([subjects["period_start"], subjects["period_end"]])


def _among(rows: pl.DataFrame, subjects: pl.DataFrame) -> pl.DataFrame:
    """Return the rows (lines, or lines to be) that belong to some subjects."""
    capacity = subjects.filter(pl.col("activation_id").is_null())
    of_periods = rows.filter(pl.col("activation_id").is_null()).join(
        capacity, on=list(tr.MOMENT), how="semi", maintain_order="left"
    )
    of_calls = rows.join(subjects, on="activation_id", how="semi", maintain_order="left")
    return pl.concat([of_periods, of_calls])
