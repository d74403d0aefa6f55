"""Readings folded into quarter-hours as they come; what came out of order is worked out again from history."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from energy.intervals import READING, SUMS, Gaps, decide_quality, fold, merge, micros, touched
from energy.remembered import remembered
from energy.rules import Rulebook
from energy.time import EPOCH, MICRO, QUARTER, QUARTER_US, UTC_MICROS, instant, quarter_start, quarters_between
from streams import Batch, Col, Context, Emit, Keyed, Reject
from topics import IntervalMeasured, ReadingTaken, RulePublished

RESOURCE = ("site_id", "resource_id", "commodity")
PLACE = (*RESOURCE, "period_start")
EXTREMES = ("power_min_w", "power_max_w")
STATED = ("energy_wh", *EXTREMES, "quality", "coverage", "samples")
"""What tells one statement of a quarter-hour from another."""
RULES = ("readings.continuous", "readings.gap", "readings.measured_min", "readings.coverage_min")
SAME = pl.all_horizontal(pl.col(name).eq_missing(pl.col(name + "_was")) for name in (*SUMS, *EXTREMES))
SOME = (pl.col("samples") > 0) | (pl.col("measured_us") + pl.col("estimated_us") > 0)
METHOD = "time-weighted/1"
HOUR = timedelta(hours=1)
APART = timedelta(hours=6)
"""Quarter-hours further apart than this are read from the history one by one."""
AT_ONCE = 200_000
"""So many rows of quarter-hours that are due are stated together."""


class Config(BaseModel):
    """How long things are remembered.

    Attributes:
        keep: how long a quarter-hour that is over stays in the state, so that readings which come in order after an
            outage revise it without history.
        silent_after: a resource that has said nothing for so long is no longer stated as MISSING.
        restate_every: how often quarter-hours are worked out again that had been stated when a reading for them came
            out of order.
        longest_s: a reading that is the mean of a longer time is refused.
    """

    model_config = ConfigDict(frozen=True)

    keep: timedelta = timedelta(hours=6)
    silent_after: timedelta = timedelta(days=1)
    restate_every: timedelta = timedelta(hours=1)
    longest_s: float = 3600.0


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


@dataclass(frozen=True)
class Version:
    """The rules on readings from one of their dates to the next."""

    gaps: Gaps
    measured_min: float
    coverage_min: float


class Terms:
    """The rules on readings over time.

    Args:
        published: the rules' rows; between two of their dates nothing changes.

    Attributes:
        widest: the longest lines that any version draws.
    """

    def __init__(self, published: pl.DataFrame) -> None:
        book = Rulebook(published.to_dicts())
        dates = sorted({*published["valid_from"], *published["valid_to"].drop_nulls()})
        self._starts = np.array([(date - EPOCH) // MICRO for date in dates], np.int64)
        self._versions = [_version(book, date) for date in dates]
        held = [version.gaps for version in self._versions if version]
        self.widest = Gaps(
            max((gaps.continuous_s for gaps in held), default=0.0), max((g.gap_s for g in held), default=0.0)
        )
        self._holds = np.array([False, *(version is not None for version in self._versions)])

    def __bool__(self) -> bool:
        """Whether any version is complete."""
        return bool(self._holds.any())

    def _which(self, times: pl.Series) -> NDArray[np.int64]:
        return np.searchsorted(self._starts, micros(times), side="right")

    def governs(self, times: pl.Series) -> bool:
        """Whether there is a complete set of rules for all of these instants, as far as first and last tell."""
        at = micros(times)
        first, last = np.searchsorted(self._starts, (at.min(), at.max()), side="right")
        return bool(self._holds[first : last + 1].all())

    def governed(self, times: pl.Series) -> NDArray[np.bool_]:
        """Whether there is a complete set of rules for each instant."""
        return self._holds[self._which(times)]

    def runs(self, readings: pl.DataFrame) -> Iterator[tuple[pl.DataFrame, Gaps]]:
        """Readings in their order, as long as the same rules govern them."""
        which = self._which(readings["occurred_at"])
        edges = np.flatnonzero(which[1:] != which[:-1]) + 1
        for start, end in zip([0, *edges], [*edges, len(which)], strict=True):
            if end > start:
                yield readings[start:end] if len(edges) else readings, self._at(which[start]).gaps

    def split(self, rows: pl.DataFrame) -> Iterator[tuple[pl.DataFrame, Version]]:
        """Quarter-hours by the rules that govern them; where none does, those before."""
        which = self._which(rows["period_start"])
        if (which == which[0]).all():
            yield rows, self._at(which[0])
            return
        for one in np.unique(which):
            yield rows.filter(which == one), self._at(one)

    def _at(self, which: np.int64) -> Version:
        found = [version for version in self._versions[: max(int(which), 1)] if version]
        return found[-1] if found else next(version for version in self._versions if version)


def _version(book: Rulebook, at: datetime) -> Version | None:
    if any(book.find(rule, at) is None for rule in RULES):
        return None
    continuous, gap, measured_min, coverage_min = (book.double(rule, at) for rule in RULES)
    return Version(Gaps(continuous, gap), measured_min, coverage_min)


@remembered
def reading_terms(table: pl.DataFrame) -> Terms | None:
    """The rules on readings, None while there are none."""
    return Terms(table.filter(pl.col("rule_id").is_in(RULES) & (pl.col("scope") == ""))) or None


def on_batch(ctx: Context[Config], batch: Batch[ReadingTaken]) -> Iterator[Reject]:
    """Fold the readings; what came out of order only marks the quarter-hours that it touches."""
    readings = batch[ReadingTaken]
    terms = reading_terms(ctx.table(RulePublished))
    if terms is None:
        ctx.state(Waiting).put(readings.with_columns(number="_offset"))
        return
    if not all_of_use(readings, ctx.config, terms):
        bent, governed = too_long(readings, ctx.config), terms.governed(readings["occurred_at"])
        reason = f"duration_s is longer than {ctx.config.longest_s:g} s; send the means of shorter times"
        yield Reject(ReadingTaken, readings.filter(bent), reason)
        reason = f"the rules {', '.join(RULES)} do not all hold at occurred_at; publish them"
        yield Reject(ReadingTaken, readings.filter(~governed & ~bent), reason)
        readings = readings.filter(governed & ~bent)
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
        take_in(ctx, of_use(waiting, ctx.config, terms), terms, before)
        ctx.state(Waiting).delete(waiting)
    if len(ctx.state(Touched)):
        yield from state_again(ctx, terms, quarter_start(before), quarter_start(until))
    due = quarters_between(quarter_start(before), quarter_start(until))
    many = max(AT_ONCE // max(len(ctx.state(Known)), 1), 1)
    for first in range(0, len(due), many):
        if len(rows := quarters_of(ctx, due[first : first + many])):
            yield Emit(IntervalMeasured, stated(rows, terms))
    if begins(ctx, HOUR):
        forget(ctx, until)


def begins(ctx: Context[Config], every: timedelta) -> bool:
    """Whether a span of this length has begun since the tick before."""
    return (ctx.now - EPOCH) // every > (ctx.since - EPOCH) // every


def all_of_use(readings: pl.DataFrame, config: Config, terms: Terms) -> bool:
    """Whether none of the readings is the mean of too long a time or of a time without rules."""
    longest = readings["duration_s"].max()
    short = longest is None or float(str(longest)) <= config.longest_s
    return short and (not len(readings) or terms.governs(readings["occurred_at"]))


def too_long(readings: pl.DataFrame, config: Config) -> NDArray[np.bool_]:
    """Whether each reading is the mean of a longer time than is taken."""
    return (readings["duration_s"] > config.longest_s).fill_null(value=False).to_numpy()


def of_use(readings: pl.DataFrame, config: Config, terms: Terms) -> pl.DataFrame:
    """The readings that are taken."""
    if all_of_use(readings, config, terms):
        return readings
    return readings.filter(terms.governed(readings["occurred_at"]) & ~too_long(readings, config))


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
        known = ctx.state(Newest).get(speakers(run))
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


def speakers(readings: pl.DataFrame) -> pl.DataFrame:
    """The resources of the readings, each once."""
    return readings[list(RESOURCE)].unique(maintain_order=True)


def add(ctx: Context[Config], quarters: pl.DataFrame, stated_until: datetime) -> None:
    """Add sums to the quarter-hours; those that have been stated are marked to be stated again."""
    state, over = ctx.state(Quarter), stated_until - QUARTER
    known = state.get(quarters, suffix="_was")
    earliest = quarters["period_start"].min()
    assert isinstance(earliest, datetime)
    if earliest > over and known["revision_was"].null_count() == len(known):
        state.put(quarters.hstack([_whole("revision", 0, len(quarters))]))
        return
    merged = merge(known)
    if earliest > over:
        state.put(merged.with_columns(revision=pl.col("revision_was").fill_null(0)))
        return
    closed, new = pl.col("period_start") <= instant(over), pl.col("revision_was").is_null()
    forgotten = closed & new & (pl.col("period_start") < instant(stated_until - ctx.config.keep))
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


def quarters_of(ctx: Context[Config], starts: list[datetime]) -> pl.DataFrame:
    """Quarter-hours of all resources that speak, those that fell silent with empty sums."""
    known = ctx.state(Known).scan()
    at = np.repeat([(start - EPOCH) // MICRO for start in starts], len(known))
    places = pl.concat([known] * len(starts)).hstack([pl.Series("period_start", at).cast(UTC_MICROS)])
    rows = ctx.state(Quarter).get(places)
    if not rows["revision"].null_count():
        return rows
    heard = ctx.watermark(ReadingTaken) - ctx.config.silent_after
    absent = rows.filter(pl.col("revision").is_null() & (pl.col("since") < pl.col("period_start")))
    absent = ctx.state(Newest).get(absent[[*PLACE, "since"]]).filter(pl.col("occurred_at") >= instant(heard))
    silent = _empty(absent[[*PLACE, "since"]]).with_columns(revision=pl.lit(0, pl.Int64))
    ctx.state(Quarter).put(silent)
    return pl.concat([rows.filter(pl.col("revision").is_not_null()), silent[rows.columns]])


def _whole(name: str, value: int, count: int) -> pl.Series:
    return pl.Series(name, np.full(count, value, np.int64))


def _empty(rows: pl.DataFrame) -> pl.DataFrame:
    nothing = [pl.lit(0, pl.Int64).alias(name) for name in SUMS]
    return rows.with_columns(*nothing, *(pl.lit(None, pl.Float64).alias(name) for name in EXTREMES))


def stated(rows: pl.DataFrame, terms: Terms) -> pl.DataFrame:
    """Quarter-hours as events: energy and quality from the sums, by the rules of each one's time."""
    parts = [_events(part, version) for part, version in terms.split(rows)]
    return parts[0] if len(parts) == 1 else pl.concat(parts)


