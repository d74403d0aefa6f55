"""Baseline."""

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
    every=timedelta(hours=1),
)
