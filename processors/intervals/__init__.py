"""Energy per resource and quarter-hour from irregular readings."""

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
