"""Irregular readings to energy per quarter-hour: time-weighted, in whole microwatt-hours, in any cut.

A reading says one of three things, and the power curve between readings follows from it:

* ``power_w`` with ``duration_s``: the mean power of that time before ``occurred_at``; the curve is level there;
* ``power_w`` alone: the power at ``occurred_at``; the curve is a straight line from the reading before. The line is
  *measured* where the two are at most ``continuous_s`` apart, which is what the resource is expected to report;
* registers alone: what they grew by since the registers before, import less export; the curve is level in between,
  measured and estimated as above. A register that fell was reset and says nothing.

What lies between the reading before and the time a reading speaks for is a *gap*: up to ``gap_s`` it is a straight
line between its neighbours and *estimated*, a longer one is left out and so missing (rules ``readings.*``).
Where two means overlap, the earlier keeps what it covered.

The curve is cut at quarter-hours. The energy of each piece, W times microseconds / 3600, is rounded half-even to
whole microwatt-hours (µWh) before it is added: sums of integers do not depend on their order, and a piece depends only
on a reading and the one before it. So readings folded in any chunks, carrying the last one, give the same sums.

To work out quarter-hours again, fold all readings from the last one before them to the first one after them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from energy.time import QUARTER_US, UTC_MICROS

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

UWH_PER_WH = 1_000_000
FEW = 1_000
"""Below so many rows a dict is faster than columns."""
KEYS = ("resource_id", "commodity")
READING = {
    "occurred_at": UTC_MICROS,
    "duration_s": pl.Float64(),
    "power_w": pl.Float64(),
    "energy_import_wh": pl.Float64(),
    "energy_export_wh": pl.Float64(),
    "quality": pl.String(),
}
"""The columns of a reading beside its keys. All but the first and last may be null; power or a register is there."""
SUMS = ("measured_uwh", "estimated_uwh", "measured_us", "estimated_us", "samples")
"""What is added up per quarter-hour; `merge` adds, and takes the extremes of ``power_min_w`` and ``power_max_w``."""


@dataclass(frozen=True)
class Gaps:
    """How readings become a curve. Seconds, from the rules ``readings.continuous`` and ``readings.gap``."""

    continuous_s: float = 900.0
    gap_s: float = 1800.0


@dataclass(frozen=True)
class Fold:
    """What a chunk of readings adds to the open quarter-hours.

    Attributes:
        quarters: Per keys and ``period_start``: ``measured_uwh, estimated_uwh`` (energy, µWh, positive =
            consumption), ``measured_us, estimated_us`` (time covered, µs), ``samples`` (readings), all Int64, and
            ``power_min_w, power_max_w`` (extremes of the curve). Sorted by keys and time.
        last: The newest reading of each key, to be given to the next fold.
        late: Readings not after the last known one of their key and not the same, in their order: not folded. The
            quarter-hours they touch (`touched`) must be worked out again from all readings.
    """

    quarters: pl.DataFrame
    last: pl.DataFrame
    late: pl.DataFrame


def fold(
    readings: pl.DataFrame,
    last: pl.DataFrame | None = None,
    gaps: Gaps | None = None,
    keys: Sequence[str] = KEYS,
    *,
    arrived: bool = False,
) -> Fold:
    """Turn readings into energy per key and quarter-hour.

    Args:
        readings: Keys and the columns of `READING`, in any order; of equal keys and times the last row counts.
            Rows without power and registers, or of quality MISSING, are left out.
        last: What the fold before returned as ``last``, as far as known; same columns, one row a key.
        gaps: Limits of the curve.
        keys: Names of the key columns (strings).
        arrived: The rows are in the order in which they came, and one that is not after the newest before it is late
            and not folded. Then what is late, and every sum, is the same however the stream is cut into chunks. Of
            readings with the newest time the last one leads to the next.

    Returns:
        The sums to add (with `merge`), the new last readings, and what came too late.
    """
    names = [*keys, *READING]
    new = readings[names]  # much cheaper than select
    if new["power_w"].null_count() or (new["quality"] == "MISSING").any():
        said = pl.any_horizontal(pl.col("power_w", "energy_import_wh", "energy_export_wh").is_not_null())
        new = new.filter(said & (pl.col("quality") != "MISSING"))
    before = last[names] if last is not None else new.clear()
    rows = before.vstack(new)  # much cheaper than concat
    known = np.zeros(rows.height, np.bool_)
    known[: before.height] = True
    if not new.height:
        return Fold(_empty(keys), before, new)
    if arrived:
        order, late, passed = _arrived(rows, known, keys)
    else:
        order, late = _ordered(rows, known, keys)
        passed = known
    quarters = _quarters(rows, order, passed, gaps or Gaps(), keys)
    ends = order.rows[np.append(~order.follows[1:], True)]
    behind = new.clear()
    if late.size:  # what was folded, or is the last known, says nothing new when it comes again
        seen = pl.concat([before, rows[order.rows[~passed[order.rows]]]]) if arrived else before
        behind = rows[late].join(seen, on=names, how="anti", nulls_equal=True, maintain_order="left")
    return Fold(quarters, rows[ends], behind)


def merge(rows: pl.DataFrame, suffix: str = "_was") -> pl.DataFrame:
    """Add a fold's quarter-hours to what was known of them.

    Args:
        rows: `Fold.quarters`, each row beside its known sums under the same names with `suffix`, null where none.
        suffix: What marks the known columns.

    Returns:
        The rows with sums added and extremes taken, without the known columns.
    """
    added = [(pl.col(name) + pl.col(name + suffix).fill_null(0)).alias(name) for name in SUMS]
    low = pl.min_horizontal("power_min_w", "power_min_w" + suffix).alias("power_min_w")
    high = pl.max_horizontal("power_max_w", "power_max_w" + suffix).alias("power_max_w")
    known = [name + suffix for name in (*SUMS, "power_min_w", "power_max_w")]
    return rows.with_columns(*added, low, high).drop(known)


def decide_quality(quarters: pl.DataFrame, *, measured_min: float, coverage_min: float) -> pl.DataFrame:
    """Say what a quarter-hour's sums are worth.

    MEASURED where the measured time is at least `measured_min` of the quarter-hour, else ESTIMATED where what is
    covered is at least `coverage_min`, else MISSING. What is not covered counts at the mean power of what is.

    Args:
        quarters: Rows with the columns of `Fold.quarters`, summed.
        measured_min: Share of the period, 0 to 1 (rule ``readings.measured_min``).
        coverage_min: Share of the period, 0 to 1 (rule ``readings.coverage_min``).

    Returns:
        The rows with ``energy_wh`` (null where MISSING), ``quality``, ``coverage`` (0 to 1).
    """
    measured = quarters["measured_us"].to_numpy()
    covered = measured + quarters["estimated_us"].to_numpy()
    energy = (quarters["measured_uwh"].to_numpy() + quarters["estimated_uwh"].to_numpy()) / UWH_PER_WH
    missing = (covered == 0) | (covered < coverage_min * QUARTER_US)
    quality = np.where(missing, 0, np.where(measured >= measured_min * QUARTER_US, 1, 2)).tolist()
    scaled = energy * (QUARTER_US / np.where(missing, QUARTER_US, covered))
    decided = [
        pl.Series("energy_wh", np.where(missing, np.nan, scaled), nan_to_null=True),
        pl.Series("quality", [_QUALITIES[number] for number in quality], pl.String),
        pl.Series("coverage", np.minimum(covered / QUARTER_US, 1.0)),
    ]
    return quarters.hstack(decided)


_QUALITIES = ("MISSING", "MEASURED", "ESTIMATED")


def touched(late: pl.DataFrame, *, gaps: Gaps, keys: Sequence[str] = KEYS, longest_s: float = 0.0) -> pl.DataFrame:
    """Return the quarter-hours whose energy a late reading can change.

    Args:
        late: Rows with keys, ``occurred_at`` and ``duration_s``.
        gaps: Limits of the curve: no line in it is longer.
        keys: Names of the key columns.
        longest_s: Longest ``duration_s`` of the readings around: a mean may have to make room for a late one.

    Returns:
        Keys and ``period_start``, each once, sorted.
    """
    reach = int(max(gaps.gap_s, gaps.continuous_s) * 1e6)
    own = (pl.col("duration_s").fill_null(0.0).clip(longest_s) * 1e6).cast(pl.Int64)
    at = pl.col("occurred_at").cast(pl.Int64)
    first = (at - own - reach) // QUARTER_US  # the line to where the mean begins starts that far back
    quarters = pl.int_ranges(first, (at + reach) // QUARTER_US + 1) * QUARTER_US
    spread = late.select(*keys, period_start=quarters).explode("period_start")
    return (
        spread.unique(maintain_order=True)
        .with_columns(pl.col("period_start").cast(UTC_MICROS))
        .sort(*keys, "period_start")
    )


@dataclass(frozen=True)
class _Order:
    """Rows of readings by key and ascending time.

    Row numbers, a number of each one's key, and whether the row before has the same key.
    """

    rows: Ints
    group: Ints
    follows: Flags


@dataclass(frozen=True)
class _Pieces:
    """Stretches of the power curve of some rows: [start, end) in µs, power at both ends in W, readings heard."""

    row: Ints
    start: Ints
    end: Ints
    from_w: Floats
    to_w: Floats
    measured: Flags
    samples: Ints

    def take(self, index: Ints | Flags) -> "_Pieces":
        return _Pieces(*(values[index] for values in vars(self).values()))

    @staticmethod
    def join(parts: "Sequence[_Pieces]") -> "_Pieces":
        if len(parts) == 1:
            return parts[0]
        return _Pieces(*(np.concatenate(arrays) for arrays in zip(*(vars(p).values() for p in parts), strict=True)))


def micros(column: pl.Series) -> Ints:
    """Return times as microseconds since 1970."""
    return column.to_numpy().view(np.int64)


def _before(values: NDArray[Any]) -> NDArray[Any]:
    """Return the value of the row before; of the first row its own."""
    return np.concatenate((values[:1], values[:-1]))


def _follows(group: Ints) -> Flags:
    follows: Flags = group == _before(group)
    follows[:1] = False
    return follows


def _groups(rows: pl.DataFrame, keys: Sequence[str]) -> Ints:
    """Number the keys densely, in their order."""
    if rows.height < FEW:
        named = list(zip(*(rows[key].to_list() for key in keys), strict=True))
        numbers = {name: number for number, name in enumerate(sorted(set(named)))}
        return np.array([numbers[name] for name in named], np.int64)
    group = np.zeros(rows.height, np.int64)
    for key in keys:
        if rows[key].min() == rows[key].max():
            continue
        code = rows[key].cast(pl.Categorical).to_physical().to_numpy().astype(np.int64)
        group = _dense(group * (int(code.max()) + 1) + code)
    one = np.empty(int(group.max()) + 1, np.int64)
    one[group] = np.arange(len(group))
    place = np.empty(len(one), np.int64)
    place[rows[list(keys)][one].select(pl.arg_sort_by(keys)).to_series().to_numpy()] = np.arange(len(one))
    return place[group]


def _dense(code: Ints) -> Ints:
    top = int(code.max()) + 1
    if top > 50 * len(code) + 1_000_000:
        return np.unique(code, return_inverse=True)[1].astype(np.int64)
    used = np.zeros(top, np.int64)
    used[code] = 1
    return (np.cumsum(used) - 1)[code]


def _ordered(rows: pl.DataFrame, known: Flags, keys: Sequence[str]) -> tuple[_Order, Ints]:
    """Sort by key and time, keep the last of equal times, and take out what is not after the known reading."""
    group, at = _groups(rows, keys), micros(rows["occurred_at"])
    order = np.argsort(at, kind="stable")
    order = order[_by_group(group[order])]
    floor = np.full(int(group.max()) + 1, np.iinfo(np.int64).min)
    floor[group[known]] = at[known]
    late = ~known & (at <= floor[group])
    if late.any():
        order = order[~late[order]]
    group, at = group[order], at[order]
    doubles = (group[1:] == group[:-1]) & (at[1:] == at[:-1])
    if doubles.any():
        keep = np.append(~doubles, True)
        order, group = order[keep], group[keep]
    return _Order(order, group, _follows(group)), np.flatnonzero(late)


def _by_group(group: Ints) -> Ints:
    """Return the order that brings groups together and keeps the rows of each as they are."""
    small = group.astype(np.uint16) if int(group.max()) < 1 << 16 else group  # numpy sorts 16 bits by radix
    return np.argsort(small, kind="stable")


def _arrived(rows: pl.DataFrame, known: Flags, keys: Sequence[str]) -> tuple[_Order, Ints, Flags]:
    """Bring the keys together in the order of arrival and take out what is not after the newest before it.

    Returns:
        The order; the late rows; and what is not to be folded: known rows, and those that repeat the newest time.
    """
    group, at = _groups(rows, keys), micros(rows["occurred_at"])
    order = _by_group(group)
    group, at = group[order], at[order]
    follows = _follows(group)
    if not (follows & (at <= _before(at))).any():
        return _Order(order, group, follows), np.zeros(0, np.int64), known
    rank = at - at.min()
    span = int(rank.max()) + 1
    if (int(group[-1]) + 1) * span >= 1 << 62:
        rank, span = np.unique(at, return_inverse=True)[1].astype(np.int64), len(at)
    newest = np.maximum.accumulate(group * span + rank) - group * span
    behind = follows & (rank <= _before(newest))
    repeated = behind & (rank == newest)
    passed = known.copy()
    passed[order[repeated]] = True
    kept = ~behind | repeated
    return _Order(order[kept], group[kept], _follows(group[kept])), np.sort(order[behind]), passed


def _curve(rows: pl.DataFrame, order: _Order, known: Flags, gaps: Gaps) -> list[_Pieces]:
    """Return the level stretch that each new reading speaks for, the line that leads there, and readings without."""
    at = micros(rows["occurred_at"])[order.rows]
    power = rows["power_w"].to_numpy()[order.rows]  # NaN where null
    duration = rows["duration_s"].to_numpy()[order.rows]
    length = np.rint(np.where(np.isnan(duration), 0.0, duration) * 1e6).astype(np.int64)
    trusted = (rows["quality"] != "ESTIMATED").to_numpy()[order.rows]
    new, follows = ~known[order.rows], order.follows
    at_before, power_before = _before(at), _before(power)
    both_trusted = trusted & _before(trusted)
    number, none, one = np.arange(len(at)), np.zeros(len(at), np.int64), np.ones(len(at), np.int64)
    pieces = []
    if rows["power_w"].null_count():
        level = np.where(np.isnan(power) & follows, _register_power(rows, order, at - at_before), np.nan)
        held = ~np.isnan(level) & (at - at_before <= max(gaps.continuous_s, gaps.gap_s) * 1e6)
        measured = (at - at_before <= gaps.continuous_s * 1e6) & both_trusted
        pieces.append(_Pieces(number, at_before, at, level, level, measured, none).take(new & held))
    spoken = at - length
    level_from = np.where(follows, np.maximum(spoken, at_before), spoken)
    said = new & ~np.isnan(power) & (level_from < at)
    pieces.append(_Pieces(number, level_from, at, power, power, trusted, one).take(said))
    line_us = spoken - at_before
    continuous = (length == 0) & (line_us <= gaps.continuous_s * 1e6)
    lines = new & follows & (line_us > 0) & (continuous | (line_us <= gaps.gap_s * 1e6))
    lines &= ~np.isnan(power_before) & ~np.isnan(power)
    if lines.any():
        measured = continuous & both_trusted
        pieces.append(_Pieces(number, at_before, spoken, power_before, power, measured, none).take(lines))
    if (new & ~said).any():  # instants and registers: heard where they are
        pieces.append(_Pieces(number, at, at, power, power, trusted, one).take(new & ~said))
    return pieces


def _register_power(rows: pl.DataFrame, order: _Order, span: Ints) -> Floats:
    """Return the mean power (W) since the row before by the registers; NaN where they do not say it."""
    grown = []
    for name in ("energy_import_wh", "energy_export_wh"):
        register = rows[name].to_numpy()[order.rows]
        growth = register - _before(register)
        grown.append(np.where(growth < 0, np.nan, growth))
    bought, sold = grown
    both = np.isnan(bought) & np.isnan(sold)
    absent = [rows[name].is_null().to_numpy()[order.rows] for name in ("energy_import_wh", "energy_export_wh")]
    bought, sold = (np.where(none, 0.0, growth) for none, growth in zip(absent, grown, strict=True))
    return np.where(both, np.nan, bought - sold) * (3_600_000_000.0 / np.maximum(span, 1))


def _cut(pieces: _Pieces) -> tuple[_Pieces, Ints]:
    """Cut at quarter-hours; returns the pieces and the number of each one's quarter-hour since 1970."""
    first = pieces.start // QUARTER_US
    count = (pieces.end - 1) // QUARTER_US - first + 1
    crossing = count > 1
    if not crossing.any():
        return pieces, first
    many, times = pieces.take(crossing), count[crossing]
    index = np.repeat(np.arange(len(times)), times)
    quarter = first[crossing][index] + np.arange(len(index)) - np.repeat(np.cumsum(times) - times, times)
    start = np.maximum(many.start[index], quarter * QUARTER_US)
    end = np.minimum(many.end[index], (quarter + 1) * QUARTER_US)
    slope = ((many.to_w - many.from_w) / (many.end - many.start))[index]
    from_w = many.from_w[index] + slope * (start - many.start[index])
    to_w = many.from_w[index] + slope * (end - many.start[index])
    samples = np.where(end == many.end[index], many.samples[index], 0)
    parts = _Pieces(many.row[index], start, end, from_w, to_w, many.measured[index], samples)
    return _Pieces.join([pieces.take(~crossing), parts]), np.concatenate([first[~crossing], quarter])


