"""The local market, simulated: a system operator that buys upward flexibility for each quarter-hour of the next day.

The gate of a local day opens, closes and is answered on the day before. What the operator needs is met in the order of
capacity prices, our bids among those of drawn competitors; everybody is paid their own bid. A bid that is not needed
whole is bought in part if it is divisible. The dearest that was bought is published as the clearing price, on days
without trade too. Of what was bought, energy is called in a few blocks of 30 to 60 minutes, mostly in the evening and
at midday, in the order of energy prices among the steps that were bought in all of a block; a block's call has the mean
of the step's energy prices. That it is simulated stands in the product and in each call's reason.
"""

from edges.market.config import Config
from edges.market.conversation import Market, on_event, on_wake
from streams import Edge, records
from topics import ActivationRequested, BidCleared, BidSubmitted, GateScheduled, PricePublished

Writes = GateScheduled | BidCleared | PricePublished | ActivationRequested


def spec(config: Config) -> Edge[Market, Config, BidSubmitted, Writes]:
    """The market of a configuration."""
    return Edge(
        name="market",
        version=1,
        session=Market,
        reads=records(BidSubmitted),
        writes=records(GateScheduled, BidCleared, PricePublished, ActivationRequested),
        key="=market",
        keys=("market",),
        config=config,
        on_event=on_event,
        on_wake=on_wake,
    )


SPEC = spec(Config())

__all__ = ["SPEC", "Config", "spec"]
