"""Readings folded into quarter-hours as they come; what came out of order is worked out again from history."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import polars as pl
from pydantic import BaseModel, ConfigDict

from energy.intervals import SUMS, Gaps, decide_quality, fold, merge, touched
from energy.time import QUARTER, quarter_start, quarters_between
from streams import Batch, Col, Context, Emit, Keyed, Reject
from topics import IntervalMeasured, ReadingTaken, RulePublished

RESOURCE = ("site_id", "resource_id", "commodity")
PLACE = (*RESOURCE, "period_start")
EXTREMES = ("power_min_w", "power_max_w")
STATED = ("energy_wh", *EXTREMES, "quality", "coverage", "samples")
"""What tells one statement of a quarter-hour from another."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
METHOD = "time-weighted/1"


class Config(BaseModel):
    """How long things are remembered, and what is believed of a reading.

    Attributes:
        keep: how long a quarter-hour that is over stays in the state, so that readings which come in order after an
            outage revise it without history.
        silent_after: a resource that has said nothing for so long is no longer stated as MISSING.
        restate_every: when quarter-hours that were stated before a reading came out of order are worked out again.
        longest_s: a reading that is the mean of a longer time is refused.
        ahead: a reading from further in the future than this when it was appended is refused: the device's clock is
            wrong, and all that it says next would count as late.
    """

    model_config = ConfigDict(frozen=True)

    keep: timedelta = timedelta(hours=6)
    silent_after: timedelta = timedelta(days=1)
    restate_every: timedelta = timedelta(hours=6)
    longest_s: float = 3600.0
    ahead: timedelta = timedelta(days=1)


class Waiting(Keyed, key=("number",)):
    """A reading that came before the rules were known."""

    number: Col[int]
    site_id: Col[str]
    resource_id: Col[str]
    commodity: Col[str]
    occurred_at: Col[datetime]
    duration_s: Col[float | None]
    power_w: Col[float | None]
    energy_import_wh: Col[float | None]
    energy_export_wh: Col[float | None]
    quality: Col[str]


class Known(Keyed, key=RESOURCE):
    """A resource that speaks, and since when."""

    site_id: Col[str]
    resource_id: Col[str]
    commodity: Col[str]
    since: Col[datetime]


class Newest(Keyed, key=RESOURCE):
    """The newest reading of a resource: where the curve goes on."""

    site_id: Col[str]
    resource_id: Col[str]
    commodity: Col[str]
    occurred_at: Col[datetime]
    duration_s: Col[float | None]
    power_w: Col[float | None]
    energy_import_wh: Col[float | None]
    energy_export_wh: Col[float | None]
    quality: Col[str]


class Quarter(Keyed, key=PLACE, expires="period_start"):
    """What a quarter-hour's readings add up to, and the revision that was stated last (0 too while none was)."""

    site_id: Col[str]
    resource_id: Col[str]
    commodity: Col[str]
    period_start: Col[datetime]
    measured_uwh: Col[int]
    estimated_uwh: Col[int]
    measured_us: Col[int]
    estimated_us: Col[int]
    samples: Col[int]
    power_min_w: Col[float | None]
    power_max_w: Col[float | None]
    revision: Col[int]


class Touched(Keyed, key=PLACE):
    """A quarter-hour to be stated again: from the state, or worked out anew from history."""

    site_id: Col[str]
    resource_id: Col[str]
    commodity: Col[str]
    period_start: Col[datetime]
    again: Col[bool]
    anew: Col[bool]


def on_batch(ctx: Context[Config], batch: Batch[ReadingTaken]) -> Iterator[Reject]:
    """Fold the readings; what came out of order only marks the quarter-hours that it touches."""
    readings = batch[ReadingTaken]
    yield from refused(readings, ctx.config)
    readings = believable(readings, ctx.config)
    terms = reading_terms(ctx.table(RulePublished))
    if terms is None:
        ctx.state(Waiting).put(readings.with_columns(number="_offset"))
    else:
        take_in(ctx, readings, terms, ctx.watermark(ReadingTaken))