def _quarters(rows: pl.DataFrame, order: _Order, known: Flags, gaps: Gaps, keys: Sequence[str]) -> pl.DataFrame:
    """Add the pieces up by key and quarter-hour."""
    cut, numbers = zip(*(_cut(pieces) for pieces in _curve(rows, order, known, gaps)), strict=True)
    all_of, quarter = _Pieces.join(cut), np.concatenate(numbers)
    if not len(quarter):
        return _empty(keys)
    base = int(quarter.min())
    code = order.group[all_of.row] * (int(quarter.max()) - base + 1) + (quarter - base)
    if (code[1:] < code[:-1]).any():
        by = np.argsort(code, kind="stable")
        all_of, quarter, code = all_of.take(by), quarter[by], code[by]
    edge = np.flatnonzero(np.append(True, code[1:] != code[:-1]))
    span, measured = all_of.end - all_of.start, all_of.measured
    energy = np.rint(np.where(span > 0, all_of.from_w + all_of.to_w, 0.0) * (span / 7200.0)).astype(np.int64)
    sums = {
        "measured_uwh": np.where(measured, energy, 0),
        "estimated_uwh": np.where(measured, 0, energy),
        "measured_us": np.where(measured, span, 0),
        "estimated_us": np.where(measured, 0, span),
        "samples": all_of.samples,
    }
    low = np.fmin.reduceat(np.fmin(all_of.from_w, all_of.to_w), edge)
    high = np.fmax.reduceat(np.fmax(all_of.from_w, all_of.to_w), edge)
    frame: pl.DataFrame = rows[list(keys)][order.rows[all_of.row[edge]]]
    columns = [
        pl.Series("period_start", quarter[edge] * QUARTER_US).cast(UTC_MICROS),
        *(pl.Series(name, np.add.reduceat(values, edge)) for name, values in sums.items()),
        pl.Series("power_min_w", low, nan_to_null=True),
        pl.Series("power_max_w", high, nan_to_null=True),
    ]
    return frame.hstack(columns)


def _empty(keys: Sequence[str]) -> pl.DataFrame:
    schema: dict[str, pl.DataType] = dict.fromkeys(keys, pl.String())
    schema |= {"period_start": UTC_MICROS} | dict.fromkeys(SUMS, pl.Int64())
    return pl.DataFrame(schema=schema | {"power_min_w": pl.Float64(), "power_max_w": pl.Float64()})
