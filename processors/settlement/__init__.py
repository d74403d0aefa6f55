"""Settlement."""

from datetime import timedelta

from processors.settlement.logic import on_batch, on_tick
from processors.settlement.state import STATE
from streams import Processor, records
from topics import (
    ActivationRequested,
    BidCleared,
    ContractChanged,
    DeliveryMeasured,
    FlexibilityOffered,
    LineSettled,
    ProductDefined,
    RulePublished,
)

SPEC = Processor(
    name="settlement",
    version=1,
    reads=records(BidCleared, ActivationRequested, DeliveryMeasured),
    writes=records(LineSettled),
    tables=records(ContractChanged, ProductDefined, RulePublished),
    history=records(FlexibilityOffered, LineSettled),
    state=STATE,
    on_batch=on_batch,
    on_tick=on_tick,
    every=timedelta(hours=1),
)
