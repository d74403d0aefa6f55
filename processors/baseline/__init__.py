"""What each instructed site would have used without the activation: what its delivery is settled against.

**When.** For each site with an instruction of an activation, once the intervals up to the activation's end are in
(their watermark). Until then this processor holds its own watermark at the activation's start. When intervals that an
estimate rests on change (on a reference day, or in the adjustment window), it is made again, and what differs is a
new revision.

**Rule** (`baseline.*`, scope: the product; as effective when the activation begins). *High X of Y*:

1. of the days before, the latest Y of the same day type on which the site had no instruction and whose meter is known
   for the activation's quarter-hours, by the local wall clock;
2. of them the X with the highest mean in those quarter-hours;
3. per quarter-hour the mean of the X days:  unadjusted = (e1 + ... + eX) / X;
4. the same-day adjustment:  ratio = sum of today / sum of the X days' mean, both in the window from
   ``baseline.window_from`` to ``baseline.window_to`` before the activation (quarter-hours under instructions left out),
   within 1 +- ``baseline.adjustment_cap``;  baseline = unadjusted x ratio.

CALCULATED from X days, ESTIMATED from fewer, MISSING from fewer than ``baseline.days_min``, or at a site without a
meter. It is the site's meter that is estimated, so delivery is measured where the grid feels it.

**Source.** PJM "high 4 of 5" with its same-day adjustment (CAISO 10 of 10, NYISO high 5 of 10 and AEMO 10 of 10 are
other values of the same rules). High X of Y is biased upward, as it picks high days (Lind 2023, doi
10.1016/j.jup.2023.101688). `energy.baseline` has the formulas and their edge cases.
"""

from datetime import timedelta

from processors.baseline.logic import STATE, on_batch, on_tick
from streams import Processor, records
from topics import (
    ActivationRequested,
    BaselineEstimated,
    InstructionIssued,
    IntervalMeasured,
    ResourceRegistered,
    RulePublished,
    SiteRegistered,
)

SPEC = Processor(
    name="baseline",
    version=1,
    reads=records(InstructionIssued, IntervalMeasured),
    writes=records(BaselineEstimated),
    tables=records(ActivationRequested, ResourceRegistered, SiteRegistered, RulePublished),
    history=records(IntervalMeasured),
    state=STATE,
    on_batch=on_batch,
    on_tick=on_tick,
    every=timedelta(hours=3),
)
"""Eight times a day: money is settled by the day, and each tick with work reads the history."""
