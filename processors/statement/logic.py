"""Lines wait until their local day is over, then become one sum an account, counterparty and currency."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from hashlib import sha256

import polars as pl

from energy.ids import to_composed, to_stamp
from energy.rules import Rulebook
from energy.time import day_start, local_date, to_local_date
from streams import Batch, Col, Context, Emit, Keyed
from topics import LineSettled, RulePublished, StatementIssued

STATEMENT = ("account_id", "counterparty_id", "currency", "period_start", "period_end")


class Line(Keyed, key=("line_id",)):
    """A line that stands in no statement yet."""

    line_id: Col[str]
    account_id: Col[str]
    counterparty_id: Col[str]
    currency: Col[str]
    delivered_at: Col[datetime]
    amount_micros: Col[int]


class Stated(Keyed, key=STATEMENT):
    """How many statements have been made of a day."""

    account_id: Col[str]
    counterparty_id: Col[str]
    currency: Col[str]
    period_start: Col[datetime]
    period_end: Col[datetime]
    statements: Col[int]


def on_batch(ctx: Context[None], batch: Batch[LineSettled]) -> None:
    """Keep the lines until their day is stated."""
    ctx.state(Line).put(batch[LineSettled].with_columns(delivered_at=LineSettled.period_start))


def on_tick(ctx: Context[None]) -> Iterator[Emit[StatementIssued]]:
    """State the days that are over, at the first tick that knows of it."""
    if not len(ctx.state(Line)):
        return
    until = ctx.watermark(LineSettled)
    zone = Rulebook(ctx.table(RulePublished).to_dicts()).text("market.time_zone", until)
    if local_date(until, zone) == local_date(ctx.watermark(LineSettled, previous=True), zone):
        return
    lines = placed(ctx.state(Line).scan(), zone).filter(pl.col("period_end") <= until)
    if lines.is_empty():
        return
    statements = ctx.state(Stated).get(summed(lines)).with_columns(pl.col("statements").fill_null(0))
    yield Emit(StatementIssued, numbered(statements))
    ctx.state(Stated).put(statements.with_columns(pl.col("statements") + 1))
    ctx.state(Line).delete(lines)


def placed(lines: pl.DataFrame, zone: str) -> pl.DataFrame:
    """Add the local day, as UTC ``period_start`` and ``period_end``, that each line's delivery began in."""
    day = to_local_date(pl.col("delivered_at"), zone)
    return lines.with_columns(period_start=day_start(day, zone), period_end=day_start(day + timedelta(days=1), zone))


def summed(lines: pl.DataFrame) -> pl.DataFrame:
    """Return one row a statement: its lines' number, digest and sum."""
    return (
        lines.sort("line_id")
        .group_by(STATEMENT, maintain_order=True)
        .agg(pl.len().cast(pl.Int64).alias("lines"), pl.col("line_id"), pl.col("amount_micros").sum())
        .with_columns(lines_digest=pl.col("line_id").map_elements(digest, return_dtype=pl.String))
        .drop("line_id")
    )


def digest(line_ids: pl.Series) -> str:
    """Return the SHA-256 over ids, in hex: sorted, each followed by a newline."""
    return sha256("".join(f"{line_id}\n" for line_id in sorted(line_ids)).encode()).hexdigest()


def numbered(statements: pl.DataFrame) -> pl.DataFrame:
    """Add ids: the first statement of a day has number 0, the others correct it."""
    accounts = pl.col("account_id"), pl.col("counterparty_id"), pl.col("currency")
    day = to_composed(*accounts, to_stamp(pl.col("period_start")), to_stamp(pl.col("period_end")))
    number = pl.col("statements")
    return statements.with_columns(
        statement_id=day + "/" + number.cast(pl.String),
        corrects_statement_id=pl.when(number > 0).then(day + "/0"),
    ).drop("statements")