def on_tick(ctx: Context[Config]) -> Iterator[Emit[IntervalMeasured]]:
    """State what is complete, and again what has changed since it was stated."""
    terms = reading_terms(ctx.table(RulePublished))
    if terms is None:  # nothing can be worked out yet, so nothing is complete
        ctx.hold(EPOCH)
        return
    before, until = ctx.watermark(ReadingTaken, previous=True), ctx.watermark(ReadingTaken)
    if len(ctx.state(Waiting)):
        waiting = ctx.state(Waiting).scan()
        take_in(ctx, waiting, terms, before)
        ctx.state(Waiting).delete(waiting)
    if len(ctx.state(Touched)):
        yield from state_again(ctx, terms, quarter_start(before), quarter_start(until))
    for start in quarters_between(quarter_start(before), quarter_start(until)):
        if len(rows := quarters_of(ctx, start)):
            yield Emit(IntervalMeasured, stated(rows, terms))
    if begins(ctx, timedelta(hours=1)):
        forget(ctx, until)


def begins(ctx: Context[Config], every: timedelta) -> bool:
    """Whether a span of this length has begun since the tick before."""
    return (ctx.now - EPOCH) // every > (ctx.since - EPOCH) // every


# What is believed.


def _believed(config: Config) -> tuple[pl.Expr, pl.Expr]:
    too_long = (pl.col("duration_s") > config.longest_s).fill_null(value=False)
    return too_long, pl.col("occurred_at") > pl.col("_appended_at") + config.ahead


def refused(readings: pl.DataFrame, config: Config) -> Iterator[Reject]:
    """The readings that are no use, with the reason."""
    too_long, ahead = _believed(config)
    found = readings.select(long=too_long.any(), ahead=ahead.any()).row(0)
    if found[0]:
        reason = f"duration_s is longer than {config.longest_s:g} s; send the means of shorter times"
        yield Reject(ReadingTaken, readings.filter(too_long), reason)
    if found[1]:
        reason = f"occurred_at is more than {config.ahead} in the future; set the device's clock"
        yield Reject(ReadingTaken, readings.filter(ahead & ~too_long), reason)


def believable(readings: pl.DataFrame, config: Config) -> pl.DataFrame:
    """The readings that are of use."""
    too_long, ahead = _believed(config)
    return readings.filter(~too_long & ~ahead)


# Folding.


def take_in(ctx: Context[Config], readings: pl.DataFrame, terms: Terms, stated_until: datetime) -> None:
    """Fold readings in the order in which they came.

    Args:
        ctx: the task's.
        readings: of this task, in offset order.
        terms: the rules on readings.
        stated_until: the watermark of the tick before: quarter-hours that ended by then have been stated.
    """
    for run, gaps in terms.runs(readings):
        known = ctx.state(Newest).get(run.select(RESOURCE).unique(maintain_order=True))
        if known["quality"].null_count():
            fresh = known.filter(pl.col("quality").is_null())
            first = run.join(fresh, on=RESOURCE, how="semi", maintain_order="left")
            first = first.group_by(RESOURCE, maintain_order=True).agg(since=pl.col("occurred_at").first())
            ctx.state(Known).put(first)
            known = known.filter(pl.col("quality").is_not_null())
        made = fold(run, known, gaps, RESOURCE, arrived=True)
        ctx.state(Newest).put(made.last)
        if len(made.quarters):
            add(ctx, made.quarters, stated_until)
        if len(made.late):
            marks = touched(made.late, gaps=terms.widest, keys=RESOURCE, longest_s=ctx.config.longest_s)
            mark(ctx, marks.with_columns(again=pl.lit(value=False), anew=pl.lit(value=True)))


def add(ctx: Context[Config], quarters: pl.DataFrame, stated_until: datetime) -> None:
    """Add sums to the quarter-hours; those that have been stated are marked to be stated again."""
    state, over = ctx.state(Quarter), stated_until - QUARTER
    merged = merge(state.get(quarters, suffix="_was"))
    earliest = merged["period_start"].min()
    assert isinstance(earliest, datetime)
    if earliest > over:
        state.put(merged.with_columns(revision=pl.col("revision_was").fill_null(0)))
        return
    closed, new = pl.col("period_start") <= over, pl.col("revision_was").is_null()
    forgotten = closed & new & (pl.col("period_start") < stated_until - ctx.config.keep)
    merged = merged.with_columns(
        revision=pl.when(closed & new).then(-1).otherwise(pl.col("revision_was").fill_null(0)),
        again=closed & ~forgotten,
        anew=forgotten,
    )
    state.put(merged.filter(~pl.col("anew")))
    mark(ctx, merged.filter(closed))


