"""What each battery could give up and down per quarter-hour, relative to its site's forecast, and at which cost.

**Day ahead.** At 09:15 of a site's local day (`offer_hour`, `offer_minute`), or as soon as `forecast.load` has the next
local day, each battery of the site under an active flexibility contract is offered for every quarter-hour of that day
in both directions. It is assumed to hold `assumed_fill_level` then (or the `ready_fill_level` that its owner wants).

**Near term.** Within the next two hours (`near`) the battery's reported fill level counts. Where it differs by more
than `threshold` from what was offered, or the battery says that it cannot be instructed (not available, overridden, at
fault), these quarter-hours are stated again, and an hour later those that have come near since. All that was offered is
worked out again when a registration, contract or preference of the site changes.

**Formula** (`energy.flexibility`, powers and energies at the connection, η the one-way efficiencies):

    up:   energy = (fill - lowest) · storage · η_discharge    down: energy = (highest - fill) · storage / η_charge
    quantity = min(power limit, site's room, energy / hold)   site's room up = forecast + export limit, down = import
                                                              limit - forecast (median of load and PV)
    cost up   = wear + (1 / (η_charge · η_discharge) - 1) · retail price
    cost down = η_charge · η_discharge · wear + (1 - η_charge · η_discharge) · retail price

`hold` is the longer of the rule `storage.hold` and the product's period, `wear` the rule `storage.wear`, lowest and
highest the tighter of the battery's and its owner's fill levels; an owner who has opted out offers nothing. A price is
never below the least one of contract and preferences. The retail price of a quarter-hour that is not yet published is
that of the same hour a day before. All offers of a battery, local day and direction share one energy
(``limit_group`` = `<resource>/<local day>/<direction>`): what is there now, nothing that has been sold deducted.

**Products.** A direction is offered for every active product that buys it; one that no product buys is offered under
all of them, for a portfolio may need it to balance itself.

Only what changed is sent again, with the next revision; what is no longer on offer is WITHDRAWN.

**Source.** Cost of wear: capital cost over cycles, in `energy/rules/storage.yaml`. Offers relative to a forecast: USEF
(UFTP 3.x), D-prognosis and FlexOffer.
"""

from datetime import timedelta

from processors.flexibility.logic import on_batch, on_tick
from processors.flexibility.state import (
    Ahead,
    Battery,
    Changed,
    Config,
    Contract,
    Fresh,
    Level,
    Load,
    Offer,
    Preference,
    Site,
    Told,
)
from streams import Processor, records
from topics import (
    ContractChanged,
    FlexibilityOffered,
    LoadPredicted,
    PreferenceSet,
    PricePublished,
    ProductDefined,
    ResourceRegistered,
    RulePublished,
    SiteRegistered,
    StateReported,
)

SPEC = Processor(
    name="flexibility",
    version=1,
    reads=records(StateReported, ResourceRegistered, SiteRegistered, PreferenceSet, ContractChanged, LoadPredicted),
    writes=records(FlexibilityOffered),
    tables=records(ProductDefined, PricePublished, RulePublished),
    keep={PricePublished: timedelta(days=2)},
    state=(Battery, Site, Contract, Preference, Level, Load, Changed, Fresh, Ahead, Told, Offer),
    on_batch=on_batch,
    on_tick=on_tick,
    every=timedelta(minutes=15),
    config=Config(),
)