def _events(rows: pl.DataFrame, version: Version) -> pl.DataFrame:
    decided = decide_quality(rows, measured_min=version.measured_min, coverage_min=version.coverage_min)
    more = [
        pl.Series("period_end", micros(rows["period_start"]) + QUARTER_US).cast(UTC_MICROS),
        pl.Series("coverage", rows["measured_us"].to_numpy() / QUARTER_US),
        pl.Series("method", [METHOD] * len(rows)),
    ]
    return decided[[*PLACE, "revision", "energy_wh", *EXTREMES, "quality", "samples"]].hstack(more)


def state_again(ctx: Context[Config], terms: Terms, first: datetime, end: datetime) -> Iterator[Emit[IntervalMeasured]]:
    """State marked quarter-hours again, and put right those that are due for the first time.

    Args:
        ctx: the task's.
        terms: the rules on readings.
        first: start of the first quarter-hour that is due at this tick and was not before.
        end: end of the last one.
    """
    start = pl.col("period_start")
    over = start < instant(end)
    until = over if begins(ctx, ctx.config.restate_every) else over & (start >= instant(first))
    now = pl.col("anew") & until
    marks = ctx.state(Touched).scan(now | pl.col("again"))
    if not len(marks):
        return
    anew, again = marks.filter(now), marks.filter(~now)
    ctx.state(Touched).delete(marks)
    if again["anew"].any():  # they wait for their hour
        ctx.state(Touched).put(again.filter("anew").with_columns(again=pl.lit(value=False)))
    if len(again):
        rows = ctx.state(Quarter).get(again.select(PLACE)).with_columns(pl.col("revision") + 1)
        ctx.state(Quarter).put(rows)
        yield Emit(IntervalMeasured, stated(rows, terms))
    for part in stretches(anew):
        yield from put_right(ctx, part, terms, first)


