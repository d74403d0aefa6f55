"""Delivered energy per activation, site and quarter-hour, against the settlement baseline, at the site's meter.

    UP:   delivered = baseline - measured        DOWN: delivered = measured - baseline        (whole Wh, half-even)

**Requested** is what the site's instructions asked for in the quarter-hour, each rounded to whole Wh half-even; an
instruction that is taken back or replaced counts until then. A quarter-hour in which nothing was left to be asked is no
delivery and is not stated.

**Several activations at once** ask the same site, and its meter deviates once: each is delivered what it asked for,
and what is over or missing is shared by what was asked, to the Wh. The baseline of the activation that began first
counts, for no other one lies in its adjustment window; every other row's ``baseline_wh`` is what was measured plus its
own part, that is what would have been measured without this one activation. So the deliveries of a site sum to what
its meter shows.

    d = baseline - measured;   delivered_i = requested_i + (d - sum of requested) x requested_i / sum of requested

(with UP positive and DOWN negative where both are asked; shared by magnitude, largest remainder).

**Missing readings or baseline** prove nothing: the missing one is taken to be equal to the other, so that nothing is
delivered, and the quality says MISSING.

A delivery is stated when its baseline is there; until then this processor holds its watermark, so that nobody settles
too early. A changed baseline or a late interval makes the next revision, up to 400 days after.

**Source.** Delivery at the connection point against a baseline, as in USEF (Flexibility Trading Protocol 3.x, settle).
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
    every=timedelta(hours=3),
)
"""Eight times a day: money is settled by the day, and each tick with work reads the history."""