def mark(ctx: Context[Config], rows: pl.DataFrame) -> None:
    """Remember quarter-hours to be stated ``again``, or worked out ``anew``; a mark once made stays."""
    known = ctx.state(Touched).get(rows.select(*PLACE, "again", "anew"), suffix="_was")
    both = [pl.col(name) | pl.col(name + "_was").fill_null(value=False) for name in ("again", "anew")]
    ctx.state(Touched).put(known.with_columns(both))


# Stating.


def quarters_of(ctx: Context[Config], start: datetime) -> pl.DataFrame:
    """A quarter-hour of all resources that speak, those that fell silent with empty sums."""
    rows = ctx.state(Known).scan().with_columns(period_start=pl.lit(start, pl.Datetime("us", "UTC")))
    rows = ctx.state(Quarter).get(rows)
    if not rows["revision"].null_count():
        return rows
    heard = ctx.watermark(ReadingTaken) - ctx.config.silent_after
    absent = rows.filter(pl.col("revision").is_null() & (pl.col("since") < start)).select(*PLACE, "since")
    absent = ctx.state(Newest).get(absent).filter(pl.col("occurred_at") >= heard)
    silent = _empty(absent.select(*PLACE, "since")).with_columns(revision=pl.lit(0, pl.Int64))
    ctx.state(Quarter).put(silent)
    return pl.concat([rows.filter(pl.col("revision").is_not_null()), silent.select(rows.columns)])


def _empty(rows: pl.DataFrame) -> pl.DataFrame:
    nothing = [pl.lit(0, pl.Int64).alias(name) for name in SUMS]
    return rows.with_columns(*nothing, *(pl.lit(None, pl.Float64).alias(name) for name in EXTREMES))


def stated(rows: pl.DataFrame, terms: Terms) -> pl.DataFrame:
    """Quarter-hours as events: energy and quality from the sums, by the rules of each one's time."""
    parts = []
    for part, measured_min, coverage_min in terms.qualities(rows):
        decided = decide_quality(part, measured_min=measured_min, coverage_min=coverage_min)
        parts.append(
            decided.select(
                *PLACE,
                "revision",
                "energy_wh",
                *EXTREMES,
                "quality",
                "samples",
                period_end=pl.col("period_start") + QUARTER,
                coverage=pl.col("measured_us") / QUARTER_US,
                method=pl.lit(METHOD),
            )
        )
    return parts[0] if len(parts) == 1 else pl.concat(parts)


def state_again(
    ctx: Context[Config], terms: Terms, first: datetime, end: datetime
) -> Iterator[Emit[IntervalMeasured]]:
    """State marked quarter-hours again, and put right those that are due for the first time.

    Args:
        ctx: the task's.
        terms: the rules on readings.
        first: start of the first quarter-hour that is due at this tick and was not before.
        end: end of the last one.
    """
    start = pl.col("period_start")
    until = start < end if begins(ctx, ctx.config.restate_every) else (start >= first) & (start < end)
    now = pl.col("anew") & until
    marks = ctx.state(Touched).scan(now | pl.col("again"))
    if not len(marks):
        return
    anew, again = marks.filter(now), marks.filter(~now)
    ctx.state(Touched).delete(pl.concat([anew, again.filter(~pl.col("anew"))]))
    ctx.state(Touched).put(again.filter("anew").with_columns(again=pl.lit(value=False)))
    if len(again):
        rows = ctx.state(Quarter).get(again.select(PLACE)).with_columns(pl.col("revision") + 1)
        ctx.state(Quarter).put(rows)
        yield Emit(IntervalMeasured, stated(rows, terms))
    for part in stretches(anew):
        yield Emit(IntervalMeasured, put_right(ctx, part, terms, first))


