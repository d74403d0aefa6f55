"""Offers of a portfolio's resources as one merit-order curve per zone, product, direction and quarter-hour.

A step of the curve is all that is offered at one price, cheapest first; prices are rounded up to whole multiples of
`portfolio.price_step`. Its **firm quantity** is what can be held for as long as the market may ask: the longest
activation (`market.max_activation`) as often as it may come in a day (`market.max_activations_per_day`), given the
energy that offers share (``limit_group``, ``energy_limit_wh``):

    firm of a group = min(power, energy / (longest activation x activations a day)), to its cheapest steps first.

Only the quarter-hours of which an offer has changed are stated again, with the next revision; a step that is no more is
stated with quantity 0. ``coverage`` is the share of the portfolio's offering resources that offer in the quarter-hour.

Source: merit order as in Nordic and local flexibility markets (USEF, Flexibility Trading Protocol 3.x); rules from
`registry.rule`.
"""

from datetime import timedelta

from processors.portfolio.logic import Curve, Known, Offer, on_batch, on_tick
from streams import Processor, records
from topics import FlexibilityOffered, PortfolioAggregated, ProductDefined, RulePublished, SiteRegistered

SPEC = Processor(
    name="portfolio",
    version=1,
    reads=records(FlexibilityOffered),
    writes=records(PortfolioAggregated),
    tables=records(SiteRegistered, ProductDefined, RulePublished),
    state=(Offer, Known, Curve),
    on_batch=on_batch,
    on_tick=on_tick,
    every=timedelta(minutes=15),
)
