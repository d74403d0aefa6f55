"""Delivered energy per activation, site and quarter-hour, against the settlement baseline, at the site's meter.

    UP:   delivered = baseline - measured        DOWN: delivered = measured - baseline        (whole Wh, half-even)

**Requested** is what the site's instructions asked for in the quarter-hour; an instruction that was taken back counts
until its revocation. A quarter-hour in which nothing was left to be asked is no delivery and is not stated.

Where readings or the baseline are missing, nothing can be proved: the missing one is taken to be equal to the other,
so that nothing is delivered, and the quality says MISSING.

A delivery is stated when its baseline is there; until then this processor holds its watermark, so nobody settles too
early. A changed baseline or a late interval makes the next revision, however late.

Source: delivery at the connection point against a baseline, as in USEF (Flexibility Trading Protocol 3.x, settle).
"""

from datetime import timedelta

from processors.delivery.logic import STATE, on_batch, on_tick
from streams import Processor, records
from topics import ActivationRequested, BaselineEstimated, DeliveryMeasured, InstructionIssued, IntervalMeasured

SPEC = Processor(
    name="delivery",
    version=1,
    reads=records(InstructionIssued, BaselineEstimated, IntervalMeasured),
    writes=records(DeliveryMeasured),
    tables=records(ActivationRequested),
    history=records(IntervalMeasured),
    state=STATE,
    on_batch=on_batch,
    on_tick=on_tick,
    every=timedelta(hours=1),
)
"""A site has few deliveries an hour; a revision an hour later is soon enough for money that is settled by the day."""