def stretches(marks: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Marked quarter-hours by time, apart where nothing is marked for long: a read of history each."""
    marks = marks.sort("period_start", maintain_order=True)
    apart = (marks["period_start"].diff() > APART).fill_null(value=False).cum_sum()
    yield from marks.with_columns(_stretch=apart).partition_by("_stretch", maintain_order=True, include_key=False)


def put_right(ctx: Context[Config], marks: pl.DataFrame, terms: Terms, first: datetime) -> pl.DataFrame:
    """Work quarter-hours out anew; what differs from what was stated, as events.

    What is due at this tick for the first time is only put right in the state. What the state does not know
    any more is compared with what this processor stated, in the history.
    """
    state, start = ctx.state(Quarter), pl.col("period_start")
    rows = state.get(worked_out(ctx, marks, terms), suffix="_was")
    same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(name + "_was")) for name in (*SUMS, *EXTREMES))
    known, due = pl.col("revision_was").is_not_null(), start >= first
    some = (pl.col("samples") > 0) | (pl.col("measured_us") + pl.col("estimated_us") > 0)
    forgotten = ~known & (start < ctx.watermark(ReadingTaken, previous=True) - ctx.config.keep)
    last = pl.when(due).then(pl.col("revision_was").fill_null(0)).otherwise(pl.col("revision_was").fill_null(-1) + 1)
    news = pl.when(known).then(due | ~same | pl.col("again")).otherwise(some)
    kept = rows.filter(news & ~forgotten).with_columns(revision=last)
    state.put(kept)
    events = stated(kept.filter(~due), terms)
    if len(old := rows.filter(forgotten)):
        events = pl.concat([events, compared(ctx, stated(old.with_columns(revision=pl.lit(0, pl.Int64)), terms))])
    return events


def worked_out(ctx: Context[Config], marks: pl.DataFrame, terms: Terms) -> pl.DataFrame:
    """The marks with the sums of their quarter-hours from all readings."""
    first, last = _span(marks)
    longest = timedelta(seconds=ctx.config.longest_s)
    reach = timedelta(seconds=max(terms.widest.gap_s, terms.widest.continuous_s)) + longest
    readings = ctx.history(
        ReadingTaken, since=first - reach, until=last + QUARTER + reach + QUARTER, keys=_sites(marks)
    )
    readings = readings.join(marks, on=RESOURCE, how="semi", maintain_order="left")
    readings = believable(readings, ctx.config).sort("occurred_at", maintain_order=True)
    parts, known = [], None
    for run, gaps in terms.runs(readings):
        made = fold(run, known, gaps, RESOURCE)
        parts.append(made.quarters)
        known = made.last
    if not parts:
        return _empty(marks)
    sums = parts[0]
    if len(parts) > 1:
        total = [pl.col(name).sum() for name in SUMS]
        sums = pl.concat(parts).group_by(PLACE, maintain_order=True)
        sums = sums.agg(*total, pl.col("power_min_w").min(), pl.col("power_max_w").max())
    found = marks.join(sums, on=PLACE, how="left", maintain_order="left")
    return found.with_columns(pl.col(name).fill_null(0) for name in SUMS)


def compared(ctx: Context[Config], events: pl.DataFrame) -> pl.DataFrame:
    """Those events that say something else than the history of what was stated, with their revision."""
    first, last = _span(events)
    told = ctx.history(IntervalMeasured, since=first, until=last + QUARTER, keys=_sites(events))
    told = told.select(*PLACE, "revision", *STATED)
    both = events.join(told, on=PLACE, how="left", suffix="_was", maintain_order="left")
    same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(name + "_was")) for name in STATED)
    new = pl.col("revision_was").is_null()
    news = pl.when(new).then((pl.col("samples") > 0) | (pl.col("quality") != "MISSING")).otherwise(~same)
    found = both.filter(news).with_columns(revision=pl.col("revision_was").fill_null(-1) + 1)
    return found.select(events.columns)


def _span(rows: pl.DataFrame) -> tuple[datetime, datetime]:
    first, last = rows["period_start"].min(), rows["period_start"].max()
    assert isinstance(first, datetime)
    assert isinstance(last, datetime)
    return first, last


def _sites(rows: pl.DataFrame) -> list[str]:
    return rows["site_id"].unique(maintain_order=True).to_list()


def forget(ctx: Context[Config], until: datetime) -> None:
    """Let go of what is over, and of resources that have been silent for long."""
    ctx.state(Quarter).expire(until - ctx.config.keep)
    gone = ctx.state(Newest).scan(Newest.occurred_at < until - ctx.config.silent_after)
    ctx.state(Newest).delete(gone)
    ctx.state(Known).delete(gone)
