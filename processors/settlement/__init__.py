"""Who gets what for which reason, to the micro: lines that sum to zero, and differences where something changes later.

**When.** A cleared period and an activation are settled once they are over and all that concerns them is in (the
watermarks of clearings, activations and deliveries). What changes after that (a revised delivery, activation or
clearing, a contract, product or rule that is changed for the past) gives lines with the difference, for as long as
`settlement.correction_window` says. Where no contract or product names an account yet, the watermark waits.

**Capacity**, per cleared bid and period, market to aggregator: W x h x price. It is shared with the homes by what they
had offered for the period when it was cleared (later offers change nothing), each part by the contract's
``capacity_share_ppm``.

**Energy**, per activation and quarter-hour, market to aggregator, pay-as-bid: min(delivered, called), not below 0,
times the activation's price; ``settlement.over_delivery_paid`` lifts the cap. It is shared by what each home is
credited, min(delivered, asked of it), not below 0, each part by ``energy_share_ppm``.

**Penalty**, aggregator to market: (called - delivered), where positive, times ``settlement.penalty_price`` (micros/MWh)
where a rule gives one, else the activation's price times ``settlement.penalty_factor``. Single-sided, and more than
the call where the delivery went the wrong way. It is borne by what each fell short of what was asked of it and by what
nobody was asked for, which stays with the aggregator; each home's part by ``penalty_share_ppm``.

    line of a home = (its part of the pot) x share          parts of a pot: by weight, largest remainder, sum exact

All in whole micros, products in 128 bits, rounded half-even once. A SHARE line names its pot in ``reason_code``
(CAPACITY, ENERGY, PENALTY), ``basis_micros`` is the home's part of it. Contracts, products and rules count as effective
at the start of the period; shares that a contract leaves open come from the rules.

**Lines.** A transfer is two lines of opposite sign, one an account; all lines sum to zero. A line's id is composed of
account, kind, what it is about and the period; a correction's is the first line's id and its number, and it names the
first line in ``corrects_line_id``. The truth is a line plus all that correct it: amount, energy, capacity and basis
of a correction are differences, and their sum is what settling the final facts at once would give.

**Source.** USEF / Shapeshifter (UFTP) 3.x, settle phase: pay-as-bid, single-sided penalty, over-delivery unpaid (its
example is in the tests); corrections as later settlements: Energinet's fixing and correction settlements.
"""

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
    every=timedelta(hours=3),
)
"""Eight times a day: money is settled by the day, and each tick with work reads the history."""
