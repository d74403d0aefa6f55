"""Energy per resource and quarter-hour from irregular readings.

**Rule.** A reading with `duration_s` is the mean power of the time before it, one without is the power at an instant,
and registers count by what they grew. Between readings the power runs in a straight line: measured between instants at
most `readings.continuous` apart, else a gap. A gap of at most `readings.gap` (30 minutes) is interpolated, a longer one
is left out. A quarter-hour is MEASURED where at least `readings.measured_min` of it is measured, else ESTIMATED where
at least `readings.coverage_min` is covered, else MISSING and without energy. `coverage` is the share that is measured.
All four are rules (`energy/rules/readings.yaml`); a reading is governed by those of its `occurred_at`, a quarter-hour's
quality by those of its start. A mean of more than an hour, and a reading of a time without rules, is rejected.

**Formula.** `energy_wh = Σ round_half_even(W · µs / 3600) µWh / 10⁶ · quarter-hour / time covered`. Each stretch of the
curve is cut at quarter-hours and rounded before it is added, so sums are integers that depend neither on the order of
adding nor on how the stream was cut into batches.

**What is remembered.** Readings are folded, not kept: of a resource the newest reading, of a quarter-hour its sums,
until `keep` (6 hours) after its end, then dropped by one range tombstone. A resource that has been silent for
`silent_after` (a day) is forgotten too.

**When.** A quarter-hour is stated (revision 0) at the first tick at which the watermark has passed its end, a
quarter-hour after it: readings may be ten minutes behind. A resource that speaks and has said nothing of it is stated
as MISSING.

What comes later makes a new revision, never an update:

* readings in order, as after an outage, are folded; quarter-hours that change are stated again at the next tick;
* a reading that is not after the newest one before it *by offset* (another order would depend on how batches were cut)
  is not folded. It marks the quarter-hours that it can touch, and those are worked out again from the history of all
  readings: at once where they are due for the first time, else at the next full hour (`restate_every`). A duplicate
  changes nothing, and of several values for one instant the last counts;
* however late: where the state no longer knows a quarter-hour, what was stated of it, and as which revision, is read
  back from this processor's own output in the history.

A new revision is sent only if it says something else. Readings that come before any rules wait for them.

**Source.** Time-weighted energy: the integral of power. Qualities: measured, estimated, missing and calculated as in
Energinet's settlement; the interpolation limit is flexlog's own. Fifteen minutes: the market time unit of SDAC since
2025-10-01.
"""

from datetime import timedelta

from processors.intervals.logic import Config, Known, Newest, Quarter, Touched, Waiting, on_batch, on_tick
from streams import Processor, records
from topics import IntervalMeasured, ReadingTaken, RulePublished

SPEC = Processor(
    name="intervals",
    version=1,
    reads=records(ReadingTaken),
    writes=records(IntervalMeasured),
    tables=records(RulePublished),
    history=records(ReadingTaken, IntervalMeasured),
    state=(Waiting, Known, Newest, Quarter, Touched),
    on_batch=on_batch,
    on_tick=on_tick,
    every=timedelta(minutes=15),
    config=Config(),
)
