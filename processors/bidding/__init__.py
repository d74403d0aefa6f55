"""Bids at a market's gate: quantity and price steps against price scenarios, by a stochastic optimisation.

**When.** At each open gate, as soon as all that happened before the gate's ``inputs_until`` is in (the watermark of
`flexibility.portfolio`), or at the last tick before its close less `Config.margin` (the deadline). The bids say which
(``decided_by``), up to when they know (``known_until``), and the share of the gate's periods that have a curve
(``coverage``). A gate is bid at once; `energy.bidding` has the model and its source.

**What.** For each period the firm steps of the portfolio's curve are the supply. Past clearing prices of the product
(`bidding.history`) are drawn by whole local days (`market.time_zone`) as scenarios (`bidding.scenarios`), with the
gate's name as seed, so that a replay draws the same. The model chooses how many steps of the product to offer at
which of `bidding.price_levels` capacity prices; a quantity below the product's minimum is no bid. Energy is asked for
at the cost of the dearest supply in use plus `bidding.energy_margin`; `bidding.activation_ratio` is the share of won
capacity that is expected to be called. Without past prices there is no bid: there is nothing to judge a price by.

All numbers are rules of `registry.rule`; size of step, minimum and pricing are the product's (`market.product`).
"""

from datetime import timedelta

from processors.bidding.logic import Config, Done, Supplied, on_batch, on_tick
from streams import Processor, records
from topics import BidSubmitted, GateScheduled, PortfolioAggregated, PricePublished, ProductDefined, RulePublished

SPEC = Processor(
    name="bidding",
    version=1,
    reads=records(PortfolioAggregated),
    writes=records(BidSubmitted),
    tables=records(GateScheduled, ProductDefined, PricePublished, RulePublished),
    keep={GateScheduled: timedelta(days=2), PricePublished: timedelta(days=35)},
    state=(Supplied, Done),
    on_batch=on_batch,
    on_tick=on_tick,
    every=timedelta(minutes=15),
    config=Config(),
)