def stretches(marks: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Marked quarter-hours by time, apart where nothing is marked for long: a read of history each."""
    if not len(marks):
        return
    marks = marks.sort("period_start", maintain_order=True)
    edges = np.flatnonzero(np.diff(micros(marks["period_start"])) > APART // MICRO) + 1
    yield from (marks[start:end] for start, end in zip([0, *edges], [*edges, len(marks)], strict=True))


def put_right(
    ctx: Context[Config], marks: pl.DataFrame, terms: Terms, first: datetime
) -> Iterator[Emit[IntervalMeasured]]:
    """Work quarter-hours out anew; what differs from what was stated, as events.

    What is due at this tick for the first time is only put right in the state. What the state does not know
    any more is compared with what this processor stated, in the history.
    """
    state, start = ctx.state(Quarter), pl.col("period_start")
    rows = state.get(worked_out(ctx, marks, terms), suffix="_was")
    known, due = pl.col("revision_was").is_not_null(), start >= instant(first)
    oldest = instant(ctx.watermark(ReadingTaken, previous=True) - ctx.config.keep)
    last = pl.when(due).then(pl.col("revision_was").fill_null(0)).otherwise(pl.col("revision_was").fill_null(-1) + 1)
    rows = rows.with_columns(
        revision=last,
        _due=due,
        _news=pl.when(known).then(due | ~SAME | pl.col("again")).otherwise(SOME),
        _forgotten=~known & (start < oldest),
    )
    kept, old = rows.filter(pl.col("_news") & ~pl.col("_forgotten")), rows.filter("_forgotten")
    state.put(kept)
    if len(again := kept.filter(~pl.col("_due"))):
        yield Emit(IntervalMeasured, stated(again, terms))
    if len(old):
        old = compared(ctx, stated(old.with_columns(revision=pl.lit(0, pl.Int64)), terms))
        yield Emit(IntervalMeasured, old)


def worked_out(ctx: Context[Config], marks: pl.DataFrame, terms: Terms) -> pl.DataFrame:
    """The marks with the sums of their quarter-hours from all readings."""
    first, last = _span(marks)
    longest = timedelta(seconds=ctx.config.longest_s)
    reach = timedelta(seconds=max(terms.widest.gap_s, terms.widest.continuous_s)) + longest
    readings = ctx.history(
        ReadingTaken,
        since=first - reach,
        until=last + QUARTER + reach + QUARTER,
        keys=_sites(marks),
        columns=(*RESOURCE, *READING),
    )
    readings = readings.join(marks, on=RESOURCE, how="semi", maintain_order="left")
    readings = of_use(readings, ctx.config, terms).sort("occurred_at", maintain_order=True)
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
        extremes = (pl.col("power_min_w").min(), pl.col("power_max_w").max())
        sums = pl.concat(parts).group_by(PLACE, maintain_order=True).agg(*total, *extremes)
    found = marks.join(sums, on=PLACE, how="left", maintain_order="left")
    return found.with_columns(pl.col(name).fill_null(0) for name in SUMS)


def compared(ctx: Context[Config], events: pl.DataFrame) -> pl.DataFrame:
    """Those events that say something else than the history of what was stated, with their revision."""
    first, last = _span(events)
    wanted = (*PLACE, "revision", *STATED)
    told = ctx.history(IntervalMeasured, since=first, until=last + QUARTER, keys=_sites(events), columns=wanted)
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
    gone = ctx.state(Newest).scan(Newest.occurred_at < instant(until - ctx.config.silent_after))
    if len(gone):
        ctx.state(Newest).delete(gone)
        ctx.state(Known).delete(gone)
